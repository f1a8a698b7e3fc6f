"""When to try again, and how long to wait before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from cellkey.parameters import Parameters

if TYPE_CHECKING:
    import random

    from cellkey.errors import ServiceError

__all__ = ["Attempt", "RetryHook", "RetryPolicy"]


class RetryPolicy(Parameters):
    """Exponential waits with full jitter, never shorter than what the service asks for.

    Waits between attempts are drawn from ``[0, min(max_wait, first_wait * factor**n)]``: full jitter keeps
    workers that failed together from coming back together.
    """

    retries: int = Field(default=5, ge=0, le=50, description="repeated attempts after the first")
    first_wait: float = Field(default=1.0, ge=0, description="upper limit of the first wait, seconds")
    factor: float = Field(default=2.0, ge=1, description="growth of the upper limit")
    max_wait: float = Field(default=60.0, ge=0, description="largest upper limit, seconds")
    total: float = Field(
        default=900.0, gt=0, description="limit of one question, all attempts and waits together, seconds"
    )
    empty_answers: int = Field(default=2, ge=0, le=10, description="repetitions after an answer without text")

    def wait(self, attempt: int, asked: float | None, rng: random.Random) -> float:
        """Return the seconds to wait after failed attempt number ``attempt`` (from 0).

        Parameters
        ----------
        attempt
            Number of the attempt that failed.
        asked
            What the service asked for (``Retry-After``), a lower limit.
        rng
            Source of the jitter.
        """
        ceiling = min(self.max_wait, self.first_wait * self.factor ** min(attempt, 60))
        return (asked or 0.0) + rng.uniform(0.0, ceiling)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a hook is told before a wait: which attempt failed, why, and how long the wait is."""

    number: int
    failure: ServiceError
    wait: float
    elapsed: float


RetryHook = Callable[[Attempt], None]
