"""The figures that every annotation run writes, each drawn from the run's tables alone.

Every function takes the table it needs and an optional ``ax``, and returns the axes. Without ``ax`` it makes
a figure of its own that no global registry holds: ``ax.figure.savefig(...)`` works without a display.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import CellkeyError, CellkeyWarning
from cellkey.plots._run_data import (
    depth_counts,
    log_bins,
    root_cells,
    stop_reason_counts,
    table,
    with_columns,
)
from cellkey.plots._style import (
    MUTED,
    count,
    drawing_style,
    figure_of,
    new_axes,
    plural,
    save,
    share,
    shorten,
    title,
)
from cellkey.plots.colours import STOP_REASON_COLOURS, UNASSIGNED, lineage_colours, mix, text_colour
from cellkey.plots.coverage_heatmap import marker_coverage_heatmap
from cellkey.records.vocabulary import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes


__all__ = [
    "FIGURES",
    "cluster_size_distribution",
    "confidence_distribution",
    "depth_distribution",
    "draw_run_figures",
    "root_composition",
    "stop_reason_summary",
]

_BLUE = "#4477AA"


def cluster_size_distribution(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the histogram of cells per cluster on a log scale, with the median and a tick for every cluster.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``; the column ``n_cells`` is used.
    ax
        Axes to draw on; a new figure by default.
    """
    with_columns(annotations, "cluster_annotations", ["n_cells"])
    sizes = annotations["n_cells"].to_numpy(np.int64)
    with drawing_style():
        ax = new_axes(ax, (7.0, 4.2))
        ax.set_xscale("log")
        median = float(np.median(sizes)) if len(sizes) else 0.0
        if len(sizes):
            ax.hist(sizes, bins=log_bins(sizes).tolist(), color=_BLUE, edgecolor="white", linewidth=0.8)
            _ticks_below(ax, sizes)
            ax.margins(y=0.13)
            ax.axvline(median, color="#222222", linewidth=1.2, linestyle=(0, (4, 2)))
            ax.annotate(
                f"median {count(median)}",
                (median, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, -2),
                textcoords="offset points",
                va="top",
                fontsize=9,
                color="#222222",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
            )
        _plain_log_axis(ax)
        _whole_number_axis(ax)
        ax.set(xlabel="Cells per cluster (log scale)", ylabel="Number of clusters")
        smallest = f", from {count(sizes.min())} to {count(sizes.max())} cells" if len(sizes) else ""
        title(ax, "Sizes of the clusters", f"{plural(len(sizes), 'cluster')}{smallest}")
        return ax


