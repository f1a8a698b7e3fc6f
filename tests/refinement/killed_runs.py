"""Refine a run in child processes that are killed at chosen moments; print what was found as JSON.

    python killed_runs.py ANNOTATED_RUN WORK_FOLDER

Every rename and removal inside the run directory is a moment. Called by ``test_refine_runs.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import anndata
import pandas as pd

from cellkey.refinement import refine_run

SETTINGS = {"min_cells": 30, "call_resamples": 2, "split_resamples": 2, "min_subcluster_cells": 10}


def content(directory: Path) -> dict[str, str]:
    """Hashes of all tables, without times, and of the clusters and labels of the cells."""
    found = {}
    for path in sorted(directory.glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        text = table.drop(columns=["timestamp", "seconds"], errors="ignore").to_csv()
        found[path.name] = hashlib.sha256(text.encode()).hexdigest()
    for name in ("output.h5ad", "coarse_clusters.h5ad", "refined.h5ad"):
        if (directory / name).is_file():
            cells = anndata.read_h5ad(directory / name)
            columns = [c for c in cells.obs if c.startswith(("cluster_", "cell_type_", "refinement_", "annotation"))]
            found[name] = hashlib.sha256(cells.obs[sorted(columns)].to_csv().encode()).hexdigest()
    return found


def in_child(directory: Path, kill_at: int | None) -> tuple[int, int]:
    """Refine in a child that dies at the given moment; return its signal (0 if it lived) and the moments seen."""
    counter = directory.parent / "moments"
    # A process of its own and not a fork: OpenMP's threads of the parent do not survive one.
    status = subprocess.run(
        [sys.executable, __file__, "--child", str(directory), "" if kill_at is None else str(kill_at)],
        check=False, timeout=300,
    ).returncode
    return -min(status, 0), int(counter.read_text()) if counter.is_file() else 0


def refine_and_die(directory: Path, kill_at: int | None) -> None:
    """Refine, and die at the given rename or removal; write down how many there were."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("os.rename", "os.remove", "os.rmdir") and str(directory) in str(arguments[0]):
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(watch)
    refine_run(directory, parameters=SETTINGS, figures=False)
    (directory.parent / "moments").write_text(str(seen))


def main() -> None:
    """Refine undisturbed, then with a kill at every moment followed by the same command again."""
    warnings.simplefilter("ignore")
    annotated, work = map(Path, sys.argv[1:3])
    before = content(annotated)
    shutil.copytree(annotated, work / "whole")
    _, moments = in_child(work / "whole", None)
    after = content(work / "whole")
    report = []
    for moment in range(0, moments, int(sys.argv[3])):
        run = work / f"killed{moment}"
        shutil.copytree(annotated, run)
        killed, _ = in_child(run, moment)
        left = content(run)
        readable = all(left[name] in (before.get(name), after.get(name)) for name in left) and set(before) <= set(left)
        untouched = left == before
        refine_run(run, parameters=SETTINGS, figures=False)
        leftovers = sorted(p.name for p in run.iterdir() if p.name.startswith(".refinement-") and p.is_dir())
        report.append({"moment": moment, "killed": killed, "readable": readable, "untouched": untouched,
                       "same": content(run) == after, "leftovers": leftovers})
        shutil.rmtree(run)
    print(json.dumps({"moments": moments, "changed": before != after, "report": report}))


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        warnings.simplefilter("ignore")
        refine_and_die(Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3] else None)
    else:
        main()
