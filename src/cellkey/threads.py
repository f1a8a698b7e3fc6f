"""Work on threads, with results in the order of the work."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["in_order", "processors"]


def in_order(
    work: Callable[..., Any], items: Iterable[tuple[Any, ...]], n_jobs: int
) -> Iterator[Any]:
    """Apply ``work`` on threads while the next items are read; results come in the order of the items."""
    with ThreadPoolExecutor(max(n_jobs, 1)) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(work, *item))
            if len(waiting) > max(n_jobs, 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
