"""Scores of the candidates of every cluster, the winner and its closest rival marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.plots._run_data import ordered_clusters, split_path, with_columns
from cellkey.plots._style import colour_bar, drawing_style, matrix_axes, plural, shorten, title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["ScoreMatrix", "score_heatmap", "score_matrix"]


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of clusters x cell types; NaN where a type was not scored.

    Attributes
    ----------
    values
        Clusters x cell types.
    clusters, labels
        Identifiers and labels in row order.
    paths
        Cell types in column order.
    winner, runner_up
        Column of the assigned type and of its closest sibling; -1 if there is none.
    """

    values: NDArray[np.float64]
    clusters: tuple[str, ...]
    labels: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    winner: NDArray[np.int64]
    runner_up: NDArray[np.int64]


def score_matrix(scores: pd.DataFrame, annotations: pd.DataFrame, *, everything: bool = False) -> ScoreMatrix:
    """Arrange scores for the heat map.

    Parameters
    ----------
    scores, annotations
        Tables ``marker_scores`` and ``cluster_annotations``.
    everything
        Show all cell types, not only those that were assigned or came second somewhere.
    """
    notes = ordered_clusters(annotations)
    long = scores.astype({"cluster_id": str})
    known = {split_path(p) for p in long["path"]}
    winners = [split_path(p) for p in notes["assigned_path"]]
    rivals = [_rival(path, name, known) for path, name in zip(winners, notes["runner_up_label"], strict=True)]
    shown = known if everything else {p for p in (*winners, *rivals) if p in known}
    paths = sorted(shown)
    place = {p: i for i, p in enumerate(paths)}
    cells = long.set_index(["cluster_id", "path"])["score"]
    cells = cells[~cells.index.duplicated()]
    wanted = [(c, " / ".join(p)) for c in notes["cluster_id"] for p in paths]
    values = cells.reindex(wanted).to_numpy(np.float64).reshape(len(notes), len(paths))
    return ScoreMatrix(
        values, tuple(notes["cluster_id"]), tuple(notes["assigned_label"].astype(str)), tuple(paths),
        np.array([place.get(p, -1) for p in winners], dtype=np.int64),
        np.array([place.get(p, -1) for p in rivals], dtype=np.int64),
    )


def _rival(path: tuple[str, ...], name: object, known: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Path of the runner-up: the sibling of that name of a type on the path, the deepest such."""
    for depth in range(len(path) - 1, -1, -1):
        candidate = (*path[:depth], str(name))
        if candidate in known:
            return candidate
    return (str(name),) if (str(name),) in known else ()


def score_heatmap(
    scores: pd.DataFrame, annotations: pd.DataFrame, *, everything: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw scores as colours; a filled dot marks the assigned type, a hollow one its closest rival.

    Parameters
    ----------
    scores, annotations, everything
        See :func:`score_matrix`.
    ax
        Axes to draw on; a new figure, sized by the content, by default.
    """
    with_columns(scores, "marker_scores", ["cluster_id", "path", "score"])
    with_columns(annotations, "cluster_annotations", [
        "cluster_id", "assigned_label", "assigned_path", "assigned_level", "runner_up_label"])
    matrix = score_matrix(scores, annotations, everything=everything)
    n_rows, n_columns = matrix.values.shape
    finite = np.abs(matrix.values[np.isfinite(matrix.values)])
    limit = float(max(np.quantile(finite, 0.98), 0.5)) if finite.size else 1.0
    with drawing_style():
        ax = matrix_axes(ax, n_rows, n_columns, cell=0.26, top=0.9)
        image = ax.imshow(matrix.values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for columns, face, edge in ((matrix.winner, "#222222", "white"), (matrix.runner_up, "white", "#222222")):
            rows = np.flatnonzero(columns >= 0)
            ax.scatter(columns[rows], rows, s=30, facecolors=face, edgecolors=edge, linewidths=1.0)
        ax.set_xticks(range(n_columns), [shorten(p[-1], 26) for p in matrix.paths], rotation=90, fontsize=8.5)
        ax.set_yticks(range(n_rows), [f"{c}  {shorten(label, 26)}" for c, label in zip(
            matrix.clusters, matrix.labels, strict=True)], fontsize=9)
        ax.tick_params(length=0)
        colour_bar(ax, image, "score", extend="both")
        title(ax, "Scores", f"{plural(n_rows, 'cluster')}; filled: assigned, hollow: closest rival")
        return ax
