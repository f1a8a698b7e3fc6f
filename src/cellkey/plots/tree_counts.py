"""The hierarchy with counts: how many cells went through each cell type, and how many stopped there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cellkey.plots._run_data import split_path, with_columns
from cellkey.plots._style import MUTED, count, drawing_style, new_axes, plural, shorten, title
from cellkey.plots.colours import hierarchy_colours, mix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

__all__ = ["tree_counts", "tree_with_counts"]


def tree_counts(annotations: pd.DataFrame, paths: Iterable[Sequence[str]] = ()) -> pd.DataFrame:
    """Return cells and clusters per cell type, in tree order.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``.
    paths
        Cell types to show also where no cell came; each as its labels from the top.

    Returns
    -------
    Index of paths (tuples), parents before children; ``through`` cells that reached the type, ``stopped`` cells whose
    label it is, ``clusters`` that stopped there.
    """
    stopped: dict[tuple[str, ...], list[int]] = {}
    for path, n in zip(annotations["assigned_path"], annotations["n_cells"], strict=True):
        if split_path(path):
            stopped.setdefault(split_path(path), []).append(int(n))
    known = {tuple(p[: i + 1]) for p in (*map(tuple, paths), *stopped) for i in range(len(p))}
    rows = [
        (path, sum(sum(n) for p, n in stopped.items() if p[: len(path)] == path), sum(stopped.get(path, [])),
         len(stopped.get(path, [])))
        for path in sorted(known)
    ]
    frame = pd.DataFrame(rows, columns=["path", "through", "stopped", "clusters"])
    return frame.set_index(pd.Index(frame.pop("path"), tupleize_cols=False))


def tree_with_counts(
    annotations: pd.DataFrame, *, paths: Iterable[Sequence[str]] = (), everything: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw the tree as indented rows: a light bar for the cells that went through, a full one for those that stopped.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``.
    paths
        All cell types of the hierarchy, so that colours agree between samples; by default those reached.
    everything
        Show types without cells as well.
    ax
        Axes to draw on; a new figure, sized by the number of rows, by default.
    """
    with_columns(annotations, "cluster_annotations", ["assigned_path", "n_cells"])
    known = [tuple(p) for p in paths]
    counts = tree_counts(annotations, known if everything else ())
    total = int(annotations["n_cells"].sum())
    colours = hierarchy_colours([*known, *counts.index])
    with drawing_style():
        ax = new_axes(ax, (8.0, max(2.2, 0.24 * len(counts) + 1.2)))
        for row, (path, through, stopped, clusters) in enumerate(counts.itertuples(name=None)):
            ax.barh(row, through, color=mix(colours[path], "#FFFFFF", 0.65), height=0.8)
            ax.barh(row, stopped, color=colours[path], height=0.8)
            if through:
                where = f"in {plural(clusters, 'cluster')}"
                note = {0: count(through), through: f"{count(through)} {where}"}.get(
                    stopped, f"{count(through)}, {count(stopped)} of them stopped here {where}")
                ax.annotate(note, (through, row), xytext=(4, 0),
                            textcoords="offset points", va="center", fontsize=8, color=MUTED)
        ax.set_yticks(range(len(counts)), [shorten(p[-1], 28) for p in counts.index], fontsize=8.5)
        for label, path in zip(ax.get_yticklabels(), counts.index, strict=True):
            label.set_horizontalalignment("left")
            label.set_x(-0.42 + 0.03 * (len(path) - 1))
        ax.set(ylim=(len(counts) - 0.4, -0.6), xlim=(0, max(*counts["through"], 1, 1) * 1.75), xlabel="cells")
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.tick_params(axis="y", length=0)
        reached = int(annotations.loc[annotations["assigned_path"].map(lambda p: bool(split_path(p))), "n_cells"].sum())
        title(ax, "Where the cells stopped", f"{count(reached)} of {plural(total, 'cell')} have a path")
        return ax
