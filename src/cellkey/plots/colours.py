"""Colours that stay with a lineage: the same name has the same colour in every sample and every figure.

The palette keeps its colours apart for readers with and without red-green colour blindness. A lineage takes
the place in the palette that its name hashes to; names that hash to the same place are resolved in the order
of the names, so that a hierarchy always gives the same colours, whatever the data.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "AMBIGUOUS",
    "PALETTE",
    "STOP_REASON_COLOURS",
    "UNASSIGNED",
    "lineage_colours",
    "mix",
    "path_colour",
    "text_colour",
]

PALETTE = (
    "#4477AA",
    "#E69F00",
    "#44AA99",
    "#882255",
    "#88CCEE",
    "#994F00",
    "#332288",
    "#DDCC77",
    "#1A85FF",
    "#7A5C3E",
)
"""Ten colours, any two at least 24 CIELAB units apart, also as seen with protanopia and deuteranopia."""

UNASSIGNED = "#BDBDBD"
AMBIGUOUS = "#777777"

STOP_REASON_COLOURS: Mapping[str, str] = {
    "leaf_reached": "#44AA99",
    "max_depth": "#88CCEE",
    "no_children_pass": "#4477AA",
    "low_margin": "#E69F00",
    "insufficient_coverage": "#994F00",
    "no_root_passed": UNASSIGNED,
}


def lineage_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each lineage name.

    Parameters
    ----------
    names
        Names of top-level cell types, best all of the hierarchy, so that colours agree between samples even
        where names compete for a colour. Order and repetition do not matter. ``Unassigned`` is grey; ``A~B``,
        between which no decision was made, takes the colour of ``A``.

    Notes
    -----
    From the eleventh name on, colours repeat in a lighter form.
    """
    wanted = set(names)
    single = sorted(n for n in wanted if "~" not in n and n != "Unassigned")
    colours: dict[str, str] = {}
    for start in range(0, len(single), len(PALETTE)):
        tint = min(0.25 * (start // len(PALETTE)), 0.75)
        for name, slot in _slots(single[start : start + len(PALETTE)]).items():
            colours[name] = mix(PALETTE[slot], "#FFFFFF", tint)
    for name in wanted - set(single):
        first = name.split("~")[0]
        colours[name] = UNASSIGNED if name == "Unassigned" else colours.get(first, AMBIGUOUS)
    return colours


def _slots(names: Sequence[str]) -> dict[str, int]:
    """Give each of at most ``len(PALETTE)`` sorted names its own place, the hashed one where it is free."""
    slots: dict[str, int] = {}
    for name in names:
        slot = _hash(name) % len(PALETTE)
        while slot in slots.values():
            slot = (slot + 1) % len(PALETTE)
        slots[name] = slot
    return slots


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:4], "big")


def path_colour(path: Sequence[str], lineages: Mapping[str, str]) -> str:
    """Return the colour of a cell type: its lineage's colour, lighter or darker by the names below.

    Parameters
    ----------
    path
        Labels from the top-level type to the cell type; empty means unassigned.
    lineages
        Colours of the top-level types, from :func:`lineage_colours`.
    """
    if not path:
        return UNASSIGNED
    colour = lineages.get(path[0], AMBIGUOUS)
    if len(path) == 1:
        return colour
    step = _hash(" / ".join(path[1:])) % 7
    return (
        mix(colour, "#FFFFFF", 0.15 + 0.13 * step) if step < 4 else mix(colour, "#000000", 0.12 * (step - 3))
    )


def mix(colour: str, other: str, share: float) -> str:
    """Return ``colour`` with ``share`` (0 to 1) of ``other`` mixed in, both as ``#RRGGBB``."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def text_colour(background: str) -> str:
    """Return black or white, whichever is easier to read on ``background`` (``#RRGGBB``)."""
    red, green, blue = ((c / 255) ** 2.2 for c in _channels(background))
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else "#FFFFFF"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
