"""Which variable a listed marker is: order of the rules, aliases, symbol columns, hints, speed."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import InputError, MissingGenesError
from cellkey.hierarchy import no_marker_measured, resolve_names
from cellkey.hierarchy.aliases import alias_rows, aliases_of, compact_key, ortholog_of, stripped_forms


def one(name: str, *variables: str, **more: object) -> tuple[str, str] | None:
    r = resolve_names([name], variables, **more)  # type: ignore[arg-type]
    return (r.found[name], r.how[name]) if name in r.found else None


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        ("CD3E", ["CD3E", "cd3e"], ("CD3E", "exact")),
        ("Cd3e", ["CD3E"], ("CD3E", "case")),
        (" CD3E ", ["CD3E"], ("CD3E", "case")),
        ("HLA-DR/DP", ["HLA-DR_DP"], ("HLA-DR_DP", "punctuation")),
        (r"A\B", ["a_b"], ("a_b", "punctuation")),
        ("HLA-DRA", ["HLADRA"], ("HLADRA", "punctuation")),
        ("Ki 67", ["ki-67"], ("ki-67", "punctuation")),
        ("α-SMA", ["alphaSMA"], ("alphaSMA", "punctuation")),
        ("NOTHING", ["CD3E"], None),
        # exact wins over a nearer rule for another variable, case over punctuation, punctuation over alias
        ("CD45", ["PTPRC", "CD45"], ("CD45", "exact")),
        ("CD45", ["PTPRC", "cd45"], ("cd45", "case")),
        ("CD45", ["PTPRC", "CD-45"], ("CD-45", "punctuation")),
        ("CD45", ["PTPRC"], ("PTPRC", "alias")),
        ("PTPRC", ["CD45"], ("CD45", "alias")),
    ],
)
def test_rules_in_order(name: str, variables: list[str], expected: tuple[str, str] | None) -> None:
    assert one(name, *variables) == expected


@pytest.mark.parametrize(
    ("protein", "gene"),
    [
        ("CD45", "PTPRC"), ("CD3", "CD3E"), ("CD3", "CD3D"), ("CD20", "MS4A1"), ("CD8", "CD8A"),
        ("CD56", "NCAM1"), ("CD16", "FCGR3A"), ("CD31", "PECAM1"), ("E-cadherin", "CDH1"),
        ("Pan-Cytokeratin", "KRT8"),
        ("Pan-CK", "KRT18"), ("PanCK", "KRT19"), ("Vimentin", "VIM"), ("aSMA", "ACTA2"), ("Ki67", "MKI67"),
        ("HLA-DR", "HLA-DRA"), ("CD11c", "ITGAX"), ("CD11b", "ITGAM"), ("CD206", "MRC1"), ("CD138", "SDC1"),
        ("CD127", "IL7R"), ("CD25", "IL2RA"), ("CD117", "KIT"), ("CD66b", "CEACAM8"), ("PD-1", "PDCD1"),
        ("Granzyme B", "GZMB"), ("Podoplanin", "PDPN"), ("Collagen IV", "COL4A1"), ("Beta-actin", "ACTB"),
    ],
)  # fmt: skip
def test_promised_pairs_hold_both_ways(protein: str, gene: str) -> None:
    assert one(protein, gene, "OTHER") == (gene, "alias")
    assert one(gene, protein, "OTHER") == (protein, "alias")


def test_one_to_many_takes_the_first_present_whatever_the_order() -> None:
    assert one("CD3", "CD3G", "CD3D") == one("CD3", "CD3D", "CD3G") == ("CD3D", "alias")
    assert one("Pan-CK", "KRT7") == ("KRT7", "alias")


def test_a_gene_does_not_stand_for_its_partner() -> None:
    assert one("CD3D", "CD3E") is None
    assert one("KRT7", "PanCK") is None
    assert one("KRT5", "CK8/18") is None
    assert one("CEACAM5", "CD66b") is None


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("CD3E", "CD3_TotalSeqB"), ("CD4", "CD4-1"), ("CD19", "CD19_ADT"), ("CD14", "adt_CD14"),
        ("CD8A", "Hu.CD8"),
        ("PTPRC", "170Er_CD45"), ("MKI67", "Ki67_cellMask"), ("CD3E", "CD3 (UCHT1)"), ("CD3E", "GRCh38_CD3E"),
        ("CD3E", "CD3E_ENSG00000198851"), ("CD3E", "ENSG00000198851.12_CD3E"), ("CD68", "CD68: Cell: Mean"),
        ("CD5", "CD5-TotalC"), ("ENSG00000198851.3", "ENSG00000198851"),
    ],
)  # fmt: skip
def test_marks_of_antibodies_channels_and_builds(name: str, variable: str) -> None:
    assert one(name, variable, "ZZZ") == (variable, "alias")


@pytest.mark.parametrize("name", ["NKX2-1", "TTF-1", "HLA-A", "IGKV1-5", "MT-CO1", "KRT18-AS1", "CD302"])
def test_real_names_are_not_cut(name: str) -> None:
    assert stripped_forms(name) == ()


def test_rna_wins_over_the_protein_of_the_same_name() -> None:
    assert one("CD4", "CD4-1", "CD4") == ("CD4", "exact")
    assert one("CD3E", "CD3_TotalSeqB", "CD3E") == ("CD3E", "exact")


def test_symbol_columns_in_their_order() -> None:
    ids = ["ENSG00000198851", "ENSG00000081237"]
    columns = {"feature_name": ["CD3E", "PTPRC"], "gene_symbols": ["CD3E", "x"], "n_cells": ["1", "2"]}
    r = resolve_names(["CD3E", "PTPRC", "CD45"], ids, var_columns=columns)
    assert dict(r.found) == {"CD3E": ids[0], "PTPRC": ids[1], "CD45": ids[1]}
    assert set(r.how.values()) == {"var_column"}
    assert "symbols were taken from 'gene_symbols' or 'feature_name'" in r.notes[0]


def test_symbol_column_name_is_compared_without_case() -> None:
    assert one("CD3E", "ENSG00000198851", var_columns={"Symbol": ["CD3E"]}) == (
        "ENSG00000198851",
        "var_column",
    )


def test_symbol_column_of_the_wrong_length() -> None:
    with pytest.raises(InputError, match=r"symbol: has 1 values for 2 variables"):
        resolve_names(["A"], ["A", "B"], var_columns={"symbol": ["A"]})


def test_two_names_of_one_variable_count_once() -> None:
    r = resolve_names(["CD20", "MS4A1", "CD79A", "ZZ"], ["MS4A1", "CD79A"])
    assert r.variables(["CD20", "MS4A1", "CD79A", "ZZ"]) == ("MS4A1", "CD79A")
    assert r.repeated(["CD20", "MS4A1", "CD79A"]) == ("MS4A1",)
    assert r.unresolved(["ZZ", "CD20"]) == ("ZZ",)


def test_ensembl_without_symbols_says_how_to_mend_it() -> None:
    r = resolve_names(["CD3E"], ["ENSG00000198851.14", "ENSG00000081237"])
    assert r.missing == ("CD3E",)
    assert "Ensembl ids (ENSG00000198851.14)" in r.notes[0]
    assert "var['gene_symbols']" in r.notes[0]


def test_ensembl_ids_as_markers_ignore_versions() -> None:
    r = resolve_names(["ENSG00000198851"], ["ENSG00000198851.14", "ENSG00000081237.2"])
    assert r.found == {"ENSG00000198851": "ENSG00000198851.14"}
    assert r.notes == ()


def test_transcripts_are_recognised() -> None:
    assert "are transcripts (ENST00000361763.9)" in resolve_names(["CD3E"], ["ENST00000361763.9"]).notes[0]


MOUSE = ["Cd3e", "Ptprc", "H2-Aa", "Cd8b1", "Lyz2", *(f"Gene{i}" for i in range(100))]
HUMAN = ["CD3E", "PTPRC", "HLA-DRA", "C10orf10", *(f"GENE{i}" for i in range(100))]


def test_mouse_symbols_are_matched_and_said() -> None:
    r = resolve_names(["CD3E", "PTPRC", "HLA-DRA", "CD8B", "LYZ"], MOUSE)
    assert r.found == {"CD3E": "Cd3e", "PTPRC": "Ptprc", "HLA-DRA": "H2-Aa", "CD8B": "Cd8b1", "LYZ": "Lyz2"}
    assert "look like mouse genes" in r.notes[0]
    assert "(CD3E is Cd3e)" in r.notes[0]
    assert "look like human genes" in resolve_names(["Cd3e", "Ptprc"], HUMAN).notes[0]


def test_human_data_bring_no_species_note() -> None:
    assert resolve_names(["CD3E", "PTPRC"], HUMAN).notes == ()


def test_claimed_species_is_compared() -> None:
    assert any("said to be from human" in n for n in resolve_names(["CD3E"], MOUSE, species="human").notes)


def test_missing_names_get_close_matches() -> None:
    r = resolve_names(["CD3EE", "KRT88"], ["CD3E", "KRT8", "KRT18", "ALB"])
    assert r.close("CD3EE") == ("CD3E",)
    assert r.close("KRT88") == ("KRT8", "KRT18")
    table = r.table()
    assert list(table.columns) == ["listed", "variable", "how", "close_matches"]
    assert table["how"].tolist() == ["missing", "missing"]
    assert table["close_matches"].tolist() == ["CD3E", "KRT8,KRT18"]
    assert r.summary() == "0 of 2 listed names are among the 4 variables"


def test_summary_counts_rules() -> None:
    r = resolve_names(["CD3E", "CD20", "ZZZ"], ["CD3E", "MS4A1"])
    assert r.summary() == "2 of 3 listed names are among the 2 variables (1 by exact name, 1 by alias)"


def test_few_found_is_a_note() -> None:
    assert "only 1 of 20" in resolve_names([f"M{i}" for i in range(20)], ["M3"]).notes[-1]


def test_no_marker_measured_lists_ten_closest() -> None:
    r = resolve_names([f"MARKER{i}X" for i in range(20)], [f"marker{i}" for i in range(30)])
    error = no_marker_measured(r, "marker map a.json")
    assert isinstance(error, MissingGenesError)
    assert "none of the 20 markers of marker map a.json (such as MARKER0X" in str(error)
    assert sum("closest measured name" in str(p) for p in error.problems) == 10


@given(st.permutations(["CD3E", "cd3e", "Cd3E", "CD-3E", "CD3_E", "MS4A1", "ms4a1", "CD20"]))
def test_order_of_variables_never_matters(variables: list[str]) -> None:
    names = ["cD3e", "Cd20", "CD3 E", "MS4A1 ", "B1 ms4a1"]
    expected = resolve_names(names, sorted(variables))
    r = resolve_names(names, variables)
    assert (r.found, r.how) == (expected.found, expected.how)


@given(st.lists(st.text(alphabet="ABCab123-_ /.", min_size=1, max_size=8), max_size=20))
def test_every_name_is_found_or_missing_and_finds_itself(names: list[str]) -> None:
    r = resolve_names(names, names)
    assert set(r.found) | set(r.missing) == set(names)
    assert all(r.found[n] == n and r.how[n] == "exact" for n in names)


def test_resolution_survives_pickling() -> None:
    r = resolve_names(["CD3EE", "CD20"], ["CD3E", "MS4A1"])
    again = pickle.loads(pickle.dumps(r))  # noqa: S301
    assert again == r
    assert again.close("CD3EE") == ("CD3E",)


def test_alias_table_is_well_formed() -> None:
    rows = alias_rows()
    assert len(rows) > 400
    for row in rows:
        assert row.genes
        assert row.names
        assert all(x == x.strip() and x for x in (*row.genes, *row.names, *row.also))
    genes = {compact_key(g): g for row in rows for g in row.genes}
    clash = [n for row in rows for n in row.names if genes.get(compact_key(n), n) not in (*row.genes, n)]
    assert clash == []
    assert aliases_of("no such thing") == ()
    assert ortholog_of("hla-dra") == ("H2-Aa", "H2-Eb1")


def test_thousand_names_among_thirty_thousand_in_under_a_second() -> None:
    variables = [f"GENE{i}" for i in range(30_000)]
    names = [f"GENE{i * 7}" for i in range(500)] + [f"ABSENT{i}" for i in range(500)]
    start = time.perf_counter()
    r = resolve_names(names, variables)
    assert time.perf_counter() - start < 1.5
    assert len(r.found) == 500
