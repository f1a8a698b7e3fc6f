"""Labels are found by id, alias table or exact name, in this order; the rest is listed, never guessed."""

from __future__ import annotations

import pytest

from cellkey.calls.label_mapping import LabelMapper
from cellkey.hierarchy import Hierarchy, read_hierarchy

T = ("Immune", "T Cells")


@pytest.fixture
def tree() -> Hierarchy:
    return read_hierarchy({
        "Immune": {"markers": ["PTPRC"], "subtypes": {
            "T Cells": {"markers": ["CD3E"], "ontology_id": "CL:0000084", "aliases": ["T lymphocyte"], "subtypes": {
                "Resting": {"markers": ["CCR7"]}}},
            "B Cells": {"markers": ["MS4A1"], "ontology_id": "CL:0000236", "subtypes": {
                "Resting": {"markers": ["TCL1A"]}}},
        }},
        "Epithelium": {"markers": ["EPCAM"], "ontology_id": "CL:0000066"},
    })


@pytest.mark.parametrize(("label", "term", "path", "match"), [
    ("whatever", "CL:0000084", T, "ontology_id"),
    ("CL:0000084", "", T, "ontology_id"),
    ("T (CL:0000084)", "", T, "ontology_id"),
    ("naive thing", "CL:0000624", T, "broader"),  # CD4-positive, alpha-beta T cell
    ("Tcm", "", T, "alias"),
    ("t cells", "", T, "name"),
    ("T_cell", "", T, "name"),
    ("T lymphocyte", "", T, "name"),
    ("immune / b cells", "", ("Immune", "B Cells"), "name"),
    ("Resting", "", ("Immune",), "name"),  # borne by two types: their common ancestor
    ("CD4-positive, alpha-beta T cell", "", T, "broader"),  # name of an ontology term
    ("Unknown", "", (), "abstention"),
    ("mixed_a.b", "", (), "abstention"),
    ("A~B", "", (), "abstention"),
    ("", "", (), "abstention"),
])
def test_order_of_matching(tree: Hierarchy, label: str, term: str, path: tuple[str, ...], match: str) -> None:
    found = LabelMapper(tree, {"tcm": "T Cells"})(label, term)
    assert (found.path, found.match) == (path, match)


def test_what_is_not_found_is_listed_with_close_names(tree: Hierarchy) -> None:
    found = LabelMapper(tree)("B Cels")
    assert (found.path, found.match, found.close) == ((), "unmapped", ("B Cells", "T Cells"))
    assert LabelMapper(tree)("Zebra").close == ()


def test_an_alias_of_something_that_is_not_there_is_not_a_vote(tree: Hierarchy) -> None:
    assert LabelMapper(tree, {"x": "Neurons"})("x").match == "unmapped"


def test_paths_of_another_hierarchy_stand_for_their_deepest_known_type(tree: Hierarchy) -> None:
    mapper = LabelMapper(tree)
    assert mapper.along(T).match == "name"
    found = mapper.along(("Blood", "T cell", "Th17"))
    assert (found.path, found.match) == (T, "broader")
    found = mapper.along(("Blood", "Lymphocyte x"), {"Blood / Lymphocyte x": "CL:0000236"})
    assert (found.path, found.match) == (("Immune", "B Cells"), "ontology_id")
    assert mapper.along(()).match == "abstention"
    assert mapper.along(("Plant", "Leaf")).match == "unmapped"
