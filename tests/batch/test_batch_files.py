"""Finding datasets, naming runs, and the files at the top of a run."""

from __future__ import annotations

import csv
import re
import subprocess
from datetime import datetime

import pandas as pd
import pytest
from batch_helpers import empty_tree

from cellkey.batch.directory import create_run_directory, run_label
from cellkey.batch.discovery import discover
from cellkey.batch.rows import DatasetRow, clean_error, write_summary
from cellkey.batch.texts import RunFacts, run_summary
from cellkey.errors import InputError, NothingToDoError, RunError
from cellkey.llm.accounting import token_tracking

NOW = datetime(2026, 2, 16, 15, 14, 25)


def test_datasets_are_found_in_byte_order(tmp_path) -> None:
    """Only files directly inside ``h5ad_unlabelled``; hidden ones, links to nothing and other files are passed over."""
    root = empty_tree(tmp_path, brain=["b", "a", "B2"], Zebra=["x"], other=["y"])
    unlabelled = root / "brain" / "h5ad_unlabelled"
    (unlabelled / "._a.h5ad").touch()
    (unlabelled / "notes.txt").touch()
    (unlabelled / "broken.h5ad").symlink_to(tmp_path / "nowhere")
    (unlabelled / "deeper").mkdir()
    (unlabelled / "deeper" / "z.h5ad").touch()
    (root / ".hidden" / "h5ad_unlabelled").mkdir(parents=True)
    (root / "__MACOSX" / "h5ad_unlabelled").mkdir(parents=True)
    (root / "plain").mkdir()
    found = discover(root)
    assert [(d.tissue, d.name) for d in found] == [
        ("Zebra", "x"),
        ("brain", "B2"),
        ("brain", "a"),
        ("brain", "b"),
        ("other", "y"),
    ]
    assert [d.name for d in discover(root, ["other", "brain"], "[ab].h5ad")] == ["a", "b"]
    (root / "plain" / "p.h5ad").touch()
    assert "plain" in {d.tissue for d in discover(root, layout="flat")}


def test_what_cannot_be_found_is_told(tmp_path) -> None:
    """Unknown root, unknown tissue with near matches, nothing left."""
    empty_tree(tmp_path, brain=["a"])
    with pytest.raises(InputError, match="does not exist"):
        discover(tmp_path / "none")
    with pytest.raises(InputError, match="did you mean 'brain'"):
        discover(tmp_path, ["brian"])
    with pytest.raises(NothingToDoError, match="matches"):
        discover(tmp_path, None, "*Bassez*")
    for tissue in ("../x", "/etc", ".."):
        with pytest.raises(InputError):
            discover(tmp_path, [tissue])


def test_files_that_differ_by_case_only_are_refused(tmp_path) -> None:
    """Their results would meet on some file systems."""
    empty_tree(tmp_path, brain=["Data", "data"])
    with pytest.raises(InputError, match="cannot be told apart"):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a b", "a b"),
        ("=cmd", "=cmd"),
        ("<script>", "_script_"),
        ("..", "_"),
        ("a/../b", "a_.._b"),
        ("x" * 200, "x" * 120),
    ],
)
def test_names_become_safe_folders(name: str, folder: str) -> None:
    """No name from data leaves the run or breaks a file system."""
    from pathlib import Path

    from cellkey.batch.discovery import Dataset

    assert Dataset("t", name, Path("x")).folder == Path("t") / folder


@pytest.mark.parametrize(
    ("tissues", "label"),
    [
        (None, "all"),
        (["brain"], "brain"),
        (["brain", "breast"], "brain_breast"),
        (["b c", "x_y"], "b-c_x-y"),
        (["../x"], "-x"),
        (["<s>"], "-s-"),
        ([f"tissue{i}" for i in range(40)], "tissue0_plus39"),
    ],
)
def test_labels_of_runs(tissues: list[str] | None, label: str) -> None:
    """``_`` parts tissues and nothing else."""
    assert run_label(tissues) == label


