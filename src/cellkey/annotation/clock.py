"""How long the steps of an annotation take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StepClock"]


class StepClock:
    """Times the steps and tells the caller where the work stands."""

    def __init__(self, progress: Callable[[str, float | None], None] | None) -> None:
        self._progress = progress
        self._marks: list[tuple[str, float]] = []

    def step(self, name: str) -> None:
        """Begin a step."""
        self._marks.append((name, time.perf_counter()))
        if self._progress is not None:
            self._progress(name, None)

    def share(self, done: float) -> None:
        """Tell which share of the step is done."""
        if self._progress is not None and self._marks:
            self._progress(self._marks[-1][0], done)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every step; the last one ends now."""
        ends = [t for _, t in self._marks[1:]] + [time.perf_counter()]
        return {name: round(end - t, 3) for (name, t), end in zip(self._marks, ends, strict=True)}
