"""Colours belong to names and can be told apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.hierarchy import builtin_names, get_builtin
from cellkey.plots.colours import (
    PALETTE,
    UNASSIGNED,
    hierarchy_colours,
    lineage_colours,
    mix,
    path_colour,
    text_colour,
)

# Linear RGB as seen by normal, protanope and deuteranope viewers (Machado, Oliveira and Fernandes 2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIELAB coordinates of a colour as a viewer sees it."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_palette_can_be_told_apart(vision: str) -> None:
    """Any two colours differ clearly for viewers with and without colour blindness."""
    seen = [lab(c, VISION[vision]) for c in PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 24


label = st.text(st.characters(codec="utf-8", exclude_characters="~"), min_size=1, max_size=12)
names = st.lists(label, unique=True, max_size=25)


@given(names, st.randoms())
def test_order_and_repetition_change_nothing(lineages: list[str], random: object) -> None:
    """Colours come from the names, never from the order in which data show them."""
    shuffled = lineages * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert lineage_colours(shuffled) == lineage_colours(lineages)


@given(names)
def test_up_to_ten_lineages_have_ten_colours(lineages: list[str]) -> None:
    """No two lineages share a colour while the palette lasts."""
    single = [n for n in lineages if n != "Unassigned"][: len(PALETTE)]
    assert len(set(lineage_colours(single).values())) == len(single)


def test_a_lineage_without_rivals_keeps_its_colour() -> None:
    """A subset of the lineages has the same colours when no names compete."""
    alone = lineage_colours(["Epithelium"])["Epithelium"]
    assert lineage_colours(["Epithelium", "Immune cells"])["Epithelium"] == alone


def test_taken_colours_are_left_to_others() -> None:
    """Also where all are taken: then lighter forms are given."""
    assert set(lineage_colours(["a", "b"], taken=PALETTE[:7]).values()) <= set(PALETTE[7:])
    assert not set(lineage_colours(["a", "b"], taken=PALETTE).values()) & set(PALETTE)


def test_undecided_and_unassigned_have_their_own_look() -> None:
    """A~B takes the colour of A, Unassigned is grey."""
    colours = lineage_colours(["Immune cells", "Immune cells~Epithelium", "Unassigned"])
    assert colours["Immune cells~Epithelium"] == colours["Immune cells"]
    assert colours["Unassigned"] == UNASSIGNED
    assert path_colour((), colours) == UNASSIGNED


def test_subtypes_are_shades_of_their_lineage() -> None:
    """The lineage itself keeps its colour; subtypes are lighter or darker, and always the same."""
    colours = lineage_colours(["Immune cells"])
    assert path_colour(("Immune cells",), colours) == colours["Immune cells"]
    shade = path_colour(("Immune cells", "T cells"), colours)
    assert shade != colours["Immune cells"]
    assert shade == path_colour(("Immune cells", "T cells"), colours)


def test_mixing_and_text() -> None:
    """Ends of the mixture are the colours themselves; text is dark on light and light on dark."""
    assert mix("#102030", "#FFFFFF", 0) == "#102030"
    assert mix("#102030", "#FFFFFF", 1) == "#FFFFFF"
    assert text_colour("#FFFFFF") == "#000000"
    assert text_colour("#332288") == "#FFFFFF"


@pytest.mark.parametrize("vision", VISION)
def test_siblings_of_every_built_in_hierarchy_can_be_told_apart(vision: str) -> None:
    """More than 4 CIELAB units between any two siblings, 10 for 98 of 100 pairs, with and without colour blindness."""
    apart = []
    for name in builtin_names():
        colours = hierarchy_colours(n.path for n in get_builtin(name).nodes)
        for a, b in combinations(sorted(colours), 2):
            if a[:-1] == b[:-1]:
                apart.append(np.linalg.norm(lab(colours[a], VISION[vision]) - lab(colours[b], VISION[vision])))
    assert min(apart) > 4
    assert np.percentile(apart, 2) > 10


def test_no_two_types_of_a_lineage_share_a_colour() -> None:
    """Cells that stop at a parent differ from those of its subtypes, and cousins from each other: 6 CIELAB units."""
    colours = hierarchy_colours(n.path for n in get_builtin("default").nodes)
    for a, b in combinations(sorted(colours), 2):
        if a[0] == b[0]:
            assert np.linalg.norm(lab(colours[a], VISION["normal"]) - lab(colours[b], VISION["normal"])) > 6, (a, b)


@given(st.lists(st.lists(label, min_size=1, max_size=3), max_size=20), st.randoms())
def test_colours_of_a_hierarchy_follow_from_its_paths(paths: list[list[str]], random: object) -> None:
    """Every type above a path has a colour too; order and repetition change none; lineages keep their own."""
    shuffled = paths * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    colours = hierarchy_colours(paths)
    assert hierarchy_colours(shuffled) == colours
    assert set(colours) == {tuple(p[: i + 1]) for p in paths for i in range(len(p))}
    assert {p[0]: c for p, c in colours.items() if len(p) == 1} == lineage_colours(p[0] for p in paths)
