"""Dot plot of expression: groups x genes, from profiles; for checking names by canonical or robust markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import MissingFieldError, did_you_mean
from cellkey.plots._style import MUTED, drawing_style, figure_of, matrix_axes, shorten, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["ExpressionDots", "expression_dots", "expression_matrix"]


@dataclass(frozen=True)
class ExpressionDots:
    """What the dot plot shows: groups x genes, and how genes are grouped.

    ``fraction`` is the share of cells above zero; ``level`` the mean, scaled per gene from 0 (lowest group) to
    1 (highest group). ``sections`` holds title and number of genes of each run of genes.
    """

    groups: tuple[str, ...]
    labels: tuple[str, ...]
    genes: tuple[str, ...]
    sections: tuple[tuple[str, int], ...]
    fraction: NDArray[np.float64]
    level: NDArray[np.float64]


def expression_matrix(
    profiles: ClusterProfiles,
    genes: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    labels: Mapping[str, str] | None = None,
) -> ExpressionDots:
    """Arrange profiles for the dot plot.

    Parameters
    ----------
    profiles
        Groups x genes.
    genes
        Genes in order, or sections of genes by title.
    labels
        Name to show for a group. Groups of one name stand together, in the order of their names.

    Raises
    ------
    MissingFieldError
        If a gene is not in the profiles.
    """
    sections = dict(genes) if isinstance(genes, Mapping) else {"": list(genes)}
    wanted = [g for part in sections.values() for g in part]
    position = {str(v): i for i, v in reversed(list(enumerate(profiles.var_names)))}
    for gene in wanted:
        if gene not in position:
            msg = f"the profiles hold no gene {gene!r}{did_you_mean(gene, position)}"
            raise MissingFieldError(msg)
    columns = np.array([position[g] for g in wanted], dtype=np.intp)
    shown = [(labels or {}).get(g, g) for g in profiles.groups]
    order = sorted(range(len(shown)), key=lambda i: (shown[i], i)) if labels else list(range(len(shown)))
    rows = np.array(order, dtype=np.intp)
    mean = profiles.mean[np.ix_(rows, columns)]
    low = mean.min(axis=0, initial=np.inf)
    span = mean.max(axis=0, initial=-np.inf) - low
    return ExpressionDots(
        groups=tuple(profiles.groups[i] for i in order),
        labels=tuple(shown[i] for i in order),
        genes=tuple(wanted),
        sections=tuple((title, len(part)) for title, part in sections.items()),
        fraction=profiles.detection[np.ix_(rows, columns)],
        level=np.divide(mean - low, span, out=np.zeros_like(mean), where=span > 0),
    )


def expression_dots(dots: ExpressionDots, *, ax: Axes | None = None) -> Axes:
    """Draw groups x genes: dot size is the share of expressing cells, colour the mean scaled per gene."""
    n_rows, n_columns = dots.fraction.shape
    titled = any(name for name, _ in dots.sections)
    with drawing_style():
        axes = matrix_axes(ax, n_rows, n_columns, cell=0.27, top=1.5 if titled else 0.6)
        x, y = np.meshgrid(np.arange(n_columns), np.arange(n_rows))
        points = axes.scatter(
            x.ravel(), y.ravel(), s=(dots.fraction.ravel() ** 1.5) * 150 + 1, c=dots.level.ravel(), cmap="Reds",
            vmin=0, vmax=1, edgecolor="#8A8A8A", linewidth=0.3,
        )
        axes.set(xlim=(-0.6, n_columns - 0.4), ylim=(n_rows - 0.4, -0.6))
        axes.set_xticks(range(n_columns), dots.genes, rotation=90)
        rows = [lab if lab == g else f"{shorten(lab, 26)} ({shorten(g, 8)})"
                for lab, g in zip(dots.labels, dots.groups, strict=True)]
        axes.set_yticks(range(n_rows), rows)
        axes.tick_params(length=0)
        _sections(axes, dots.sections)
        _size_key(axes)
        figure_of(axes).colorbar(points, ax=axes, shrink=0.5, pad=0.13, anchor=(0.0, 0.0),
                                 label="mean, scaled per gene")
        title(axes, "Markers by group", pad=78.0 if titled else 0.0)
    return axes


def _sections(axes: Axes, sections: Sequence[tuple[str, int]]) -> None:
    start = 0
    for name, size in sections:
        if name and size:
            axes.annotate(shorten(name, 18), (start + size / 2 - 0.5, 1.0), xycoords=("data", "axes fraction"),
                          xytext=(0, 5), textcoords="offset points", rotation=90, ha="center", va="bottom",
                          fontsize=9)
            axes.axvline(start - 0.5, color="#E3E3E3", linewidth=0.8, zorder=0)
        start += size


def _size_key(axes: Axes) -> None:
    shares = (0.1, 0.25, 0.5, 1.0)
    handles = [axes.scatter([], [], s=(v**1.5) * 150 + 1, color=MUTED, label=f"{100 * v:.0f} %") for v in shares]
    axes.legend(handles=handles, title="cells expressing", loc="upper left", bbox_to_anchor=(1.02, 1.0),
                labelspacing=0.8)
