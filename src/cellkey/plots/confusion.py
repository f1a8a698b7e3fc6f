"""Confusion between two columns of labels, in the order of the tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import InputError
from cellkey.plots._style import colour_bar, count, drawing_style, figure_of, matrix_axes, save, share, shorten, title
from cellkey.plots.colours import text_colour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["confusion", "confusion_table", "draw_confusion"]

_NOTHING = ("Unassigned", "unknown", "")


def confusion_table(
    first: Sequence[Any], second: Sequence[Any], weights: Sequence[float] | None = None, order: Sequence[str] = ()
) -> pd.DataFrame:
    """Return how often each pair of labels occurs: labels of ``first`` as rows, of ``second`` as columns.

    Parameters
    ----------
    first, second
        Label of each cell or cluster; missing values count as ``Unassigned``.
    weights
        Of each, such as the cells of a cluster; 1 if None.
    order
        Labels in the order of the tree; others follow by name, ``Unassigned`` and ``unknown`` last.

    Raises
    ------
    InputError
        If the columns differ in length or are empty.
    """
    import pandas as pd

    if len(first) != len(second) or not len(first):
        msg = f"two columns of labels of the same length are needed, got {len(first)} and {len(second)} labels"
        raise InputError(msg)
    frame = pd.DataFrame({"a": _texts(first), "b": _texts(second),
                          "n": np.ones(len(first)) if weights is None else np.asarray(weights, dtype=np.float64)})
    table = frame.pivot_table(index="a", columns="b", values="n", aggfunc="sum", fill_value=0.0)
    rank = {label: i for i, label in enumerate(order)}

    def ordered(labels: Sequence[str]) -> list[str]:
        return sorted(labels, key=lambda x: (x in _NOTHING, rank.get(x, len(rank)), x))

    return table.loc[ordered(list(table.index)), ordered(list(table.columns))]


def _texts(labels: Sequence[Any]) -> list[str]:
    return ["Unassigned" if v is None or v != v or str(v) == "" else str(v) for v in labels]


def confusion(
    first: Sequence[Any],
    second: Sequence[Any],
    weights: Sequence[float] | None = None,
    *,
    names: tuple[str, str] = ("first", "second"),
    order: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw which labels of two columns go together.

    The shade is the share of a row; the number is that of cells (or whatever ``weights`` count). Rows and columns
    follow the tree, so that relatives stand side by side and disagreement within a lineage stays near the diagonal.

    Parameters
    ----------
    first, second, weights, order
        See :func:`confusion_table`.
    names
        What the two columns are called.
    ax
        Axes to draw on; a new figure, sized by the numbers of labels, by default.
    """
    table = confusion_table(first, second, weights, order)
    with drawing_style():
        ax = matrix_axes(ax, *table.shape, cell=0.42, top=0.9)
        _draw(ax, table, names)
        same = sum(float(table.loc[x, x]) for x in table.index if x in table.columns)
        title(ax, f"{names[0]} against {names[1]}",
              f"{share(same, float(table.to_numpy().sum()))} bear the same label")
    return ax


def _draw(ax: Axes, table: pd.DataFrame, names: tuple[str, str]) -> None:
    import matplotlib as mpl

    values = table.to_numpy(dtype=np.float64)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-300)
    n_rows, n_columns = values.shape
    palette = mpl.colormaps["Blues"]
    mesh = ax.pcolormesh(shares, cmap=palette, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
    ax.set(xlim=(0, n_columns), ylim=(n_rows, 0), xlabel=names[1], ylabel=names[0])
    ax.set_yticks(np.arange(n_rows) + 0.5, [shorten(x) for x in table.index], fontsize=8.5)
    ax.set_xticks(np.arange(n_columns) + 0.5, [shorten(x) for x in table.columns], fontsize=8.5, rotation=90)
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    if n_rows * n_columns <= 2500:
        for i, j in zip(*np.nonzero(values), strict=True):
            ax.text(j + 0.5, i + 0.5, count(round(values[i, j])), ha="center", va="center", fontsize=6.5,
                    color=text_colour(mpl.colors.to_hex(palette(shares[i, j]))))
    colour_bar(ax, mesh, "share of the row")


def draw_confusion(
    votes: pd.DataFrame, outcome: pd.DataFrame, hierarchy: Hierarchy, folder: Path, dpi: int = 150
) -> Path:
    """Draw the confusion of the first two sources of a consensus as ``confusion.png``, weighted by cells if known.

    ``votes`` and ``outcome`` are the tables ``consensus_votes`` and ``consensus``; a source with several labels in a
    cluster enters with the most frequent one.
    """
    leading = votes.sort_values("share", ascending=False, kind="stable").drop_duplicates(["cluster_id", "source"])
    labels = leading.assign(type=[p.rpartition(" / ")[2] or "Unassigned" for p in leading["path"]])
    wide = labels.pivot_table(index="cluster_id", columns="source", values="type", aggfunc="first")
    first, second = list(dict.fromkeys(votes["source"]))[:2]
    folder.mkdir(parents=True, exist_ok=True)
    sizes = outcome.set_index("cluster_id")["n_cells"].reindex(wide.index)
    weights = sizes.tolist() if (sizes > 0).all() else None
    ax = confusion(wide[first].tolist(), wide[second].tolist(), weights, names=(first, second),
                   order=[n.name for n in hierarchy.nodes])
    path = folder / "confusion.png"
    save(figure_of(ax), path, dpi)
    return path
