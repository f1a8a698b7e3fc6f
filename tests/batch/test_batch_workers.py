"""Processes: what one dataset does to itself, it does to no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_helpers import MISBEHAVE, empty_tree

from cellkey.batch import BatchSettings, discover, run_batch
from cellkey.batch.dataset import DatasetJob
from cellkey.batch.sizes import memory_needed
from cellkey.batch.workers import DaskCluster, LocalProcesses


def run(tmp_path: Path, names: list[str], **options):
    root = empty_tree(tmp_path / "data", brain=names)
    options.setdefault("runner", LocalProcesses(options.pop("count", 2), pipeline=MISBEHAVE))
    return run_batch(root, tmp_path / "out", **options)


def test_a_dataset_that_dies_is_a_failed_row(tmp_path) -> None:
    """Killed, crashed or raising workers leave a row with the reason and a log; the others finish."""
    done = run(tmp_path, ["crash", "good1", "good2", "killed", "raise"])
    by_name = {r.dataset: r for r in done.rows}
    assert [r.dataset for r in done.rows] == ["crash", "good1", "good2", "killed", "raise"]
    assert {n for n, r in by_name.items() if r.succeeded} == {"good1", "good2"}
    assert "code 7" in by_name["crash"].error
    assert "SIGKILL" in by_name["killed"].error
    assert by_name["raise"].error
    assert done.exit_code == 3
    assert (done.path / "brain" / "killed" / "killed_summary.txt").read_text().count("SIGKILL") == 1
    assert "Files processed: 2/5" in done.directory.summary_text.read_text()


def test_every_dataset_has_a_process_of_its_own_and_several_run_at_once(tmp_path) -> None:
    """No state leaks from one dataset to the next; three workers are at work at the same time."""
    names = ["meet1", "meet2", "meet3"]
    done = run(tmp_path, names, count=3)
    assert [r.status for r in done.rows] == ["success"] * 3
    notes = [json.loads((done.path / "brain" / n / "pid.json").read_text()) for n in names]
    assert len({n["pid"] for n in notes}) == 3
    assert os.getpid() not in {n["pid"] for n in notes}


def test_memory_bounds_what_runs_at_once(tmp_path) -> None:
    """Datasets wait for memory, and one always runs."""
    root = empty_tree(tmp_path / "data", brain=["a", "b"])
    assert memory_needed(root / "brain" / "h5ad_unlabelled" / "a.h5ad") > 0
    runner = LocalProcesses(4, memory=1, pipeline=MISBEHAVE)
    seen: list[int] = []
    real = runner._start
    runner._start = lambda job: (seen.append(len(runner._running)), real(job))[1]
    assert run(tmp_path, ["a", "b"], runner=runner).exit_code == 0
    assert seen == [0, 0]


def test_no_dataset_is_started_after_the_money_ran_out(tmp_path) -> None:
    """The rest has rows that say why; the files are whole."""
    done = run(tmp_path, ["a", "money", "never1", "never2"], count=1)
    assert [r.status for r in done.rows] == ["success", "failed", "failed", "failed"]
    assert "not started: budget" in done.rows[2].error
    assert (done.status, done.exit_code) == ("stopped by budget", 3)
    assert (done.path / "brain" / "never1" / "never1_summary.txt").is_file()


def test_all_failed_and_strict(tmp_path) -> None:
    """Exit code 1 when nothing succeeded, or with ``strict`` when anything failed."""
    assert run(tmp_path / "x", ["raise"]).exit_code == 1
    assert run(tmp_path / "y", ["raise", "good"], strict=True).exit_code == 1
    assert run(tmp_path / "z", ["good"]).exit_code == 0


DRIVER = """
import sys
sys.path.insert(0, {here!r})
from batch_helpers import MISBEHAVE
from cellkey.batch import run_batch
from cellkey.batch.workers import LocalProcesses
if __name__ == "__main__":
    done = run_batch({root!r}, {out!r}, runner=LocalProcesses(2, pipeline=MISBEHAVE))
    sys.exit(done.exit_code)
"""


def driver(tmp_path: Path, names: list[str]) -> tuple[subprocess.Popen, Path]:
    root = empty_tree(tmp_path / "data", brain=names)
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(here=str(Path(__file__).parent), root=str(root), out=str(tmp_path / "out")))
    return subprocess.Popen([sys.executable, str(script)], start_new_session=True), tmp_path / "out"


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the worker's process")
def test_workers_end_with_a_killed_run(tmp_path) -> None:
    """After ``kill -9`` no worker goes on behind the back of a resumed run."""
    process, out = driver(tmp_path, ["wait"])
    until(lambda: list(out.glob("run_*/brain/wait/waiting")))
    children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _parent(p) == process.pid]
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(alive(c) for c in children))


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1


def test_an_interrupt_leaves_whole_files(tmp_path) -> None:
    """Finished datasets are in the summary; the run says that it was interrupted."""
    process, out = driver(tmp_path, ["good", "wait"])
    until(lambda: list(out.glob("run_*/brain/wait/waiting")))
    until(lambda: "good,brain" in next(out.glob("run_*/batch_summary.csv")).read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    path = next(out.glob("run_*"))
    assert "Status: interrupted" in (path / "batch_summary.txt").read_text()
    manifest = json.loads((path / "run_manifest.json").read_text())
    assert [d["state"] for d in manifest["datasets"]] == ["done", "pending"]


def test_a_dask_cluster_runs_the_same_jobs(tmp_path) -> None:
    """Rows come back in order; a dataset that raises, crashes or is killed fails alone, with a log of its own."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    import warnings

    names = ["crash", "good1", "good2", "good3", "killed", "raise"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cluster's own shutdown
        done = run(tmp_path, names, runner=DaskCluster(n_workers=2, pipeline=MISBEHAVE))
    assert [r.dataset for r in done.rows] == names
    assert [r.status for r in done.rows] == ["failed", "success", "success", "success", "failed", "failed"]
    assert "code 7" in done.rows[0].error
    assert "SIGKILL" in done.rows[4].error
    assert "code 1" in done.rows[5].error
    assert (done.path / "brain" / "killed" / "killed_summary.txt").is_file()
    assert done.exit_code == 3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to find the worker's process")
def test_a_killed_dask_worker_costs_no_dataset(tmp_path) -> None:
    """What it worked on is done again, by another or by its successor."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    import threading

    def kill_one() -> None:
        until(lambda: list(tmp_path.glob("out/run_*/brain/*/pid.json")))
        ours = [p for p in Path("/proc").iterdir() if p.name.isdigit() and _parent(p) == os.getpid()]
        workers = [int(p.name) for p in ours if b"spawn_main" in (p / "cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        killed.append(workers[0])

    killed: list[int] = []
    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    names = [f"slow{i}" for i in range(6)]
    done = run(tmp_path, names, runner=DaskCluster(n_workers=2, pipeline=MISBEHAVE))
    killer.join()
    assert len(killed) == 1
    assert [r.status for r in done.rows] == ["success"] * 6


def test_jobs_can_be_sent_anywhere(tmp_path) -> None:
    """A job is plain values, as JSON and otherwise; no key is in it."""
    import pickle

    from cellkey.batch.child import job_from_mapping, job_to_mapping

    dataset = discover(empty_tree(tmp_path, t=["a"]))[0]
    job = DatasetJob(dataset, tmp_path, BatchSettings(), "run")
    assert pickle.loads(pickle.dumps(job)) == job  # noqa: S301
    assert job_from_mapping(json.loads(json.dumps(job_to_mapping(job)))) == job
