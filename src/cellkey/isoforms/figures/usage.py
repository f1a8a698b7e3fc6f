"""Isoform usage of the genes that switch most: over samples, and between samples with a high and a low eigengene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey.isoforms.figures.modules import NEGATIVE, POSITIVE
from cellkey.plots._style import drawing_style, new_axes, shorten, title

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["usage_heatmap", "usage_violins"]


def usage_heatmap(usages: Mapping[str, pd.DataFrame], profile: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Draw the usage of transcripts (rows, by gene) over samples sorted by the eigengene.

    Parameters
    ----------
    usages
        Gene name to samples x transcripts, fractions.
    profile
        Eigengene of the same samples.
    """
    order = np.argsort(profile, kind="stable")
    rows = [
        (gene, str(name), frame[name].to_numpy(dtype=float)[order]) for gene, frame in usages.items() for name in frame
    ]
    with drawing_style():
        ax = new_axes(ax, (7.5, 1.6 + 0.26 * max(len(rows), 3)))
        title(ax, "Isoform usage", "share of the gene; samples sorted by the eigengene")
        if not rows:
            ax.set_axis_off()
            return ax
        image = ax.imshow(
            np.array([values for *_, values in rows]), cmap="viridis", vmin=0, vmax=1, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        first = [i for i, (gene, *_) in enumerate(rows) if i == 0 or gene != rows[i - 1][0]]
        labels = [
            f"{shorten(gene, 14)}  {shorten(name, 18)}" if i in first else shorten(name, 18)
            for i, (gene, name, _) in enumerate(rows)
        ]
        ax.set_yticks(range(len(rows)), labels, fontsize=8)
        for i in first[1:]:
            ax.axhline(i - 0.5, color="white", linewidth=2)
        ax.set_xticks([])
        ax.set_xlabel(f"{len(profile)} samples, eigengene from low to high")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02, label="usage")
    return ax


def usage_violins(usages: Mapping[str, pd.DataFrame], profile: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Draw how usage is distributed below and above the median eigengene: the most opposed transcripts of every gene.

    Left half: samples below the median; right half: the others. Points are samples.
    """
    high = profile >= np.median(profile)
    shown = [
        (gene, str(name), frame[name].to_numpy(dtype=float))
        for gene, frame in usages.items()
        for name in _opposed(frame, high)
    ]
    with drawing_style():
        ax = new_axes(ax, (1.8 + 0.85 * max(len(shown), 3), 4.2))
        title(ax, "Usage in low and high samples", "blue: eigengene below the median; red: the others")
        if not shown:
            ax.set_axis_off()
            return ax
        for i, (_, _, values) in enumerate(shown):
            _half_violin(ax, i, values[~high & np.isfinite(values)], "low", NEGATIVE)
            _half_violin(ax, i, values[high & np.isfinite(values)], "high", POSITIVE)
        ax.set_xticks(
            range(len(shown)), [f"{shorten(g, 12)}\n{shorten(n, 18)}" for g, n, _ in shown], rotation=40, ha="right",
            fontsize=8,
        )  # fmt: skip
        ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel("usage")
    return ax


def _half_violin(ax: Axes, at: int, values: np.ndarray, side: Literal["low", "high"], colour: str) -> None:
    """Density and points of one side of a violin; values that are all equal have no density."""
    if len(values) > 1 and np.ptp(values) > 0:
        bodies: Any = ax.violinplot(values, [at], widths=0.8, showextrema=False, side=side)["bodies"]
        bodies[0].set(facecolor=colour, alpha=0.45, linewidth=0)
    ax.scatter(np.full(len(values), at + (-0.06 if side == "low" else 0.06)), values, s=7, color=colour, linewidth=0)


def _opposed(frame: pd.DataFrame, high: np.ndarray) -> list[str]:
    """The transcript that gains most in high samples and the one that loses most."""
    values = frame.to_numpy(dtype=float)
    gain = _means(values[high]) - _means(values[~high])
    names = list(frame.columns)
    return list(dict.fromkeys([names[int(gain.argmin())], names[int(gain.argmax())]]))


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of every column over the samples with reads; 0 where there are none."""
    seen = np.isfinite(values)
    return np.asarray(np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1))
