"""Calibration of confidence on labelled data; writes the shipped maps, a page and reliability diagrams.

    python benchmarks/calibration.py [--rows FOLDER] [--docs docs] [--output src/cellkey/calls/data/calibration.json]

``benchmarks/consensus.py`` then adds the map of a consensus.

Every data set is clustered at two resolutions and called by both scorers with the built-in map that fits and, where
there is one, the map of its tissue; refined from a fine and from a coarse clustering; and cut down to panels of few
genes. Every level of every call is one observation: what was measured of it, and for which share of the cluster's
labelled cells it is right. All numbers on the page are of maps fitted without the data set they are applied to; the
shipped maps are fitted on all data sets. Clusters that refinement left alone are first clusters seen twice: on them
the maps are tested only.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import cellkey
from _markdown import markdown_table
from _observations import rows_of_calls
from _panels import observe_panels
from _refined_calls import BORN, LEFT, error_of, observe_refined, refined_by_data, refined_errors, weighted_as_refined
from _truth import DATASETS, data_folder, load
from accuracy import _TISSUES
from cellkey.annotation.cells import annotate
from cellkey.calls.calibration import Calibration, CalibrationMap, expected_calibration_error, fit_map
from cellkey.hierarchy.catalogue import get_builtin

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = ("markers", "enrichment")
INPUTS = ("held", "without_marker", "lead", "breadth", "genes")
_RESOLUTIONS = (0.6, 1.5)
_COVERAGES = (0.1, 0.25, 0.5, 0.75, 1.0)
_CALL = ["data", "family", "map", "resolution", "panel", "born", "cluster"]
_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Collect, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, help="folder to keep the observations in, and to read them from if there")
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs")
    parser.add_argument("--output", type=Path, default=_ROOT / "src/cellkey/calls/data/calibration.json")
    arguments = parser.parse_args()
    if data_folder() is None:
        print("labelled data not found (set CELLKEY_DATA): nothing measured")
        return
    warnings.simplefilter("ignore")
    rows = observations(arguments.rows)
    rows["confidence"] = held_out(rows, rows["data"])
    rows["without tissue"] = held_out(rows, rows["data"].replace(_TISSUES))
    maps = {family: fit(rows[rows["family"] == family]) for family in FAMILIES}
    fitted = rows[rows["born"] != LEFT]
    provenance = {
        "fitted_by": "benchmarks/calibration.py", "cellkey": cellkey.__version__, "data_sets": list(DATASETS),
        "observations": {f: int((fitted["family"] == f).sum()) for f in FAMILIES},
        "right": "share of the labelled cells of the cluster whose term is, or is a kind of, the type's term or that of"
                 " a type below it in the hierarchy",
    }
    arguments.output.write_text(Calibration(maps, provenance).to_text(), encoding="utf-8")
    page = as_markdown(rows, maps)
    (arguments.docs / "reference" / "calibration.md").write_text(page, encoding="utf-8")
    draw(rows, arguments.docs / "_static" / "calibration.png")


def observations(folder: Path | None) -> pd.DataFrame:
    """All observations; ``born`` says of which kind of clusters: first, left alone, split, united, renamed, panel."""
    first = _kept(folder, "first", observe).assign(born="first")
    refined = _kept(folder, "refined", lambda n: observe_refined(n, FAMILIES, _TISSUES.get(n)))
    panels = _kept(folder, "panels", lambda n: observe_panels(n, _TISSUES.get(n))).assign(born="panel")
    rows = pd.concat([first, refined, panels], ignore_index=True).fillna({"panel": 0, "resolution": _RESOLUTIONS[0]})
    return rows.astype({"panel": int})


def _kept(folder: Path | None, kind: str, observe_one: Callable[[str], list[dict[str, Any]]]) -> pd.DataFrame:
    """Observations of one kind on all data sets, from the folder if they are there."""
    file = folder and folder / f"{kind}.csv"
    if file and file.is_file():
        return pd.read_csv(file)
    rows = pd.DataFrame([row for name in DATASETS for row in observe_one(name)])
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(file, index=False)
    return rows


def observe(name: str) -> list[dict[str, Any]]:
    """Return one row per level of every call on a data set."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    rows: list[dict[str, Any]] = []
    for resolution in _RESOLUTIONS:
        first = annotate(adata, layer=layer, clustering={"resolution": resolution}, resamples=0, copy=True)
        adata.obs["clusters"] = first.labels
        maps = [first.annotation.key.hierarchy]
        maps += [get_builtin(_TISSUES[name])] if name in _TISSUES else []
        for tree in maps:
            found = annotate(adata, tree, layer=layer, groupby="clusters", method="both", copy=True)
            where = {"data": name, "map": tree.name, "resolution": resolution}
            rows += [{**where, **row} for row in rows_of_calls(found, tree, truth)]
        print(name, resolution, len(rows), flush=True)
    return rows


