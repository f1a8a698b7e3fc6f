"""A marker table without cells and without a model."""

from __future__ import annotations

import json
import socket

import pandas as pd
import pytest
from batch_helpers import TYPES, write_hierarchy
from typer.testing import CliRunner

from cellkey.batch.table_run import TABLE_CALLS, annotate_table_by_markers
from cellkey.cli import build_app
from cellkey.errors import InputError, RunError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my markers.csv"
    rows = {
        "1": TYPES["T"],
        "10": TYPES["B"],
        "=cmd|'/c calc'!A0": TYPES["endothelial"],
        "<script>": ("GENE1", "GENE2"),
    }
    lines = [f'"{cluster}","{", ".join(genes)}"' for cluster, genes in rows.items()]
    path.write_text("cluster,genes\n" + "\n".join(lines) + "\n")
    return path


def test_clusters_are_called_and_written(tmp_path, table, monkeypatch) -> None:
    """One row per cluster, the walk's reason with it, texts neutral in a spreadsheet, nothing sent."""

    def refuse(*_args, **_more):
        raise AssertionError("no connection may be made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    run = annotate_table_by_markers(table, tmp_path / "out", hierarchy=write_hierarchy(tmp_path / "map.json"))
    assert {c: call.label for c, call in run.calls.items()} == {
        "1": "T cells", "10": "B cells", "=cmd|'/c calc'!A0": "endothelial cells", "<script>": "Unknown",
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "my markers_calls.csv", "my markers_annotation.txt", "run_manifest.json",
    }  # fmt: skip
    read = TABLE_CALLS.read_csv(tmp_path / "out" / "my markers_calls.csv").set_index("cluster")
    assert "'=cmd|'/c calc'!A0" in read.index
    assert read.loc["<script>", ["status", "cell_type", "path"]].tolist() == ["unlabelled", "Unknown", ""]
    assert read.loc["<script>", "reason"] == "no type below has enough of its markers"
    assert read.loc["1", "n_genes"] == len(TYPES["T"])
    assert json.loads((tmp_path / "out" / "run_manifest.json").read_text())["hierarchy"]
    with pytest.raises(RunError, match="not empty"):
        annotate_table_by_markers(table, tmp_path / "out")


def test_the_command_prints_without_writing(tmp_path, table) -> None:
    """Without --out the calls are shown only."""
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(build_app(), ["annotate-table", str(table), "--tissue", "blood"])
    assert done.exit_code == 0, done.output
    assert "fits the tissue 'blood'" in done.output
    assert "B Cells" in done.output
    assert sorted(tmp_path.rglob("*")) == before
    wrong = CliRunner().invoke(build_app(), ["annotate-table", str(tmp_path / "none.csv")])
    assert wrong.exit_code == 2


def test_scanpy_and_seurat_tables_give_the_same_calls(tmp_path) -> None:
    """The form of the table decides nothing."""
    rows = [(c, g, 2.0 if own == c else -1.0, 0.8 if own == c else 0.1)
            for c in TYPES for own, genes in TYPES.items() for g in genes]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["c", "g", "fold", "fraction"])
    seurat = frame.rename(columns={"c": "cluster", "g": "gene", "fold": "avg_log2FC", "fraction": "pct.1"})
    scanpy = frame.rename(columns={"c": "group", "g": "names", "fold": "logfoldchanges", "fraction": "pct_nz_group"})
    seurat.assign(p_val_adj=0.0).to_csv(tmp_path / "seurat.csv", index=False)
    scanpy.assign(pvals_adj=0.0).to_csv(tmp_path / "scanpy.tsv", index=False, sep="\t")
    key = write_hierarchy(tmp_path / "map.json")
    first, second = (annotate_table_by_markers(tmp_path / n, hierarchy=key) for n in ("seurat.csv", "scanpy.tsv"))
    assert first.calls == second.calls
    assert {c: call.label for c, call in first.calls.items()} == {c: f"{c} cells" for c in TYPES}


def test_unknown_maps_are_refused(table) -> None:
    """The message names what was looked for."""
    with pytest.raises(InputError, match="no_such_map"):
        annotate_table_by_markers(table, hierarchy="no_such_map")
