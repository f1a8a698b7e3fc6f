"""Consensus of several methods on labelled data, beside each method alone; writes a table for the documentation.

    python benchmarks/consensus.py [--rows FILE] [--output docs/reference/consensus.md]

All methods see the same clusters and the same hierarchy: both scorers, ``scanpy.tl.score_genes`` and decoupler's
univariate linear model, with the built-in map that fits and, where there is one, with the map of the tissue. The
confidence of the scorers comes from maps fitted without the data set. Hierarchical F1 as in ``accuracy.py``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import cellkey
from _truth import DATASETS, data_folder, judge, load
from accuracy import _TISSUES, _id, _log_normalised, _score_genes, _ulm
from calibration import FAMILIES, fit, share_right
from cellkey.annotation.agreement import consensus_measurements
from cellkey.annotation.cells import annotate
from cellkey.annotation.confidence import confidence_table
from cellkey.calls.calibration import Calibration, expected_calibration_error, fit_map
from cellkey.calls.consensus import ConsensusRules, Vote, find_consensus
from cellkey.hierarchy.catalogue import get_builtin

if TYPE_CHECKING:
    from cellkey.hierarchy.tree import Hierarchy

_ROOT = Path(__file__).parents[1]
_SCORERS = ("markers", "enrichment")
_WAYS: dict[str, tuple[ConsensusRules, tuple[str, ...] | None]] = {
    "consensus of all": (ConsensusRules(), None),
    "equal weights": (ConsensusRules(weights="equal"), None),
    "unrated at 0.55": (ConsensusRules(unrated=0.55), None),
    "of both scorers": (ConsensusRules(), _SCORERS),
}
_INPUTS = ("support", "confidence", "voices", "breadth")


def main() -> None:
    """Collect the votes, take the consensus, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="observations that calibration.py kept")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs" / "reference" / "consensus.md")
    parser.add_argument("--calibration", type=Path, default=_ROOT / "src/cellkey/calls/data/calibration.json")
    arguments = parser.parse_args()
    if data_folder() is None:
        print("labelled data not found (set CELLKEY_DATA): nothing measured")
        return
    warnings.simplefilter("ignore")
    observed = pd.read_csv(arguments.rows)
    cases = []
    for name in DATASETS:
        rest = observed[observed["data"] != name]
        maps = {family: fit(rest[rest["family"] == family]) for family in FAMILIES}
        cases += votes_on(name, Calibration(maps, {}))
    write(cases, arguments.output, arguments.calibration)


def write(cases: list[dict[str, Any]], output: Path, calibration: Path) -> None:
    """Write the page, and add the map of a consensus to the shipped calibration."""
    from dataclasses import replace

    from cellkey.calls.calibration import read_calibration

    table = pd.DataFrame([measure(case) for case in cases])
    rows = pd.DataFrame([row for case in cases for row in observations(case)])
    for name in rows["data"].unique():
        out = rows["data"] == name
        rows.loc[out, "confidence"] = _fit(rows[~out]).probability({n: rows.loc[out, n].to_numpy() for n in _INPUTS})
    shipped = read_calibration(calibration)
    whole = replace(shipped, maps={**shipped.maps, "consensus": _fit(rows)})
    calibration.write_text(whole.to_text(), encoding="utf-8")
    output.write_text(as_markdown(table, rows), encoding="utf-8")


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Hierarchical F1 of every method alone and of every way to agree."""
    votes = case["votes"]
    methods = list(dict.fromkeys(v.source for own in votes.values() for v in own))
    row: dict[str, Any] = {"data": case["data"], "map": case["map"]}
    for method in methods:
        row[method] = f1(case, {g: next((v.path for v in own if v.source == method), ()) for g, own in votes.items()})
    row["best alone"] = max(row[m] for m in methods)
    for name, (rules, sources) in _WAYS.items():
        kept = {g: [v for v in own if sources is None or v.source in sources] for g, own in votes.items()}
        row[name] = f1(case, {g: find_consensus(own, case["tree"], rules).path for g, own in kept.items()})
    return row


def observations(case: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per level of every consensus: what was measured of it, and for which share of the cells it is right."""
    rows = []
    for group, votes in case["votes"].items():
        cells = np.flatnonzero(case["labels"] == group)
        cells = cells[case["truth"].scored[cells]]
        for _, sources in (_WAYS["consensus of all"], _WAYS["of both scorers"]):
            kept = [v for v in votes if sources is None or v.source in sources]
            outcome = find_consensus(kept, case["tree"])
            measured = consensus_measurements(outcome, kept)
            for level in range(len(outcome.path)):
                node = case["tree"][outcome.path[: level + 1]]
                right = share_right(case["truth"], cells, case["tree"], node) if len(cells) else None
                if right is not None:
                    rows.append({"data": case["data"], "right": right, "cells": len(cells),
                                 **{k: float(v[level]) for k, v in measured.items()}})
    return rows


def _fit(rows: pd.DataFrame) -> Any:
    weights = len(rows) / rows["data"].nunique() / rows.groupby("data")["right"].transform("size")
    return fit_map(_INPUTS, {n: rows[n].to_numpy() for n in _INPUTS}, rows["right"].to_numpy(), weights.to_numpy())


