"""Answers that were checked and found valid, kept between runs and keyed by everything that made them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import CellkeyWarning
from cellkey.llm.journal import reply_from_mapping, reply_to_mapping

if TYPE_CHECKING:
    from cellkey.llm.messages import ChatReply, ChatRequest
    from cellkey.llm.providers import Provider

__all__ = ["AnswerCache", "default_cache_file", "request_key"]

_VERSION = 1
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"


def request_key(request: ChatRequest, provider: Provider, model: str) -> str:
    """Return the SHA-256 of everything that can influence the answer: service, model and the whole request.

    Options that a model turned out not to accept do not change the key, so that a resumed run, which has yet
    to learn of them, finds its answers.
    """
    asked = [
        request.system,
        [[m.role, m.text] for m in request.messages],
        request.form and request.form.key,
        request.max_tokens,
        request.temperature,
        request.seed,
        request.repeat,
    ]
    content = [_VERSION, provider.wire.kind, provider.host, model, asked]
    if provider.effort is not None:
        content.append(provider.effort)
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8")).hexdigest()


def default_cache_file() -> Path:
    """Return the file in the user's cache folder (``CELLKEY_CACHE_DIR`` overrides the folder)."""
    named = os.environ.get("CELLKEY_CACHE_DIR")
    if named:
        return Path(named) / "answers.sqlite"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "cellkey" / "answers.sqlite"


class AnswerCache:
    """SQLite table of answers, shared by runs and processes. Trouble with the file is a warning only.

    Parameters
    ----------
    file
        Path of the file; made if absent.
    read_only
        Whether new answers are left out.
    """

    def __init__(self, file: str | Path, *, read_only: bool = False) -> None:
        self._read_only = read_only
        self._lock = threading.Lock()
        self._database = self._open(Path(file))

    def get(self, key: str) -> ChatReply | None:
        """Return the stored answer, or None."""
        if self._database is None:
            return None
        try:
            with self._lock:
                row = self._database.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
            return reply_from_mapping(json.loads(row[0])) if row else None
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            _warn("read", error)
            return None

    def put(self, key: str, reply: ChatReply) -> None:
        """Store an answer; an existing one stays."""
        if self._database is None or self._read_only:
            return
        try:
            with self._lock:
                self._database.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?)",
                    (key, json.dumps(reply_to_mapping(reply), ensure_ascii=False)),
                )
        except sqlite3.Error as error:
            _warn("write", error)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self, file: Path) -> sqlite3.Connection | None:
        database = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(str(file), timeout=10, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            if database is not None:
                database.close()
            _warn("open", error)
            return None
        return database


def _warn(verb: str, error: Exception) -> None:
    warnings.warn(f"cannot {verb} the answer cache ({error}); going on without it", CellkeyWarning, stacklevel=3)
