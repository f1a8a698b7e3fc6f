"""Time as something that is passed in, so that waiting can be tested without waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading

__all__ = ["Clock", "SystemClock", "timestamp"]


class Clock(Protocol):
    """Wall time, elapsed time and waiting."""

    def now(self) -> float:
        """Seconds since 1970, for records and for dates in headers."""

    def elapsed(self) -> float:
        """Seconds on a clock that never goes back, for intervals."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait for a notification, at most ``seconds``."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(seconds)


def timestamp(seconds: float) -> str:
    """Return ISO 8601 text in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
