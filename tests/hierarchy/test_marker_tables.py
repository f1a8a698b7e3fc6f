"""Marker tables and GMT: recognised by their columns, filtered by tissue and species, every row accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellkey.errors import CellkeyWarning, HierarchyError
from cellkey.hierarchy import Hierarchy, lint_hierarchy, read_hierarchy

SCTYPE = """tissueType,cellName,geneSymbolmore1,geneSymbolmore2,shortName
Immune system,Naive B cells,"CD19,MS4A1,CD19",CD27,naive B
Immune system,HSC / MPP,"CD34, KIT",,
Liver,Hepatocytes,"ALB,APOA1",PTPRC,Hep
Immune system,Odd cells,"CD4,CD8A","CD4",
"""
PANGLAO = """species\tofficial gene symbol\tcell type\torgan\tcanonical marker\tsensitivity_human\tsensitivity_mouse\t\
specificity_human\tspecificity_mouse
Mm Hs\tCD3D\tT cells\tImmune system\t1\t0.9\t0.8\t0.02\t0.02
Hs\tCD2\tT cells\tImmune system\t0\t0.2\t\t0.01\t
Mm\tThy1\tT cells\tImmune system\t1\t\t0.7\t\t0.3
Mm Hs\tALB\tHepatocytes\tLiver\t1\t1.0\t1.0\t0.4\t0.4
Mm Hs\tX\tOrphans\tNA\t1\t1.0\t1.0\t0\t0
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def paths(h: Hierarchy) -> list[str]:
    return [n.path_text for n in h]


def test_sctype_of_all_tissues_has_tissues_as_roots(tmp_path: Path) -> None:
    with pytest.warns(CellkeyWarning, match="'CD4' is listed both for and against"):
        h = read_hierarchy(write(tmp_path / "s.csv", SCTYPE))
    assert paths(h) == [
        "Immune system",
        "Immune system / Naive B cells",
        "Immune system / HSC/MPP",
        "Immune system / Odd cells",
        "Liver",
        "Liver / Hepatocytes",
    ]
    b = h["Immune system / Naive B cells"]
    assert (b.markers, b.anti_markers, b.aliases) == (("CD19", "MS4A1"), ("CD27",), ("naive B",))
    assert h["Immune system / Odd cells"].markers == ("CD8A",)
    assert h["Immune system / Odd cells"].anti_markers == ()
    assert any("'HSC / MPP' was written as 'HSC/MPP'" in f.message for f in lint_hierarchy(tmp_path / "s.csv"))


def test_sctype_of_one_tissue(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", SCTYPE)
    assert paths(read_hierarchy(path, tissue="liver")) == ["Hepatocytes"]
    with pytest.raises(HierarchyError, match="did you mean 'Liver'") as caught:
        read_hierarchy(path, tissue="livr")
    assert "known: Immune system, Liver" in str(caught.value)


def test_the_same_table_as_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["tissueType", "cellName", "geneSymbolmore1", "geneSymbolmore2"])
    book.active.append(["Liver", "Hepatocytes", "ALB,APOA1", None])
    book.save(tmp_path / "s.xlsx")
    assert read_hierarchy(tmp_path / "s.xlsx")["Liver / Hepatocytes"].markers == ("ALB", "APOA1")
    with pytest.raises(HierarchyError, match="not an xlsx workbook"):
        read_hierarchy(write(tmp_path / "bad.xlsx", "text"))
    with pytest.raises(HierarchyError, match="No such file"):
        read_hierarchy(tmp_path / "none.xlsx")
    with pytest.raises(HierarchyError, match=r"a spreadsheet \(save it as xlsx or csv\)"):
        read_hierarchy(tmp_path / "s.xlsx", "json")


