"""Hierarchies on a panel: what stays, and which siblings can still be told apart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.errors import HierarchyError, MissingGenesError
from cellkey.hierarchy import CellType, Hierarchy, compile_for_panel, get_builtin, identifiability, separating_genes
from cellkey.hierarchy.compiling import panel_tier

GENES = """\
PTPRC TYROBP HLA-DRA CD3D CD3E TRAC IL7R LTB NKG7 CCL5 FOXP3 CTLA4 MS4A1 CD79A MZB1 JCHAIN LYZ C1QA S100A8 S100A9
KIT COL1A1 DCN PECAM1 VWF RGS5 ACTA2 KRT20 MUC2 TFF3 EPCAM CEACAM1 AGR2
"""
PANEL = GENES.split()
EXPECTED = """\
Absorptive-like 2 fallback_to_parent
Goblet-like 3 full
Stem/TA-like 0 disabled
Intestinal epithelial 4 full
Fibroblast 2 fallback_to_parent
Capillary endothelial 1 disabled
Endothelial 2 fallback_to_parent
Pericyte 1 disabled
Mural 2 fallback_to_parent
CD4 T cell 4 full
CD8 T cell 3 full
Treg 3 fallback_to_parent
T cell 4 full
Plasma cell 2 full
B cell 3 full
NK cell 1 disabled
Macrophage 2 full
Monocyte 3 full
Dendritic cell 1 disabled
Myeloid 1 fallback_to_parent
Mast cell 1 disabled
Neutrophil 2 full
Immune 3 full
"""
LEAN_WITHOUT_PRESERVING = {"Plasma cell", "Macrophage", "Neutrophil"}


def expected(*, preserve: bool) -> dict[str, tuple[int, str]]:
    rows = [line.rsplit(" ", 2) for line in EXPECTED.splitlines()]
    return {
        name: (int(n), "fallback_to_parent" if not preserve and name in LEAN_WITHOUT_PRESERVING else status)
        for name, n, status in rows
    }


@pytest.mark.parametrize("preserve", [True, False])
def test_colon_on_33_genes(preserve: bool) -> None:
    compiled = compile_for_panel("colon_tme", PANEL, preserve_major_immune_subtypes=preserve)
    report = compiled.report
    assert compiled.tier == "small"
    assert len(report) == 23
    found = {n: (k, s) for n, k, s in report[["name", "n_measured", "status"]].itertuples(index=False)}
    assert found == expected(preserve=preserve)
    gone = {"Stem/TA-like", "Capillary endothelial", "Pericyte", "NK cell", "Dendritic cell", "Mast cell"}
    assert {n.name for n in compiled.hierarchy} == set(found) - gone
    assert compiled.hierarchy["Fibroblast"].metadata["compiled_status"] == "fallback_to_parent"
    assert compiled.hierarchy["Intestinal epithelial"].markers == ("KRT20", "CEACAM1", "MUC2", "TFF3")


@pytest.mark.parametrize(
    ("n", "tier"), [(1, "small"), (1500, "small"), (1501, "medium"), (9000, "medium"), (9001, "large")]
)
def test_tiers(n: int, tier: str) -> None:
    assert panel_tier(n) == tier


def test_reasons_are_sentences() -> None:
    report = compile_for_panel("colon_tme", PANEL).report.set_index("name")
    assert report.loc["NK cell", "reason"] == "1 of 5 markers, two are needed"
    assert report.loc["Myeloid", "reason"] == "1 of 5 markers, two are needed; kept for its subtypes"
    assert report.loc["Fibroblast", "reason"] == "2 of 5 markers, 60% asked of a type of this role"
    assert report.loc["NK cell", "missing"] == "KLRD1,GNLY,PRF1,FCGR3A"


def test_groups_live_as_long_as_a_subtype_and_other_names_are_found() -> None:
    compiled = compile_for_panel("default", ["CD45", "LAPTM5", "CD53", "Cd3d", "CD3E", "CD3G", "CD2", "TRAC"])
    assert [n.path_text for n in compiled.hierarchy] == [
        "Immune Cells", "Immune Cells / Lymphoids", "Immune Cells / Lymphoids / T Cells",
    ]  # fmt: skip
    assert compiled.hierarchy["Immune Cells"].markers == ("PTPRC", "LAPTM5", "CD53")
    assert compiled.hierarchy.gating == get_builtin().gating


def test_panels_that_leave_nothing() -> None:
    with pytest.raises(MissingGenesError, match="names no gene"):
        compile_for_panel("colon_tme", ["", None])  # type: ignore[list-item]
    with pytest.raises(MissingGenesError, match="none of the"):
        compile_for_panel("colon_tme", ["ABC1", "ABC2"])
    with pytest.raises(HierarchyError, match="no cell type of colon_tme has enough markers"):
        compile_for_panel("colon_tme", ["MUC2", "ABC2"])
    with pytest.raises(HierarchyError, match="did you mean 'colon_tme'"):
        compile_for_panel("colon_tm", ["MUC2"])


def test_order_of_the_panel_does_not_matter() -> None:
    mixed = list(PANEL)
    random.Random(3).shuffle(mixed)
    one, other = compile_for_panel("colon_tme", PANEL), compile_for_panel("colon_tme", mixed)
    assert one.hierarchy == other.hierarchy
    assert one.report.equals(other.report)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.sampled_from(get_builtin("brain_core").all_markers())), st.booleans())
def test_more_genes_never_lose_a_type_within_a_tier(genes: set[str], preserve: bool) -> None:
    base = ["AQP4", "GFAP", "SLC1A3", "ALDH1L1", *sorted(genes)]
    few = compile_for_panel("brain_core", base[:-5] if len(base) > 9 else base, preserve_major_immune_subtypes=preserve)
    more = compile_for_panel("brain_core", [*base, "GJA1"], preserve_major_immune_subtypes=preserve)
    assert {n.path for n in few.hierarchy} <= {n.path for n in more.hierarchy}


SIBLINGS = Hierarchy(
    (
        CellType(("T",), ("CD3D", "CD3E")),
        CellType(("T", "CD4"), ("CD4", "IL7R", "CCR7")),
        CellType(("T", "CD8"), ("CD8A", "CD8B", "GZMK")),
        CellType(("T", "Treg"), ("CD4", "FOXP3", "IL2RA")),
        CellType(("B",), ("MS4A1", "CD79A")),
        CellType(("Rest",)),
        CellType(("Rest", "X"), ("ZZZ", "YYY")),
    )
)


def test_pairs_of_siblings() -> None:
    table = identifiability(SIBLINGS, ["CD3D", "CD3E", "MS4A1", "CD79A", "CD4", "CD8A"]).set_index(["one", "other"])
    assert table["status"].to_dict() == {
        ("CD4", "Treg"): "not_separable",
        ("T", "Rest"): "one_sided",
        ("B", "Rest"): "one_sided",
        ("CD4", "CD8"): "weak",
        ("CD8", "Treg"): "weak",
        ("T", "B"): "separable",
    }
    assert table["status"].tolist() == sorted(
        table["status"], key=["not_separable", "one_sided", "weak", "separable"].index
    )
    assert table.loc[("CD4", "Treg"), "would_separate"] == "CCR7,IL7R,FOXP3,IL2RA"
    assert table.loc[("CD4", "Treg"), "shared"] == "CD4"
    assert table.loc[("CD4", "CD8"), "parent"] == "T"
    assert table.loc[("T", "Rest"), "would_separate"] == "YYY,ZZZ"
    problems = identifiability(SIBLINGS, ["CD3D", "CD3E", "MS4A1", "CD79A"], only_problems=True)
    assert "separable" not in set(problems["status"])


def test_everything_measured_separates_all_pairs() -> None:
    assert set(identifiability(SIBLINGS, SIBLINGS.all_markers())["status"]) == {"separable"}
    assert separating_genes(SIBLINGS, SIBLINGS.all_markers()).empty


def test_the_few_genes_that_separate_most() -> None:
    panel = ["CD3D", "CD3E", "MS4A1", "CD79A", "CD4", "CD8A"]
    table = separating_genes(SIBLINGS, panel, n=20)
    assert table.iloc[0][["gene", "n_pairs"]].tolist() == ["CCR7", 2]
    after = identifiability(SIBLINGS, [*panel, *table["gene"]])
    assert set(after["status"]) == {"separable"}
    assert len(separating_genes(SIBLINGS, panel, n=3)) == 3
    assert separating_genes(SIBLINGS, panel[::-1], n=20).equals(table)


def test_the_article_s_warning_about_t_cells() -> None:
    panel = [g for g in get_builtin("colon_tme").all_markers() if g not in {"FOXP3", "IL2RA", "TIGIT", "CTLA4"}]
    table = identifiability("colon_tme", panel, only_problems=True).set_index(["one", "other"])
    assert table.loc[("CD4 T cell", "Treg"), "status"] == "one_sided"
    assert set(table.loc[("CD4 T cell", "Treg"), "would_separate"].split(",")) == {"CTLA4", "FOXP3", "IL2RA"}