def fit(rows: pd.DataFrame) -> CalibrationMap:
    """Fit a map to observations; a data set counts by the square root of their number.

    Calls of one data set err together: they are worth less than as many of several, and more than a single one.
    """
    rows = rows[rows["born"] != LEFT]
    weights = rows.groupby("data")["right"].transform("size") ** -0.5
    weights *= len(rows) / weights.sum()
    return fit_map(INPUTS, {n: rows[n].to_numpy() for n in INPUTS}, rows["right"].to_numpy(), weights.to_numpy())


def held_out(rows: pd.DataFrame, source: pd.Series) -> pd.Series:
    """Confidence of each observation by a map fitted on all kinds of clusters of the other sources."""
    found = pd.Series(0.0, index=rows.index)
    for (name, family), part in rows.groupby([source, "family"]):
        fitted = fit(rows[(source != name) & (rows["family"] == family)])
        found[part.index] = fitted.probability({n: part[n].to_numpy() for n in INPUTS})
    deepest_first = rows.assign(found=found).sort_values("level", ascending=False, kind="stable")
    return deepest_first.groupby(_CALL)["found"].cummax()  # as in the table of confidence


def as_markdown(rows: pd.DataFrame, maps: dict[str, CalibrationMap]) -> str:
    """Return the page for the documentation."""
    first, panels = rows[rows["born"] == "first"], rows[rows["born"] == "panel"]
    refined = rows[rows["born"].isin([*BORN, LEFT])]
    return "\n".join([
        "# Calibration of confidence", "", _ABOUT.format(version=cellkey.__version__), "",
        "![Reliability and accuracy at coverage](../_static/calibration.png)", "",
        "## Expected calibration error", "", markdown_table(_errors(first, maps)), "",
        "## Accuracy at coverage", "",
        "Share that is right among the most confident share of all levels of all calls; it should fall from left to\n"
        "right.", "", markdown_table(_at_coverage(first)), "",
        "## By data set", "",
        "Mean confidence, by the map fitted without the data set, beside the share that is right.", "",
        markdown_table(_by_data(first)), "", _LIMITS, "",
        "## Refined clusters", "", _REFINED, "", markdown_table(refined_errors(refined)), "",
        "Share that is right among the most confident share of the levels of calls of new clusters:", "",
        markdown_table(_at_coverage(refined[refined["born"] != LEFT])), "",
        _REFINED_GAPS.format(**weighted_as_refined(first, refined)), "",
        markdown_table(refined_by_data(first, refined)), "",
        "## Small panels", "", _PANELS, "", markdown_table(_on_panels(panels)), "",
        "## What was tried", "", _TRIED, "",
        "## The shipped maps", "",
        "Log odds = intercept + sum of weight x measurement, fitted on all data sets. A weight of 0 means that the\n"
        "measurement adds nothing to the others on these data.", "", markdown_table(_coefficients(maps)), "",
    ])


