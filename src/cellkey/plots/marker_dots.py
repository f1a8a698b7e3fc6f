"""Dot plot of marker evidence: clusters x markers, the markers grouped by the cell type that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import InputError, did_you_mean
from cellkey.plots._run_data import ordered_clusters, split_path, with_columns
from cellkey.plots._style import (
    MUTED,
    colour_strip,
    drawing_style,
    figure_of,
    inches,
    matrix_axes,
    plural,
    shorten,
    title,
)
from cellkey.plots.colours import lineage_colours, path_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["DotMatrix", "dot_matrix", "marker_dots"]

_PATH = " / "


@dataclass(frozen=True)
class DotMatrix:
    """What the dot plot shows.

    Attributes
    ----------
    clusters, labels
        Row order: identifiers and assigned labels.
    groups
        Column groups in order: path of the cell type and its markers.
    positive_fraction, enrichment
        Clusters x markers (groups one after the other); share of positive cells and shift in standard
        deviations.
    """

    clusters: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    positive_fraction: NDArray[np.float64]
    enrichment: NDArray[np.float64]


def dot_matrix(
    evidence: pd.DataFrame,
    annotations: pd.DataFrame,
    *,
    paths: Sequence[str] | None = None,
    n_markers: int = 5,
) -> DotMatrix:
    """Arrange marker evidence for the dot plot.

    Parameters
    ----------
    evidence
        Table ``marker_evidence``.
    annotations
        Table ``cluster_annotations``.
    paths
        Paths of the cell types to show, joined by ' / '; by default those that were assigned.
    n_markers
        Most markers per type. Those with the highest enrichment in the clusters that carry the type (in any
        cluster if none does) are kept; ties are ordered by name.

    Raises
    ------
    InputError
        If a path is not in the evidence.
    """
    positive = evidence[evidence["role"] == "positive"].astype({"cluster_id": str})
    notes = ordered_clusters(annotations)
    order = list(notes["cluster_id"])
    known = set(positive["path"])
    wanted = list(paths) if paths is not None else sorted(set(notes["assigned_path"]) & known, key=split_path)
    for path in wanted:
        if path not in known:
            msg = f"no marker evidence for the cell type {path!r}{did_you_mean(path, known)}"
            raise InputError(msg)
    groups = tuple((p, _best_markers(positive[positive["path"] == p], notes, p, n_markers)) for p in wanted)
    cells = positive.set_index(["path", "marker", "cluster_id"])[["pos_frac", "enrichment"]]
    cells = cells[~cells.index.duplicated()]
    columns = [(p, m) for p, markers in groups for m in markers]
    values = cells.reindex([(p, m, c) for c in order for p, m in columns]).to_numpy(np.float64)
    shape = (len(order), len(columns))
    return DotMatrix(
        clusters=tuple(order),
        labels=tuple(notes["assigned_label"].astype(str)),
        groups=groups,
        positive_fraction=values[:, 0].reshape(shape),
        enrichment=values[:, 1].reshape(shape),
    )


def _best_markers(rows: pd.DataFrame, notes: pd.DataFrame, path: str, n_markers: int) -> tuple[str, ...]:
    own = rows[rows["cluster_id"].isin(notes.loc[notes["assigned_path"] == path, "cluster_id"])]
    by_marker = (rows if own.empty else own).groupby("marker")["enrichment"]
    strength = by_marker.max() if own.empty else by_marker.mean()
    return tuple(sorted(strength.index, key=lambda m: (-strength[m], m))[:n_markers])


def marker_dots(
    evidence: pd.DataFrame,
    annotations: pd.DataFrame,
    *,
    paths: Sequence[str] | None = None,
    n_markers: int = 5,
    lineages: Iterable[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw clusters x markers: dot size is the share of positive cells, colour the enrichment.

    Parameters
    ----------
    evidence, annotations
        Tables ``marker_evidence`` and ``cluster_annotations``.
    paths, n_markers
        Which cell types and how many markers of each; see :func:`dot_matrix`.
    lineages
        All top-level types of the hierarchy, so that colours agree between samples; by default those found.
    ax
        Axes to draw on; a new figure, sized by the content, by default.
    """
    with_columns(
        evidence, "marker_evidence", ["cluster_id", "path", "marker", "role", "enrichment", "pos_frac"]
    )
    with_columns(
        annotations,
        "cluster_annotations",
        ["cluster_id", "assigned_label", "assigned_path", "assigned_level"],
    )
    matrix = dot_matrix(evidence, annotations, paths=paths, n_markers=n_markers)
    n_rows, n_columns = matrix.positive_fraction.shape
    with drawing_style():
        ax = matrix_axes(ax, n_rows, n_columns, cell=0.24, top=2.2)
        limit = _draw_dots(ax, matrix)
        _draw_groups(ax, matrix, lineage_colours([*lineages, *(p.split(_PATH)[0] for p, _ in matrix.groups)]))
        _draw_keys(ax, limit)
        return ax


