"""Writing a hierarchy as marker map, list of programs, YAML or GMT."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from cellkey.errors import HierarchyError, did_you_mean
from cellkey.records.yaml_text import yaml_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["WriteFormat", "format_hierarchy", "write_hierarchy"]

WriteFormat = Literal["json", "yaml", "list", "gmt"]

_LIST_NAMES: Final = {"markers": "positive_markers", "anti_markers": "negative_markers"}
_BY_SUFFIX: Final[Mapping[str, WriteFormat]] = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".gmt": "gmt",
}


def write_hierarchy(
    hierarchy: Hierarchy,
    path: str | Path,
    format: WriteFormat | None = None,  # noqa: A002  (the name users know from pandas)
    *,
    wrapped: bool = False,
) -> None:
    """Write a hierarchy atomically as UTF-8 text.

    Parameters
    ----------
    hierarchy
        What to write.
    path
        Where to.
    format
        ``"json"`` and ``"yaml"`` are marker maps and keep everything. ``"list"`` is a JSON list of programs
        and keeps the nodes, but not name, metadata and gating rules of the whole. ``"gmt"`` keeps paths,
        markers, anti-markers and descriptions. None takes the suffix of ``path``, and JSON where it says
        nothing.
    wrapped
        Nest the roots inside one ``children`` object (marker maps only).

    Raises
    ------
    HierarchyError
        If the format is unknown, or ``wrapped`` is asked of a form that has no wrapper.
    RunError
        If the file cannot be written.

    Examples
    --------
    >>> tree = cellkey.read_hierarchy({"T Cells": {"markers": ["CD3D"]}})
    >>> cellkey.write_hierarchy(tree, folder / "map.yaml")
    >>> cellkey.read_hierarchy(folder / "map.yaml")["T Cells"].markers
    ('CD3D',)
    """
    from pathlib import Path as FilePath

    from cellkey.records.atomic import write_text

    chosen = format or _BY_SUFFIX.get(FilePath(path).suffix.casefold(), "json")
    write_text(path, format_hierarchy(hierarchy, chosen, wrapped=wrapped))


def format_hierarchy(
    hierarchy: Hierarchy,
    format: WriteFormat = "json",  # noqa: A002
    *,
    wrapped: bool = False,
) -> str:
    """Return the text that :func:`write_hierarchy` writes."""
    if format not in get_args(WriteFormat):
        known = get_args(WriteFormat)
        msg = f"format {format!r} cannot be written{did_you_mean(format, known)}; known: {', '.join(known)}"
        raise HierarchyError(msg)
    if wrapped and format not in ("json", "yaml"):
        msg = f"only marker maps (json, yaml) can be wrapped, not {format}"
        raise HierarchyError(msg)
    if format == "gmt":
        return _gmt_text(hierarchy)
    if format == "list":
        return _json_text([_program(hierarchy, root) for root in hierarchy.roots])
    values = hierarchy.to_dict(wrapped=wrapped)
    return _json_text(values) if format == "json" else yaml_text(values, short_lists=True)


def _program(hierarchy: Hierarchy, node: CellType) -> dict[str, Any]:
    """Return a node as a program of the list form; the keys that programs always have are always there."""
    settings = {_LIST_NAMES.get(k, k): v for k, v in node.settings().items()}
    always: dict[str, Any] = {
        "name": node.name,
        "positive_markers": list(node.markers),
        "negative_markers": list(node.anti_markers),
        "description": node.description or None,
        "aliases": list(node.aliases),
        "min_markers_present": node.min_markers_present,
        "metadata": {},
    }
    return {**always, **settings, "children": [_program(hierarchy, c) for c in hierarchy.children(node.path)]}


def _json_text(value: Any) -> str:
    """Return strict JSON with short lists of names on one line, as people write them."""
    return _indented(value, "") + "\n"


def _indented(value: Any, indent: str) -> str:
    inner = indent + "    "
    if isinstance(value, dict) and value:
        lines = (f"{inner}{json.dumps(k, ensure_ascii=False)}: {_indented(v, inner)}" for k, v in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        return "[\n" + ",\n".join(inner + _indented(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _gmt_text(hierarchy: Hierarchy) -> str:
    lines = []
    for node in hierarchy:
        description = " ".join(node.description.split())
        if not description or description.casefold().startswith("parent"):  # which would name a parent
            description = "na"
        if _tabbed(node):
            msg = f"{node.path_text!r} holds a tab or line break, which GMT cannot keep"
            raise HierarchyError(msg)
        if node.path_text.startswith("#"):
            msg = f"{node.path_text!r} starts with '#', which marks a comment in GMT; write JSON or YAML instead"
            raise HierarchyError(msg)
        lines.append("\t".join([node.path_text, description, *node.markers]))
        if node.anti_markers:
            lines.append("\t".join([f"{node.path_text} (anti)", "na", *node.anti_markers]))
    return "\n".join(lines) + "\n"


def _tabbed(node: CellType) -> bool:
    return any(c in text for text in (*node.markers, *node.anti_markers) for c in "\t\n\r")