def test_runs_started_in_the_same_second_get_two_directories(tmp_path) -> None:
    """Never merged, never overwritten."""
    made = [create_run_directory(tmp_path / "r", "brain", NOW).name for _ in range(3)]
    assert made == [f"run_brain_20260216_15142{i}" for i in (5, 6, 7)]
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make"):
        create_run_directory(tmp_path / "file", "x", NOW)


ROWS = [
    DatasetRow(
        "good",
        "brain",
        "/d/good.h5ad",
        5432,
        20123,
        12,
        10.0,
        5.25,
        15.5,
        "success",
        "/r/good",
        n_cells_input=6000,
        mean_score=88.125,
        n_clusters_unlabelled=1,
        n_clusters_boosted=2,
    ),
    DatasetRow("=cmd", "a,b", "/d/bad.h5ad", error=clean_error("no success\nin sight: Total cost: 3"), error_type="X"),
]


def test_the_summary_table_counts_with_grep(tmp_path) -> None:
    """One physical line per dataset; the word of success only where it belongs; documented columns first."""
    path = tmp_path / "batch_summary.csv"
    write_summary(ROWS, path)
    counted = subprocess.run(["grep", "-c", "success", str(path)], capture_output=True, text=True, check=True)
    assert counted.stdout.strip() == "1"
    assert len(path.read_text().splitlines()) == 3
    summary = pd.read_csv(path)
    assert list(summary.columns[:12]) == [
        "dataset",
        "tissue",
        "file_path",
        "n_cells",
        "n_genes",
        "n_clusters",
        "preprocessing_time",
        "annotation_time",
        "total_time",
        "status",
        "output_dir",
        "error",
    ]
    failed = summary[summary["status"] == "failed"]
    assert failed[["dataset", "tissue", "error"]].values.tolist() == [
        ["'=cmd", "a,b", "no suc-cess | in sight: Total cost: 3"]
    ]
    with path.open(newline="") as handle:
        assert next(iter(list(csv.reader(handle))[2]))[0] == "'"
    write_summary([], path)
    assert pd.read_csv(path).empty


def facts(**changes) -> RunFacts:
    base = {
        "started": "2026-02-16 15:14:25",
        "directory": "/r",
        "status": "complete",
        "model": "m (p)",
        "species": "Human",
        "tissues": ["brain", "a,b"],
        "seconds": 93.456,
        "prices": "$1/M input (table)",
        "input_cost": 1.0,
        "output_cost": 2.0,
    }
    return RunFacts(**{**base, **changes})


def test_the_summary_text_has_its_grammar() -> None:
    """Golden text; the total stands on exactly one line whatever errors say."""
    tracking = token_tracking([], run="r", started_at="", finished_at="")
    text = run_summary(ROWS, facts(), tracking)
    assert sum("Total cost:" in line for line in text.splitlines()) == 1
    assert text.splitlines()[:13] == [
        "=" * 70,
        "BATCH PROCESSING SUMMARY",
        "=" * 70,
        "Run timestamp: 2026-02-16 15:14:25",
        "Run directory: /r",
        "Status: complete",
        "Model: m (p)",
        "Species: Human",
        "Tissues: brain, a,b",
        "",
        "Files processed: 1/2",
        "Files failed: 1",
        "Total time: 93.46s (1.6 min)",
    ]
    assert "\n  good (brain)\n    - 5,432 cells, 12 clusters\n    - Time: 15.5s\n" in text
    assert re.search(r"FAILED FILES:\n  =cmd \(a,b\): no suc-cess", text)
    empty = run_summary([], facts(), tracking)
    assert "SUCCESSFUL FILES:\n  none\n\nFAILED FILES:\n  none\n" in empty


def test_errors_stay_on_one_line() -> None:
    """Cut at 500 characters, line ends shown."""
    assert clean_error("a\n\n b \r\nSuccess") == "a | b | suc-cess"
    assert len(clean_error("x" * 900)) == 500
