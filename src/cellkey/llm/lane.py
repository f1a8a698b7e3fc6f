"""One lane per model: how many calls run at once and how many per minute, slowed down when the service asks."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

from cellkey.llm.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Lane", "Passage"]

_RECOVERY = 20
"""Calls without a complaint after which one more call may run at once."""


class Passage:
    """A call that is under way: when it started, and how many tokens were reserved for it."""

    __slots__ = ("started", "tokens")

    def __init__(self, started: float, tokens: int) -> None:
        self.started = started
        self.tokens = tokens


class Lane:
    """Bounds concurrency, requests per minute and tokens per minute for all threads that share it.

    When the service throttles, the whole lane pauses until the stated time and half as many calls may run at
    once; after 20 calls without a complaint, one more may.

    Parameters
    ----------
    concurrency
        Calls that may run at once.
    requests_per_minute, tokens_per_minute
        Limits over a sliding minute; None for no limit. Tokens are estimated before a call and corrected
        after.
    clock
        Source of time.
    """

    def __init__(
        self,
        concurrency: int = 4,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._limit = max(concurrency, 1)
        self._allowed = self._limit
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._clock = clock or SystemClock()
        self._condition = threading.Condition()
        self._running = 0
        self._calm = 0
        self._paused_until = 0.0
        self._halved_at = float("-inf")
        self._recent: deque[Passage] = deque()

    @property
    def allowed(self) -> int:
        """Calls that may run at once at this moment."""
        return self._allowed

    @contextlib.contextmanager
    def passage(self, tokens: int = 0) -> Iterator[Passage]:
        """Wait for a free place, hold it during the block, and give it back."""
        entered = self._enter(tokens)
        try:
            yield entered
        finally:
            with self._condition:
                self._running -= 1
                self._condition.notify()

    def throttled(self, passage: Passage, wait: float | None) -> None:
        """Note that the service complained about a call, and asked for ``wait`` seconds of silence."""
        with self._condition:
            self._calm = 0
            self._paused_until = max(self._paused_until, self._clock.elapsed() + (wait or 0.0))
            if passage.started > self._halved_at:  # calls that ran side by side complain about the same thing
                self._allowed = max(1, self._allowed // 2)
                self._halved_at = self._clock.elapsed()

    def hold(self, seconds: float) -> None:
        """Let no call begin for some seconds: the service has said that nothing is left until then."""
        with self._condition:
            self._paused_until = max(self._paused_until, self._clock.elapsed() + seconds)

    def succeeded(self, passage: Passage, tokens: int) -> None:
        """Note a call without complaint and its true number of tokens."""
        with self._condition:
            passage.tokens = tokens
            self._calm += 1
            if self._calm >= _RECOVERY and self._allowed < self._limit:
                self._allowed += 1
                self._calm = 0
                self._condition.notify()

    def _enter(self, tokens: int) -> Passage:
        with self._condition:
            while True:
                wait = self._time_to_wait(tokens)
                if wait is None or wait > 0:
                    self._clock.wait(self._condition, wait)
                    continue
                passage = Passage(self._clock.elapsed(), tokens)
                self._running += 1
                if self._requests is not None or self._tokens is not None:
                    self._recent.append(passage)
                return passage

    def _time_to_wait(self, tokens: int) -> float | None:
        """Seconds to wait; 0 for none; None until another call ends."""
        now = self._clock.elapsed()
        if self._running >= self._allowed:
            return None
        return max(self._paused_until - now, self._quota_wait(now, tokens), 0.0)

    def _quota_wait(self, now: float, tokens: int) -> float:
        while self._recent and self._recent[0].started <= now - 60:
            self._recent.popleft()
        if not self._recent:
            return 0.0
        full = self._requests is not None and len(self._recent) >= self._requests
        spent = sum(p.tokens for p in self._recent)
        full = full or (self._tokens is not None and spent + tokens > self._tokens)
        return self._recent[0].started + 60 - now if full else 0.0
