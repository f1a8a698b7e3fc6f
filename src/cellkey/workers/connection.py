"""The connection to a Dask scheduler, and graphs of tasks run on it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.errors import MissingDependencyError, ParameterError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["WorkerPlan", "Workers"]

_PACKAGE = "distributed"
_CONNECT_SECONDS = 15
_WORKER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Where tasks are to run.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, such as ``tcp://node7:8786``.
    local
        Number of processes to start on this machine instead.
    memory
        Bytes that all local processes may use together; a worker above its share moves data to disk, and is
        started again well above it. None takes the machine's memory.

    Raises
    ------
    ParameterError
        If both or neither of ``scheduler`` and ``local`` are given, or ``local`` is below 1.
    """

    scheduler: str | None = None
    local: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if (self.scheduler is None) == (self.local is None):
            msg = "give either --scheduler or --local-cluster, not both and not neither"
            raise ParameterError(msg)
        if self.local is not None and self.local < 1:
            msg = f"--local-cluster must be at least 1, but got {self.local}"
            raise ParameterError(msg)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Workers]:
        """Yield the workers; those started here end with the block, and so do their files.

        Raises
        ------
        MissingDependencyError
            If Dask is not installed.
        ParameterError
            If no scheduler answers at the address.
        RunError
            If the scheduler has no worker.
        """
        distributed = _import_distributed()
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(self._client(distributed, stack))
            try:
                client.wait_for_workers(1, timeout=_WORKER_SECONDS)
            except TimeoutError:
                msg = f"the Dask scheduler has no worker after {_WORKER_SECONDS} seconds; start some first"
                raise RunError(msg) from None
            yield Workers(client)

    def _client(self, distributed: Any, stack: contextlib.ExitStack) -> Any:
        if self.scheduler is not None:
            try:
                return distributed.Client(self.scheduler, timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError, ValueError) as error:
                msg = (f"no Dask scheduler answers at {self.scheduler!r} ({type(error).__name__}); expected an "
                       "address such as tcp://host:8786, as printed by 'dask scheduler'")
                raise ParameterError(msg) from error
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cellkey-dask-", ignore_cleanup_errors=True))
        share: Any = "auto" if self.memory is None else max(self.memory // (self.local or 1), 1)
        cluster = stack.enter_context(distributed.LocalCluster(
            n_workers=self.local, threads_per_worker=1, processes=True, memory_limit=share, dashboard_address=":0",
            local_directory=folder, silence_logs=logging.CRITICAL,
        ))
        return distributed.Client(cluster, timeout=_CONNECT_SECONDS)


class Workers:
    """Runs graphs of ``dask.delayed`` tasks on connected workers.

    Parameters
    ----------
    client
        A ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def count(self) -> int:
        """Number of workers now."""
        return max(len(self._infos()), 1)

    @property
    def memory(self) -> int | None:
        """Bytes that one worker may use, the least of all; None without limits."""
        limits = [int(info["memory_limit"]) for info in self._infos().values() if info.get("memory_limit")]
        return min(limits) if limits else None

    def _infos(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function on every worker; return the answers by worker."""
        answers: dict[str, Any] = self.client.run(function, *arguments)
        return answers

    def keep(self, tasks: Sequence[Any]) -> list[Any]:
        """Start tasks and keep their results on the workers as long as what is returned lives."""
        with _large_graphs():
            return list(self.client.persist(list(tasks)))

    def gather(self, tasks: Sequence[Any], progress: Callable[[float], None] | None = None) -> list[Any]:
        """Run tasks and return their results in order.

        Raises
        ------
        RunError
            If a task ended its worker again and again, or the scheduler is lost.
        """
        from distributed import KilledWorker, as_completed
        from distributed.comm import CommClosedError

        try:
            with _large_graphs():
                futures = self.client.compute(list(tasks))
            for done, _ in enumerate(as_completed(futures), start=1):
                if progress is not None:
                    progress(done / len(futures))
            return list(self.client.gather(futures))
        except KilledWorker as error:
            msg = (f"a task ended {error.allowed_failures + 1} workers one after the other; most likely memory was "
                   "short: give each worker more, or start fewer of them")
            raise RunError(msg) from error
        except (CommClosedError, TimeoutError, OSError) as error:
            msg = f"the Dask scheduler was lost: {error}"
            raise RunError(msg) from error


@contextlib.contextmanager
def _large_graphs() -> Iterator[None]:
    """Groups of cells travel with the graph, since data put on one worker would be lost with it."""
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
        yield


def _import_distributed() -> Any:
    try:
        import dask  # noqa: F401
        import distributed
    except ImportError:
        raise MissingDependencyError(_PACKAGE, "dask", "running on a Dask cluster") from None
    return distributed
