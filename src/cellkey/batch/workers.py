"""Datasets in processes of their own: one that fails, crashes or is killed is a failed row and nothing else."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import threading
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any, Protocol

from cellkey.batch.rows import DatasetRow, clean_error
from cellkey.batch.sizes import memory_needed
from cellkey.records.event_log import events_to, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellkey.batch.dataset import DatasetJob

__all__ = ["PIPELINE", "DaskCluster", "InThisProcess", "LocalProcesses", "Runner"]

PIPELINE = "cellkey.batch.dataset:annotate_dataset"
"""Function that annotates one dataset: ``(job, say) -> DatasetRow``, as module and name."""


class Runner(Protocol):
    """Runs jobs and hands over their rows as they come."""

    def run(
        self,
        jobs: Sequence[DatasetJob],
        on_row: Callable[[DatasetJob, DatasetRow], bool],
        on_step: Callable[[DatasetJob, str], None],
    ) -> list[DatasetJob]:
        """Run jobs until ``on_row`` returns False; return those that were never started."""


def function_named(name: str) -> Callable[..., DatasetRow]:
    """Return the function that ``module:name`` stands for."""
    module, _, attribute = name.partition(":")
    function: Callable[..., DatasetRow] = getattr(importlib.import_module(module), attribute)
    return function


def failed_row(job: DatasetJob, error: str, kind: str) -> DatasetRow:
    """Return the row of a dataset that could not report itself."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    dataset = job.dataset
    return DatasetRow(
        dataset.name,
        dataset.tissue,
        str(dataset.path),
        output_dir=str(job.folder),
        error=clean_error(error),
        error_type=kind,
        started_at=now,
        finished_at=now,
    )


class InThisProcess:
    """One dataset after the other in this process: for notebooks and debuggers, without protection from crashes.

    Parameters
    ----------
    pipeline
        The function that annotates; see :data:`PIPELINE`.
    """

    def __init__(self, pipeline: str = PIPELINE) -> None:
        self._pipeline = pipeline

    def run(
        self,
        jobs: Sequence[DatasetJob],
        on_row: Callable[[DatasetJob, DatasetRow], bool],
        on_step: Callable[[DatasetJob, str], None],
    ) -> list[DatasetJob]:
        for number, job in enumerate(jobs, start=1):
            row = function_named(self._pipeline)(job, functools.partial(on_step, job))
            if not on_row(job, row):
                return list(jobs[number:])
        return []


class LocalProcesses:
    """A fresh process for every dataset, a few at once, as many as memory allows.

    Parameters
    ----------
    count
        Datasets at once.
    memory
        Bytes that all of them may need together; 80% of the machine's by default. One dataset always runs.
    pipeline
        The function that annotates; see :data:`PIPELINE`.
    """

    def __init__(self, count: int = 1, *, memory: int | None = None, pipeline: str = PIPELINE) -> None:
        self._count = max(count, 1)
        self._memory = memory if memory is not None else int(0.8 * _machine_memory())
        self._pipeline = pipeline
        self._running: dict[Any, _Worker] = {}

    def run(
        self,
        jobs: Sequence[DatasetJob],
        on_row: Callable[[DatasetJob, DatasetRow], bool],
        on_step: Callable[[DatasetJob, str], None],
    ) -> list[DatasetJob]:
        waiting = deque(jobs)
        go_on = True
        try:
            while (waiting and go_on) or self._running:
                while go_on and waiting and self._has_room(waiting[0]):
                    self._start(waiting.popleft())
                for worker in self._reports(on_step):
                    go_on = on_row(worker.job, worker.row()) and go_on
        finally:
            self._terminate()
        return list(waiting)

    def _has_room(self, job: DatasetJob) -> bool:
        if not self._running:
            return True
        needed = sum(w.memory for w in self._running.values()) + memory_needed(job.dataset.path)
        return len(self._running) < self._count and needed <= self._memory

    def _start(self, job: DatasetJob) -> None:
        worker = _Worker(job, self._pipeline)
        self._running[worker.pipe] = worker

    def _reports(self, on_step: Callable[[DatasetJob, str], None]) -> list[_Worker]:
        """Wait for news; return the workers that ended."""
        ended = []
        for pipe in connection.wait(list(self._running)):
            worker = self._running[pipe]
            step = worker.listen()
            if step:
                on_step(worker.job, step)
            if worker.is_silent:
                ended.append(self._running.pop(pipe))
        return ended

    def _terminate(self) -> None:
        for worker in self._running.values():
            worker.stop()
        self._running.clear()


