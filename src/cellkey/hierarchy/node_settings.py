"""A cell type's own settings in a marker map or a list of programs: names of markers, limits, text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cellkey.errors import did_you_mean
from cellkey.hierarchy.draft import Draft, ListedName
from cellkey.hierarchy.located import PLACEHOLDER, PLACEHOLDER_FIX, Array, Entry, Located, Object, Scalar, kind, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellkey.hierarchy.cell_type import Path
    from cellkey.hierarchy.findings import Findings

__all__ = ["MARKER_KEYS", "OVERRIDES", "read_node_setting"]

MARKER_KEYS: Final = {"markers": "markers", "positive_markers": "markers"}
_ANTI_KEYS: Final = {"anti_markers": "anti", "Anti_markers": "anti", "negative_markers": "anti"}

OVERRIDES: Final[Mapping[str, str]] = {
    "min_coverage": "fraction",
    "min_pos_frac": "fraction",
    "min_frac_markers_on": "fraction",
    "min_enrichment": "number",
    "min_gap": "limit",
    "max_ambiguity": "count",
    "on_limit": "fraction",
    "child_support": "truth",
    "require_anti_markers_off": "truth",
}
"""Settings that a node's ``gating_overrides`` may hold, and what kind of value each takes."""

_ONTOLOGY_ID: Final = re.compile(r"^CL:\d{7}$")


def read_node_setting(entry: Entry, node: Draft, findings: Findings) -> bool:
    """Read one of a node's own settings; False if the key is none."""
    if entry.key in MARKER_KEYS:
        node.markers += _names(entry, node.path, findings)
    elif entry.key in _ANTI_KEYS:
        node.anti_markers += _names(entry, node.path, findings)
    elif entry.key in _SETTING_READERS:
        if not (isinstance(entry.value, Scalar) and entry.value.value is None):
            _SETTING_READERS[entry.key](entry, node, findings)
    else:
        return False
    return True


def _names(entry: Entry, path: Path, findings: Findings) -> list[ListedName]:
    """Return the names of a list; a bare text counts as one name."""
    if isinstance(entry.value, Array):
        items: tuple[Located, ...] = entry.value.items
    elif isinstance(entry.value, Scalar) and entry.value.value is None:
        items = ()
    elif isinstance(entry.value, Scalar) and isinstance(entry.value.value, str):
        items = (entry.value,)
        if re.search(r"[,;]", entry.value.value):
            findings.warning(
                f"{entry.key} is one text with several names: {entry.value.value!r}",
                entry.line,
                path,
                'write a list such as ["CD3D", "CD3E"]',
            )
    else:
        findings.error(f"{entry.key} must be a list of names, but is {kind(entry.value)}", entry.line, path)
        return []
    return [n for item in items if (n := _name(item, entry, path, findings)) is not None]


def _name(item: Located, entry: Entry, path: Path, findings: Findings) -> ListedName | None:
    line = item.line or entry.line
    value = item.value if isinstance(item, Scalar) else None
    if not isinstance(value, str):
        shown = repr(value) if isinstance(item, Scalar) else kind(item)
        findings.error(f"{entry.key} holds {shown}, which is not a name", line, path, "put names in quotes")
        return None
    name = value.strip()
    if name in ("...", "…"):
        findings.error(PLACEHOLDER, line, path, PLACEHOLDER_FIX)
        return None
    if not name:
        findings.error(f"{entry.key} holds an empty name", line, path, "remove it")
        return None
    if name != value:
        findings.note(f"spaces around {name!r} were dropped", line, path)
    return ListedName(name, line)


def _text_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    value = plain(entry.value)
    if isinstance(value, str):
        node.settings[entry.key] = value
    else:
        findings.error(f"{entry.key} must be text, but is {kind(entry.value)}", entry.line, node.path)


def _ontology_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    value = plain(entry.value)
    if not isinstance(value, str):
        findings.error(f"ontology_id must be text, but is {kind(entry.value)}", entry.line, node.path)
        return
    node.settings["ontology_id"] = value.strip().replace("_", ":") or None
    if not _ONTOLOGY_ID.match(value.strip().replace("_", ":")):
        findings.warning(
            f"ontology_id {value!r} is not a Cell Ontology id",
            entry.line,
            node.path,
            "ids look like CL:0000084",
        )


def _alias_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    names = [n.name for n in _names(entry, node.path, findings)]
    node.settings["aliases"] = tuple(dict.fromkeys(names))


def _count_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    value = plain(entry.value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        node.settings[entry.key] = value
    else:
        findings.error(f"{entry.key} must be a whole number from 0, but is {value!r}", entry.line, node.path)


def _metadata_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    if isinstance(entry.value, Object):
        node.settings["metadata"] = {**node.settings.get("metadata", {}), **plain(entry.value)}
    else:
        findings.error(f"metadata must be an object, but is {kind(entry.value)}", entry.line, node.path)


def _overrides_setting(entry: Entry, node: Draft, findings: Findings) -> None:
    if not isinstance(entry.value, Object):
        findings.error(f"gating_overrides must be an object, but is {kind(entry.value)}", entry.line, node.path)
        return
    values: dict[str, float | bool] = {}
    for inner in entry.value:
        value = plain(inner.value)
        problem = _override_problem(inner.key, value)
        if problem:
            findings.error(f"gating_overrides: {problem}", inner.line, node.path)
        else:
            values[inner.key] = value
    node.settings["gating_overrides"] = values


def _override_problem(name: str, value: Any) -> str:
    if name not in OVERRIDES:
        return f"unknown setting {name!r}{did_you_mean(name, OVERRIDES)}; known are {', '.join(OVERRIDES)}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if OVERRIDES[name] == "truth" and not isinstance(value, bool):
        return f"{name} must be true or false, but is {value!r}"
    if OVERRIDES[name] != "truth" and not is_number:
        return f"{name} must be a number, but is {value!r}"
    if OVERRIDES[name] == "fraction" and not 0 <= value <= 1:
        return f"{name} must lie between 0 and 1, but is {value}"
    if OVERRIDES[name] == "limit" and value < 0:
        return f"{name} must not be negative, but is {value}"
    if OVERRIDES[name] == "count" and (value < 1 or value != int(value)):
        return f"{name} must be a whole number from 1, but is {value}"
    return ""


_SETTING_READERS: Final[Mapping[str, Callable[[Entry, Draft, Findings], None]]] = {
    "description": _text_setting,
    "source": _text_setting,
    "ontology_id": _ontology_setting,
    "aliases": _alias_setting,
    "min_markers_present": _count_setting,
    "metadata": _metadata_setting,
    "gating_overrides": _overrides_setting,
}
