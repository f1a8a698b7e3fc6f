"""The log of a run as lines of JSON, for programs that watch it."""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cellkey.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["events_to", "json_log", "tell"]

_log = logging.getLogger("cellkey.events")


def tell(event: str, **facts: Any) -> None:
    """Log what happened; ``facts`` are plain values, which :func:`json_log` writes beside the message."""
    if _log.isEnabledFor(logging.INFO):
        words = " ".join(f"{k}={v}" for k, v in facts.items())
        _log.info("%s %s", event, words, extra={"event": event, "facts": facts})


@contextlib.contextmanager
def events_to(hand_over: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """Hand over the name and facts of every event during the block, as a child process does to its parent."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hand_over(record.event, record.facts)  # type: ignore[attr-defined]

    handler, before = Handler(), _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


class _Lines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.casefold(),
            "event": getattr(record, "event", "message"),
        }
        facts = getattr(record, "facts", None)
        line |= facts if isinstance(facts, dict) else {"message": record.getMessage()}
        return json.dumps(line, ensure_ascii=False, default=str)


@contextlib.contextmanager
def json_log(path: str | Path | None) -> Iterator[None]:
    """Append everything that cellkey logs during the block to ``path``, one JSON object per line; None: nowhere.

    Every line has ``time`` (UTC), ``level`` and ``event``; other keys depend on the event.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    if path is None:
        yield
        return
    logger = logging.getLogger("cellkey")
    before = logger.level
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write the log {path}: {error.strerror}"
        raise RunError(msg) from None
    handler.setFormatter(_Lines())
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, before or logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
