"""What became of the labels: an alluvial figure from the labels before to the labels after refinement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.plots._run_data import split_path
from cellkey.plots._style import INK, MUTED, count, drawing_style, figure_of, new_axes, save, share, shorten, title
from cellkey.plots.colours import lineage_colours, path_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["Flow", "alluvial", "draw_alluvial", "label_flows"]

_GAP = 0.012  # between bars, as a share of all cells
_BAR = 0.035
_LINE = 0.18  # inches that a line of text needs
_LEAST_TEXT = 0.011  # bars lower than this share of the figure are not named


@dataclass(frozen=True, slots=True)
class Flow:
    """Cells that went from one label to another; labels are paths as text."""

    before: str
    after: str
    n_cells: int


def label_flows(before: Iterable[object], after: Iterable[object]) -> list[Flow]:
    """Count cells by label before and after.

    Parameters
    ----------
    before, after
        Label of each cell (a path joined by ' / ', or a name), shape (cells,).

    Returns
    -------
    Ordered by lineage and path, before first.
    """
    counts = Counter(zip(map(str, before), map(str, after), strict=True))
    flows = [Flow(b, a, n) for (b, a), n in counts.items()]
    return sorted(flows, key=lambda f: (_place(f.before), _place(f.after)))


def _place(label: str) -> tuple[int, tuple[str, ...]]:
    """Order of labels: by path, undecided ones after them, Unassigned last."""
    if label in ("", "Unassigned"):
        return 2, ()
    return (1 if "~" in label else 0), tuple(split_path(label))


def alluvial(flows: Sequence[Flow], *, lineages: Iterable[str] = (), ax: Axes | None = None) -> Axes:
    """Draw two columns of bars, as high as the labels have cells, and the streams between them.

    Parameters
    ----------
    flows
        From :func:`label_flows`.
    lineages
        Names of all top-level types, so that colours agree with other figures of the hierarchy.
    ax
        Where to draw; a new figure if None.
    """
    total = max(sum(f.n_cells for f in flows), 1)
    left = sorted({f.before for f in flows}, key=_place)
    right = sorted({f.after for f in flows}, key=_place)
    rows = max(len(left), len(right))
    with drawing_style():
        ax = new_axes(ax, (8.6, min(max(3.2, 0.42 * rows + 1.2), 24.0)))
        roots = {split_path(label)[0] for label in (*left, *right) if label and "~" not in label}
        colours = lineage_colours({*lineages, *roots})
        bars = [_stack(flows, left, "before", total), _stack(flows, right, "after", total)]
        _draw_streams(ax, flows, bars, colours, total)
        for x, (side, labels) in enumerate(zip(bars, (left, right), strict=True)):
            _draw_bars(ax, x, side, labels, colours, total)
        height = max((top for side in bars for _, top in side.values()), default=1.0)
        ax.set_xlim(-0.75, 1.75)
        ax.set_ylim(height + 0.01, -0.01)
        ax.axis("off")
        changed = sum(f.n_cells for f in flows if f.before != f.after)
        title(ax, "Labels before and after refinement",
              f"{share(changed, total)} of {count(total)} cells have another label than before")
    return ax


def _stack(flows: Sequence[Flow], labels: Sequence[str], side: str, total: int) -> dict[str, tuple[float, float]]:
    """Start and end of each label's bar, as shares of all cells."""
    place, found = 0.0, {}
    for label in labels:
        size = sum(f.n_cells for f in flows if getattr(f, side) == label) / total
        found[label] = (place, place + size)
        place += size + _GAP
    return found


def _draw_streams(
    ax: Axes,
    flows: Sequence[Flow],
    bars: Sequence[dict[str, tuple[float, float]]],
    colours: dict[str, str],
    total: int,
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    start = {label: low for label, (low, _) in bars[0].items()}
    end = {label: low for label, (low, _) in bars[1].items()}
    for f in flows:
        size = f.n_cells / total
        a, b = start[f.before], end[f.after]
        start[f.before] += size
        end[f.after] += size
        x0, x1, mid = _BAR, 1 - _BAR, 0.5
        points = [(x0, a), (mid, a), (mid, b), (x1, b), (x1, b + size), (mid, b + size), (mid, a + size),
                  (x0, a + size), (x0, a)]
        codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO, *[Curve.CURVE4] * 3, Curve.CLOSEPOLY]
        same = f.before == f.after
        ax.add_patch(PathPatch(Curve(points, codes), facecolor=_colour(f.after, colours), linewidth=0,
                               alpha=0.22 if same else 0.6))


def _draw_bars(
    ax: Axes,
    x: int,
    side: dict[str, tuple[float, float]],
    labels: Sequence[str],
    colours: dict[str, str],
    total: int,
) -> None:
    from matplotlib.patches import Rectangle

    height = max((top for _, top in side.values()), default=1.0)
    line = height * _LINE / figure_of(ax).get_figheight()
    written = -height  # lower end of the text above
    for label in labels:
        low, top = side[label]
        ax.add_patch(Rectangle((x - _BAR, low), 2 * _BAR, top - low, facecolor=_colour(label, colours), linewidth=0))
        if (top - low + _GAP) / height < _LEAST_TEXT:
            continue
        name = split_path(label)[-1] if label else "Unassigned"
        edge, where = (x - 1.6 * _BAR, "right") if x == 0 else (x + 1.6 * _BAR, "left")
        two_lines = (top - low) / height > 0.05
        half = line * (1.0 if two_lines else 0.5)
        middle = max((low + top) / 2, written + half)
        written = middle + half
        ax.annotate(
            shorten(name, 30), (edge, middle), xytext=(0, 4 if two_lines else 0), textcoords="offset points", ha=where,
            va="center", color=INK, fontsize=9, annotation_clip=False,
        )
        if two_lines:
            ax.annotate(
                count(round((top - low) * total)), (edge, middle), xytext=(0, -6), textcoords="offset points",
                ha=where, va="center", color=MUTED, fontsize=7.5, annotation_clip=False,
            )


def _colour(label: str, colours: dict[str, str]) -> str:
    if label in ("", "Unassigned"):
        return path_colour((), colours)
    if "~" in label:
        return path_colour((label,), colours)
    return path_colour(split_path(label), colours)


def draw_alluvial(
    before: Iterable[object], after: Iterable[object], path: Path, *, lineages: Iterable[str] = (), dpi: int = 200
) -> None:
    """Draw the labels of all cells before and after refinement into a PNG file."""
    ax = alluvial(label_flows(before, after), lineages=lineages)
    save(figure_of(ax), path, dpi)
