"""The tree that the dynamic cut works on, with the modules it gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.plots._style import MUTED, drawing_style, title
from cellkey.plots.colours import PALETTE, UNASSIGNED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["feature_dendrogram"]


def feature_dendrogram(tree: pd.DataFrame, modules: pd.DataFrame) -> Figure:
    """Draw the average-linkage tree of topological overlap, and the module of every feature below it.

    Parameters
    ----------
    tree
        Table ``feature_tree`` of a fit with the backend ``wgcna``: one row per leaf with its ``feature_id``, and, in
        all rows but the last, one merge as of SciPy's linkage.
    modules
        Table ``feature_modules`` of the same fit.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure as NewFigure
    from scipy.cluster.hierarchy import leaves_list

    linkage = tree[["left", "right", "height", "size"]].to_numpy(dtype=np.float64)[:-1]
    leaves = leaves_list(linkage)
    n = len(leaves)
    x, y = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    x[leaves] = np.arange(n)
    lines = np.zeros((n - 1, 4, 2))
    for i, (a, b, height, _) in enumerate(linkage):
        left, right = int(a), int(b)
        lines[i] = [(x[left], y[left]), (x[left], height), (x[right], height), (x[right], y[right])]
        x[n + i], y[n + i] = (x[left] + x[right]) / 2, height
    # Leaves hang a little below their merge: lines down to zero would hide the branches.
    floor = max(float(linkage[:, 2].min()) - 0.05, 0.0)
    lines[..., 1] = np.where(lines[..., 1] == 0, np.maximum(lines[:, 1:2, 1] - 0.03, floor), lines[..., 1])
    labels = modules.set_index("feature_id")["feature_module"].reindex(tree["feature_id"]).to_numpy()[leaves]
    with drawing_style():
        figure = NewFigure(figsize=(9, 4.6), layout="constrained")
        top, bar = figure.subplots(2, 1, sharex=True, height_ratios=[6, 1])
        top.add_collection(LineCollection(list(lines), colors="#444444", linewidths=0.5))
        top.set_xlim(-0.5, n - 0.5)
        top.set_ylim(floor, 1.0)
        top.set_ylabel("1 − overlap")
        top.spines["bottom"].set_visible(False)
        top.tick_params(axis="x", length=0)
        colours = [UNASSIGNED if c <= 0 else PALETTE[(int(c) - 1) % len(PALETTE)] for c in labels]
        bar.bar(np.arange(n), 1, width=1.0, color=colours, linewidth=0)
        bar.set_yticks([])
        bar.set_xticks([])
        bar.set_xlabel(f"{n:,} features; grey: in no module", color=MUTED)
        bar.spines[:].set_visible(False)
        title(
            top, "Tree of features", f"{len(np.unique(labels[labels > 0]))} modules of the dynamic cut, after merging"
        )
    return figure
