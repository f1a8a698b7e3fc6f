"""Figures of enrichment: which types the clusters resemble, how sure the calls are, how well a hierarchy fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import MissingFieldError, did_you_mean
from cellkey.plots._style import INK, MUTED, colour_bar, drawing_style, figure_of, new_axes, save, shorten, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["annotation_heatmap", "back_off_bars", "confidence_scatter", "draw_enrichment_figures",
           "fit_comparison", "fit_summary", "lineage_bars", "support_scatter"]

_TIERS = {"high": "#1B7F79", "medium": "#E0A030", "low": "#C0504D", "none": "#9A9A9A"}
_STATUS = {"resolved": "#1B7F79", "mixed": "#8064A2", "candidate": "#E0A030", "unknown": "#9A9A9A"}
_BARS = ("#3B6FB6", "#E0A030", "#1B7F79", "#8064A2", "#C0504D", "#6B8E23", "#4BACC6", "#9A9A9A")
_MARGINS = ("annot_final_call_margin", "annot_path_margin", "annot_top_level_gap")
_FAILURES = {
    "fraction_unknown": "unresolved", "fraction_low_evidence": "low evidence",
    "fraction_low_absolute_support": "low raw support", "fraction_backoff_applied": "levels given up",
    "fraction_parent_mixing": "two lineages tied", "fraction_branch_conflict": "other lineage stronger",
}
_SUPPORT = {
    "median_final_score": "median final score", "median_branch_supported_raw_score": "median raw support",
    "median_branch_support_score": "median branch support", "median_local_node_score": "median local score",
    "median_marker_detection_support_fraction": "median share of markers detected",
    "fraction_clusters_final_score_ge_1": "share with final score ≥ 1",
    "fraction_clusters_branch_supported_raw_ge_0_25": "share with raw support ≥ 0.25",
    "fraction_l1_positive_branch_support": "share with a supported lineage",
}
_COMPARED = (
    "fit", "median_final_score", "median_branch_supported_raw_score", "median_marker_detection_support_fraction",
    "fraction_l1_positive_branch_support", "fit_rank_score", "median_branch_support_score",
)
_PARTS = {"raw": "raw enrichment", "score": "raw enrichment", "support": "branch support", "z": "robust z"}
_WORDS = {"fit": "fit beyond chance (0 to 1)", "fit_rank_score": "rank score", **_SUPPORT}


def annotation_heatmap(
    scores: pd.DataFrame, *, value: str = "score", level: int | None = None, top_n: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw cell types x clusters: one part of the scores, blue below and red above zero, missing values hatched.

    Parameters
    ----------
    scores
        One row per type and cluster with ``label``, ``cluster`` (or ``cluster_id``) and ``level``.
    value
        Column to show.
    level
        Show one level only, as numbered in the table.
    top_n
        Show the types with the greatest mean absolute value.

    Raises
    ------
    MissingFieldError
        If there is no such column.
    """
    _check(scores, [value])
    rows = scores if level is None else scores[scores["level"] == level]
    cluster = "cluster" if "cluster" in rows else "cluster_id"
    path = rows["path"] if "path" in rows else rows["label"]
    wide = rows.assign(_row=path.to_numpy()).pivot_table(
        index="_row", columns=cluster, values=value, aggfunc="first", sort=False, dropna=False)
    wide = wide.loc[list(dict.fromkeys(path)), list(dict.fromkeys(rows[cluster]))]
    if top_n is not None:
        strength = wide.abs().mean(axis=1).fillna(0.0)
        kept = sorted(strength.index, key=lambda n: (-strength[n], n))[:top_n]
        wide = wide.loc[[n for n in wide.index if n in kept]]
    values = wide.to_numpy(dtype=np.float64)
    with drawing_style():
        height, width = values.shape
        axes = new_axes(ax, (max(6.0, 3.2 + 0.6 * width), max(4.0, 1.4 + 0.35 * height)))
        limit = float(np.nanquantile(np.abs(values), 0.98)) if np.isfinite(values).any() else 1.0
        image = axes.imshow(values, cmap="RdBu_r", vmin=-max(limit, 1e-9), vmax=max(limit, 1e-9), aspect="auto")
        axes.patch.set(facecolor="#F2F2F2", hatch="///", edgecolor="#CFCFCF")
        axes.set_xticks(range(width), [shorten(c, 18) for c in wide.columns], rotation=45, ha="right")
        axes.set_yticks(range(height), [shorten(str(n).split(" / ")[-1]) for n in wide.index])
        axes.tick_params(length=0)
        axes.set_xlabel("cluster")
        axes.spines[:].set_visible(False)
        words = _PARTS.get(value, value.replace("_", " "))
        colour_bar(axes, image, words, extend="both")
        title(axes, "Cell types by cluster", "hatched: could not be scored" if np.isnan(values).any() else "")
    return axes


