"""Marker tables of the common tools, and which of their genes a model is shown."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import CellkeyWarning, InputError
from cellkey.llm import SelectionParameters, marker_table, read_marker_table, select_markers
from cellkey.llm.identifiers import cluster_id, natural_key


def test_identifiers_are_text_and_whole_floats_lose_their_fraction() -> None:
    """Integers in one file and text in another name the same cluster."""
    values = [3, 3.0, np.int64(3), np.float32(3), "3", "CD4+ T", "7_0", "0.0", None, float("nan")]
    assert [cluster_id(v) for v in values] == ["3", "3", "3", "3", "3", "CD4+ T", "7_0", "0.0", "", ""]


def test_identifiers_sort_by_their_numbers() -> None:
    """Numbers inside text compare as numbers."""
    assert sorted(["10", "9", "b2", "b10", "1_10", "1_2"], key=natural_key) == ["1_2", "1_10", "9", "10", "b2", "b10"]


@given(st.lists(st.text(max_size=8)))
def test_any_texts_can_be_sorted(texts: list[str]) -> None:
    """No identifier breaks the order."""
    assert sorted(texts, key=natural_key) == sorted(texts, key=natural_key)


SEURAT = """"","p_val","avg_log2FC","pct.1","pct.2","p_val_adj","cluster","gene"
"CD3D",0,2.1,0.9,0.1,0,0,"CD3D"
"MS4A1",1e-300,Inf,0.8,0.0,1e-296,"10","MS4A1"
"CD79A",NA,1.5,0.8,0.1,NA,"9","CD79A"
"CD79A.1",0.5,0.1,0.8,0.1,1,"9","CD79A"
"""


def test_seurat_table(tmp_path) -> None:
    """FindAllMarkers: row names dropped, NA and Inf read, repeated genes kept once, clusters in natural order."""
    path = tmp_path / "m.csv.gz"
    path.write_bytes(gzip.compress(SEURAT.encode()))
    table = read_marker_table(path)
    assert table["cluster"].tolist() == ["0", "9", "10"]
    assert table["gene"].tolist() == ["CD3D", "CD79A", "MS4A1"]
    assert np.isnan(table["p_val"][1])
    assert np.isinf(table["avg_log2FC"][2])
    assert list(table.columns) == ["cluster", "gene", "avg_log2FC", "pct.1", "pct.2", "p_val", "p_val_adj", "score"]


def test_old_seurat_fold_changes_are_brought_to_base_two() -> None:
    """``avg_logFC`` is a natural logarithm."""
    table = marker_table(pd.DataFrame({"cluster": ["0"], "gene": ["A"], "avg_logFC": ["0.6931471805599453"]}))
    assert table["avg_log2FC"][0] == pytest.approx(1.0)


def test_scanpy_long_table_maps_fractions() -> None:
    """``rank_genes_groups_df``: group, names, logfoldchanges, pct_nz_group."""
    frame = pd.DataFrame(
        {
            "group": ["0", "1"],
            "names": ["A", "B"],
            "scores": [9.0, 8.0],
            "logfoldchanges": [1.0, 2.0],
            "pvals": [0.01, 0.02],
            "pvals_adj": [0.02, 0.04],
            "pct_nz_group": [0.9, 0.8],
            "pct_nz_reference": [0.1, 0.2],
        }
    )
    table = marker_table(frame)
    assert table.loc[0].tolist() == ["0", "A", 1.0, 0.9, 0.1, 0.01, 0.02, 9.0]
    assert next(iter(frame.columns)) == "group"  # the source is not changed


def test_scanpy_structured_arrays_equal_scanpys_own_table() -> None:
    """The mapping in ``uns`` and ``rank_genes_groups_df`` read alike."""
    scanpy = pytest.importorskip("scanpy")
    import anndata

    rng = np.random.default_rng(0)
    X = rng.poisson(1.0, (60, 12)).astype(np.float32)
    X[:20, 0] += 5
    cells = anndata.AnnData(
        X,
        obs=pd.DataFrame({"k": pd.Categorical([str(i // 20) for i in range(60)])}, index=[f"c{i}" for i in range(60)]),
    )
    cells.var_names = [f"G{i}" for i in range(12)]
    scanpy.pp.log1p(cells)
    scanpy.tl.rank_genes_groups(cells, "k", method="wilcoxon", pts=True)
    long = scanpy.get.rank_genes_groups_df(cells, None)
    pd.testing.assert_frame_equal(marker_table(cells.uns["rank_genes_groups"]), marker_table(long))


@pytest.mark.parametrize("separator", [",", ", ", ";", " ", "\t"])
def test_two_columns(separator: str) -> None:
    """Cluster and gene list, however separated; header names are free."""
    frame = pd.DataFrame(
        {
            "Broad cell type": ["b cells, naive", "T"],
            "Top markers": [separator.join(["MS4A1", "CD79A"]), separator.join(["CD3D", "CD3E", "TRAC"])],
        }
    )
    table = marker_table(frame)
    assert table.groupby("cluster")["gene"].agg(list).to_dict() == {
        "b cells, naive": ["MS4A1", "CD79A"],
        "T": ["CD3D", "CD3E", "TRAC"],
    }


def test_a_comma_in_a_wide_table_does_not_make_it_two_columns() -> None:
    """Free text beside the numbers changes nothing."""
    frame = pd.DataFrame({"cluster": ["0"], "gene": ["A"], "avg_log2FC": [1], "comment": ["a, b, c, d"]})
    assert marker_table(frame)["gene"].tolist() == ["A"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"a": [1], "b": [2], "clutser": [3]}), "did you mean"),
        (pd.DataFrame({"cluster": [""], "gene": ["A"]}), "no cluster"),
        (pd.DataFrame({"cluster": ["0"], "genes": [""]}), "no cluster"),
    ],
)
def test_unusable_tables_are_refused_with_what_was_found(frame: pd.DataFrame, words: str) -> None:
    """The message names the columns found and the known forms."""
    with pytest.raises(InputError, match=words):
        marker_table(frame)


def test_files_that_cannot_be_read(tmp_path) -> None:
    """Missing files, spreadsheets and broken text are input errors."""
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for name, words in (("none.csv", "does not exist"), ("a.xlsx", "spreadsheet"), ("b.csv", "cannot be read")):
        with pytest.raises(InputError, match=words):
            read_marker_table(tmp_path / name)


def table_of(**columns) -> pd.DataFrame:
    n = len(columns["gene"])
    base = {
        "cluster": ["0"] * n,
        "avg_log2FC": [1.0] * n,
        "pct.1": [0.5] * n,
        "pct.2": [0.1] * n,
        "p_val": [1e-5] * n,
        "p_val_adj": [1e-4] * n,
        "score": [5.0] * n,
    }
    return marker_table(pd.DataFrame({**base, **columns}))


def test_ranking_is_by_statistic_then_fractions_then_fold_change_then_name() -> None:
    """Ties are broken, so order of rows decides nothing."""
    table = table_of(
        gene=["d", "c", "b", "a", "e"],
        score=[5, 5, 5, 5, 9],
        **{"pct.1": [0.5, 0.5, 0.5, 0.6, 0.5], "avg_log2FC": [1, 1, 2, 1, 1]},
    )
    assert select_markers(table)["0"].names == ("e", "a", "b", "c", "d")


@given(st.permutations(range(12)))
def test_order_of_rows_changes_nothing(order: list[int]) -> None:
    """Equal tables give equal lists."""
    rng = np.random.default_rng(1)
    table = table_of(gene=[f"g{i}" for i in range(12)], score=rng.integers(1, 4, 12).tolist())
    shuffled = table.iloc[order].reset_index(drop=True)
    assert select_markers(shuffled) == select_markers(table)


def test_a_cluster_without_a_passing_gene_stays_and_is_marked() -> None:
    """Filters are relaxed, and the cluster says so."""
    table = table_of(gene=["a", "b"], p_val_adj=[0.9, 0.9], **{"avg_log2FC": [0.1, 0.2]})
    chosen = select_markers(table)["0"]
    assert set(chosen.names) == {"a", "b"}
    assert chosen.low_markers
    assert select_markers(table, SelectionParameters(rule="cassia"))["0"].names == ()


def test_the_original_rule_orders_by_fold_change_and_replaces_infinity() -> None:
    """``rule="cassia"`` repeats the original selection."""
    table = table_of(
        gene=["a", "b", "c", "d"],
        **{"avg_log2FC": [1.0, np.inf, 2.0, 0.2], "pct.1": [0.5, 0.5, 0.05, 0.5], "pct.2": [0.0, 0.0, 0.3, 0.0]},
    )
    # c passes by pct.2; b's infinity becomes the largest finite value, and the tie goes to the larger difference
    assert select_markers(table, SelectionParameters(rule="cassia"))["0"].names == ("b", "c", "a")


def test_housekeeping_genes_are_counted_not_shown() -> None:
    """Mitochondrial, ribosomal and unnamed genes are left out; haemoglobin is shown in blood."""
    names = ["MT-CO1", "RPL13A", "RPS3", "MALAT1", "LINC00926", "HBA1", "CD3D"]
    chosen = select_markers(table_of(gene=names), tissue="lung")["0"]
    assert (chosen.names, chosen.n_dropped) == (("CD3D",), 6)
    assert select_markers(table_of(gene=names), tissue="cord blood")["0"].names == ("CD3D", "HBA1")


def test_genes_are_described_with_rounded_numbers() -> None:
    """One decimal for fold changes, whole percents, and only what is known."""
    gene = select_markers(table_of(gene=["A"], **{"avg_log2FC": [2.44], "pct.1": [0.812], "pct.2": [0.058]}))["0"]
    assert gene.genes[0].described() == "A (log2FC 2.4, 81% vs 6%)"
    only = select_markers(table_of(gene=["A"], **{"avg_log2FC": [32.2], "pct.1": [0.75], "pct.2": [0.0]}))["0"]
    assert only.genes[0].described() == "A (log2FC >10.0, 75% vs 0%)"
    assert select_markers(marker_table({"0": ["A", "B"]}))["0"].genes[0].described() == "A"


@pytest.mark.real_data
def test_a_real_seurat_table_is_read_whole(labelled_data) -> None:
    """All nine clusters of the pbmc3k table keep markers of their kind."""
    table = read_marker_table(labelled_data / "markers" / "seurat_findallmarkers_pbmc3k.csv.gz")
    chosen = select_markers(table, tissue="blood")
    assert list(chosen) == [str(i) for i in range(9)]
    assert "CD79A" in chosen["3"].names[:5]
    assert "GP9" in chosen["8"].names[:3]


LISTS = {"0": "CD3D, CD3E, TRAC", "T cells": "MS4A1, CD79A, CD79B"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("header.csv", 'cluster,genes\n0,"CD3D, CD3E, TRAC"\nT cells,"MS4A1, CD79A, CD79B"\n'),
        ("no_header.csv", '0,"CD3D, CD3E, TRAC"\nT cells,"MS4A1, CD79A, CD79B"\n'),
        ("no_header_tabs.csv", "0\tCD3D, CD3E, TRAC\nT cells\tMS4A1, CD79A, CD79B\n"),
        ("no_header_semicolons.csv", "0;CD3D, CD3E, TRAC\nT cells;MS4A1, CD79A, CD79B\n"),
        ("lines.txt", "0: CD3D, CD3E, TRAC\nT cells: MS4A1, CD79A, CD79B\n"),
        ("side_by_side.csv", ",0,T cells\n0,CD3D,MS4A1\n1,CD3E,CD79A\n2,TRAC,CD79B\n"),
        ("n_p.csv", ",0_n,0_p,T cells_n,T cells_p\n0,CD3D,0,MS4A1,0\n1,CD3E,0,CD79A,0\n2,TRAC,0,CD79B,0\n"),
        ("long.csv", "0,CD3D\n0,CD3E\n0,TRAC\nT cells,MS4A1\nT cells,CD79A\nT cells,CD79B\n"),
    ],
)
def test_gene_lists_lose_no_cluster_and_no_gene(tmp_path, name: str, content: str) -> None:
    """Lists with and without a header, in columns, lines, or side by side, read alike."""
    (tmp_path / name).write_text(content)
    table = read_marker_table(tmp_path / name)
    assert table.groupby("cluster")["gene"].agg(", ".join).to_dict() == LISTS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ","), ("\t", ".")])
def test_tables_of_spreadsheets_in_any_country(tmp_path, encoding: str, separator: str, decimal: str) -> None:
    """Separator, decimal mark and encoding are found out, whatever the file is called."""
    frame = pd.DataFrame(
        {"gene": ["CD3D", "MS4A1"], "cluster": ["0", "1"], "avg_log2FC": [2.25, 1e-5], "p_val_adj": [1.5e-30, 0.25]}
    )
    path = tmp_path / "m.csv"
    frame.to_csv(path, sep=separator, decimal=decimal, encoding=encoding, index=False)
    table = read_marker_table(path)
    assert table["avg_log2FC"].tolist() == [2.25, 1e-5]
    assert table["p_val_adj"].tolist() == [1.5e-30, 0.25]


def test_of_a_repeated_gene_the_best_row_counts_in_any_order() -> None:
    """A weak second row neither replaces the strong one nor depends on the order of rows."""
    strong = {"cluster": "0", "gene": "CD3D", "avg_log2FC": 2.0, "p_val_adj": 1e-30}
    weak = {"cluster": "0", "gene": "CD3D", "avg_log2FC": 0.1, "p_val_adj": 0.5}
    for rows in ([strong, weak], [weak, strong]):
        assert marker_table(pd.DataFrame(rows))["avg_log2FC"].tolist() == [2.0]


def test_a_cluster_without_genes_keeps_its_row_and_gets_a_reason(room) -> None:
    """It is shown to nobody and ends unlabelled; it never disappears."""
    frame = pd.DataFrame({"cluster": ["0", "1"], "genes": ["CD3D, CD3E, TRAC, CD2, IL7R", ""]})
    assert marker_table(frame)["cluster"].tolist() == ["0"] * 5 + ["1"]
    assert select_markers(marker_table(frame))["1"].genes == ()
    result = room.annotate(markers=frame)
    assert result.table["status"].tolist() == ["ok", "unlabelled"]
    assert "no gene" in result.table["error"][1]
    assert {s.cluster for s in room.server.served} <= {"0", ""}


def test_names_made_by_a_spreadsheet_are_pointed_out() -> None:
    """SEPT2 and MARCH1 that became dates cannot be told apart any more, so the user is told."""
    frame = pd.DataFrame({"cluster": ["0"] * 4, "gene": ["2-Sep", "CD3D", "2021-03-01", "44256"], "p_val_adj": [0] * 4})
    with pytest.warns(CellkeyWarning, match=r"3 genes .*2-Sep"):
        marker_table(frame)


def test_ensembl_identifiers_give_way_to_a_column_of_names_and_are_pointed_out_without_one() -> None:
    """Names are taken where the table has them; else the user learns why nothing is recognised."""
    frame = pd.DataFrame(
        {"cluster": ["0", "0"], "gene": ["ENSG00000167286.8", "ENSG00000198851"], "avg_log2FC": [2, 1]}
    )
    assert marker_table(frame.assign(gene_name=["CD3D", "CD3E"]))["gene"].tolist() == ["CD3D", "CD3E"]
    with pytest.warns(CellkeyWarning, match="Ensembl"):
        marker_table(frame)