def test_panglao_filters(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv", PANGLAO)
    assert read_hierarchy(path)["Immune system / T cells"].markers == ("CD3D", "CD2", "Thy1")
    assert "Other / Orphans" in read_hierarchy(path)
    assert read_hierarchy(path, species="human")["Immune system / T cells"].markers == ("CD3D", "CD2")
    assert read_hierarchy(path, species="mouse")["Immune system / T cells"].markers == ("CD3D", "Thy1")
    assert read_hierarchy(path, min_sensitivity=0.5)["Immune system / T cells"].markers == ("CD3D",)
    assert "Liver / Hepatocytes" not in read_hierarchy(path, max_specificity_loss=0.1)
    kept = read_hierarchy(path, canonical_only=True, tissue="immune system", species="mouse", max_specificity_loss=0.1)
    assert kept["T cells"].markers == ("CD3D",)


def test_pairs_with_sign_ontology_and_parent(tmp_path: Path) -> None:
    text = (
        "cell_type,gene,sign,parent,cl_id\nT cell,CD3D,positive,Lymphoid,CL:0000084\nT cell,MS4A1,negative,Lymphoid,\n"
        "B cell,CD79A,1,Lymphoid,CL:0000236\nB cell,CD3E,-1,Lymphoid,\n"
    )
    h = read_hierarchy(write(tmp_path / "a.csv", text))
    assert paths(h) == ["Lymphoid", "Lymphoid / T cell", "Lymphoid / B cell"]
    assert h["Lymphoid / T cell"].anti_markers == ("MS4A1",)
    assert h["Lymphoid / B cell"].anti_markers == ("CD3E",)
    assert h["Lymphoid / T cell"].ontology_id == "CL:0000084"


def test_sets_of_genes_by_tissue(tmp_path: Path) -> None:
    h = read_hierarchy(write(tmp_path / "c.csv", 'Tissue,CT,Gene\nBlood,T cell,"CD3D,CD3E"\nLung,T cell,CD2\n'))
    assert h["Blood / T cell"].markers == ("CD3D", "CD3E")
    assert h["Lung / T cell"].markers == ("CD2",)


def test_two_level_encyclopedia(tmp_path: Path) -> None:
    text = (
        "high_hierarchy,low_hierarchy,cell_ontology_id,description,curated_markers\n"
        'B cells,B cells,CL:0000236,all B,"CD79A,MS4A1"\nB cells,Memory B cells,CL:0000787,,"CR2,CD27"\n'
    )
    h = read_hierarchy(write(tmp_path / "e.csv", text))
    assert paths(h) == ["B cells", "B cells / Memory B cells"]
    assert h["B cells"].description == "all B"
    assert h["B cells / Memory B cells"].ontology_id == "CL:0000787"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_semicolons_of_a_spreadsheet_are_commas(tmp_path: Path, end: str) -> None:
    path = tmp_path / "map.csv"
    lines = ["cell_type;markers", "T Cells;CD3D, CD3E", "B Cells;MS4A1, CD79A", ""]
    path.write_bytes(end.join(lines).encode())
    assert {n.name: n.markers for n in read_hierarchy(path).nodes} == {
        "T Cells": ("CD3D", "CD3E"), "B Cells": ("MS4A1", "CD79A")}


def test_tabs_in_yaml_are_named(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("T Cells:\n\tmarkers: [CD3D]\n", encoding="utf-8")
    with pytest.raises(HierarchyError, match="indent with spaces, YAML takes no tabs"):
        read_hierarchy(path)


def test_unknown_columns(tmp_path: Path) -> None:
    with pytest.raises(HierarchyError, match=r"the columns \(p_val, cluster\) are those of no known marker table"):
        read_hierarchy(write(tmp_path / "x.csv", "p_val,cluster\n1,2\n"))


def test_gmt_levels_parents_and_anti_markers(tmp_path: Path) -> None:
    text = (
        "Immune\tna\tPTPRC\nImmune / T\tparent of none\tCD3D\tCD3E\tCD3D\nImmune / T (anti)\tna\tMS4A1\n"
        "B\tparent: Immune\tCD79A\nNaive\tparent=B\tTCL1A\n# comment\n\n"
    )
    h = read_hierarchy(write(tmp_path / "g.gmt", text))
    assert paths(h) == ["Immune", "Immune / T", "Immune / B", "Immune / B / Naive"]
    assert h["Immune / T"].markers == ("CD3D", "CD3E")
    assert h["Immune / T"].anti_markers == ("MS4A1",)
    assert h["Immune / T"].description == "parent of none"
    assert read_hierarchy(text).nodes == h.nodes


def test_gmt_line_without_genes_is_named(tmp_path: Path) -> None:
    with pytest.raises(HierarchyError, match=r"line 2: a GMT line needs a name, a description and genes"):
        read_hierarchy(write(tmp_path / "g.gmt", "A\tna\tX\nB na C D\n"))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "n_types"),
    [
        ("ScTypeDB_full.xlsx", 250),
        ("ScTypeDB_short.xlsx", 120),
        ("PanglaoDB_markers_27_Mar_2020.tsv.gz", 170),
        ("CellMarker2_Human_sets.csv.gz", 2000),
        ("CellMarker2_Mouse_sets.csv.gz", 500),
        ("celltypist_pan_immune_encyclopedia_v2.csv", 95),
    ],
)
@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
def test_published_tables_can_be_read(labelled_data: Path, name: str, n_types: int) -> None:
    h = read_hierarchy(labelled_data / "markers" / name)
    assert len(h) > n_types
    assert len(h.all_markers()) > 150
