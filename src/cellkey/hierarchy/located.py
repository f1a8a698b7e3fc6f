"""Plain values that remember the line they were read from.

They come from YAML and memory here, and from JSON in :mod:`cellkey.hierarchy.located_json`. Repeated keys are kept, so
that they can be reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cellkey.errors import HierarchyError

if TYPE_CHECKING:
    import yaml

    from cellkey.hierarchy.findings import Findings

__all__ = ["Array", "Entry", "Located", "Object", "Scalar", "from_plain", "from_yaml", "kind", "plain"]

MAX_DEPTH: Final = 200
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


def from_yaml(text: str, findings: Findings) -> Located | None:
    """Return the value of a YAML text, or None after a syntax error, which is added to ``findings``."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        spaces = "indent with spaces, YAML takes no tabs" if "'\\t'" in (error.problem or "") else ""
        findings.error(f"not valid YAML: {error.problem or error.context}", line, fix=spaces)
        return None
    except (yaml.YAMLError, RecursionError) as error:
        findings.error(f"not valid YAML: {str(error).splitlines()[0]}")
        return None
    return Scalar(None) if node is None else _from_yaml_node(node, findings, 0)


def _from_yaml_node(node: yaml.Node, findings: Findings, depth: int) -> Located:
    import yaml

    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        msg = f"line {line}: values are nested more than {MAX_DEPTH} deep (an anchor may refer to itself)"
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


def kind(value: Located) -> str:
    """Return what a value is, for messages: ``an object``, ``a list``, ``the number 3``."""
    if isinstance(value, Object):
        return "an object"
    if isinstance(value, Array):
        return "a list"
    return "null" if value.value is None else f"the {_type_word(value.value)} {value.value!r}"


def _type_word(value: Any) -> str:
    words: Mapping[type, str] = {str: "text", bool: "truth value", int: "number", float: "number"}
    return words.get(type(value), type(value).__name__)