def votes_on(name: str, calibration: Calibration) -> list[dict[str, Any]]:
    """Return, for each hierarchy, the clusters of a data set, its truth and the votes of all methods."""
    adata, truth = load(name)
    layer = "rescaled" if "rescaled" in adata.layers else None
    first = annotate(adata, layer=layer, resamples=0, copy=True)
    adata.obs["clusters"] = first.labels
    trees = [("general", first.annotation.key.hierarchy)]
    trees += [("tissue", get_builtin(_TISSUES[name]))] if name in _TISSUES else []
    found = []
    for kind, tree in trees:
        result = annotate(adata, tree, layer=layer, groupby="clusters", method="both", copy=True)
        table = confidence_table(result.annotation, 50, calibration)
        votes: dict[str, list[Vote]] = {g: [] for g in result.annotation.profiles.groups}
        for (group, method), rows in table.groupby(["cluster_id", "method"]):
            path = tuple(rows["path"].iloc[-1].split(" / ")) if rows["level"].iloc[-1] >= 0 else ()
            votes[group].append(Vote(method, path, tuple(rows["confidence"]) if path else ()))
        for peer, best in _peers(adata, result, layer, tree).items():
            for group, path in best.items():
                votes[str(group)].append(Vote(peer, tuple(path.split(" / "))))
        found.append({"data": name, "map": kind, "tree": tree, "truth": truth, "votes": votes,
                      "labels": np.asarray(result.labels, dtype=object)})
    return found


def _peers(adata: Any, result: Any, layer: str | None, tree: Hierarchy) -> dict[str, pd.Series]:
    """The best terminal type of each cluster by methods of other packages."""
    values = _log_normalised(adata, result.facts, layer)
    names = result.annotation.key.resolution.found
    sets = {n.path_text: sorted({names[m] for m in n.markers if m in names}) for n in tree.leaves}
    sets = {k: v for k, v in sets.items() if len(v) >= 2}
    scores = {"score_genes": _score_genes(values, sets), "ULM": _ulm(values, sets)}
    clusters = np.asarray(result.labels, dtype=str)
    return {k: s.groupby(clusters).mean().idxmax(axis=1) for k, s in scores.items() if s is not None}


def f1(case: dict[str, Any], paths: dict[str, tuple[str, ...]]) -> float:
    """Hierarchical F1 of one path per cluster."""
    ids = {g: _id(case["tree"], " / ".join(p)) if p else "" for g, p in paths.items()}
    return judge(case["truth"], np.array([ids[g] for g in case["labels"]], dtype=object)).f1


def as_markdown(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Return the page for the documentation."""
    shown = table.round(3).astype(object).where(table.notna(), "")
    p, right = rows["confidence"].to_numpy(), rows["right"].to_numpy()
    ordered = right[np.argsort(-p, kind="stable")]
    shares = {f"{s:.0%}": round(float(ordered[: int(s * len(p))].mean()), 3) for s in (0.1, 0.25, 0.5, 0.75, 1.0)}
    return "\n".join([
        "# Consensus on labelled data", "", _ABOUT.format(version=cellkey.__version__), "", _markdown(shown), "",
        "## Against the best method of each data set", "", _ORACLE, "", _markdown(_summary(table)), "",
        "## Confidence of a consensus", "",
        f"By a map fitted without the data set: expected calibration error {expected_calibration_error(p, right):.3f}"
        f" over\n{len(rows)} levels of consensus. Share that is right among the most confident:", "",
        _markdown(pd.DataFrame([shares])), "",
    ])


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    found = []
    for name in (*_SCORERS, "score_genes", "ULM", *_WAYS):
        for kind, part in table.groupby("map"):
            loss = (part[name] - part["best alone"]).dropna()
            found.append({
                "way": name, "map": kind, "mean hF1": round(part[name].mean(), 3),
                "at most 0.01 below the best": f"{(loss >= -0.01).sum()} of {len(loss)}",
                "better than the best": int((loss > 1e-9).sum()), "largest loss": round(max(-loss.min(), 0.0), 3),
            })
    return pd.DataFrame(found)


_ABOUT = """\
Measured with cellkey {version} by `benchmarks/consensus.py`: hierarchical F1 as on the page of
[accuracy](accuracy.md), pooled over cells. All methods see the same clusters and the same hierarchy: the built-in map
that fits (general) or that of the tissue. The two methods of other packages always name a terminal type and give no
confidence. The confidence of the scorers is that of maps fitted without the data set."""

_ORACLE = """\
*Best alone* is the best of the four methods, found with the labels in hand: nobody can choose it without them. The
consensus does not reach it. The four methods read the same markers, so they err together, and where one of them is
right alone the others outvote it. What a consensus gives is the agreement of each cluster, and a mean that does not
depend on having picked the right method. *unrated at 0.55* lets methods without confidence break ties only; it was
added after the first column had been seen."""


def _markdown(frame: pd.DataFrame) -> str:
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    body = ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]
    return "\n".join([head, "|" + "---|" * len(frame.columns), *body])


if __name__ == "__main__":
    main()
