"""Heat map of the markers that are on, clusters x cell types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.plots._run_data import coverage_matrix, with_columns
from cellkey.plots._style import (
    colour_bar,
    colour_strip,
    drawing_style,
    matrix_axes,
    plural,
    shorten,
    title,
)
from cellkey.plots.colours import UNASSIGNED, lineage_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from cellkey.plots._run_data import CoverageMatrix

__all__ = ["marker_coverage_heatmap"]


def marker_coverage_heatmap(
    scores: pd.DataFrame,
    annotations: pd.DataFrame,
    *,
    lineages: Iterable[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw, for every cluster and cell type, the share of the type's listed markers that are on.

    A dot marks the type that was assigned. Rows are grouped by assigned path, columns follow the hierarchy;
    the strips beside and below show the lineage. Types of which no marker is measured are grey.

    Parameters
    ----------
    scores
        Table ``marker_scores``; ``cluster_id``, ``path``, ``markers_expected``, ``markers_found`` and
        ``n_markers_on`` are used.
    annotations
        Table ``cluster_annotations``.
    lineages
        All top-level types of the hierarchy, so that colours agree between samples; by default those found.
    ax
        Axes to draw on; a new figure, sized by the numbers of clusters and types, by default.
    """
    with_columns(
        scores, "marker_scores", ["cluster_id", "path", "markers_expected", "markers_found", "n_markers_on"]
    )
    with_columns(
        annotations,
        "cluster_annotations",
        ["cluster_id", "assigned_label", "assigned_path", "assigned_level", "root_label"],
    )
    matrix = coverage_matrix(scores, annotations)
    n_rows, n_columns = matrix.values.shape
    colours = lineage_colours([*lineages, *(p[0] for p in matrix.paths), *matrix.cluster_roots])
    with drawing_style():
        ax = matrix_axes(ax, n_rows, n_columns, cell=0.2, top=0.8)
        if matrix.values.size:
            _draw_matrix(ax, matrix, colours)
        grey = "; grey: no marker measured" if np.isnan(matrix.values).any() else ""
        title(
            ax,
            "Markers that are on, by cluster and cell type",
            f"{plural(n_rows, 'cluster')} × {plural(n_columns, 'cell type')}; a dot marks the assigned type{grey}",
        )
        return ax


def _draw_matrix(ax: Axes, matrix: CoverageMatrix, colours: Mapping[str, str]) -> None:
    import matplotlib as mpl

    n_rows, n_columns = matrix.values.shape
    palette = mpl.colormaps["Blues"].with_extremes(bad="#DDDDDD")
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(matrix.values),
        cmap=palette,
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=0.6 if n_rows * n_columns < 20_000 else 0,
    )
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    rows = np.flatnonzero(matrix.assigned >= 0)
    ax.scatter(
        matrix.assigned[rows] + 0.5, rows + 0.5, s=16, color="#E69F00", edgecolors="#222222", linewidths=0.6
    )
    size = 8.5 if n_columns <= 120 else 6.0
    names = [
        f"{c}  {shorten(label, 28)}" for c, label in zip(matrix.clusters, matrix.cluster_labels, strict=True)
    ]
    ax.set_yticks(np.arange(n_rows) + 0.5, names, fontsize=8.5)
    ax.set_xticks(
        np.arange(n_columns) + 0.5,
        [("· " * (len(p) - 1)) + shorten(p[-1], 30) for p in matrix.paths],
        rotation=90,
        fontsize=size,
    )
    ax.tick_params(length=0, pad=9)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    rows_to, columns_to = [(i, i + 1) for i in range(n_rows)], [(i, i + 1) for i in range(n_columns)]
    colour_strip(ax, rows_to, [colours.get(r, UNASSIGNED) for r in matrix.cluster_roots], "left")
    colour_strip(ax, columns_to, [colours[p[0]] for p in matrix.paths], "bottom")
    colour_bar(ax, mesh, "share of markers on")
