"""Figures of cells: the make-up of samples, and where in the tissue the labels lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import InputError
from cellkey.plots._run_data import natural_key
from cellkey.plots._style import count, drawing_style, new_axes, plural, shorten, title
from cellkey.plots.colours import AMBIGUOUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["composition", "composition_table", "spatial_map"]


def composition_table(labels: pd.Series, samples: pd.Series) -> pd.DataFrame:
    """Return the share of each label in each sample, samples x labels; rows sum to 1. Categories keep their order."""
    shares: pd.DataFrame = pd.crosstab(samples, labels, normalize="index")
    if isinstance(labels.dtype, pd.CategoricalDtype):
        shares = shares[[c for c in labels.cat.categories if c in shares.columns]]
    if isinstance(samples.dtype, pd.CategoricalDtype):
        return shares
    return shares.loc[sorted(shares.index, key=natural_key)]


def composition(
    labels: pd.Series, samples: pd.Series, *, colours: Mapping[str, str], legend: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw the make-up of samples as stacked bars, relatives next to each other.

    Parameters
    ----------
    labels, samples
        One value per cell, with the same index.
    colours
        Colour by label.
    legend
        Whether to name the labels beside the bars.
    ax
        Axes to draw on; a new figure, sized by the number of samples, by default.
    """
    shares = composition_table(labels, samples)
    sizes = samples.value_counts()
    with drawing_style():
        ax = new_axes(ax, (7.5, max(2.2, 0.34 * len(shares) + 1.2)))
        left = np.zeros(len(shares))
        for label in shares.columns:
            ax.barh(range(len(shares)), shares[label], left=left, color=colours.get(str(label), AMBIGUOUS),
                    edgecolor="white", linewidth=0.5, label=shorten(label, 28))
            left += shares[label].to_numpy()
        ax.set_yticks(range(len(shares)), [f"{shorten(s, 24)} ({count(sizes[s])})" for s in shares.index])
        ax.set(ylim=(len(shares) - 0.4, -0.6), xlim=(0, 1), xlabel="share of cells")
        ax.tick_params(axis="y", length=0)
        if legend:
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=1 + len(shares.columns) // 16, fontsize=8)
        title(ax, "Composition", f"{plural(len(shares), 'sample')}, {plural(len(labels), 'cell')}")
        return ax


def spatial_map(
    coordinates: ArrayLike, labels: pd.Series, *, colours: Mapping[str, str], size: float | None = None,
    legend: bool = True, ax: Axes | None = None,
) -> Axes:
    """Draw cells where they lie, coloured by label, the origin top left as in images.

    Parameters
    ----------
    coordinates
        Cells x 2.
    labels
        One per cell.
    colours
        Colour by label.
    size
        Area of a dot in square points; by default it shrinks with the number of cells.
    legend
        Whether to name the labels.
    ax
        Axes to draw on; a new figure by default.

    Raises
    ------
    InputError
        If coordinates and labels differ in number, or a coordinate is not finite.
    """
    points = np.asarray(coordinates, dtype=np.float64)[:, :2]
    if len(points) != len(labels) or not np.isfinite(points).all():
        n_bad = int((~np.isfinite(points)).any(axis=1).sum())
        msg = (f"{len(points):,} coordinates for {len(labels):,} labels, {n_bad:,} of them not finite: expected one "
               "finite pair per cell")
        raise InputError(msg)
    values = labels.astype("category")
    area = size if size is not None else float(np.clip(30_000 / max(len(points), 1), 0.5, 25))
    with drawing_style():
        ax = new_axes(ax, (7.5, 6.0))
        for label in values.cat.categories:
            here = (values == label).to_numpy()
            if here.any():
                x, y = points[here].T
                ax.scatter(x, y, area, colours.get(str(label), AMBIGUOUS), linewidths=0, rasterized=True,
                           label=f"{shorten(label, 26)} ({count(here.sum())})")
        ax.set_aspect("equal")
        ax.invert_yaxis()
        ax.set_axis_off()
        if legend:
            marks = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8,
                              ncols=1 + len(values.cat.categories) // 20)
            for handle in marks.legend_handles:
                if handle is not None:
                    handle.set_sizes([28])  # type: ignore[attr-defined]
        title(ax, "Cell types in the tissue", plural(len(points), "cell"))
        return ax
