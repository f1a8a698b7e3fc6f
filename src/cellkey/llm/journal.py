"""The durable record of a run's calls and answers, from which an interrupted run goes on.

One line per HTTP attempt holds the record of the call together with its answer, written and flushed to disk
before the answer is used. Because both are one line, a process that is killed can lose neither without the
other: what was answered is never paid twice, and the totals never miss a call.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import RunError
from cellkey.llm.accounting import Call
from cellkey.llm.messages import ChatReply, Finish, Usage
from cellkey.records.locks import claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Journal", "read_calls", "reply_from_mapping", "reply_to_mapping"]


class Journal:
    """Calls and answers in order, in memory and, when a path is given, on disk.

    A journal has one writing process; its threads may share it.

    Parameters
    ----------
    path
        JSON-lines file that is continued if it exists. None keeps the journal in memory.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._replies: dict[str, list[ChatReply]] = {}
        self._handle: int | None = None
        if self._path is not None:
            self._load(self._path)

    @property
    def calls(self) -> list[Call]:
        """All records so far."""
        with self._lock:
            return list(self._calls)

    def reply(self, key: str, number: int) -> ChatReply | None:
        """Return answer ``number`` (from 0) to the request ``key``, if it was ever received."""
        with self._lock:
            answers = self._replies.get(key, [])
            return answers[number] if number < len(answers) else None

    def append(self, call: Call, key: str = "", reply: ChatReply | None = None) -> None:
        """Record a call and its answer; returns when both are safe on disk.

        Raises
        ------
        RunError
            If the file cannot be written.
        """
        line = {"call": plain_values(call), "key": key, "reply": reply_to_mapping(reply) if reply else None}
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8")
        with self._lock:
            if self._path is not None:
                self._write(self._path, data)
            self._remember(call, key, reply)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _write(self, path: Path, data: bytes) -> None:
        try:
            if self._handle is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                _lock(self._handle, path)
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
            os.fsync(self._handle)
        except OSError as error:
            msg = f"cannot write {path}: {error.strerror}"
            raise RunError(msg) from error

    def _remember(self, call: Call, key: str, reply: ChatReply | None) -> None:
        self._calls.append(call)
        if reply is not None:
            self._replies.setdefault(key, []).append(reply)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        _mend_last_line(path)
        for line in _lines(path):
            reply = reply_from_mapping(line["reply"]) if line.get("reply") else None
            self._remember(Call.from_mapping(line["call"]), str(line.get("key", "")), reply)


def _lock(handle: int, path: Path, patience: float = 10.0) -> None:
    """Claim a journal for this process, so that a resumed run and a forgotten worker never pay for the same.

    The claim ends with the process, however it ends. Where files cannot be locked, nothing is claimed.
    """
    deadline = time.monotonic() + patience
    while claim(handle) is False:
        if time.monotonic() > deadline:
            msg = f"another process is writing {path}: is the run still going on?"
            raise RunError(msg)
        time.sleep(0.1)


def read_calls(path: str | Path) -> list[Call]:
    """Return the records of a journal that another process may still be writing."""
    file = Path(path)
    return [Call.from_mapping(line["call"]) for line in _lines(file)] if file.exists() else []


def _mend_last_line(path: Path) -> None:
    """End the last line, or remove it if it is unfinished: the trace of a process that died while writing it."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end == len(data):
        return
    with path.open("r+b") as handle:
        if next(_values([data[end:]]), None) is not None:
            handle.seek(0, os.SEEK_END)
            handle.write(b"\n")
        else:
            handle.truncate(end)
        handle.flush()
        os.fsync(handle.fileno())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return _values(path.read_bytes().split(b"\n"))


def _values(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue  # the empty text after the last line end, or a line that is being written
        if isinstance(value, dict) and isinstance(value.get("call"), dict):
            yield value


def plain_values(record: Any) -> dict[str, Any]:
    """Return the fields of a flat dataclass; unlike ``asdict`` without copying what they hold."""
    return {f.name: getattr(record, f.name) for f in fields(record)}


def reply_to_mapping(reply: ChatReply) -> dict[str, Any]:
    """Return ``reply`` as plain values for JSON."""
    return {**plain_values(reply), "usage": plain_values(reply.usage)}


def reply_from_mapping(values: dict[str, Any]) -> ChatReply:
    """Return the reply that :func:`reply_to_mapping` wrote."""
    return ChatReply(**{**values, "usage": Usage(**values["usage"]), "finish": Finish(values["finish"])})
