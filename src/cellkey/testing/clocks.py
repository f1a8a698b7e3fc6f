"""A clock on which waiting takes no time."""

from __future__ import annotations

import threading
import time

__all__ = ["InstantClock"]


class InstantClock:
    """Counts what was waited for and moves on at once.

    Parameters
    ----------
    start
        Wall time at the beginning, seconds since 1970.

    Attributes
    ----------
    waits
        All waits in seconds, in order.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._origin = time.monotonic()
        self._lock = threading.Lock()
        self._skipped = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self._start + self.elapsed()

    def elapsed(self) -> float:
        return time.monotonic() - self._origin + self._skipped

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.waits.append(seconds)
            self._skipped += max(seconds, 0.0)

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        if seconds is None:  # until another call ends, which takes real time
            condition.wait(0.05)
        else:
            self.sleep(seconds)
