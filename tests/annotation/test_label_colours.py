"""Colours of labels that no walk gave: those of language models, of people, of other programs."""

from __future__ import annotations

import pandas as pd
import pytest

from cellkey.annotation.label_colours import column_colours, label_colours
from cellkey.hierarchy import get_builtin
from cellkey.plots.colours import UNASSIGNED, hierarchy_colours

TREE = get_builtin("blood")
COLOURS = hierarchy_colours(n.path for n in TREE.nodes)
LYMPHOIDS = ("Immune Cells", "Lymphoids")


@pytest.mark.parametrize(("label", "term", "path"), [
    ("NK Cells", "", (*LYMPHOIDS, "NK Cells")),
    ("natural killer cell", "", (*LYMPHOIDS, "NK Cells")),
    ("killers of some kind", "CL:0000623", (*LYMPHOIDS, "NK Cells")),
    ("Lymphoids~Myeloids", "", LYMPHOIDS),
])
def test_a_label_has_the_colour_of_the_type_it_stands_for(label: str, term: str, path: tuple[str, ...]) -> None:
    """By name, by synonym, by Cell Ontology id; an undecided one looks like the first of the two."""
    colour, found = label_colours({label: term}, TREE)[label]
    assert (colour, found.path) == (COLOURS[path], path)


def test_a_kind_of_a_type_has_a_shade_of_it() -> None:
    """Not the type's own colour, which would hide the difference."""
    colour, found = label_colours({"mature B cell": "CL:0000785"}, TREE)["mature B cell"]
    assert found.path == (*LYMPHOIDS, "B Cells")
    assert colour != COLOURS[found.path]


def test_foreign_labels_have_colours_of_their_own() -> None:
    """No two alike, none that of a lineage, the same whatever else is there; no type is grey."""
    names = {f"foreign {i}": "" for i in range(5)}
    found = {n: c for n, (c, _) in label_colours(names, TREE).items()}
    assert len({*found.values(), *(COLOURS[r.path] for r in TREE.roots)}) == 5 + len(TREE.roots)
    with_types = label_colours({**names, "NK Cells": "", "Unknown": ""}, TREE)
    assert {n: with_types[n][0] for n in names} == found
    assert with_types["Unknown"][0] == UNASSIGNED


def test_columns_get_one_colour_per_category() -> None:
    """In the order of the categories, as scanpy reads them."""
    names = pd.Series(["monocyte", "Unknown", "monocyte"], dtype="category")
    colours = column_colours({"cell_type": names}, TREE, {"monocyte": "CL:0000576"})["cell_type_colors"].tolist()
    assert dict(zip(names.cat.categories, colours, strict=True)) == {
        "monocyte": COLOURS["Immune Cells", "Myeloids", "Monocytes"], "Unknown": UNASSIGNED}
