"""Figures of genes and transcripts: drivers, contrasts, polarity, switches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.isoforms.figures.modules import NEGATIVE, POSITIVE, _empty, rows_of, strip_boxes
from cellkey.isoforms.figures.prepare import moving_average, polarity_matrix, sample_groups
from cellkey.plots._style import MUTED, drawing_style, new_axes, shorten, title
from cellkey.plots.colours import PALETTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "driver_ranking",
    "high_vs_low",
    "isoform_gradient",
    "summary_panel",
    "switch_pairs",
    "switch_plot",
    "transcript_polarity",
]


def _name(gene: str, names: Mapping[str, str] | None, length: int = 22) -> str:
    return shorten((names or {}).get(gene, gene), length)


def driver_ranking(
    drivers: pd.DataFrame, *, names: Mapping[str, str] | None = None, most: int = 10, ax: Axes | None = None
) -> Axes:
    """Draw the strongest genes of a module by |r| with 95 % intervals; red follows the module, blue opposes it."""
    top = drivers.dropna(subset=["r"]).head(most)
    with drawing_style():
        ax = new_axes(ax, (5.4, 1.4 + 0.3 * max(len(top), 2)))
        title(ax, "Driver genes", "|r| with the eigengene, 95 % interval; red positive, blue negative")
        if not len(top):
            return _empty(ax, "no gene varies")
        r = top["r"].to_numpy(dtype=np.float64)
        size = np.abs(r)
        ends = np.abs(np.column_stack([top["kme_low"], top["kme_high"]]).astype(float))
        low, high = np.nanmin(ends, axis=1), np.nanmax(ends, axis=1)
        low = np.where(np.sign(top["kme_low"]) != np.sign(top["kme_high"]), 0.0, low)
        ax.barh(range(len(top)), size, color=[POSITIVE if v > 0 else NEGATIVE for v in r], height=0.7, alpha=0.85)
        ax.errorbar(
            size, range(len(top)), xerr=[np.maximum(size - low, 0), np.maximum(high - size, 0)],
            fmt="none", ecolor="#222222", elinewidth=1, capsize=2,
        )  # fmt: skip
        marks = {"switch": " (switch)", "psi": " (splicing)", "abundance": ""}
        rows_of(
            ax,
            [_name(g, names) + marks.get(str(t), "") for g, t in zip(top["gene_id"], top["feature_type"], strict=True)],
        )
        ax.set_xlim(0, 1.02)
        ax.set_xlabel("|r|")
    return ax


def high_vs_low(
    contrast: pd.DataFrame, *, names: Mapping[str, str] | None = None, most: int = 10, ax: Axes | None = None
) -> Axes:
    """Draw the means of the features that differ most between samples with a high and a low eigengene."""
    usable = contrast.dropna(subset=["tstat"])
    top = usable.assign(size=usable["tstat"].abs()).sort_values("size", ascending=False, kind="stable").head(most)
    with drawing_style():
        ax = new_axes(ax, (5.4, 1.4 + 0.3 * max(len(top), 2)))
        title(ax, "High against low samples", "mean usage; largest |t| first")
        if not len(top):
            return _empty(ax, "nothing to compare")
        y = np.arange(len(top))
        ax.hlines(y, top["mean_low"], top["mean_high"], color="#BBBBBB", linewidth=2)
        ax.scatter(top["mean_low"], y, color=NEGATIVE, s=32, zorder=3, label="low")
        ax.scatter(top["mean_high"], y, color=POSITIVE, s=32, zorder=3, label="high")
        rows_of(
            ax,
            [
                f"{_name(g, names, 12)}  {shorten(f, 20)}"
                for g, f in zip(top["gene_id"], top["feature_id"], strict=True)
            ],
        )
        ax.set_xlabel("mean")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def transcript_polarity(
    polarity: pd.DataFrame, *, names: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw r of every transcript with the eigengene, one row per gene, falling transcripts left, rising right."""
    genes = polarity_matrix(polarity)
    widest = max((len(part) for _, part in genes), default=1)
    with drawing_style():
        ax = new_axes(ax, (3.0 + 0.55 * widest, 1.6 + 0.3 * max(len(genes), 2)))
        title(ax, "Transcript polarity", "r of usage with the eigengene")
        if not genes:
            return _empty(ax, "no gene with two transcripts")
        values = np.full((len(genes), widest), np.nan)
        for i, (_, part) in enumerate(genes):
            values[i, : len(part)] = part["r"]
        image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        ax.set_yticks(range(len(genes)), [_name(g, names) for g, _ in genes])
        ax.set_xticks([])
        ax.set_xlabel("transcripts of the gene, by r")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02, label="r")
    return ax


def switch_pairs(
    polarity: pd.DataFrame, *, names: Mapping[str, str] | None = None, most: int = 5, ax: Axes | None = None
) -> Axes:
    """Draw the most opposed transcripts of the genes that switch most, as bars to both sides."""
    genes = polarity_matrix(polarity, most_genes=most)
    with drawing_style():
        ax = new_axes(ax, (5.8, 1.6 + 0.5 * max(len(genes), 2)))
        title(ax, "Strongest switches", "the two most opposed transcripts of each gene")
        if not genes:
            return _empty(ax, "no gene with two transcripts")
        for i, (_, part) in enumerate(genes):
            for end in (part.iloc[0], part.iloc[-1]):
                r = float(end["r"])
                ax.barh(i, r, color=POSITIVE if r > 0 else NEGATIVE, height=0.55, alpha=0.85)
                ax.annotate(
                    shorten(end["transcript_id"], 17), (r, i), xytext=(3 if r < 0 else -3, 0),
                    textcoords="offset points", va="center", fontsize=7, color="white", ha="left" if r < 0 else "right",
                )  # fmt: skip
        ax.axvline(0, color="#222222", linewidth=0.8)
        rows_of(ax, [_name(g, names) for g, _ in genes])
        ax.set_xlim(-1.05, 1.05)
        ax.set_xlabel("r of usage with the eigengene")
    return ax


