"""Plain values that remember the line they were read from.

JSON is read here with ``//`` and ``/* */`` comments and trailing commas allowed outside of strings, and with
repeated keys kept, so that they can be reported. YAML of the same shape gives the same values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from cellkey.errors import HierarchyError

if TYPE_CHECKING:
    import yaml

    from cellkey.hierarchy.findings import Findings

__all__ = ["Array", "Entry", "Located", "Object", "Scalar", "from_json", "from_plain", "from_yaml", "plain"]

_MAX_DEPTH: Final = 200
PLACEHOLDER: Final = "'...' is a placeholder"
PLACEHOLDER_FIX: Final = "write the real content there, or remove it"


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, number, truth value or null."""

    value: Any
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """Values in order."""

    items: tuple[Located, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of an object and its value."""

    key: str
    value: Located
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """Keys and values in order; keys may repeat."""

    entries: tuple[Entry, ...]
    line: int | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)


Located: TypeAlias = Scalar | Array | Object


def from_plain(value: Any) -> Located:
    """Return plain Python values (mappings, sequences, scalars) without lines."""
    if isinstance(value, Mapping):
        return Object(tuple(Entry(str(k), from_plain(v)) for k, v in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Array(tuple(from_plain(v) for v in value))
    return Scalar(value)


def plain(value: Located) -> Any:
    """Return plain Python values; of a repeated key the last counts."""
    if isinstance(value, Object):
        return {e.key: plain(e.value) for e in value}
    if isinstance(value, Array):
        return [plain(v) for v in value.items]
    return value.value


def from_json(text: str, findings: Findings) -> Located | None:
    """Return the value of a JSON text, or None after a syntax error, which is added to ``findings``.

    Placeholders (``...``) are added to ``findings`` and left out, so that all of them are reported at once.
    """
    try:
        return _JsonReader(text.removeprefix("\ufeff"), findings).document()
    except _SyntaxProblem as problem:
        findings.error(problem.message, problem.line, fix=problem.fix)
        return None


def from_yaml(text: str, findings: Findings) -> Located | None:
    """Return the value of a YAML text, or None after a syntax error, which is added to ``findings``."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        findings.error(f"not valid YAML: {error.problem or error.context}", line)
        return None
    except (yaml.YAMLError, RecursionError) as error:
        findings.error(f"not valid YAML: {str(error).splitlines()[0]}")
        return None
    return Scalar(None) if node is None else _from_yaml_node(node, findings, 0)


def _from_yaml_node(node: yaml.Node, findings: Findings, depth: int) -> Located:
    import yaml

    line = node.start_mark.line + 1
    if depth > _MAX_DEPTH:
        msg = f"line {line}: values are nested more than {_MAX_DEPTH} deep (an anchor may refer to itself)"
        raise HierarchyError(msg)
    if isinstance(node, yaml.MappingNode):
        entries = (
            Entry(str(key.value), _from_yaml_node(value, findings, depth + 1), key.start_mark.line + 1)
            for key, value in node.value
        )
        return Object(tuple(entries), line)
    if isinstance(node, yaml.SequenceNode):
        return Array(tuple(_from_yaml_node(v, findings, depth + 1) for v in node.value), line)
    if node.value in ("...", "…"):
        findings.error(PLACEHOLDER, line, fix=PLACEHOLDER_FIX)
        return Scalar(None, line)
    return Scalar(yaml.constructor.SafeConstructor().construct_object(node), line)


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
        if self._depth > _MAX_DEPTH:
            self._fail(f"values are nested more than {_MAX_DEPTH} deep")
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
