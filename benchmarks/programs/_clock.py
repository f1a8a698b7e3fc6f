"""Time and memory of a part of a program, printed as one line of JSON."""

from __future__ import annotations

import json
import resource
import time
import warnings
from typing import Any

__all__ = ["Clock"]

warnings.simplefilter("ignore")


class Clock:
    """``with Clock() as clock: work`` and then ``clock.report()``; CPU time counts all threads."""

    def __enter__(self) -> Clock:
        self._peak = _peak_mb()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.facts = {
            "work_wall": round(time.perf_counter() - self._wall, 4),
            "work_cpu": round(time.process_time() - self._cpu, 4),
            "above_mb": round(_peak_mb() - self._peak, 1),
        }

    def report(self, **more: Any) -> None:
        """Print the line; ``more`` are further facts."""
        print(json.dumps(self.facts | more))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