def _draw_dots(ax: Axes, matrix: DotMatrix) -> float:
    """Draw the dots and the axes; return the enrichment at the ends of the colour scale."""
    n_rows, n_columns = matrix.positive_fraction.shape
    finite = np.abs(matrix.enrichment[np.isfinite(matrix.enrichment)])
    limit = float(max(np.quantile(finite, 0.98), 0.5)) if finite.size else 1.0
    row, column = np.nonzero(np.isfinite(matrix.positive_fraction))
    ax.scatter(
        column,
        row,
        s=_area(matrix.positive_fraction[row, column]),
        c=matrix.enrichment[row, column],
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        edgecolors="#777777",
        linewidths=0.35,
        zorder=2,
    )
    ax.set(xlim=(-0.7, max(n_columns, 1) - 0.3), ylim=(n_rows - 0.3, -0.7))
    ax.set_xticks(
        range(n_columns), [m for _, markers in matrix.groups for m in markers], rotation=90, fontsize=8.5
    )
    ax.set_yticks(
        range(n_rows),
        [f"{c}  {shorten(label, 28)}" for c, label in zip(matrix.clusters, matrix.labels, strict=True)],
        fontsize=9,
    )
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.grid(axis="y", linewidth=0.5)
    return limit


def _draw_groups(ax: Axes, matrix: DotMatrix, colours: dict[str, str]) -> None:
    """Head the columns of each cell type with its name over a bar in its colour."""
    place = ax.get_xaxis_transform()
    start = 0
    for path, markers in matrix.groups:
        end = start + len(markers)
        if start:
            ax.axvline(start - 0.5, color="#CCCCCC", linewidth=0.8, zorder=1)
        colour = path_colour(path.split(_PATH), colours)
        colour_strip(ax, [(start - 0.38, end - 0.62)], [colour], "top")
        ax.annotate(
            shorten(path.split(_PATH)[-1], 26),
            ((start + end - 1) / 2, 1),
            xycoords=place,
            xytext=(-3, 11),
            textcoords="offset points",
            rotation=40,
            ha="left",
            va="bottom",
            fontsize=9,
            rotation_mode="anchor",
            annotation_clip=False,
        )
        start = end
    longest = max((len(shorten(p.split(_PATH)[-1], 26)) for p, _ in matrix.groups), default=0)
    title(
        ax,
        "Marker evidence by cluster",
        f"{plural(len(matrix.clusters), 'cluster')}; markers grouped by the cell type that lists them",
        pad=16 + 3.2 * longest,
    )


def _draw_keys(ax: Axes, limit: float) -> None:
    """Explain dot size and colour right of the axes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D

    shares = (0.25, 0.5, 0.75, 1.0)
    dots = [
        Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            markerfacecolor="#BBBBBB",
            markeredgecolor="#777777",
            markeredgewidth=0.35,
            markersize=float(np.sqrt(_area(np.array(s)))),
        )
        for s in shares
    ]
    legend = ax.legend(
        dots,
        [f"{100 * s:.0f} %" for s in shares],
        title="positive cells",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        title_fontsize=9,
        alignment="left",
        labelspacing=0.6,
    )
    legend.get_title().set_color(MUTED)
    width, height = inches(ax)
    bar = figure_of(ax).colorbar(
        ScalarMappable(Normalize(-limit, limit), "RdBu_r"),
        cax=ax.inset_axes((1 + 0.22 / width, 1 - 2.7 / height, 0.14 / width, 1.05 / height)),
        extend="both",
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.set_title("enrichment (SD)", fontsize=9, loc="left", color=MUTED, pad=8)


def _area(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of a dot in square points: proportional to the share, with the full dot 12 points wide."""
    return np.asarray(144.0 * np.clip(share, 0.0, 1.0))