def _errors(rows: pd.DataFrame, maps: dict[str, CalibrationMap]) -> pd.DataFrame:
    found = []
    for family, part in rows.groupby("family", sort=False):
        right = part["right"].to_numpy()
        inside = maps[str(family)].probability({n: part[n].to_numpy() for n in INPUTS})
        default = part[part["resolution"] == _RESOLUTIONS[0]]
        found.append({
            "method": family, **error_of(part),
            "weighted by cells": expected_calibration_error(
                part["confidence"].to_numpy(), right, part["cells"].to_numpy(np.float64)),
            "default clustering only": expected_calibration_error(
                default["confidence"].to_numpy(), default["right"].to_numpy()),
            "tissue held out": expected_calibration_error(part["without tissue"].to_numpy(), right),
            "in sample (optimistic)": expected_calibration_error(inside, right),
        })
    return pd.DataFrame(found).round(3)


def _on_panels(rows: pd.DataFrame) -> pd.DataFrame:
    found = []
    for family, part in rows.groupby("family", sort=False):
        parts = {"20 to 200": part, **dict(list(part.groupby("panel")))}
        found += [{"method": family, "genes at most": size, **error_of(own)} for size, own in parts.items()]
    return pd.DataFrame(found).round(3)


def _at_coverage(rows: pd.DataFrame) -> pd.DataFrame:
    found = []
    for family, part in rows.groupby("family", sort=False):
        ordered = part.sort_values("confidence", ascending=False, kind="stable")["right"].to_numpy()
        shares = {f"{s:.0%}": ordered[: max(int(s * len(part)), 1)].mean() for s in _COVERAGES}
        found.append({"method": family, **shares})
    return pd.DataFrame(found).round(3)


def _by_data(rows: pd.DataFrame) -> pd.DataFrame:
    found = []
    for name, part in rows.groupby("data", sort=False):
        row: dict[str, Any] = {"data": name}
        for family, own in part.groupby("family", sort=False):
            row |= {f"{family}: {value}": round(own[value].mean(), 2) for value in ("confidence", "right")}
        found.append(row)
    return pd.DataFrame(found)


