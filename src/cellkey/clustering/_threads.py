"""How many threads the clustering steps use; no result depends on it."""

from __future__ import annotations

import contextlib
import os
from functools import cache
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

    Work is divided into fixed pieces that run on several threads instead.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> Any:
    """The loaded libraries of linear algebra; finding them takes longer than many a block."""
    import scipy.linalg.cython_blas  # noqa: F401 - a library loaded later would not be limited
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
