"""Colours that stay with a lineage: the same name has the same colour in every sample and every figure.

The palette keeps its colours apart for readers with and without red-green colour blindness. A lineage takes
the place in the palette that its name hashes to; names that hash to the same place are resolved in the order
of the names, so that a hierarchy always gives the same colours, whatever the data.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = [
    "AMBIGUOUS",
    "PALETTE",
    "STOP_REASON_COLOURS",
    "UNASSIGNED",
    "hierarchy_colours",
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


def lineage_colours(names: Iterable[str], *, taken: Collection[str] = ()) -> dict[str, str]:
    """Return a colour for each lineage name.

    Parameters
    ----------
    names
        Names of top-level cell types, best all of the hierarchy, so that colours agree between samples even
        where names compete for a colour. Order and repetition do not matter. ``Unassigned`` is grey; ``A~B``,
        between which no decision was made, takes the colour of ``A``.
    taken
        Colours of the palette that others have already.

    Notes
    -----
    From the eleventh name on (earlier where colours are taken), colours repeat in a lighter form.
    """
    wanted = set(names)
    single = sorted(n for n in wanted if "~" not in n and n != "Unassigned")
    free = [c for c in PALETTE if c not in taken] or [mix(c, "#FFFFFF", 0.25) for c in PALETTE]
    colours: dict[str, str] = {}
    for start in range(0, len(single), len(free)):
        tint = min(0.25 * (start // len(free)), 0.75)
        for name, slot in _slots(single[start : start + len(free)], len(free)).items():
            colours[name] = mix(free[slot], "#FFFFFF", tint)
    for name in wanted - set(single):
        first = name.split("~")[0]
        colours[name] = UNASSIGNED if name == "Unassigned" else colours.get(first, AMBIGUOUS)
    return colours


def _slots(names: Sequence[str], n_places: int) -> dict[str, int]:
    """Give each of at most ``n_places`` sorted names its own place, the hashed one where it is free."""
    slots: dict[str, int] = {}
    for name in names:
        slot = _hash(name) % n_places
        while slot in slots.values():
            slot = (slot + 1) % n_places
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


def hierarchy_colours(paths: Iterable[Sequence[str]]) -> dict[tuple[str, ...], str]:
    """Return a colour for every cell type of a hierarchy: siblings are shades of their parent's hue.

    Parameters
    ----------
    paths
        Labels from the top-level type to each cell type. Give all of the hierarchy: colours then are the same for
        every data set that is annotated with it. Order and repetition do not matter.

    Notes
    -----
    Top-level types have the colours of :func:`lineage_colours`. Below them each type owns a part of its parent's range
    of hues in OKLCH, as large as its share of the terminal types: a lineage has at least 80 degrees, and up to 300
    where it is nearly all of the hierarchy. Each takes the lightness at which it keeps clearest of the colours
    given before in its lineage, and of its sisters in lightness alone, which readers with colour blindness see.
    """
    known = {tuple(p[: i + 1]) for p in paths for i in range(len(p))}
    children: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in sorted(known):
        children.setdefault(path[:-1], []).append(path)
    leaves = _leaf_counts(known, children)
    roots = lineage_colours(p[0] for p in children.get((), []))
    colours: dict[tuple[str, ...], str] = {}
    for root in children.get((), []):
        colours[root] = roots[root[0]]
        _, chroma, hue = _oklch(colours[root])
        width = min(max(360.0 * leaves[root] / max(sum(leaves[r] for r in children[()]), 1), _HUES[0]), _HUES[1])
        ranges = {root: (hue - width / 2, width)}
        taken = [_oklab(colours[root])]
        below = sorted((p for p in known if p[0] == root[0] and len(p) > 1), key=lambda p: (len(p), p))
        for path in below:  # parents come before their children
            start, whole = ranges[path[:-1]]
            sisters = children[path[:-1]]
            before = sum(leaves[s] for s in sisters[: sisters.index(path)])
            total = sum(leaves[s] for s in sisters)
            ranges[path] = (start + whole * before / total, whole * leaves[path] / total)
            own = ranges[path][0] + ranges[path][1] / 2
            known_sisters = [_oklab(colours[s]) for s in sisters if s in colours]
            light = _lightness(own, max(chroma, 0.11), taken, known_sisters)
            colours[path] = _from_oklch(light, max(chroma, 0.11), own)
            taken.append(_oklab(colours[path]))
    return colours


def _lightness(
    hue: float, chroma: float, taken: Sequence[tuple[float, ...]], sisters: Sequence[tuple[float, ...]]
) -> float:
    """The lightness at which a hue keeps clear of taken colours, and of its sisters in lightness alone."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))

    def clearance(light: float) -> float:
        return min(*(math.dist((light, a, b), c) for c in taken), *(abs(light - c[0]) for c in sisters), 1.0)

    return max(_LIGHTNESS, key=clearance)


_HUES = (80.0, 300.0)
_LIGHTNESS = tuple(round(0.36 + 0.04 * i, 2) for i in range(14))


def _leaf_counts(
    known: Iterable[tuple[str, ...]], children: Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]
) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = {}
    for path in sorted(known, key=len, reverse=True):
        counts[path] = sum(counts[c] for c in children.get(path, ())) or 1
    return counts


def _oklch(colour: str) -> tuple[float, float, float]:
    """Lightness (0 to 1), chroma and hue (degrees) of ``#RRGGBB`` in the colour space OKLCH (Ottosson 2020)."""
    light, a, b = _oklab(colour)
    return light, math.hypot(a, b), math.degrees(math.atan2(b, a)) % 360


def _oklab(colour: str) -> tuple[float, float, float]:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                        for c in (v / 255 for v in _channels(colour)))
    cone_l = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    cone_m = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    cone_s = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    light = 0.2104542553 * cone_l + 0.7936177850 * cone_m - 0.0040720468 * cone_s
    a = 1.9779984951 * cone_l - 2.4285922050 * cone_m + 0.4505937099 * cone_s
    b = 0.0259040371 * cone_l + 0.7827717662 * cone_m - 0.8086757660 * cone_s
    return light, a, b


def _from_oklch(light: float, chroma: float, hue: float) -> str:
    """The colour ``#RRGGBB``; channels beyond what a screen shows are cut off."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    cone_l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    cone_m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    cone_s = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * cone_l - 3.3077115913 * cone_m + 0.2309699292 * cone_s,
        -1.2684380046 * cone_l + 2.6097574011 * cone_m - 0.3413193965 * cone_s,
        -0.0041960863 * cone_l - 0.7034186147 * cone_m + 1.7076147010 * cone_s,
    )
    channels = (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in (max(v, 0.0) for v in linear))
    return "#" + "".join(f"{round(255 * min(c, 1.0)):02X}" for c in channels)


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
