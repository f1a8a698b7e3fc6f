"""A limit on money and tokens that is checked before a call is sent, also across processes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from cellkey.errors import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Budget"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS spending "
    "(id INTEGER PRIMARY KEY, usd REAL NOT NULL, tokens INTEGER NOT NULL, reserved_at REAL)"
)
"""``reserved_at`` is the time of a reservation that is open; NULL for what was spent."""
_INSERT = "INSERT INTO spending (usd, tokens, reserved_at) VALUES (?, ?, ?)"
_SUMS = "SELECT COALESCE(SUM(usd), 0), COALESCE(SUM(tokens), 0) FROM spending"
_POLL = 0.2


class Budget:
    """What a run may spend in all.

    Before a call, the most it can cost is reserved; afterwards the reservation is replaced by what it did
    cost. So the limit is never passed, also with many calls under way. A call that there is no room for waits while
    others are under way, because most cost far less than was set aside for them. A process that dies leaves its
    reservation behind, which errs on the safe side until the run is resumed and the budget opened anew.

    Parameters
    ----------
    usd, tokens
        Limits; None for none.
    file
        SQLite file that several processes of one run share; None for one process.
    spent_usd, spent_tokens
        What the run has spent before (a resumed run).
    patience
        Seconds after which a reservation is no longer waited for: its process may have died.
    """

    def __init__(
        self,
        usd: float | None = None,
        tokens: int | None = None,
        *,
        file: str | Path | None = None,
        spent_usd: float = 0.0,
        spent_tokens: int = 0,
        patience: float = 300.0,
    ) -> None:
        self.usd = usd
        self.tokens = tokens
        self._patience = patience
        self._lock = threading.Condition()
        self._database = sqlite3.connect(
            str(file) if file is not None else ":memory:",
            timeout=60,
            isolation_level=None,
            check_same_thread=False,
        )
        self._database.execute(_TABLE)
        if spent_usd or spent_tokens:
            self._database.execute(_INSERT, (spent_usd, spent_tokens, None))

    def spent(self) -> tuple[float, int]:
        """Return USD and tokens spent and reserved."""
        with self._lock:
            return self._sums()

    def reserve(self, usd: float, tokens: int) -> int:
        """Set aside the most that a call can use and return the number of the reservation.

        Raises
        ------
        BudgetExceededError
            If the call could pass a limit and nothing that is under way can make room for it.
        """
        if self.usd is None and self.tokens is None:
            return 0
        with self._lock:
            while True:
                with self._transaction():
                    problem = self._problem(usd, tokens)
                    if not problem:
                        return self._database.execute(_INSERT, (usd, tokens, time.time())).lastrowid or 0
                    can_wait = self._is_under_way() and not self._problem(usd, tokens, " WHERE reserved_at IS NULL")
                if not can_wait:
                    raise BudgetExceededError(problem)
                self._lock.wait(_POLL)  # other processes cannot notify

    def settle(self, reservation: int, usd: float, tokens: int) -> None:
        """Replace a reservation by what the call used."""
        if reservation:
            with self._lock:
                self._database.execute(
                    "UPDATE spending SET usd = ?, tokens = ?, reserved_at = NULL WHERE id = ?",
                    (usd, tokens, reservation),
                )
                self._lock.notify_all()

    def _problem(self, usd: float, tokens: int, where: str = "") -> str:
        """Why a call does not fit beside what is spent and set aside; empty if it does."""
        spent_usd, spent_tokens = self._sums(where)
        if self.usd is not None and spent_usd + usd > self.usd:
            told = f"budget of ${self.usd:.2f}: ${spent_usd:.4f} spent or set aside"
            return f"{told}; the next call could cost ${usd:.4f}"
        if self.tokens is not None and spent_tokens + tokens > self.tokens:
            told = f"budget of {self.tokens:,} tokens: {spent_tokens:,} used or set aside"
            return f"{told}; the next call could use {tokens:,}"
        return ""

    def _is_under_way(self) -> bool:
        row = self._database.execute(
            "SELECT COUNT(*) FROM spending WHERE reserved_at > ?", (time.time() - self._patience,)
        ).fetchone()
        return bool(row[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _sums(self, where: str = "") -> tuple[float, int]:
        row = self._database.execute(_SUMS + where).fetchone()
        return float(row[0]), int(row[1])
