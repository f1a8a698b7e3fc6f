"""Marker maps (an object of nested cell types) and the list form (a list of programs with names).

Both arrive here as :mod:`located <cellkey.hierarchy.located>` values, from JSON, YAML or memory. Nothing is
raised: whatever is wrong is added to the findings and reading goes on, so that one pass reports all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cellkey.errors import did_you_mean
from cellkey.hierarchy.cell_type import NODE_KEYS, Path, label_problem
from cellkey.hierarchy.draft import Draft, DraftHierarchy
from cellkey.hierarchy.located import Array, Entry, Located, Object, Scalar, kind, plain
from cellkey.hierarchy.node_settings import MARKER_KEYS, read_node_setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellkey.hierarchy.findings import Findings

__all__ = ["read_list_form", "read_map_form"]

_CHILD_KEYS: Final = ("children", "subtypes")
_LIST_KEYS: Final = ("name", "positive_markers", "negative_markers", *NODE_KEYS)

def read_map_form(root: Object, findings: Findings) -> DraftHierarchy:
    """Return what a marker map says: flat, or with all roots inside one ``children`` object."""
    draft = DraftHierarchy()
    _report_repeated_keys(root, (), findings)
    roots: list[Entry] = []
    for entry in root:
        if entry.key.startswith("_"):
            _read_setting(entry, draft, findings)
        else:
            roots.append(entry)
    for entry in _unwrapped(roots, draft, findings):
        _read_node(entry, (), draft, findings)
    return draft


def read_list_form(root: Array, findings: Findings) -> DraftHierarchy:
    """Return what a list of programs says."""
    draft = DraftHierarchy()
    _read_programs(root, (), draft, findings)
    return draft


# --- top level ---


def _read_setting(entry: Entry, draft: DraftHierarchy, findings: Findings) -> None:
    places = {
        "_gating_params": "gating",
        "_marker_map_metadata": "metadata",
        "_cell_state_markers": "cell_states",
    }
    if entry.key not in places:
        hint = did_you_mean(entry.key, places)
        findings.note(f"setting {entry.key!r} is not used{hint}", entry.line)
        return
    if not isinstance(entry.value, Object):
        findings.error(f"{entry.key} must be an object, but is {kind(entry.value)}", entry.line)
        return
    getattr(draft, places[entry.key]).update(plain(entry.value))
    if entry.key == "_gating_params":
        draft.gating_line = entry.line


def _unwrapped(roots: list[Entry], draft: DraftHierarchy, findings: Findings) -> Iterable[Entry]:
    """Return the entries of the single ``children`` object of a wrapped map, else the roots themselves."""
    wrappers = [e for e in roots if e.key in _CHILD_KEYS and isinstance(e.value, Object)]
    others = [e for e in roots if e not in wrappers]
    described = all(isinstance(e.value, Scalar) or not _items(e.value) for e in others)
    if len(wrappers) != 1 or not described:
        return roots
    inner = wrappers[0].value
    assert isinstance(inner, Object)
    _report_repeated_keys(inner, (), findings)
    for entry in others:
        value = plain(entry.value)
        if entry.key in ("name", "version", "tissue", "description", "organism") and value is not None:
            draft.metadata.setdefault(entry.key, value)
        else:
            findings.note(f"{entry.key!r} beside the wrapping {wrappers[0].key!r} is not used", entry.line)
    kept = []
    for entry in inner:
        if entry.key.startswith("_"):
            _read_setting(entry, draft, findings)
        else:
            kept.append(entry)
    return kept


def _items(value: Located) -> tuple[Any, ...]:
    return value.entries if isinstance(value, Object) else value.items if isinstance(value, Array) else ()


# --- nodes of a map ---


def _read_node(entry: Entry, above: Path, draft: DraftHierarchy, findings: Findings) -> None:
    path = (*above, entry.key)
    _check_label(entry.key, path, entry.line, findings)
    if not isinstance(entry.value, Object):
        fix = f'write {{"markers": {_kind_example(entry.value)}}}'
        findings.error(f"a cell type must be an object, but is {kind(entry.value)}", entry.line, path, fix)
        return
    node = Draft(path, entry.line)
    draft.nodes.append(node)
    _report_repeated_keys(entry.value, path, findings)
    children: list[Entry] = []
    for inner in entry.value:
        if inner.key in _CHILD_KEYS:
            children += _child_entries(inner, path, findings)
        elif not read_node_setting(inner, node, findings):
            children += _inline_child(inner, path, findings)
    _report_repeated_keys(Object(tuple(children)), path, findings, across=True)
    for child in children:
        _read_node(child, path, draft, findings)


def _child_entries(entry: Entry, path: Path, findings: Findings) -> list[Entry]:
    if isinstance(entry.value, Object):
        _report_repeated_keys(entry.value, path, findings)
        for inner in entry.value:
            if inner.key.startswith("_"):
                findings.note(f"setting {inner.key!r} is not used", inner.line, path)
        return [e for e in entry.value if not e.key.startswith("_")]
    if isinstance(entry.value, Scalar) and entry.value.value is None:
        return []
    if isinstance(entry.value, Array) and not entry.value.items:
        return []
    findings.error(f"{entry.key} must be an object of cell types, but is {kind(entry.value)}", entry.line, path)
    return []


def _inline_child(entry: Entry, path: Path, findings: Findings) -> list[Entry]:
    """Return a child that stands among the settings of its parent, if it shows that it is a cell type."""
    if entry.key.startswith("_"):
        findings.note(f"setting {entry.key!r} is not used", entry.line, path)
        return []
    if isinstance(entry.value, Object):
        shown = {e.key for e in entry.value}
        if shown & {*MARKER_KEYS, *_CHILD_KEYS}:
            return [entry]
        findings.error(
            f"{entry.key!r} is neither a setting nor a cell type (it holds no markers, children or subtypes)",
            entry.line,
            path,
            f"known settings are {', '.join(NODE_KEYS)}",
        )
        return []
    hint = did_you_mean(entry.key, [*NODE_KEYS, "subtypes"])
    known = "" if hint else f"known settings are {', '.join(NODE_KEYS)}"
    findings.error(f"unknown setting {entry.key!r}{hint}", entry.line, path, known)
    return []


# --- list form ---


def _read_programs(programs: Array, above: Path, draft: DraftHierarchy, findings: Findings) -> None:
    seen: dict[str, int | None] = {}
    for item in programs.items:
        if not isinstance(item, Object):
            findings.error(f"a program must be an object, but is {kind(item)}", item.line, above)
            continue
        label = _program_name(item, above, findings)
        if label is None:
            continue
        if label in seen:
            findings.error(_repeated_text(label, seen[label]), item.line, above, "names of siblings must differ")
        seen[label] = item.line
        _read_program(item, (*above, label), draft, findings)


def _program_name(item: Object, above: Path, findings: Findings) -> str | None:
    named = next((e for e in item if e.key == "name"), None)
    value = plain(named.value) if named else None
    if named is None or not isinstance(value, str):
        text = "a program needs a name" if named is None else f"name must be text, but is {value!r}"
        findings.error(text, item.line, above, 'add "name": "..."' if named is None else "")
        return None
    _check_label(value, (*above, value), named.line, findings)
    return value


def _read_program(item: Object, path: Path, draft: DraftHierarchy, findings: Findings) -> None:
    node = Draft(path, item.line)
    draft.nodes.append(node)
    _report_repeated_keys(item, path, findings)
    for entry in item:
        if entry.key in (*_CHILD_KEYS, "name") or read_node_setting(entry, node, findings):
            continue
        if isinstance(entry.value, Object):
            hint = did_you_mean(entry.key, _LIST_KEYS)
            findings.error(f"unknown setting {entry.key!r}{hint}", entry.line, path, "put it into metadata")
        else:
            node.settings.setdefault("metadata", {})[entry.key] = plain(entry.value)
            findings.note(f"{entry.key!r} was put into metadata", entry.line, path)
    for entry in item:
        if entry.key not in _CHILD_KEYS:
            continue
        if isinstance(entry.value, Array):
            _read_programs(entry.value, path, draft, findings)
        else:
            for child in _child_entries(entry, path, findings):
                _read_node(child, path, draft, findings)


# --- shared ---


def _check_label(label: str, path: Path, line: int | None, findings: Findings) -> None:
    problem = label_problem(label)
    if problem:
        findings.error(problem, line, path, "choose another name")


def _report_repeated_keys(value: Object, path: Path, findings: Findings, *, across: bool = False) -> None:
    first: dict[str, int | None] = {}
    for entry in value:
        known_pair = across and entry.line is not None and first.get(entry.key) == entry.line
        if entry.key in first and not known_pair:
            findings.error(_repeated_text(entry.key, first[entry.key]), entry.line, path, "keep one of them")
        first.setdefault(entry.key, entry.line)


def _repeated_text(name: str, first_line: int | None) -> str:
    where = f" (first on line {first_line})" if first_line else ""
    return f"{name!r} is given more than once{where}"


def _kind_example(value: Located) -> str:
    names = [str(i.value) for i in value.items if isinstance(i, Scalar)] if isinstance(value, Array) else []
    shown = ", ".join(f'"{n}"' for n in names[:3]) or '"CD3D", "CD3E"'
    return f"[{shown}]"
