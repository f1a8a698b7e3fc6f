"""How many threads the clustering steps use; no result depends on it."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["n_threads", "single_threaded_blas"]


def n_threads() -> int:
    """Return the number of threads to use: ``OMP_NUM_THREADS`` if set, else the processors of this
    process."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep linear algebra inside the block on one thread per call, so that sums have one order.

    Work is divided into fixed pieces that run on several threads instead. The limit is one of the process: it is lifted
    when the last of all threads has left its block.
    """
    with _limit.lock:
        if _limit.n_inside == 0:
            _limit.held = _blas().limit(limits=1, user_api="blas")
        _limit.n_inside += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.n_inside -= 1
            if _limit.n_inside == 0:
                _limit.held.restore_original_limits()


class _Limit:
    """How many threads are inside a block, and what lifts the limit."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.n_inside = 0
        self.held: Any = None


_limit = _Limit()


@cache
def _blas() -> Any:
    """The libraries that NumPy and SciPy multiply with; finding them takes longer than many a block."""
    import scipy.linalg.cython_blas  # noqa: F401 - a library loaded later would not be limited
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
