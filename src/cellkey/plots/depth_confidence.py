"""Confidence of the clusters by the depth of their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.plots._run_data import split_path, with_columns
from cellkey.plots._style import MUTED, drawing_style, new_axes, plural, title
from cellkey.plots.colours import UNASSIGNED, lineage_colours

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["confidence_by_depth"]


def confidence_by_depth(
    annotations: pd.DataFrame, *, column: str = "confidence", lineages: Iterable[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw a dot per cluster: across its level, up its confidence, as large as its cells, coloured by lineage.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``.
    column
        Column of the table to show, ``confidence`` or another number.
    lineages
        All top-level types of the hierarchy, so that colours agree between samples; by default those found.
    ax
        Axes to draw on; a new figure by default.
    """
    needed = ["assigned_level", "assigned_path", "n_cells", "root_label", column]
    with_columns(annotations, "cluster_annotations", needed)
    shown = annotations.sort_values(["assigned_level", column], kind="stable")
    levels = shown["assigned_level"].to_numpy(np.int64)
    colours = lineage_colours([*lineages, *shown["root_label"].astype(str)])
    shades = [colours[str(r)] if split_path(p) or lv >= 0 else UNASSIGNED for r, p, lv in zip(
        shown["root_label"], shown["assigned_path"], levels, strict=True)]
    sizes = 20 + 380 * np.sqrt(shown["n_cells"].to_numpy(float) / max(float(shown["n_cells"].max()), 1.0)) / 2
    with drawing_style():
        ax = new_axes(ax, (6.0, 4.0))
        ax.scatter(levels + _spread(levels), shown[column], s=sizes, c=shades, alpha=0.8, edgecolors="white",
                   linewidths=0.6, zorder=2)
        for level in np.unique(levels):
            middle = float(np.nanmedian(shown.loc[levels == level, column]))
            ax.plot([level - 0.3, level + 0.3], [middle, middle], color=MUTED, linewidth=1.2, zorder=3)
        ticks = range(int(levels.min(initial=0)), int(levels.max(initial=0)) + 1)
        ax.set_xticks(list(ticks), ["Unassigned" if t < 0 else f"level {t}" for t in ticks])
        ax.set_ylabel(column.replace("_", " "))
        ax.grid(axis="y")
        title(ax, "Confidence by depth", f"{plural(len(shown), 'cluster')}; size: cells, line: median")
        return ax


def _spread(levels: np.ndarray) -> np.ndarray:
    """Sidewards shifts within a level, the same for the same table."""
    shifts = np.zeros(len(levels))
    for level in np.unique(levels):
        rows = np.flatnonzero(levels == level)
        shifts[rows] = 0.0 if len(rows) == 1 else np.linspace(-0.25, 0.25, len(rows))[np.argsort(
            np.argsort((np.arange(len(rows)) * 0.618034) % 1.0))]
    return shifts
