"""One dataset in a process of its own, started from anywhere: a job as JSON on its input, a row on its output.

A worker of a Dask cluster may not use ``multiprocessing``, and a dataset that crashed inside it would take its finished
results and its queue along; hence each dataset has a child of the worker to itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellkey.batch.dataset import DatasetJob
from cellkey.batch.discovery import Dataset
from cellkey.batch.settings import BatchSettings

__all__ = ["job_from_mapping", "job_to_mapping", "run_in_child"]


def run_in_child(job: DatasetJob, pipeline: str) -> tuple[dict[str, Any] | None, int]:
    """Run a job in a new process; return its row, None if it died before it could report, and its exit code.

    The process ends when this one does, because its input closes then.
    """
    command = [sys.executable, "-m", "cellkey.batch.child", pipeline]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job_to_mapping(job)) + "\n")
            process.stdin.flush()
            said = process.stdout.read()
        except OSError:  # it died before it had read its job
            said = ""
        process.wait()
    try:
        row = json.loads(said)
    except ValueError:
        return None, process.returncode
    return row, process.returncode


def job_to_mapping(job: DatasetJob) -> dict[str, Any]:
    """Return a job as plain values; :func:`job_from_mapping` reads them."""
    return {
        "dataset": [job.dataset.tissue, job.dataset.name, str(job.dataset.path)],
        "folder": str(job.folder),
        "settings": job.settings.model_dump(mode="json"),
        "run": job.run,
        "workers": job.workers,
        "budget_file": None if job.budget_file is None else str(job.budget_file),
    }


def job_from_mapping(values: dict[str, Any]) -> DatasetJob:
    """Return the job that :func:`job_to_mapping` wrote."""
    tissue, name, path = values["dataset"]
    budget = values["budget_file"]
    return DatasetJob(
        Dataset(tissue, name, Path(path)),
        Path(values["folder"]),
        BatchSettings.parse(values["settings"]),
        values["run"],
        values["workers"],
        None if budget is None else Path(budget),
    )


def _main() -> None:
    """Work in this process; what libraries print goes to the error output."""
    from cellkey.batch.workers import function_named

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer = os.dup(1)
    os.dup2(2, 1)
    job = job_from_mapping(json.loads(sys.stdin.readline()))

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, name="cellkey-parent", daemon=True).start()
    row = function_named(sys.argv[1])(job, lambda _step: None)
    with os.fdopen(answer, "w") as handle:
        json.dump(asdict(row), handle)


if __name__ == "__main__":
    _main()
