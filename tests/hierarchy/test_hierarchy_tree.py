"""Rules of the tree value: identity, order-independence, navigation, immutability."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import HierarchyError
from cellkey.hierarchy import CellType, Hierarchy, UnknownNodeError


def small() -> Hierarchy:
    return Hierarchy(
        (
            CellType(("Immune Cells",), ("PTPRC",), ontology_id="CL:0000738"),
            CellType(("Immune Cells", "Lymphoids"), ("CD52", "LTB")),
            CellType(("Immune Cells", "Lymphoids", "T Cells"), ("CD3D", "CD3E"), ("MS4A1",)),
            CellType(("Immune Cells", "Lymphoids", "B Cells"), ("MS4A1", "CD79A"), ("CD3D",)),
            CellType(("Immune Cells", "Myeloids"), ("LYZ",), metadata={"notes": ["a", {"b": 1}]}),
            CellType(("Epithelium",), ("EPCAM", "KRT8"), gating_overrides={"min_coverage": 0.2}),
            CellType(("Epithelium", "T Cells"), ("FOXJ1",)),
        ),
        name="small",
        metadata={"version": "1"},
        gating={
            "root_hard_requirements": {"Immune Cells": {"marker": "CD45", "min_pos_frac": 0.3}},
            "root_veto_markers": {"Epithelium": {"markers": ["CD68", "PTPRC"], "max_pos_frac": 0.2}},
        },
    )


def test_node_properties() -> None:
    node = small()["Immune Cells / Lymphoids / T Cells"]
    assert (node.name, node.level, node.lineage) == ("T Cells", 2, "Immune Cells")
    assert node.parent_path == ("Immune Cells", "Lymphoids")
    assert node.path_text == "Immune Cells / Lymphoids / T Cells"
    assert small()["Epithelium"].parent_path is None
    assert not node.is_grouping


def test_navigation() -> None:
    h = small()
    names = lambda nodes: [n.name for n in nodes]  # noqa: E731
    assert names(h.roots) == ["Immune Cells", "Epithelium"]
    assert names(h.leaves) == ["T Cells", "B Cells", "Myeloids", "T Cells"]
    assert h.depth == 3
    assert len(h) == 7
    assert names(h.children(())) == names(h.roots)
    assert names(h.children("Immune Cells")) == ["Lymphoids", "Myeloids"]
    assert h.children(("Epithelium", "T Cells")) == ()
    assert names(h.siblings("Immune Cells / Lymphoids / T Cells")) == ["B Cells"]
    assert names(h.siblings("Epithelium")) == ["Immune Cells"]
    assert names(h.ancestors("Immune Cells / Lymphoids / T Cells")) == ["Immune Cells", "Lymphoids"]
    assert names(h.descendants("Immune Cells")) == ["Lymphoids", "T Cells", "B Cells", "Myeloids"]
    assert h.parent("Epithelium") is None
    assert h.parent("Epithelium / T Cells") == h["Epithelium"]
    assert [h.index(n.path) for n in h] == list(range(7))
    paths = [n.path_text for n in h.find("T Cells")]
    assert paths == ["Immune Cells / Lymphoids / T Cells", "Epithelium / T Cells"]


def test_lowest_common_ancestor() -> None:
    h = small()
    t, b = "Immune Cells / Lymphoids / T Cells", "Immune Cells / Lymphoids / B Cells"
    assert h.lowest_common_ancestor([t, b]) == ("Immune Cells", "Lymphoids")
    assert h.lowest_common_ancestor([t, "Immune Cells / Myeloids"]) == ("Immune Cells",)
    assert h.lowest_common_ancestor([t]) == tuple(t.split(" / "))
    assert h.lowest_common_ancestor([t, "Immune Cells"]) == ("Immune Cells",)
    assert h.lowest_common_ancestor([t, "Epithelium / T Cells"]) is None
    assert h.lowest_common_ancestor([]) is None


def test_unknown_path_suggests() -> None:
    with pytest.raises(UnknownNodeError, match=r"mean 'Immune Cells / Lymphoids / T Cells' or 'Epithelium / T"):
        small()["T Cells"]
    with pytest.raises(KeyError, match="did you mean 'Epithelium'"):
        small()["Epithelum"]
    assert "T Cells" not in small()
    assert ("Epithelium",) in small()
    assert 3 not in small()


def test_all_markers_include_requirements_and_vetoes() -> None:
    assert small().all_markers() == (
        "CD3D",
        "CD3E",
        "CD45",
        "CD52",
        "CD68",
        "CD79A",
        "EPCAM",
        "FOXJ1",
        "KRT8",
        "LTB",
        "LYZ",
        "MS4A1",
        "PTPRC",
    )
    assert small().required_markers()["root_veto_markers.Epithelium"] == ("CD68", "PTPRC")


def test_nodes_are_put_in_depth_first_order() -> None:
    h = small()
    mixed = Hierarchy(tuple(sorted(h.nodes, key=lambda n: (n.level, n.path))))
    for node in mixed:
        if node.parent_path is not None:
            assert mixed.index(node.parent_path) < mixed.index(node.path)
    paths = [n.path_text for n in mixed]
    assert paths == [
        "Epithelium",
        "Epithelium / T Cells",
        "Immune Cells",
        "Immune Cells / Lymphoids",
        "Immune Cells / Lymphoids / B Cells",
        "Immune Cells / Lymphoids / T Cells",
        "Immune Cells / Myeloids",
    ]


@given(st.permutations(range(7)), st.randoms())
def test_equality_hash_and_digest_ignore_order(order: list[int], random: object) -> None:
    h = small()
    nodes = [h.nodes[i] for i in order]
    nodes[0] = CellType(
        **{
            **{f: getattr(nodes[0], f) for f in CellType.__slots__},
            "markers": tuple(reversed(nodes[0].markers)),
        }
    )
    other = Hierarchy(tuple(nodes), h.name, h.metadata, h.gating)
    assert other == h
    assert hash(other) == hash(h)
    assert other.digest == h.digest


def test_content_decides_equality() -> None:
    h = small()
    assert h != h.without(["Epithelium / T Cells"])
    assert Hierarchy(h.nodes, "other", h.metadata, h.gating) != h
    assert h != 1
    assert h["Epithelium"] != 1


def test_immutable_picklable_and_json_able() -> None:
    h = small()
    with pytest.raises(AttributeError):
        h.name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError, match="immutable"):
        h.gating["a"] = 1  # type: ignore[index]
    with pytest.raises(TypeError, match="immutable"):
        h.gating["root_veto_markers"].clear()
    assert pickle.loads(pickle.dumps(h)) == h  # noqa: S301
    assert copy.deepcopy(h) == h
    assert json.loads(json.dumps(h.gating)) == json.loads(json.dumps(dict(h.gating)))


def test_restrict_by_predicate_keeps_ancestors() -> None:
    kept = small().restrict(lambda n: n.name == "T Cells" and n.lineage == "Immune Cells")
    assert [n.path_text for n in kept] == [
        "Immune Cells",
        "Immune Cells / Lymphoids",
        "Immune Cells / Lymphoids / T Cells",
    ]
    with pytest.raises(HierarchyError, match="no cell type of small is left"):
        small().restrict(lambda n: False)


def test_restrict_to_panel_drops_unmeasured_markers_and_empty_branches() -> None:
    kept = small().restrict(["CD45", "cd3d", "EPCAM"])
    assert [n.path_text for n in kept] == [
        "Immune Cells",
        "Immune Cells / Lymphoids",
        "Immune Cells / Lymphoids / T Cells",
        "Epithelium",
    ]
    assert kept["Immune Cells"].markers == ("PTPRC",)
    assert kept["Immune Cells / Lymphoids"].is_grouping
    assert kept["Immune Cells / Lymphoids / T Cells"].markers == ("CD3D",)
    assert kept.gating == small().gating


def test_without_drops_whole_branches() -> None:
    assert [n.name for n in small().without(["Immune Cells / Lymphoids", "Epithelium / T Cells"])] == [
        "Immune Cells",
        "Myeloids",
        "Epithelium",
    ]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("A / B", "separates the levels"),
        ("A~B", "ambiguous call"),
        (" A", "space"),
        ("", "without a name"),
        ("_x", "settings"),
        ("children", "name of a setting"),
        ("a\nb", "control character"),
    ],
)
def test_labels_that_cannot_name_a_type(label: str, message: str) -> None:
    with pytest.raises(HierarchyError, match=message):
        CellType((label,), ("A",))


def test_node_problems_come_together() -> None:
    with pytest.raises(HierarchyError) as caught:
        CellType(("A",), ("X", "X", "Y", ""), ("Y",))
    assert [str(p) for p in caught.value.problems] == [
        "markers: '' is not a name",
        "markers: 'X' is listed more than once",
        "'Y' is listed both as marker and as anti-marker",
    ]


def test_tree_problems_come_together() -> None:
    with pytest.raises(HierarchyError) as caught:
        Hierarchy((CellType(("A",)), CellType(("A",)), CellType(("B", "C"))))
    assert [str(p) for p in caught.value.problems] == [
        "A: this path appears more than once",
        "B / C: its parent is missing",
    ]
    with pytest.raises(HierarchyError, match="no cell type"):
        Hierarchy(())


def test_values_without_json_form_are_refused() -> None:
    with pytest.raises(HierarchyError, match=r"gating\.a\.b is -inf; only finite"):
        Hierarchy((CellType(("A",)),), gating={"a": {"b": float("-inf")}})
    with pytest.raises(HierarchyError, match="type object"):
        CellType(("A",), metadata={"a": object()})


def test_repr_is_short() -> None:
    assert repr(small()) == "Hierarchy('small', 7 cell types, 2 roots, 3 levels)"
