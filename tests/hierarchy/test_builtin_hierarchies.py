"""The built-in hierarchies are valid, complete and documented node by node."""

from __future__ import annotations

import json

import pytest

from cellkey.errors import HierarchyError
from cellkey.hierarchy import builtin_names, get_builtin, lint_hierarchy, list_builtin, resolve_names
from cellkey.hierarchy.catalogue import builtin_for_tissue, builtin_text
from cellkey.hierarchy.ontology import bundled_ontology, contradictions
from cellkey.routing.limits import merge_gating

REQUIRED = [
    "Immune Cells / Lymphoids / T Cells / CD4 T Cells",
    "Immune Cells / Lymphoids / T Cells / CD8 T Cells",
    "Immune Cells / Lymphoids / T Cells / Regulatory T Cells",
    "Immune Cells / Lymphoids / B Cells",
    "Immune Cells / Lymphoids / Plasma Cells",
    "Immune Cells / Lymphoids / NK Cells",
    "Immune Cells / Myeloids / Monocytes / Classical Monocytes",
    "Immune Cells / Myeloids / Monocytes / Non-classical Monocytes",
    "Immune Cells / Myeloids / Macrophages",
    "Immune Cells / Myeloids / Dendritic Cells / cDC1",
    "Immune Cells / Myeloids / Dendritic Cells / cDC2",
    "Immune Cells / Myeloids / Dendritic Cells / pDC",
    "Immune Cells / Myeloids / Mast Cells",
    "Immune Cells / Myeloids / Neutrophils",
    "Immune Cells / Haematopoietic Progenitors",
    "Epithelium / Ciliated Epithelium",
    "Epithelium / Secretory Epithelium",
    "Epithelium / Basal Epithelium",
    "Mesenchymal Cells / Fibroblasts",
    "Mesenchymal Cells / Smooth Muscle",
    "Mesenchymal Cells / Pericytes",
    "Endothelium / Vascular Endothelium",
    "Endothelium / Lymphatic Endothelium",
    "Platelets",
    "Erythroid Cells",
]
PROTEINS = [
    "CD45",
    "CD3",
    "CD4",
    "CD8",
    "CD20",
    "CD68",
    "CD56",
    "CD31",
    "Pan-CK",
    "E-cadherin",
    "aSMA",
    "HLA-DR",
    "CD11c",
    "FoxP3",
    "Tryptase",
    "CD66b",
    "MPO",
    "CD163",
    "CD138",
    "CK5",
    "CD34",
    "Podoplanin",
    "GFAP",
]


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_hierarchies_have_no_errors_or_warnings(name: str) -> None:
    found = [f for f in lint_hierarchy(name) if f.severity != "note"]
    if "published" in get_builtin(name).metadata:  # repeated as published, with types that only repeat their parent
        found = [f for f in found if "lists only markers of its parent" not in str(f)]
    assert found == []


@pytest.mark.parametrize("name", [n for n in builtin_names() if get_builtin(n).metadata.get("category") == "tissue"])
def test_maps_of_tissues_document_every_node(name: str) -> None:
    h = get_builtin(name)
    gating = merge_gating(h.gating)
    for node in h:
        assert node.ontology_id in bundled_ontology(), node.path_text
        assert node.description, node.path_text
        assert node.source or node.is_grouping, node.path_text
        assert node.is_grouping or 5 <= len(node.markers) <= 8, node.path_text
        needed = gating.at(node.level).updated(**node.gating_overrides).min_coverage
        assert node.is_grouping or 1 / len(node.markers) < needed, node.path_text


@pytest.mark.parametrize("name", [n for n in builtin_names() if get_builtin(n).metadata.get("category") == "tissue"])
def test_branches_shared_with_the_default_map_are_the_same_there(name: str) -> None:
    default = get_builtin()
    own = {"spinal_cord": {"Inhibitory Neurons", "Excitatory Neurons"}}.get(name, set())
    for node in get_builtin(name):
        if node.path in default and node.name not in own | {"B Cells", "Neurons"} and name != "retina":
            assert set(node.markers) == set(default[node.path].markers), node.path_text


@pytest.mark.parametrize("name", builtin_names())
def test_files_are_strict_json_with_their_own_name(name: str) -> None:
    values = json.loads(builtin_text(name))
    assert values["_marker_map_metadata"]["name"] == name
    assert get_builtin(name).name == name


def test_default_covers_the_promised_types() -> None:
    h = get_builtin()
    assert [p for p in REQUIRED if p not in h] == []


def test_default_documents_every_node() -> None:
    for node in get_builtin():
        assert node.ontology_id, node.path_text
        assert node.description, node.path_text
        assert node.source or node.is_grouping, node.path_text
        assert len(node.markers) == 0 or 4 <= len(node.markers) <= 8, node.path_text


def test_default_departs_from_the_ontology_only_where_known() -> None:
    assert {path for path, _, _ in contradictions(get_builtin())} == {
        "Immune Cells / Myeloids / Dendritic Cells",
        "Epithelium / Basal Epithelium",
        "Mesenchymal Cells / Fibroblasts",
        "Mesenchymal Cells / Smooth Muscle",
        "Mesenchymal Cells / Pericytes",
    }


def test_default_has_no_hard_requirement_and_only_measured_vetoes_of_other_lineages() -> None:
    h = get_builtin()
    assert "root_hard_requirements" not in h.gating
    for root, rule in h.gating["root_veto_markers"].items():
        own = {m for n in (h[root], *h.descendants(root)) for m in n.markers}
        assert own.isdisjoint(rule["markers"]), root
        assert rule["max_pos_frac"] >= 0.5


@pytest.mark.parametrize("path", [n.path_text for n in get_builtin() if n.markers])
def test_default_never_rests_a_type_on_a_single_measured_marker(path: str) -> None:
    node = get_builtin()[path]
    needed = merge_gating(get_builtin().gating).at(node.level).updated(**node.gating_overrides).min_coverage
    assert 1 / len(node.markers) < needed


@pytest.mark.parametrize(
    "path",
    [
        "Immune Cells",
        "Immune Cells / Lymphoids / T Cells",
        "Immune Cells / Lymphoids / B Cells",
        "Immune Cells / Myeloids / Macrophages",
        "Epithelium",
        "Endothelium",
    ],
)
def test_protein_panels_give_the_broad_types_of_their_own_map_enough_coverage(path: str) -> None:
    h = get_builtin("protein")
    node = h[path]
    measured = resolve_names(node.markers, PROTEINS).variables(node.markers)
    assert len(measured) / len(node.markers) >= merge_gating(h.gating).at(node.level).min_coverage


def test_list_of_built_in_hierarchies() -> None:
    table = list_builtin()
    assert table["name"].tolist() == list(builtin_names())
    row = table.iloc[0]
    assert (row["name"], row["n_cell_types"]) == ("default", len(get_builtin()))


def test_unknown_names() -> None:
    with pytest.raises(HierarchyError, match="no built-in hierarchy 'defalt'; did you mean 'default'"):
        get_builtin("defalt")
    assert builtin_for_tissue("default") == "default"
    assert builtin_for_tissue("Bone marrow") == "bone_marrow"
    assert builtin_for_tissue("renal") == "kidney"
    with pytest.raises(HierarchyError, match="for 'moon'"):
        builtin_for_tissue("moon")


def test_list_of_one_category() -> None:
    names = list_builtin("tissue")["name"].tolist()
    assert {"pancreas", "lung", "colon", "kidney", "liver", "skin", "breast", "brain"} <= set(names)
    with pytest.raises(HierarchyError, match="did you mean 'tissue'"):
        list_builtin("tisue")
