"""The twelve published trees: their counts, and the colon tree line by line; later revisions stand beside them."""

from __future__ import annotations

import pytest

from cellkey.hierarchy import Hierarchy, get_builtin
from cellkey.hierarchy.ontology import bundled_ontology, contradictions
from published_trees import COLON, PUBLISHED

LATER = {"liver_tme_2": (5, 23), "pancreas_tme_2": (5, 24), "tonsil_tme_2": (5, 23), "skin_tme_2": (6, 24)}


def lines_of(hierarchy: Hierarchy) -> str:
    return "".join(
        f"{'  ' * n.level}- {n.name} (+{len(n.markers)}, -{len(n.anti_markers)}, "
        f"children={len(hierarchy.children(n.path))})\n"
        for n in hierarchy
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_of_roots_and_types(name: str) -> None:
    h = get_builtin(name)
    about = h.metadata
    assert (about["category"], about["tissue_scope"], len(h.roots), len(h)) == PUBLISHED[name]


@pytest.mark.parametrize("name", LATER)
def test_later_revisions_stand_under_their_own_names(name: str) -> None:
    h = get_builtin(name)
    assert (len(h.roots), len(h)) == LATER[name]
    assert h.metadata["revision_of"] == name.removesuffix("_2")


def test_the_colon_tree_line_by_line() -> None:
    assert lines_of(get_builtin("colon_tme")) == COLON


@pytest.mark.parametrize(
    ("tree", "path", "markers", "anti", "effective"),
    [
        ("tme_core", "Endothelial / Capillary endothelial", "PECAM1 EMCN KDR RGCC CA4", "ACKR1 GJA5", "RGCC CA4"),
        ("tme_core", "Immune / T cell / CD4 T cell", "IL7R LTB MAL HLA-DRA TRAC", "NKG7 PRF1", "IL7R MAL HLA-DRA"),
        ("immune_core", "B cell / Plasma cell", "MZB1 JCHAIN SDC1 XBP1 IGKC", "CD3D LYZ", "MZB1 JCHAIN SDC1 XBP1 IGKC"),
        ("pancreas_tme", "Pancreatic parenchymal / Acinar", "PRSS1 PRSS3 CPA1 CPB1 REG1A",
         "KRT19 EPCAM PECAM1 VWF PTPRC", "PRSS3"),
        ("pancreas_tme", "Immune / NK cell", "NKG7 KLRD1 GNLY PRF1 FCGR3A",
         "CD3D MS4A1 PRSS1 CPA1 CPB1 PECAM1 VWF", "NKG7 KLRD1 GNLY PRF1 FCGR3A"),
        ("kidney_tme", "Mural / Mesangial/pericyte", "RGS5 MCAM CSPG4 PDGFRB DES", "EPCAM PTPRC", "PDGFRB DES"),
        ("brain_core", "Neuron / Excitatory neuron", "SLC17A7 CAMK2A SATB2 NRGN SYT1", "GAD1 AIF1",
         "SLC17A7 CAMK2A SATB2 NRGN"),
        ("liver_tme_2", "Fibroblast / Hepatic stellate cell", "RBP1 LRAT RELN DES GFAP CYGB",
         "PTPRC PECAM1 KDR EPCAM", "RBP1 LRAT RELN DES GFAP CYGB"),
    ],
)  # fmt: skip
def test_marker_lists(tree: str, path: str, markers: str, anti: str, effective: str) -> None:
    h = get_builtin(tree)
    node = h[path]
    above = h.parent(path)
    assert node.markers == tuple(markers.split())
    assert node.anti_markers == tuple(anti.split())
    assert [m for m in node.markers if above is None or m not in above.markers] == effective.split()


@pytest.mark.parametrize("name", [*PUBLISHED, *LATER])
def test_every_node_says_where_it_comes_from_and_what_it_is(name: str) -> None:
    for node in get_builtin(name):
        assert node.source.startswith("HierAnnot 0."), node.path_text
        assert node.ontology_id in bundled_ontology(), node.path_text
        assert node.metadata["role"] in ("major", "optional"), node.path_text
        assert {"category", "tissue_scope", "pack", "lineage_module"} <= set(node.metadata), node.path_text
        assert node.metadata["requires_ancestor_support"] is True
        assert node.metadata["fallback_to_parent"] is True


def test_common_branches_are_the_same_in_every_published_tree() -> None:
    core = get_builtin("tme_core")
    for name in PUBLISHED:
        h = get_builtin(name)
        shared = [n for n in core if n.lineage != "Epithelial" and n.path in h]
        markers = {n.path: (h[n.path].markers, n.markers) for n in shared if not name.startswith("brain")}
        assert all(own == common for own, common in markers.values()), name


def test_ids_contradict_the_ontology_only_where_the_tree_groups_otherwise() -> None:
    assert {path.split(" / ")[-1] for path, _, _ in contradictions(get_builtin("colon_tme"))} <= {
        "Dendritic cell", "Plasma cell", "Pericyte", "Mast cell",
    }  # fmt: skip
