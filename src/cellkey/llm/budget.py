"""A limit on money and tokens that is checked before a call is sent, also across processes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

from cellkey.errors import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Budget"]

_TABLE = "CREATE TABLE IF NOT EXISTS spending (id INTEGER PRIMARY KEY, usd REAL NOT NULL, tokens INTEGER NOT NULL)"


class Budget:
    """What a run may spend in all.

    Before a call, the most it can cost is reserved; afterwards the reservation is replaced by what it did
    cost. So the limit is never passed, also with many calls under way. A process that dies leaves its
    reservation behind, which errs on the safe side until the run is resumed and the budget opened anew.

    Parameters
    ----------
    usd, tokens
        Limits; None for none.
    file
        SQLite file that several processes of one run share; None for one process.
    spent_usd, spent_tokens
        What the run has spent before (a resumed run).
    """

    def __init__(
        self,
        usd: float | None = None,
        tokens: int | None = None,
        *,
        file: str | Path | None = None,
        spent_usd: float = 0.0,
        spent_tokens: int = 0,
    ) -> None:
        self.usd = usd
        self.tokens = tokens
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            str(file) if file is not None else ":memory:",
            timeout=60,
            isolation_level=None,
            check_same_thread=False,
        )
        self._database.execute(_TABLE)
        if spent_usd or spent_tokens:
            self._database.execute("INSERT INTO spending (usd, tokens) VALUES (?, ?)", (spent_usd, spent_tokens))

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.usd is not None or self.tokens is not None

    def spent(self) -> tuple[float, int]:
        """Return USD and tokens spent and reserved."""
        with self._lock:
            return self._sums()

    def reserve(self, usd: float, tokens: int) -> int:
        """Set aside the most that a call can use and return the number of the reservation.

        Raises
        ------
        BudgetExceededError
            If the call could pass a limit; nothing is reserved then.
        """
        if not self.is_limited:
            return 0
        with self._lock, self._transaction():
            spent_usd, spent_tokens = self._sums()
            if self.usd is not None and spent_usd + usd > self.usd:
                msg = (
                    f"budget of ${self.usd:.2f}: ${spent_usd:.4f} spent or set aside; the next call could "
                    f"cost ${usd:.4f}"
                )
                raise BudgetExceededError(msg)
            if self.tokens is not None and spent_tokens + tokens > self.tokens:
                msg = (
                    f"budget of {self.tokens:,} tokens: {spent_tokens:,} used or set aside; the next call "
                    f"could use {tokens:,}"
                )
                raise BudgetExceededError(msg)
            row = self._database.execute("INSERT INTO spending (usd, tokens) VALUES (?, ?)", (usd, tokens))
            return row.lastrowid or 0

    def settle(self, reservation: int, usd: float, tokens: int) -> None:
        """Replace a reservation by what the call used."""
        if reservation:
            with self._lock:
                self._database.execute(
                    "UPDATE spending SET usd = ?, tokens = ? WHERE id = ?", (usd, tokens, reservation)
                )

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

    def _sums(self) -> tuple[float, int]:
        row = self._database.execute("SELECT COALESCE(SUM(usd), 0), COALESCE(SUM(tokens), 0) FROM spending").fetchone()
        return float(row[0]), int(row[1])
