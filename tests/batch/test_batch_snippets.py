"""The commands and blocks that the description of run directories gives to users, run on a run directory.

Names of runs, datasets and days are those of the run; nothing else is changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from batch_helpers import EXPECTED, make_tree

PYTHON_ANALYSIS = """
import scanpy as sc
import pandas as pd
from pathlib import Path

# Set your run directory (includes tissue name)
run_dir = Path("batch_results/run_brain_20260216_151425")

# Load the summary
summary = pd.read_csv(run_dir / "batch_summary.csv")
print(f"Processed {len(summary)} datasets")

# Load a specific annotated dataset
adata = sc.read_h5ad(
    run_dir / "brain" / "Data_Filbin2018_Brain" / "Data_Filbin2018_Brain_annotated.h5ad"
)
print(adata.obs['cell_type'].value_counts())

# Load marker genes
markers = pd.read_csv(
    run_dir / "brain" / "Data_Filbin2018_Brain" / "Data_Filbin2018_Brain_markers.csv"
)
print(f"Found {len(markers)} marker genes across clusters")
"""

TOKEN_USAGE = """
import json

# Load token tracking
with open(run_dir / "token_tracking.json", 'r') as f:
    tracking = json.load(f)

print(f"Total API calls: {tracking['total_calls']}")
print(f"Total tokens: {tracking['total_tokens']:,}")
print(f"Total cost: ${tracking['total_cost']:.2f}")

# Per-call breakdown
for call in tracking['api_calls']:
    print(f"  {call['timestamp']}: {call['input_tokens']} in, {call['output_tokens']} out")
"""

AGGREGATE = """
# Load all annotated datasets from a run
all_datasets = []

for tissue_dir in run_dir.iterdir():
    if tissue_dir.is_dir() and tissue_dir.name not in ['batch_summary.txt', 'batch_summary.csv']:
        for dataset_dir in tissue_dir.iterdir():
            if dataset_dir.is_dir():
                h5ad_file = dataset_dir / f"{dataset_dir.name}_annotated.h5ad"
                if h5ad_file.exists():
                    adata = sc.read_h5ad(h5ad_file)
                    adata.obs['dataset'] = dataset_dir.name
                    adata.obs['tissue'] = tissue_dir.name
                    all_datasets.append(adata)

# Concatenate all datasets
combined = sc.concat(all_datasets, join='outer')
print(f"Combined: {combined.n_obs:,} cells from {len(all_datasets)} datasets")
"""

FAILURES = """
failed = summary[summary['status'] == 'failed']
print(failed[['dataset', 'tissue', 'error']])
"""

COMPARE_RUNS = """
# List all runs (organized by tissue)
ls -lh batch_results/

# List only brain runs
ls -d batch_results/run_brain_*/

# Compare token usage across runs
for run in batch_results/run_*/; do
    echo "=== $run ==="
    grep "Total cost:" "$run/batch_summary.txt"
done

# Compare number of files processed
for run in batch_results/run_*/; do
    files=$(grep -c "success" "$run/batch_summary.csv" || echo "0")
    echo "$run: $files files"
done

# Find all brain processing runs
ls -d batch_results/run_brain_* 2>/dev/null || echo "No brain runs found"
"""

TIPS = """
# Archive all brain runs
tar -czf archive_brain_runs.tar.gz batch_results/run_brain_*/

# Archive by date
tar -czf archive_20260216.tar.gz batch_results/run_*_20260216_*/

cat batch_results/run_brain_20260216_151425/batch_summary.txt

find batch_results/run_brain_20260216_151425 -name "*Bassez*_annotated.h5ad"

# Show only brain runs
ls -lh batch_results/run_brain_*/

# Show runs with multiple tissues
ls -lh batch_results/run_*_*_2026*/

echo "Testing resolution=0.8 with 50 PCs" > batch_results/run_20260216_151425/NOTES.txt
"""


@pytest.fixture(scope="module")
def place(finished: Path, tmp_path_factory) -> Path:
    """A working directory with a copy of the finished run, for commands that write into it."""
    base = tmp_path_factory.mktemp("place")
    shutil.copytree(finished.parent, base / "batch_results", symlinks=True)
    return base


def named(text: str, finished: Path) -> str:
    """Return a snippet about this run."""
    _, _, _, day, time = finished.name.split("_")
    filled = text.replace("run_brain_20260216_151425", finished.name).replace("20260216_151425", f"{day}_{time}")
    return filled.replace("20260216", day).replace("_2026*", f"_{day[:4]}*")


def test_python_blocks_run_one_after_the_other(place: Path, finished: Path, monkeypatch, capsys) -> None:
    """All four blocks, in one process, from the directory that holds the runs."""
    pytest.importorskip("scanpy")
    monkeypatch.chdir(place)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells of all datasets have the same names
        for block in (PYTHON_ANALYSIS, TOKEN_USAGE, AGGREGATE, FAILURES):
            exec(compile(named(block, finished), "block", "exec"), names)
    printed = capsys.readouterr().out
    assert "Processed 4 datasets" in printed
    assert "Found 672 marker genes across clusters" in printed
    assert set(names["combined"].obs["cell_type"]) == set(EXPECTED.values())
    tracking = names["tracking"]
    assert printed.count(" in, ") == tracking["total_calls"] == len(tracking["api_calls"]) >= 27
    assert tracking["total_tokens"] == sum(c["input_tokens"] + c["output_tokens"] for c in tracking["api_calls"])
    assert "Total cost: $0.00" in printed
    assert "Combined: 360 cells from 3 datasets" in printed
    assert names["failed"]["dataset"].tolist() == ["Data_Broken_Breast"]
    assert "no HDF5" in names["failed"]["error"].iloc[0]


def shell(text: str, place: Path) -> str:
    done = subprocess.run(["bash", "-ec", text], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_commands_that_compare_runs(place: Path, finished: Path) -> None:
    """Every command succeeds and counts what is there; the alias of a run is a second name for it."""
    text = shell(named(COMPARE_RUNS, finished), place)
    assert text.count("Total cost: $") == 2  # the run and its alias
    assert f"batch_results/{finished.name}/: 3 files" in text
    assert f"batch_results/{finished.name}/\n" in text
    assert "No brain runs found" not in text


def test_tips(place: Path, finished: Path) -> None:
    """Archives, a look at the summary, finding a dataset, listing, and a note of one's own."""
    text = shell(named(TIPS, finished), place)
    assert text.count("Data_Bassez2021_Breast_annotated.h5ad") == 1
    assert "Files processed: 3/4" in text
    members = subprocess.run(
        ["tar", "-tzf", "archive_brain_runs.tar.gz"], cwd=place, capture_output=True, text=True, check=True
    ).stdout
    assert f"batch_results/{finished.name}/batch_summary.csv" in members
    assert (place / "batch_results" / finished.name / "NOTES.txt").read_text() == "Testing resolution=0.8 with 50 PCs\n"


@pytest.mark.slow
def test_the_script_takes_an_output_directory(tmp_path) -> None:
    """``python batch_process_all_tissues.py --output-dir batch_results_pilot_study``, with data beside it."""
    make_tree(tmp_path / "data", brain=["Data_A_Brain"])
    shutil.copy(Path(__file__).parents[2] / "scripts" / "batch_process_all_tissues.py", tmp_path)
    command = [sys.executable, "batch_process_all_tissues.py", "--output-dir", "batch_results_pilot_study"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("batch_results_pilot_study/run_all_*/brain/Data_A_Brain/*_annotated.h5ad"))) == 1
