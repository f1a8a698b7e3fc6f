"""Calls from a marker table alone: the walk by its rules, and the published table of blood cells."""

from __future__ import annotations

import pytest

from cellkey.batch.table_calls import call_marker_table
from cellkey.hierarchy import Hierarchy, get_builtin
from cellkey.llm.marker_tables import marker_table, read_marker_table

TREE = Hierarchy.from_dict(
    {
        "Immune": {
            "markers": ["PTPRC", "CD52"],
            "children": {
                "T": {"markers": ["CD3D", "CD3E", "TRAC"], "ontology_id": "CL:0000084"},
                "B": {"markers": ["MS4A1", "CD79A"], "anti_markers": ["CD3D"]},
            },
        },
        "Epithelium": {"markers": ["EPCAM", "KRT8"]},
    }
)


@pytest.mark.parametrize(
    ("genes", "path"),
    [
        ("CD3D CD3E LTB", ("Immune", "T")),
        ("cd3d cd3e", ("Immune", "T")),
        ("MS4A1 CD79A", ("Immune", "B")),
        ("EPCAM KRT8", ("Epithelium",)),
        ("PTPRC CD52", ("Immune",)),
        ("CD3D", ()),
        ("GENE1 GENE2", ()),
    ],
)
def test_the_walk(genes: str, path: tuple[str, ...]) -> None:
    """Two markers are needed, groups are judged by their best type, and case does not matter."""
    others = "CD3D CD3E TRAC MS4A1 CD79A EPCAM KRT8 PTPRC CD52"
    calls = call_marker_table(marker_table({"0": genes, "rest": others}), TREE)
    assert calls["0"].path == path


def test_near_ties_end_the_walk_above() -> None:
    """Two subtypes within a tenth of each other: the label is their parent."""
    tree = Hierarchy.from_dict(
        {"Immune": {"markers": ["PTPRC"], "children": {"T": {"markers": ["A", "B"]}, "U": {"markers": ["C", "D"]}}}}
    )
    assert call_marker_table(marker_table({"0": "A B C D"}), tree)["0"].path == ("Immune",)


def test_the_order_of_rows_decides_nothing() -> None:
    """Rows reversed, the same calls."""
    table = marker_table({"0": "CD3D CD3E", "1": "MS4A1 CD79A PTPRC"})
    assert call_marker_table(table, TREE) == call_marker_table(table.iloc[::-1], TREE)


@pytest.mark.real_data
def test_published_table_of_blood_cells(labelled_data) -> None:
    """The lineages of all nine clusters of a published table are found without a model."""
    table = read_marker_table(labelled_data / "markers" / "seurat_findallmarkers_pbmc3k.csv.gz")
    calls = call_marker_table(table, get_builtin("blood"))
    assert list(calls) == [str(i) for i in range(9)]
    assert all(c.path for c in calls.values())