def _coefficients(maps: dict[str, CalibrationMap]) -> pd.DataFrame:
    return pd.DataFrame([
        {"method": f, "intercept": m.intercept, **dict(zip(m.inputs, m.weights, strict=True))} for f, m in maps.items()
    ]).round(3)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw reliability diagrams of first and of new clusters and of panels, and accuracy by coverage."""
    from matplotlib.figure import Figure

    from cellkey.plots._style import drawing_style, save, title
    from cellkey.plots.colours import PALETTE

    with drawing_style():
        figure = Figure(figsize=(18, 4.6), layout="constrained")
        left, new, panel, right = figure.subplots(1, 4)
        kinds = {"first": left, **dict.fromkeys(BORN, new), "panel": panel}
        for axes in (left, new, panel):
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
            axes.set(xlabel="confidence (data set held out)", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        shown_on = rows["born"].map(kinds)
        for family, colour, marker in zip(FAMILIES, PALETTE, "os", strict=False):
            part = rows[(rows["family"] == family) & (rows["born"] == "first")]
            for axes in (left, new, panel):
                shown = rows[(rows["family"] == family) & (shown_on == axes)]
                bins = shown.groupby(np.minimum((shown["confidence"] * 10).astype(int), 9))
                centre, true, count = bins["confidence"].mean(), bins["right"].mean(), bins.size()
                axes.plot(centre, true, color=colour, linewidth=1.2)
                axes.scatter(centre, true, s=12 + 160 * count / count.max(), color=colour, marker=marker, label=family,
                             edgecolors="white", zorder=3)
            ordered = part.sort_values("confidence", ascending=False, kind="stable")["right"].to_numpy()
            taken = np.arange(1, len(ordered) + 1)
            start = len(ordered) // 20
            right.plot((taken / len(ordered))[start:], (np.cumsum(ordered) / taken)[start:], color=colour, label=family,
                       linestyle="-" if marker == "o" else "--")
        right.set(xlabel="share of calls, most confident first", ylabel="share that is right", xlim=(0, 1),
                  ylim=(0.5, 1))
        title(left, "Reliability", "size of a mark: number of calls in the bin")
        title(new, "Reliability of refined clusters", "split, united or renamed")
        title(panel, "Reliability on small panels", "20 to 200 genes")
        title(right, "Accuracy at coverage", "first clusterings")
        left.legend(loc="upper left")
        right.legend(loc="lower left")
        save(figure, path, 110)


_ABOUT = """\
Measured with cellkey {version} by `benchmarks/calibration.py`. Eleven labelled data sets (blood, brain, stomach, lung,
pancreas, liver, an embryo, two protein panels) are clustered at two resolutions and called by both scorers with the
built-in map that fits and, where there is one, the map of the tissue; they are also [refined](#refined-clusters) and
cut down to [panels of few genes](#small-panels). Every level of every call is one observation. It is *right* for the
share of the cluster's labelled cells whose true term is, or is a kind of, the type's term or that of a type below it in
the hierarchy. [What confidence means](../explanation/confidence.md) tells what goes into it.

Unless it says otherwise, every number is of confidence by a map that was fitted **without the data set** it is applied
to: none of its first clusterings, refined clusters and panels took part. The measurements were chosen with all data
sets in view, and the built-in hierarchies were written with these data at hand. *Tissue held out* leaves out the other
data set of the same tissue (blood, brain) as well."""

_REFINED = """\
Each data set is also refined by the automatic policy (`min_cells` 60, as the data sets are small), from the default
and from a coarse clustering (resolution 0.1) that leaves several types in one cluster; clusters that end with the same
type are then united by a plan. Those that refinement left alone have no part in the fit: they are first clusters seen
twice."""

_REFINED_GAPS = """\
A tenth of the levels of new clusters are about 40, and where the hierarchy does not hold the types (the embryo) they
are wrong on every resample: differences of a few hundredths between the surest tenth and the surest quarter are within
what these numbers can tell.

New clusters are not spread over the data sets as first ones are. With each data set weighted as among the new clusters,
the error of first clusterings is {markers:.3f} by markers and {enrichment:.3f} by enrichment. Confidence minus truth,
by data set, of first and of new clusters:"""

_PANELS = """\
Of every RNA data set only the genes of a panel are kept, as if nothing else had been measured: its cells are clustered
and called anew, with the hierarchy cut down to the panel (`cellkey keys compile`). The panel is drawn from the
hierarchy as one is designed: three markers for each type, broad types first, then the next three. The smallest data
sets measure fewer markers than the largest panel asks for."""

_TRIED = """\
The way to fit was chosen after results on these data had been seen, by the pooled error of all three kinds of clusters:

- *what to fit on*: first clusterings alone, these with new clusters, with panels, with both. Fitted without panels, the
  weight of `genes` comes from the two protein panels, which are called worse than RNA panels of the same size: calls on
  20 to 200 genes were then right far more often than they said.
- *weights*: every data set alike, every kind of clusters of a data set alike, every level of every call alike, or a
  data set by the square root of its levels. With data sets alike the pooled error is above 0.1 on panels and, by
  enrichment, on new clusters; with levels alike it is the smallest, but protein panels are taken for better than they
  are. The square root lies between in both.
- *the lead where a step has no sibling*: 0, or that of the next step that has one. With 0 the only top-level type of a
  small hierarchy was held for doubtful, and no type below it could be more likely.
- *a type above another*: at least as likely as that below (what speaks for the type below speaks for it too), or a type
  below at most as likely as that above. On the whole the same to 0.01; with the second, a top-level type that rests on
  one marker of a small panel made all types below it doubtful. The first is taken.
- *further measurements*: whether the values are of RNA, and the lead times the number of genes. Each makes one error
  smaller and another larger."""

_LIMITS = """\
The gap within one data set is larger than the pooled error: where the hierarchy does not hold the types that are
there, or a panel is a poor match, calls are firm and wrong alike, and nothing measured on the data themselves tells
so. Confidence is a statement about calls like these on data like these."""


if __name__ == "__main__":
    main()