def confidence_distribution(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the histogram of confidence, stacked by why the walk stopped.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``; ``confidence`` and ``stop_reason`` are used. Unassigned clusters, which
        have no confidence, are left out and counted below the title; values that are not finite are left out
        too.
    ax
        Axes to draw on; a new figure by default.
    """
    with_columns(annotations, "cluster_annotations", ["confidence", "stop_reason"])
    confidence = annotations["confidence"].to_numpy(np.float64)
    unassigned = (annotations["stop_reason"] == StopReason.NO_ROOT_PASSED).to_numpy()
    shown = np.isfinite(confidence) & ~unassigned
    reasons = [r for r in StopReason if ((annotations["stop_reason"] == r) & shown).any()]
    with drawing_style():
        ax = new_axes(ax, (7.0, 4.2))
        if reasons:
            parts = [confidence[(annotations["stop_reason"] == r).to_numpy() & shown] for r in reasons]
            low, high = min(confidence[shown].min(), 0.0), confidence[shown].max()
            n_bins = int(np.clip(np.ceil(2 * np.sqrt(shown.sum())), 8, 40))
            edges = np.linspace(low, high if high > low else low + 1.0, n_bins + 1)
            ax.hist(
                parts,
                bins=edges.tolist(),
                stacked=True,
                edgecolor="white",
                linewidth=0.8,
                color=[STOP_REASON_COLOURS[r] for r in reasons],
                label=[_words(r) for r in reasons],
            )
            _legend_right(ax, "Walk stopped:")
        _whole_number_axis(ax)
        ax.set(
            xlabel="Confidence: least margin to the runner-up along the path (score units)",
            ylabel="Number of clusters",
        )
        detail = f"{plural(int(shown.sum()), 'cluster')} with a label"
        if shown.any():
            detail += f", median {np.median(confidence[shown]):.2f}"
        left_out = int(unassigned.sum())
        title(
            ax,
            "Confidence of the labels",
            detail + (f"; {count(left_out)} unassigned not shown" if left_out else ""),
        )
        return ax


def depth_distribution(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many clusters reached each level of the hierarchy; -1 is shown as Unassigned.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``; ``assigned_level`` and ``n_cells`` are used.
    ax
        Axes to draw on; a new figure by default.
    """
    with_columns(annotations, "cluster_annotations", ["assigned_level", "n_cells"])
    counts = depth_counts(annotations)
    n_cells = counts["n_cells"].sum()
    with drawing_style():
        ax = new_axes(ax, (max(5.0, 1.6 + 1.15 * len(counts)), 4.2))
        colours = [
            UNASSIGNED if level < 0 else mix("#A9C5DE", "#1D3557", min(level / 4, 1))
            for level in counts.index
        ]
        bars = ax.bar(range(len(counts)), counts["n_clusters"], width=0.72, color=colours)
        notes = [f"{count(r.n_clusters)}\n{share(r.n_cells, n_cells)} of cells" for r in counts.itertuples()]
        ax.bar_label(bars, labels=notes, padding=3, fontsize=9)
        ax.set_xticks(range(len(counts)), [_level_name(int(level)) for level in counts.index])
        ax.set_ylim(0, max(counts["n_clusters"].max() if len(counts) else 0, 1) * 1.18)
        _whole_number_axis(ax)
        ax.set(xlabel="Level of the assigned cell type", ylabel="Number of clusters")
        title(
            ax,
            "Depth of the labels in the hierarchy",
            f"{plural(len(annotations), 'cluster')}, {plural(int(n_cells), 'cell')}",
        )
        return ax


def stop_reason_summary(annotations: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw one bar per stop reason, all reasons in a fixed order.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``; ``stop_reason`` and ``n_cells`` are used.
    ax
        Axes to draw on; a new figure by default.
    """
    with_columns(annotations, "cluster_annotations", ["stop_reason", "n_cells"])
    counts = stop_reason_counts(annotations)
    n_cells = counts["n_cells"].sum()
    with drawing_style():
        ax = new_axes(ax, (7.6, 3.6))
        places = np.arange(len(counts))[::-1]
        bars = ax.barh(
            places, counts["n_clusters"], height=0.66, color=[STOP_REASON_COLOURS[r] for r in counts.index]
        )
        notes = [
            f"{plural(r.n_clusters, 'cluster')} · {share(r.n_cells, n_cells)} of cells"
            if r.n_clusters
            else "none"
            for r in counts.itertuples()
        ]
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # no grid line runs through the words
        ax.bar_label(bars, labels=notes, padding=5, fontsize=9, color=MUTED, bbox=behind)
        ax.set_yticks(places, [_words(r) for r in counts.index])
        ax.tick_params(axis="y", length=0)
        ax.set_xlim(0, max(counts["n_clusters"].max(), 1) * 1.42)
        _whole_number_axis(ax, "x")
        ax.set_xlabel("Number of clusters")
        title(
            ax,
            "Why the walk down the hierarchy stopped",
            f"{plural(len(annotations), 'cluster')}, {plural(int(n_cells), 'cell')}",
        )
        return ax


def root_composition(
    annotations: pd.DataFrame, *, lineages: Iterable[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw the share of cells per top-level cell type; beyond eight slices the rest is shown as Other.

    Parameters
    ----------
    annotations
        Table ``cluster_annotations``; ``root_label`` and ``n_cells`` are used.
    lineages
        All top-level types of the hierarchy, so that colours agree between samples; by default those found.
    ax
        Axes to draw on; a new figure by default.
    """
    with_columns(annotations, "cluster_annotations", ["root_label", "n_cells"])
    cells = root_cells(annotations)
    total = sum(cells.values())
    colours = lineage_colours([*lineages, *annotations["root_label"]])
    with drawing_style():
        ax = new_axes(ax, (7.6, 4.4))
        if total:
            _draw_shares(ax, cells, [colours.get(name, "#8A8A8A") for name in cells])
        title(
            ax,
            "Cells per top-level cell type",
            f"{plural(total, 'cell')} in {plural(len(annotations), 'cluster')}",
        )
        return ax


def _draw_shares(ax: Axes, cells: Mapping[str, int], shades: Sequence[str]) -> None:
    """Draw a pie with the large shares written in, and a legend with all numbers."""
    total = sum(cells.values())
    wedges, _ = ax.pie(
        list(cells.values()), colors=shades, startangle=90, counterclock=False, radius=1.0,
        wedgeprops={"edgecolor": "white", "linewidth": 1.5},
    )
    for wedge, name, shade, n in zip(wedges, cells, shades, cells.values(), strict=True):
        if "~" in name:
            wedge.set(hatch="///")
        if n / total >= 0.08:
            angle = np.deg2rad((wedge.theta1 + wedge.theta2) / 2)
            ax.text(
                0.68 * np.cos(angle), 0.68 * np.sin(angle), share(n, total), ha="center", va="center",
                color=text_colour(shade), fontsize=9.5, fontweight="bold",
            )
    ax.legend(
        wedges, [f"{shorten(name)}   {count(n)} ({share(n, total)})" for name, n in cells.items()], loc="center left",
        bbox_to_anchor=(1.0, 0.5), handlelength=1.1, fontsize=9.5, labelspacing=0.7,
    )


FIGURES: tuple[str, ...] = (
    "cluster_size_distribution",
    "confidence_distribution",
    "depth_distribution",
    "stop_reason_summary",
    "root_composition",
    "marker_coverage_heatmap",
)
"""Names of the run figures; the file is the name with ``.png``."""


def draw_run_figures(tables: Mapping[str, pd.DataFrame], directory: str | Path, dpi: int = 200) -> list[Path]:
    """Write the six figures of a run and return the paths that were written.

    Parameters
    ----------
    tables
        Frames by table name; ``cluster_annotations`` and ``marker_scores`` are used, ``gating_details`` too
        where present (it names all top-level types, which keeps colours the same between samples).
    directory
        Folder for the files, made if it does not exist.
    dpi
        Dots per inch; 200 prints well at the drawn size.

    Warns
    -----
    CellkeyWarning
        For every figure that could not be drawn or written; the others are not affected.
    """
    from pathlib import Path

    folder = Path(directory)
    written: list[Path] = []
    for name, draw in _run_figures(tables).items():
        path = folder / f"{name}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save(figure_of(draw()), path, dpi)
        except Exception as error:  # a figure never costs a run its results
            reason = str(error) if isinstance(error, CellkeyError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"figure {path.name} was not written: {reason}", CellkeyWarning, stacklevel=2)
        else:
            written.append(path)
    return written


def _run_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Callable[[], Axes]]:
    def annotations() -> pd.DataFrame:
        return table(tables, "cluster_annotations", ["cluster_id"])

    roots = [str(r) for r in tables["gating_details"]["root_type"]] if "gating_details" in tables else []
    return {
        "cluster_size_distribution": lambda: cluster_size_distribution(annotations()),
        "confidence_distribution": lambda: confidence_distribution(annotations()),
        "depth_distribution": lambda: depth_distribution(annotations()),
        "stop_reason_summary": lambda: stop_reason_summary(annotations()),
        "root_composition": lambda: root_composition(annotations(), lineages=roots),
        "marker_coverage_heatmap": lambda: marker_coverage_heatmap(
            table(tables, "marker_scores", ["cluster_id"]), annotations(), lineages=roots
        ),
    }


def _words(value: str) -> str:
    return str(value).replace("_", " ")


def _level_name(level: int) -> str:
    return {-1: "Unassigned", 0: "0 (top level)"}.get(level, str(level))


def _legend_right(ax: Axes, heading: str) -> None:
    legend = ax.legend(
        title=heading,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        handlelength=1.1,
        title_fontsize=9.5,
        alignment="left",
        reverse=True,
    )
    legend.get_title().set_color(MUTED)


def _whole_number_axis(ax: Axes, which: str = "y") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    ax.grid(axis="y" if which == "y" else "x")


def _plain_log_axis(ax: Axes) -> None:
    """Label a log axis with plain numbers at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_xlim()
    steps = (1.0,) if high / low > 2000 else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value) if value >= 1 else ""))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _ticks_below(ax: Axes, values: np.ndarray) -> None:
    """Mark every value with a short line at the foot of the axes."""
    ax.vlines(values, 0, 0.03, transform=ax.get_xaxis_transform(), color="#222222", linewidth=0.9, alpha=0.7)
