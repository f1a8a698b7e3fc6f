"""Peak memory of a piece of work, native libraries and child processes included."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MemoryUse", "measured_memory"]

_STATM = Path("/proc/self/statm")


@dataclass(slots=True)
class MemoryUse:
    """Peak resident bytes with children, and (when traced) the peak of Python's own allocations."""

    peak_rss_bytes: int = 0
    traced_peak_bytes: int | None = None


@contextlib.contextmanager
def measured_memory(*, trace: bool = False, interval: float = 0.02) -> Iterator[MemoryUse]:
    """Measure the block; results are in the yielded value once the block has ended.

    Parameters
    ----------
    trace
        Also trace Python allocations, which slows Python-heavy work several-fold.
    interval
        Seconds between looks at the resident size.
    """
    use = MemoryUse()
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(use, stop, interval), daemon=True)
    if trace:
        tracemalloc.start()
    watcher.start()
    try:
        yield use
    finally:
        stop.set()
        watcher.join()
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        use.peak_rss_bytes = max(use.peak_rss_bytes, _resident(), children)
        if trace:
            use.traced_peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()


def _watch(use: MemoryUse, stop: threading.Event, interval: float) -> None:
    while not stop.is_set():
        use.peak_rss_bytes = max(use.peak_rss_bytes, _resident())
        stop.wait(interval)


def _resident() -> int:
    if _STATM.is_file():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return own * (1 if sys.platform == "darwin" else 1024)
