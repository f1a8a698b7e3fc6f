"""Finding JSON objects in what a model wrote: bare, fenced, inside prose, or with small mistakes.

Text that was cut off is never completed: an object counts only if its closing brace was written.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["json_objects"]

_FENCE = re.compile(r"```[^\n`]*\r?\n(.*?)```", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None, "NaN": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_QUOTES = {'"': '"', "'": "'", "“": "”"}
_LONGEST = 60_000
_MOST_STARTS = 200


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that ``text`` may mean, most likely first.

    The order is: the whole text, fenced blocks from the last to the first, then every object inside the text
    from the longest to the shortest. The caller takes the first that has the form it asked for.
    """
    text = text[:_LONGEST].strip().removeprefix("\ufeff")
    seen: list[dict[str, Any]] = []
    for candidate in _candidates(text):
        if candidate not in seen:
            seen.append(candidate)
            yield candidate


def _candidates(text: str) -> Iterator[dict[str, Any]]:
    whole = _strict(text)
    if whole is not None:
        yield whole
        return
    for block in reversed(_FENCE.findall(text)):
        value = _strict(block)
        yield from [value] if value is not None else _embedded(block)
    yield from _embedded(text)


def _strict(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _embedded(text: str) -> list[dict[str, Any]]:
    """Objects that start at an opening brace, outermost only, longest first."""
    found: list[tuple[int, dict[str, Any]]] = []
    position = text.find("{")
    for _ in range(_MOST_STARTS):
        if position < 0:
            break
        reader = _Reader(text, position)
        try:
            value = reader.value()
        except (_NotJSONError, RecursionError):
            position = text.find("{", position + 1)
            continue
        found.append((reader.position - position, value))
        position = text.find("{", reader.position)
    return [value for _, value in sorted(found, key=lambda item: -item[0])]


class _NotJSONError(Exception):
    """The text at this place cannot be read as JSON, however kindly."""


class _Reader:
    """Reads one JSON value, forgiving trailing commas, single quotes, raw line ends, comments and Python's words."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position

    def value(self) -> Any:
        char = self._next()
        if char == "{":
            return self._object()
        if char == "[":
            return self._array()
        if char in _QUOTES:
            return self._string(_QUOTES[char])
        return self._word()

    def _object(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        self.position += 1
        while self._next() != "}":
            char = self._next()
            name = self._string(_QUOTES[char]) if char in _QUOTES else self._bare_name()
            self._expect(":")
            members[name] = self.value()
            self._separator("}")
        self.position += 1
        return members

    def _array(self) -> list[Any]:
        items: list[Any] = []
        self.position += 1
        while self._next() != "]":
            items.append(self.value())
            self._separator("]")
        self.position += 1
        return items

    def _separator(self, end: str) -> None:
        if self._next() == ",":
            self.position += 1
        elif self._next() != end:
            raise _NotJSONError

    def _expect(self, char: str) -> None:
        if self._next() != char:
            raise _NotJSONError
        self.position += 1

    def _string(self, closing: str) -> str:
        parts: list[str] = []
        self.position += 1
        while True:
            if self.position >= len(self.text):
                raise _NotJSONError
            char = self.text[self.position]
            self.position += 1
            if char == closing and self._closes(closing):
                return "".join(parts)
            parts.append(self._escape() if char == "\\" else char)

    def _closes(self, closing: str) -> bool:
        """An apostrophe inside a single-quoted text is no end: an end is followed by punctuation of JSON."""
        if closing != "'":
            return True
        return re.match(r"\s*(?:[,:}\]]|$)", self.text[self.position : self.position + 200]) is not None

    def _escape(self) -> str:
        char = self.text[self.position : self.position + 1]
        self.position += 1
        if char == "u":
            digits = self.text[self.position : self.position + 4]
            self.position += 4
            if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                raise _NotJSONError
            return chr(int(digits, 16))
        return _ESCAPES.get(char, char)

    def _bare_name(self) -> str:
        match = re.compile(r"[A-Za-z_][\w-]*").match(self.text, self.position)
        if match is None:
            raise _NotJSONError
        self.position = match.end()
        return match[0]

    def _word(self) -> Any:
        match = re.compile(r"[A-Za-z]+|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?").match(self.text, self.position)
        if match is None or (match[0][0].isalpha() and match[0] not in _WORDS):
            raise _NotJSONError
        self.position = match.end()
        word = match[0]
        if word in _WORDS:
            return _WORDS[word]
        return float(word) if re.search(r"[.eE]", word) else int(word)

    def _next(self) -> str:
        """The next character that is neither blank nor part of a comment."""
        match = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL).match(self.text, self.position)
        self.position = match.end() if match else self.position
        if self.position >= len(self.text):
            raise _NotJSONError
        return self.text[self.position]
