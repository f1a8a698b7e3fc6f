"""Clusters of several tissues in one marker table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from conftest_llm import planted_markers
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import InputError
from cellkey.llm import Study, bundled_knowledge, marker_table, select_markers
from cellkey.llm.marker_tables import cluster_tissues
from cellkey.llm.stored import open_table_run
from cellkey.testing import ModelServer

if TYPE_CHECKING:
    from pathlib import Path

TISSUES = {"0": "blood", "1": "spleen", "10": "brain"}


def write(path: Path) -> Path:
    """Write the planted markers with a tissue for three of the four clusters."""
    table = planted_markers()
    table.assign(tissue=table["cluster"].map(TISSUES).fillna("")).to_csv(path, index=False)
    return path


def test_every_cluster_is_asked_about_with_its_own_tissue(tmp_path: Path) -> None:
    """Questions, rows, and the run that is read back name the tissue of the cluster; others have that of the option."""
    table, out = write(tmp_path / "m.csv"), tmp_path / "out"
    with ModelServer() as server:
        words = ["llm", "annotate", str(table), "--provider", server.url, "--tissue", "skin", "--out", str(out)]
        done = CliRunner().invoke(build_app(), [*words, "--cache", "off", "--no-merge"])
        assert done.exit_code == 0, done.output
        told = {s.cluster: s.text for s in server.served if s.role != "probe"}
    wanted = {**TISSUES, "CD4+ T_x": "skin"}
    assert {c: f'"tissue": "{t}"' in told[c] for c, t in wanted.items()} == dict.fromkeys(wanted, True)
    for file, cluster, tissue in (("annotations", "cluster", "tissue"), ("FINAL_RESULTS", "Cluster ID", "Tissue")):
        rows = pd.read_csv(out / f"m_{file}.csv", dtype=str)
        assert dict(zip(rows[cluster], rows[tissue], strict=True)) == wanted
    assert "TISSUE blood, spleen, brain, skin" in (out / "m_annotation.txt").read_text()
    again = open_table_run(out)
    assert {r.cluster: r.evidence.study.tissue for r in again.result.clusters} == wanted


def test_tissues_decide_about_haemoglobin_and_panels(tmp_path: Path) -> None:
    """Blood shows haemoglobin, brain does not; a panel of one tissue is shown to its clusters only."""
    genes = ["HBB", *(f"G{i}" for i in range(12))]
    rows = [(c, g, 3.0 - i / 10, 0.9, 0.1, 1e-9) for c in ("a", "b") for i, g in enumerate(genes)]
    table = marker_table(pd.DataFrame(rows, columns=["cluster", "gene", "avg_log2FC", "pct.1", "pct.2", "p_val_adj"]))
    shown = select_markers(table, tissue="blood", tissues={"b": "brain"})
    assert {c: "HBB" in s.names for c, s in shown.items()} == {"a": True, "b": False}
    (tmp_path / "p.csv").write_text("cell_type,gene,tissue\nneuron,G1,brain\nneuron,G2,brain\n")
    study = Study("blood", tissues={"b": "brain"})
    evidence = bundled_knowledge(panels=tmp_path / "p.csv", study=study).evidence(table, study)
    assert {c: len(e.panels) for c, e in evidence.items()} == {"a": 0, "b": 1}


def test_gene_lists_may_have_tissues_and_a_cluster_has_one(tmp_path: Path) -> None:
    """The column is no gene list; two tissues of one cluster are an error that names them."""
    lists = tmp_path / "lists.csv"
    lists.write_text('cluster,genes,Tissue\n0,"CD3D, CD3E",blood\n1,"GFAP, AQP4",brain\n')
    assert cluster_tissues(lists) == {"0": "blood", "1": "brain"}
    assert marker_table(pd.read_csv(lists, dtype=str))["gene"].tolist() == ["CD3D", "CD3E", "GFAP", "AQP4"]
    lists.write_text("cluster,gene,tissue\n0,CD3D,blood\n0,CD3E,liver\n")
    with pytest.raises(InputError, match="cluster '0' is of blood and of liver"):
        cluster_tissues(lists)
    lists.write_text("cluster,gene\n0,CD3D\n")
    assert cluster_tissues(lists) == {}
