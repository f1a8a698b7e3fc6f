"""One look for all figures, and the one way to make and save them without a display or global state."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, Literal

from cellkey.errors import InputError
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BytesIO
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

__all__ = [
    "INK",
    "MUTED",
    "colour_bar",
    "colour_strip",
    "count",
    "drawing_style",
    "figure_of",
    "inches",
    "matrix_axes",
    "new_axes",
    "plural",
    "render",
    "save",
    "share",
    "shorten",
    "signed",
    "title",
]

INK = "#222222"
MUTED = "#666666"

_STYLE: dict[str, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.labelsize": 10.0,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # labels come from data, and a "$" in one is only a dollar sign
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.8,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.15,
}


@contextlib.contextmanager
def drawing_style() -> Iterator[None]:
    """Apply the look of the figures within a block, leaving the user's own settings alone."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``size`` inches that no global registry holds."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=size).add_subplot()


def matrix_axes(ax: Axes | None, n_rows: int, n_columns: int, *, cell: float, top: float) -> Axes:
    """Return ``ax``, or axes of a new figure in which every cell of a matrix is ``cell`` inches wide and
    high.

    ``top`` inches are left for the title; the other margins suit names of clusters and cell types. Very large
    matrices get smaller cells, so that no side exceeds what an image can hold.
    """
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    left, right, bottom = 2.5, 1.3, 2.1
    width = min(max(cell * n_columns, 1.2), 40.0)
    height = min(max(cell * n_rows, 0.5), 60.0)
    size = (left + width + right, bottom + height + top)
    box = (left / size[0], bottom / size[1], width / size[0], height / size[1])
    return Figure(figsize=size).add_axes(box)


def inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of ``ax`` in inches."""
    box = ax.get_window_extent()
    dpi = figure_of(ax).dpi
    return box.width / dpi, box.height / dpi


def figure_of(ax: Axes) -> Figure:
    """Return the figure that ``ax`` belongs to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        msg = "these axes belong to no figure any more; give axes of a figure that is in use"
        raise InputError(msg)
    return figure


def colour_strip(ax: Axes, ends: Sequence[tuple[float, float]], colours: Sequence[str], side: str) -> None:
    """Draw a band 5 points wide just outside one side of ``ax``, in pieces from one data value to another.

    ``side`` is ``left``, ``bottom`` or ``top``.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import ScaledTranslation

    scale = figure_of(ax).dpi_scale_trans
    if side == "left":
        place = ax.get_yaxis_transform() + ScaledTranslation(-4.5 / 72, 0, scale)
        pieces = [[(0.0, a), (0.0, b)] for a, b in ends]
    else:
        edge, shift = (1.0, 4.5) if side == "top" else (0.0, -4.5)
        place = ax.get_xaxis_transform() + ScaledTranslation(0, shift / 72, scale)
        pieces = [[(a, edge), (b, edge)] for a, b in ends]
    band = LineCollection(
        pieces, colors=list(colours), linewidths=5, capstyle="butt", transform=place, clip_on=False
    )
    ax.add_collection(band, autolim=False)


def colour_bar(ax: Axes, image: ScalarMappable, label: str, *, extend: Literal["neither", "both"] = "neither") -> None:
    """Draw a narrow bar of colours right of ``ax``, level with its top, always as tall as reads well."""
    width, height = inches(ax)
    place = (1 + 0.2 / width, 1 - 1.3 / height, 0.14 / width, 1.3 / height)
    bar = figure_of(ax).colorbar(image, cax=ax.inset_axes(place), extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.set_label(label, fontsize=8.5)


def title(ax: Axes, subject: str, detail: str = "", *, pad: float = 0.0) -> None:
    """Write a bold title, and below it a smaller line with the numbers behind it, left of ``ax``."""
    ax.set_title(subject, loc="left", fontweight="bold", pad=(26 if detail else 8) + pad)
    if detail:
        ax.annotate(
            detail,
            (0, 1),
            xytext=(0, 9 + pad),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=9.5,
            color=MUTED,
            va="bottom",
        )


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write ``figure`` atomically, as PNG or, where the name ends so, PDF."""
    with atomic_path(path) as temporary:
        render(figure, temporary, dpi, "pdf" if path.suffix == ".pdf" else "png")


def render(figure: Figure, target: Path | BytesIO, dpi: int, kind: str = "png") -> None:
    """Write ``figure`` to a file or buffer, the same bytes every time; characters that the font lacks become boxes."""
    with warnings.catch_warnings(), drawing_style():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        metadata = {"Software": "cellkey"} if kind == "png" else {"CreationDate": None}
        figure.savefig(target, dpi=dpi, format=kind, metadata=metadata)


def signed(number: float) -> str:
    """Return ``number`` with two decimals and a true minus sign."""
    return f"{number:.2f}".replace("-", "−")


def count(number: Any) -> str:
    """Return a whole number with thin groups of thousands."""
    return f"{int(number):,}"


def share(part: Any, whole: float) -> str:
    """Return ``part / whole`` as per cent: no decimals from 10 % on; neither 0 nor 100 % unless it is that."""
    if whole <= 0:
        return "0 %"
    value = 100.0 * part / whole
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99.5 <= value < 100:
        return ">99.9 %" if value >= 99.95 else f"{value:.1f} %"
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1f} %"


def plural(number: Any, noun: str) -> str:
    """Return ``"1 cluster"`` or ``"2 clusters"``."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def shorten(label: object, length: int = 34) -> str:
    """Return ``label`` cut in the middle to at most ``length`` characters."""
    label = str(label)
    if len(label) <= length:
        return label
    head = (length - 1) * 2 // 3
    return f"{label[:head].rstrip()}…{label[-(length - 1 - head) :].lstrip()}"