def confidence_scatter(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw support of each call against its lead over the best competitor, coloured by confidence tier.

    The lead is that of the final call, or else that along the path, or else between the two best lineages.
    Clusters without a call are named below the title.
    """
    _check(annotations, ["cluster_id", "annot_score", "annot_confidence"])
    support = _numbers(annotations, "annot_score")
    lead = _first_finite([_numbers(annotations, c) for c in _MARGINS if c in annotations], len(annotations))
    tiers = annotations["annot_confidence"].astype(str).to_numpy()
    names = annotations["cluster_id"].astype(str).to_numpy()
    shown = np.isfinite(support) & np.isfinite(lead)
    with drawing_style():
        axes = new_axes(ax, (7.0, 5.0))
        for tier, colour in _TIERS.items():
            part = shown & (tiers == tier)
            if part.any():
                axes.scatter(support[part], lead[part], s=52, color=colour, label=tier, edgecolor="white", zorder=3)
        _zero_lines(axes)
        _names(axes, support[shown], lead[shown], names[shown])
        axes.set(xlabel="support of the call (branch score)", ylabel="lead over the best competitor")
        if shown.any():
            axes.legend(title="confidence", loc="upper left", bbox_to_anchor=(1.01, 1.0))
        left = ", ".join(names[~shown][:12]) + (" …" if (~shown).sum() > 12 else "")
        title(axes, "Confidence of the calls", f"not shown, without a call or a competitor: {left}" if left else "")
    return axes


def support_scatter(annotations: pd.DataFrame, *, label_points: bool = True, ax: Axes | None = None) -> Axes:
    """Draw support of each call against its raw enrichment, coloured by what is reported."""
    _check(annotations, ["cluster_id", "annot_score", "annot_branch_supported_raw_score"])
    x, y = _numbers(annotations, "annot_score"), _numbers(annotations, "annot_branch_supported_raw_score")
    column = "annot_export_status" if "annot_export_status" in annotations else "annot_confidence"
    colours = _STATUS if column == "annot_export_status" else _TIERS
    kinds = annotations[column].astype(str).to_numpy() if column in annotations else np.full(len(x), "")
    shown = np.isfinite(x) & np.isfinite(y)
    with drawing_style():
        axes = new_axes(ax, (7.0, 5.0))
        for kind in dict.fromkeys([*colours, *kinds]):
            part = shown & (kinds == kind)
            if part.any():
                axes.scatter(x[part], y[part], s=52, color=colours.get(kind, INK), label=kind, edgecolor="white",
                             zorder=3)
        _zero_lines(axes)
        if label_points:
            _names(axes, x[shown], y[shown], annotations["cluster_id"].astype(str).to_numpy()[shown])
        axes.set(xlabel="support of the call (branch score)", ylabel="raw enrichment with best subtype")
        if shown.any():
            heading = "reported" if column == "annot_export_status" else "confidence"
            axes.legend(title=heading, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        missing = int((~shown).sum())
        title(axes, "Support of the calls", f"{missing} without a call not shown" if missing else "")
    return axes


def lineage_bars(
    scores: pd.DataFrame, *, clusters: Sequence[str] | None = None, value: str = "score", ax: Axes | None = None
) -> Axes:
    """Draw raw enrichment of all top-level types, grouped by cluster."""
    cluster = "cluster" if "cluster" in scores else "cluster_id"
    _check(scores, [cluster, "label", "level", value])
    roots = scores[scores["level"] == scores["level"].min()]
    wide = roots.pivot_table(index=cluster, columns="label", values=value, aggfunc="first", sort=False, dropna=False)
    order = [c for c in dict.fromkeys(roots[cluster].astype(str)) if clusters is None or c in set(map(str, clusters))]
    wide = wide.set_axis(wide.index.astype(str)).reindex(order)
    with drawing_style():
        axes = new_axes(ax, (max(6.0, 1.5 + 0.75 * len(wide)), 4.5))
        step = 0.8 / max(wide.shape[1], 1)
        for i, name in enumerate(wide.columns):
            place = np.arange(len(wide)) - 0.4 + (i + 0.5) * step
            axes.bar(place, wide[name], step * 0.92, color=_BARS[i % len(_BARS)], label=shorten(name))
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xticks(range(len(wide)), [shorten(c, 14) for c in wide.index])
        axes.set(xlabel="cluster", ylabel="raw enrichment")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        title(axes, "Top-level types by cluster")
    return axes


def back_off_bars(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw raw enrichment of labels that were given up, beside that of the labels that stayed."""
    _check(annotations, ["annot_backoff_applied", "annot_decision_raw_score", "annot_raw_score"])
    applied = annotations["annot_backoff_applied"].astype(bool).to_numpy()
    rows = annotations[applied]
    with drawing_style():
        axes = new_axes(ax, (max(6.0, 1.5 + 0.9 * len(rows)), 4.0))
        if rows.empty:
            axes.text(0.5, 0.5, "no label was given up for lack of support", ha="center", va="center", color=MUTED,
                      transform=axes.transAxes)
            axes.set_axis_off()
        else:
            place = np.arange(len(rows))
            axes.bar(place - 0.2, _numbers(rows, "annot_decision_raw_score"), 0.38, color=_BARS[4], label="given up")
            axes.bar(place + 0.2, np.nan_to_num(_numbers(rows, "annot_raw_score")), 0.38, color=_BARS[2], label="kept")
            axes.axhline(0, color=MUTED, linewidth=0.8)
            axes.set_xticks(place, rows["cluster_id"].astype(str))
            axes.set(xlabel="cluster", ylabel="raw enrichment")
            axes.legend()
        title(axes, "Labels given up")
    return axes


def fit_summary(metrics: pd.DataFrame, *, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw how well a hierarchy fits: shares of doubtful clusters, and measures of support.

    Parameters
    ----------
    metrics
        Table of ``metric`` and ``value``.
    axes
        Two axes; a new figure if None.
    """
    _check(metrics, ["metric", "value"])
    values = metrics.drop_duplicates("metric", keep="last").set_index("metric")["value"]
    with drawing_style():
        left, right = axes if axes is not None else _row_of_axes(2, (13.0, 4.6))
        failures = {w: _value(values, m) for m, w in _FAILURES.items() if m in values}
        left.barh(list(failures), list(failures.values()), color=_BARS[4], height=0.6)
        left.set_xlim(0, 1)
        left.set_xlabel("share of clusters")
        support = {w: _value(values, m) for m, w in _SUPPORT.items() if m in values}
        right.barh(list(support), list(support.values()), color=_BARS[0], height=0.6)
        for limit in (0.25, 0.60, 1.0):
            right.axvline(limit, color=MUTED, linestyle="--", linewidth=0.9, zorder=0)
        right.set_xlabel("value; dashed: 0.25, 0.60, 1.0")
        for panel, numbers in ((left, failures), (right, support)):
            panel.invert_yaxis()
            panel.tick_params(axis="y", length=0)
            for i, number in enumerate(numbers.values()):
                if np.isfinite(number):
                    panel.annotate(f"{number:.2f}", (max(number, 0.0), i), xytext=(4, 0),
                                   textcoords="offset points", va="center", fontsize=9, color=MUTED)
        status = str(values.get("hierarchy_fit_status", "unknown"))
        title(left, f"Hierarchy fit: {status}", str(values.get("hierarchy_fit_warning", "")))
        left.set_ylabel("doubtful clusters")
        right.set_ylabel("support")
        right.margins(x=0.12)
    return [left, right]


def fit_comparison(table: pd.DataFrame, *, axes: Sequence[Axes] | None = None, most: int = 3) -> list[Axes]:
    """Draw measures of fit of several hierarchies side by side.

    The first ``most`` of these that the table holds: fit beyond chance, median final score, median raw
    support, share of markers detected, share with a supported lineage, rank score, median branch support.
    """
    _check(table, ["name"])
    held = [c for c in _COMPARED if c in table and np.isfinite(_numbers(table, c)).any()][:most]
    if not held:
        _check(table, [_COMPARED[1]])
    names = [shorten(n) for n in table["name"]]
    with drawing_style():
        panels = list(axes) if axes is not None else _row_of_axes(len(held), (4.6 * len(held) + 0.6,
                                                                             max(2.6, 0.9 + 0.45 * len(names))))
        for i, (panel, column) in enumerate(zip(panels, held, strict=False)):
            numbers = _numbers(table, column)
            panel.barh(range(len(names)), numbers, color=_BARS[i], height=0.6)
            panel.set_yticks(range(len(names)), names if i == 0 else [""] * len(names))
            panel.invert_yaxis()
            panel.tick_params(axis="y", length=0)
            panel.set_xlim(left=min(0.0, float(np.nanmin(numbers)) * 1.15))
            panel.margins(x=0.18)
            for row, number in enumerate(numbers):
                if np.isfinite(number):
                    panel.annotate(f"{number:.2f}", (max(number, 0), row), xytext=(4, 0),
                                   textcoords="offset points", va="center", fontsize=9, color=MUTED)
            title(panel, _WORDS.get(column, column))
    return panels


def draw_enrichment_figures(tables: Mapping[str, pd.DataFrame], folder: str | Path, *, dpi: int = 200) -> list[Path]:
    """Write the figures that enrichment adds to a run; return their paths, none if its tables are absent."""
    if "enrichment_calls" not in tables:
        return []
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    calls, scores = tables["enrichment_calls"], tables["enrichment_scores"]
    drawn = {
        "enrichment_confidence": confidence_scatter(calls),
        "enrichment_support": support_scatter(calls),
        "enrichment_heatmap": annotation_heatmap(scores, value="raw"),
    }
    paths = []
    for name, axes in drawn.items():
        paths.append(target / f"{name}.png")
        save(figure_of(axes), paths[-1], dpi)
    return paths


# --- shared parts ---


def _row_of_axes(n: int, size: tuple[float, float]) -> list[Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return [figure.add_subplot(1, n, i + 1) for i in range(n)]


def _check(table: pd.DataFrame, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in table.columns:
            msg = f"the table has no column {name!r}{did_you_mean(name, map(str, table.columns))}"
            raise MissingFieldError(msg)


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    import pandas as pd

    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)


def _value(values: Any, metric: str) -> float:
    try:
        return float(values[metric])
    except (TypeError, ValueError):
        return float("nan")


def _first_finite(columns: Sequence[NDArray[np.float64]], n: int) -> NDArray[np.float64]:
    found = np.full(n, np.nan)
    for values in columns:
        found = np.where(np.isfinite(found), found, values)
    return found


_PLACES = ((5, 4, "left"), (5, -11, "left"), (-5, 4, "right"), (-5, -11, "right"))


def _names(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], names: NDArray[Any]) -> None:
    """Write each name beside its point, on the side that points and names written before leave most free."""
    if not len(x):
        return
    spots = axes.transData.transform(np.column_stack([x, y])) * 72.0 / figure_of(axes).dpi  # in points
    taken = [*spots]
    for px, py, spot, name in zip(x, y, spots, names, strict=True):
        text = shorten(name, 20)
        reach = 2.4 * len(text)
        centres = [spot + np.array([dx + (reach if side == "left" else -reach), dy + 3]) for dx, dy, side in _PLACES]
        free = [min(float(np.hypot(*(c - t))) for t in taken) for c in centres]
        best = int(np.argmax(np.minimum(free, 14.0)))  # the first side with room enough
        dx, dy, side = _PLACES[best]
        taken.append(centres[best])
        axes.annotate(text, (px, py), xytext=(dx, dy), textcoords="offset points", ha=side, fontsize=8.5)


def _zero_lines(axes: Axes) -> None:
    axes.axhline(0, color=MUTED, linestyle="--", linewidth=0.8, zorder=0)
    axes.axvline(0, color=MUTED, linestyle="--", linewidth=0.8, zorder=0)
