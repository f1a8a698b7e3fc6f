"""Runs of every kind read alike: what they are, their clusters, and how those came by their labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellkey.annotation.agreement_files import consensus
from cellkey.annotation.compare import compare_runs
from cellkey.annotation.explain import explain_run
from cellkey.batch.table_run import annotate_table_by_markers
from cellkey.errors import InputError, RunError
from cellkey.records.run_tables import RunKind, run_calls, run_kind, run_tables, text_rows
from cellkey.report.reading import read_run


@pytest.fixture
def agreed(tmp_path: Path) -> Path:
    """Two people and a tool on four clusters: agreement, a quarrel below the root, and silence."""
    for name, labels in {"ann": ("CD4 T Cells", "B Cells", "", "NK Cells"), "bob": ("CD4 T Cells", "NK Cells", "", ""),
                         "tool": ("T Cells", "Monocytes", "", "NK Cells")}.items():
        rows = "".join(f"{i},{label}\n" for i, label in enumerate(labels))
        (tmp_path / f"{name}.csv").write_text(f"cluster_id,label\n{rows}")
    consensus(tables=[f"{tmp_path / n}.csv:label" for n in ("ann", "bob", "tool")], hierarchy="blood",
              output_dir=tmp_path / "agreed", figures=False)
    return tmp_path / "agreed"


@pytest.fixture
def named(tmp_path: Path) -> Path:
    table = tmp_path / "markers.csv"
    table.write_text('cluster,genes\n0,"CD3D, CD3E, IL7R, CD4"\n1,"MS4A1, CD79A, CD79B, CD19"\n=2,"GENE1, GENE2"\n')
    annotate_table_by_markers(table, tmp_path / "named", hierarchy="blood")
    return tmp_path / "named"


def test_rows_are_text_and_may_be_cut_by_a_column(tmp_path: Path) -> None:
    """Short rows are filled, long ones cut, the apostrophe before a sign goes."""
    (tmp_path / "t.csv").write_text("cluster,gene\n0,a\n0,'=b\n\n1\n0,c\n1,d,e\n")
    rows = text_rows(tmp_path / "t.csv")
    assert [tuple(r.values()) for r in rows] == [("0", "a"), ("0", "=b"), ("1", ""), ("0", "c"), ("1", "d")]
    assert text_rows(tmp_path / "t.csv", first_of=("cluster", 1)) == [rows[0], rows[2]]
    assert text_rows(tmp_path / "t.csv", first_of=("other", 1)) == rows


def test_a_consensus_is_a_run(agreed: Path) -> None:
    assert run_kind(agreed) is RunKind.CONSENSUS
    calls = run_calls(agreed).set_index("cluster_id")
    assert calls.loc["0", "final_annotation"] == "CD4 T Cells"
    assert calls.loc["0", "assigned_path"].endswith(" / CD4 T Cells")
    text = explain_run(agreed, ["1"])
    for source, verdict in {"ann:label": "B Cells", "bob:label": "NK Cells", "tool:label": "Monocytes"}.items():
        line = next(row for row in text.splitlines() if row.strip().startswith(source))
        assert verdict in line
    assert "Cluster 2" in explain_run(agreed)
    page = read_run(agreed)
    assert page.datasets[0].clusters == ["0", "1", "2", "3"]
    with pytest.raises(InputError, match="no cluster '9'"):
        explain_run(agreed, ["9"])


def test_a_marker_table_is_a_run(named: Path) -> None:
    assert run_kind(named) is RunKind.MARKER_TABLE
    calls = run_calls(named).set_index("cluster_id")
    assert calls.loc["1", "final_annotation"].endswith("B Cells")
    assert calls.loc["=2", "final_annotation"] == "Unknown"
    text = explain_run(named, ["1"])
    assert "MS4A1" in text
    assert calls.loc["1", "assigned_path"] in text
    page = read_run(named)
    assert (page.kind, page.facts["marker hierarchy"]) == ("marker table", "blood")
    assert set(page.datasets[0].clusters) == {"0", "1", "=2"}


def test_runs_of_different_kinds_are_compared(agreed: Path, named: Path) -> None:
    changes = compare_runs(run_calls(agreed), run_calls(named)).set_index("cluster_id")["change"]
    assert changes["3"] == "only_in_1"
    assert changes["0"] in ("same", "deeper", "shallower")


def test_what_is_no_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        run_kind(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        run_calls(tmp_path / "none")
    (tmp_path / "batch_summary.csv").write_text("dataset\n")
    with pytest.raises(InputError, match="is a batch"):
        explain_run(tmp_path)
    assert run_tables(tmp_path, ("cluster_annotations",)) == {}
