"""JSON as people write it, with the line of every value.

``//`` and ``/* */`` comments and trailing commas are allowed outside of strings; repeated keys and placeholders
(``...``) are kept apart, so that they can be reported.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cellkey.hierarchy.located import MAX_DEPTH, PLACEHOLDER, PLACEHOLDER_FIX, Array, Entry, Located, Object, Scalar

if TYPE_CHECKING:
    from cellkey.hierarchy.findings import Findings

__all__ = ["from_json"]


def from_json(text: str, findings: Findings) -> Located | None:
    """Return the value of a JSON text, or None after a syntax error, which is added to ``findings``.

    Placeholders (``...``) are added to ``findings`` and left out, so that all of them are reported at once.
    """
    try:
        return _JsonReader(text.removeprefix("\ufeff"), findings).document()
    except _SyntaxProblem as problem:
        findings.error(problem.message, problem.line, fix=problem.fix)
        return None


class _SyntaxProblem(Exception):  # noqa: N818  (never leaves this module)
    def __init__(self, message: str, line: int, fix: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.fix = message, line, fix


_BLANK: Final = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_WORD: Final = re.compile(r"[^\s,:\[\]{}\"]+")
_DOTS: Final = re.compile(r"(?:\.\.\.+|…)")
_LITERALS: Final = {"true": True, "false": False, "null": None}
_FOREIGN: Final = {
    "True": "true",
    "False": "false",
    "None": "null",
    "NaN": "null",
    "Infinity": "",
    "-Infinity": "",
    "undefined": "null",
}


class _JsonReader:
    """Recursive descent over the text; every method leaves ``_at`` behind what it read."""

    def __init__(self, text: str, findings: Findings) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._findings = findings
        self._counted_to, self._line = 0, 1

    def document(self) -> Located:
        self._skip()
        if self._at == len(self._text):
            self._fail("the file is empty")
        value = self._value()
        self._skip()
        if self._at < len(self._text):
            self._fail(f"unexpected {self._shown()} after the end of the content")
        return value if value is not None else Scalar(None, 1)

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _skip(self) -> None:
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._text.startswith("/*", self._at):
            self._fail("a comment that begins with /* never ends", fix="add */")

    def _value(self) -> Located | None:
        """Return a value, or None for a placeholder, which is reported."""
        line = self._line_here()
        head = self._text[self._at : self._at + 1]
        if head == "{":
            return self._nested(self._object, line)
        if head == "[":
            return self._nested(self._array, line)
        if head == '"':
            return Scalar(self._string(), line)
        if self._placeholder():
            return None
        if match := _NUMBER.match(self._text, self._at):
            self._at = match.end()
            return Scalar(json.loads(match.group()), line)
        return self._word(line)

    def _word(self, line: int) -> Scalar:
        match = _WORD.match(self._text, self._at)
        word = match.group() if match else ""
        if word in _LITERALS:
            self._at += len(word)
            return Scalar(_LITERALS[word], line)
        if word in _FOREIGN:
            other = _FOREIGN[word]
            fix = f"write {other}" if other else "leave the setting out for no limit"
            self._fail(f"{word} is not a JSON value", fix=fix)
        if word.startswith("'"):
            self._fail("text must stand in double quotes", fix=f'write "{word.strip(chr(39))}"')
        if word:
            self._fail(f"expected a value, found {word!r}", fix=f'text needs quotes: "{word}"')
        return self._fail(f"expected a value, found {self._shown()}")

    def _nested(self, read: Any, line: int) -> Located:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"values are nested more than {MAX_DEPTH} deep")
        value: Located = read(line)
        self._depth -= 1
        return value

    def _object(self, line: int) -> Object:
        entries: list[Entry] = []
        self._at += 1
        while not self._closes("}", line):
            if self._placeholder():
                self._separator("}", line)
                continue
            key_line = self._line_here()
            if self._text[self._at] != '"':
                self._fail(
                    f"expected a name in double quotes or '}}', found {self._shown()}",
                    fix="names of cell types and settings stand in double quotes",
                )
            key = self._string()
            self._skip()
            if not self._text.startswith(":", self._at):
                self._fail(f"expected ':' after {key!r}, found {self._shown()}")
            self._at += 1
            self._skip()
            value = self._value()
            if value is not None:
                entries.append(Entry(key, value, key_line))
            self._separator("}", line)
        return Object(tuple(entries), line)

    def _array(self, line: int) -> Array:
        items: list[Located] = []
        self._at += 1
        while not self._closes("]", line):
            value = self._value()
            if value is not None:
                items.append(value)
            self._separator("]", line)
        return Array(tuple(items), line)

    def _closes(self, bracket: str, opened: int) -> bool:
        self._skip()
        if self._at == len(self._text):
            self._fail(f"the file ends before the '{bracket}' that closes line {opened}")
        if self._text[self._at] != bracket:
            return False
        self._at += 1
        return True

    def _separator(self, bracket: str, opened: int) -> None:
        self._skip()
        if self._text.startswith(",", self._at):
            self._at += 1
        elif self._at == len(self._text):
            self._fail(f"the file ends before the '{bracket}' that closes line {opened}")
        elif self._text[self._at] != bracket:
            self._fail(f"expected ',' or '{bracket}', found {self._shown()}", fix="a comma may be missing")

    def _placeholder(self) -> bool:
        match = _DOTS.match(self._text, self._at)
        if not match:
            return False
        self._findings.error(PLACEHOLDER, self._line_here(), fix=PLACEHOLDER_FIX)
        self._at = match.end()
        return True

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if not match:
            self._fail("text in double quotes does not end on its line", fix='add the closing "')
        try:
            value: str = json.loads(match.group())
        except json.JSONDecodeError as error:
            self._fail(f"text {match.group()} is not valid: {error.msg}")
        self._at = match.end()
        return value

    def _shown(self) -> str:
        if self._at >= len(self._text):
            return "the end of the file"
        match = _WORD.match(self._text, self._at)
        return repr((match.group() if match else self._text[self._at])[:30])

    def _fail(self, message: str, fix: str = "") -> NoReturn:
        line_start = self._text.rfind("\n", 0, self._at) + 1
        column = self._at - line_start + 1
        text = f"column {column}: {message}"
        raise _SyntaxProblem(text, self._line_here(), fix) from None