class _Worker:
    """A process that annotates one dataset, and the pipe on which it reports."""

    def __init__(self, job: DatasetJob, pipeline: str) -> None:
        self.job = job
        self.memory = memory_needed(job.dataset.path)
        self.is_silent = False
        self._report: dict[str, Any] | None = None
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_child, args=(theirs, pipeline, job), daemon=True)
        self._process.start()
        theirs.close()

    def listen(self) -> str:
        """Return the step that the worker began, if that is what it says; note its row or its end, pass on events."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.is_silent = True
            return ""
        if kind == "step":
            return str(value)
        if kind == "row":
            self._report = value
        else:
            tell(kind, **value)
        return ""

    def row(self) -> DatasetRow:
        """Return what the worker reported, or what can be said about its end."""
        self._process.join(timeout=30)
        code = self._process.exitcode
        self.pipe.close()
        if self._report is not None:
            return DatasetRow.from_mapping(self._report)
        return failed_row(self.job, end_of_process(code), "WorkerDied")

    def stop(self) -> None:
        """End the worker; paid answers are in its journal."""
        self._process.terminate()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(timeout=5)
        self.pipe.close()


def end_of_process(code: int | None) -> str:
    """Say how a process ended that could not say so itself."""
    if code is None:
        return "the worker process closed its pipe and went on"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = "; was memory short?" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended with code {code} before it could report"


def _child(pipe: Any, pipeline: str, job: DatasetJob) -> None:
    """Work in a fresh process; the parent decides about interrupts, and its death ends this process, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    one_by_one = threading.Lock()

    def send(kind: str, value: Any) -> None:
        with one_by_one:
            pipe.send((kind, value))

    with events_to(send):
        row = function_named(pipeline)(job, functools.partial(send, "step"))
    send("row", asdict(row))
    pipe.close()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="cellkey-parent", daemon=True).start()


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 8 * 2**30


class DaskCluster:
    """Datasets on the workers of a Dask cluster, which see the same files.

    Parameters
    ----------
    scheduler
        Address of a scheduler; None starts ``n_workers`` processes on this machine.
    n_workers
        Processes of a local cluster.
    pipeline
        The function that annotates; see :data:`PIPELINE`.
    """

    def __init__(self, scheduler: str | None = None, *, n_workers: int = 2, pipeline: str = PIPELINE) -> None:
        self._scheduler = scheduler
        self._n_workers = n_workers
        self._pipeline = pipeline

    def run(
        self,
        jobs: Sequence[DatasetJob],
        on_row: Callable[[DatasetJob, DatasetRow], bool],
        on_step: Callable[[DatasetJob, str], None],
    ) -> list[DatasetJob]:
        from cellkey.workers.connection import WorkerPlan

        plan = WorkerPlan(self._scheduler, None if self._scheduler is not None else self._n_workers)
        with plan.connect() as workers:
            from distributed import as_completed

            client = workers.client
            futures = {
                client.submit(_remote, job, self._pipeline, pure=False, retries=0, key=f"cellkey-{i}-{job.run}"): job
                for i, job in enumerate(jobs)
            }
            for job in jobs:
                on_step(job, "submitted")
            finished: set[Any] = set()
            for future in as_completed(list(futures)):
                finished.add(future)
                if not on_row(futures[future], _row_of(future, futures[future])):
                    client.cancel([f for f in futures if f not in finished])
                    return [job for f, job in futures.items() if f not in finished]
        return []


def _remote(job: DatasetJob, pipeline: str) -> dict[str, Any]:
    """Work on a cluster, in a child of the worker, which a dataset that crashes takes nothing else along with."""
    from cellkey.batch.child import run_in_child

    row, code = run_in_child(job, pipeline)
    return row if row is not None else asdict(failed_row(job, end_of_process(code), "WorkerDied"))


def _row_of(future: Any, job: DatasetJob) -> DatasetRow:
    error = future.exception()
    if error is not None and type(error).__name__ == "KilledWorker":
        return failed_row(job, "the Dask worker died while it worked on this dataset; was memory short?", "WorkerDied")
    if error is not None:
        return failed_row(job, f"{type(error).__name__}: {error}", type(error).__name__)
    return DatasetRow.from_mapping(future.result())