def isoform_gradient(usage: pd.DataFrame, profile: np.ndarray, *, gene: str, ax: Axes | None = None) -> Axes:
    """Draw the usage of a gene's transcripts along the eigengene with moving averages.

    Parameters
    ----------
    usage
        Samples x transcripts of one gene.
    profile
        Eigengene in the same order of samples.
    """
    with drawing_style():
        ax = new_axes(ax, (5.4, 3.6))
        title(ax, shorten(gene, 40), "usage along the eigengene; lines are moving averages")
        for i, name in enumerate(usage.columns):
            colour = PALETTE[i % len(PALETTE)]
            values = usage[name].to_numpy(dtype=np.float64)
            ax.scatter(profile, values, s=12, color=colour, alpha=0.5, linewidth=0)
            ax.plot(*moving_average(profile, values), color=colour, linewidth=1.8, label=shorten(name, 20))
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("eigengene")
        ax.set_ylabel("usage")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def switch_plot(usage: pd.DataFrame, group: pd.Series, *, gene: str) -> Figure:
    """Draw the isoform fractions of a gene by group: mean shares stacked, and every sample by transcript.

    Parameters
    ----------
    usage
        Samples x transcripts of one gene, fractions.
    group
        Sample column in the same order.
    """
    from matplotlib.figure import Figure as NewFigure

    groups = sample_groups(group) or _halves(group)
    with drawing_style():
        figure = NewFigure(figsize=(4.0 + 1.6 * min(len(usage.columns), 6), 4.0), layout="constrained")
        axes = figure.subplots(1, 1 + len(usage.columns), width_ratios=[1.5, *[1.0] * len(usage.columns)])
        first = axes[0]
        bottom = np.zeros(len(groups))
        for i, name in enumerate(usage.columns):
            values, colour = usage[name].to_numpy(dtype=np.float64), PALETTE[i % len(PALETTE)]
            means = np.array([np.nanmean(values[at]) for _, at in groups])
            first.bar(range(len(groups)), means, bottom=bottom, color=colour, width=0.75)
            bottom += means
            own = axes[1 + i]
            strip_boxes(own, [(g, values[at]) for g, at in groups], (colour,))
            own.set_xticks(range(len(groups)), [shorten(g, 14) for g, _ in groups], rotation=40, ha="right")
            own.set_ylim(-0.03, 1.03)
            own.set_title(shorten(name, 19), fontsize=9, color=colour, fontweight="bold")
            own.set_yticks([0, 0.5, 1], [] if i else ["0", "0.5", "1"])
        first.set_xticks(range(len(groups)), [shorten(g, 14) for g, _ in groups], rotation=40, ha="right")
        first.set_ylim(0, 1.0)
        first.set_ylabel("mean share of the gene")
        figure.suptitle(f"{shorten(gene, 40)} by {shorten(group.name, 30)}", x=0.01, ha="left", fontweight="bold")
    return figure


def _halves(values: pd.Series) -> list[tuple[str, np.ndarray]]:
    """Groups of a numeric column: below its median, and from there on."""
    numbers = values.rank() if values.dtype == object else values.astype(float)
    cut = float(np.nanmedian(numbers))
    high = (numbers >= cut).to_numpy()
    words = ("low", "high") if values.dtype == object else (f"< {cut:g}", f"≥ {cut:g}")
    return [(words[0], np.flatnonzero(~high & numbers.notna().to_numpy())), (words[1], np.flatnonzero(high))]


def summary_panel(
    drivers: pd.DataFrame,
    contrast: pd.DataFrame,
    polarity: pd.DataFrame,
    gradient: tuple[str, pd.DataFrame] | None,
    profile: np.ndarray,
    *,
    module: str,
    names: Mapping[str, str] | None = None,
) -> Figure:
    """Draw drivers, contrast, polarity, strongest switches and the first gene's gradient on one page."""
    from matplotlib.figure import Figure as NewFigure

    with drawing_style():
        figure = NewFigure(figsize=(15, 14), layout="constrained")
        # A subfigure each: long names and legends of one panel take no room from the others.
        axes = [part.subplots() for part in np.asarray(figure.subfigures(3, 2)).ravel()]
        driver_ranking(drivers, names=names, ax=axes[0])
        high_vs_low(contrast, names=names, ax=axes[1])
        transcript_polarity(polarity, names=names, ax=axes[2])
        switch_pairs(polarity, names=names, ax=axes[3])
        if gradient is None:
            _empty(axes[4], "no gene with two transcripts")
        else:
            isoform_gradient(gradient[1], profile, gene=_name(gradient[0], names), ax=axes[4])
        axes[5].set_axis_off()
        for letter, ax in zip("ABCDE", axes, strict=False):
            ax.annotate(
                letter, (0, 1), xytext=(-28, 26), xycoords="axes fraction", textcoords="offset points",
                fontsize=15, fontweight="bold", color=MUTED,
            )  # fmt: skip
        figure.suptitle(f"Module {module}", x=0.01, ha="left", fontweight="bold", fontsize=15)
    return figure
