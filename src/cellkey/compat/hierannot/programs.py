"""Marker programs: nodes that users build by hand, with markers and children."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellkey.errors import HierarchyError
from cellkey.hierarchy.cell_type import CellType
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

__all__ = ["CompiledMarkerProgram", "MarkerProgram", "as_hierarchy", "as_programs", "compile_programs", "described"]

DESCRIBED = ("name", "level", "parent", "n_positive_markers", "n_negative_markers", "n_children", "metadata")
_KEYS = ("name", "positive_markers", "negative_markers", "children", "description", "aliases",
         "min_markers_present", "metadata")


@dataclass
class MarkerProgram:
    """A cell type with the markers that speak for and against it, and its subtypes."""

    name: str
    positive_markers: list[str]
    negative_markers: list[str] = field(default_factory=list)
    children: list[MarkerProgram] = field(default_factory=list)
    description: str | None = None
    aliases: list[str] = field(default_factory=list)
    min_markers_present: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def add_child(self, child: MarkerProgram) -> None:
        """Append a subtype."""
        self.children.append(child)

    def clone(self) -> MarkerProgram:
        """Return a deep copy."""
        return copy.deepcopy(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the program with its subtypes as plain values."""
        values = {key: copy.deepcopy(getattr(self, key)) for key in _KEYS if key != "children"}
        values["children"] = [child.to_dict() for child in self.children]
        return {key: values[key] for key in _KEYS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MarkerProgram:
        """Return a program from plain values; only ``name`` is required."""
        if "name" not in values:
            msg = "a marker program needs a name"
            raise HierarchyError(msg)
        return cls(
            name=str(values["name"]),
            positive_markers=list(values.get("positive_markers") or ()),
            negative_markers=list(values.get("negative_markers") or ()),
            children=[cls.from_dict(child) for child in values.get("children") or ()],
            description=values.get("description"),
            aliases=list(values.get("aliases") or ()),
            min_markers_present=values.get("min_markers_present"),
            metadata=dict(values.get("metadata") or {}),
        )

    def iter_nodes(self) -> Iterator[dict[str, Any]]:
        """Yield one description per program, parents before their subtypes."""
        return _walk(self, 1, None)


def _walk(program: MarkerProgram, level: int, parent: str | None) -> Iterator[dict[str, Any]]:
    yield {
        "name": program.name, "level": level, "parent": parent,
        "n_positive_markers": len(program.positive_markers), "n_negative_markers": len(program.negative_markers),
        "n_children": len(program.children), "metadata": program.metadata,
    }
    for child in program.children:
        yield from _walk(child, level + 1, program.name)


@dataclass(frozen=True)
class CompiledMarkerProgram:
    """A program as it is scored: listed and effective markers, level and parent."""

    name: str
    canonical_markers: list[str]
    effective_markers: list[str]
    negative_markers: list[str]
    children: list[CompiledMarkerProgram] = field(default_factory=list)
    description: str | None = None
    aliases: list[str] = field(default_factory=list)
    min_markers_present: int | None = None
    level: int = 1
    parent_name: str | None = None
    cleanup_strategy: str = "none"
    metadata: dict[str, Any] = field(default_factory=dict)


def as_hierarchy(
    programs: Sequence[MarkerProgram] | MarkerProgram, *, uppercase: bool = True, name: str = ""
) -> Hierarchy:
    """Return programs as a hierarchy; names of markers are stripped and each kept once.

    Raises
    ------
    HierarchyError
        If two siblings share a name, or a marker speaks both for and against a program.
    """
    roots = [programs] if isinstance(programs, MarkerProgram) else list(programs)
    nodes: list[CellType] = []

    def clean(markers: Sequence[str]) -> tuple[str, ...]:
        stripped = (str(m).strip() for m in markers)
        return tuple(dict.fromkeys(m.upper() if uppercase else m for m in stripped if m))

    def add(program: MarkerProgram, above: tuple[str, ...]) -> None:
        path = (*above, str(program.name).strip())
        nodes.append(CellType(
            path, clean(program.positive_markers), clean(program.negative_markers),
            description=program.description or "", aliases=tuple(dict.fromkeys(program.aliases)),
            min_markers_present=program.min_markers_present, metadata=program.metadata,
        ))
        for child in program.children:
            add(child, path)

    wrong = [type(root).__name__ for root in roots if not isinstance(root, MarkerProgram)]
    if wrong:
        msg = f"expected MarkerProgram, got {wrong[0]}"
        raise TypeError(msg)
    for root in roots:
        add(root, ())
    return Hierarchy(tuple(nodes), name=name)


def as_programs(hierarchy: Hierarchy) -> list[MarkerProgram]:
    """Return the roots of a hierarchy as programs."""
    from cellkey.hierarchy.frozen import thaw

    def program(node: CellType) -> MarkerProgram:
        return MarkerProgram(
            node.name, list(node.markers), list(node.anti_markers),
            [program(c) for c in hierarchy.children(node.path)], node.description or None, list(node.aliases),
            node.min_markers_present, dict(thaw(node.metadata)),
        )

    return [program(root) for root in hierarchy.roots]


def compile_programs(
    hierarchy: Hierarchy, effective: Sequence[Sequence[str]], root_strategy: str, child_strategy: str
) -> list[CompiledMarkerProgram]:
    """Return the programs as they are scored."""

    def compiled(node: CellType) -> CompiledMarkerProgram:
        parent = hierarchy.parent(node.path)
        return CompiledMarkerProgram(
            node.name, list(node.markers), list(effective[hierarchy.index(node.path)]), list(node.anti_markers),
            [compiled(c) for c in hierarchy.children(node.path)], node.description or None, list(node.aliases),
            node.min_markers_present, node.level + 1, parent.name if parent else None,
            root_strategy if parent is None else child_strategy, dict(node.metadata),
        )

    return [compiled(root) for root in hierarchy.roots]


def described(programs: Sequence[MarkerProgram]) -> pd.DataFrame:
    """Return one row per program, parents before their subtypes."""
    import pandas as pd

    rows = [row for program in programs for row in program.iter_nodes()]
    return pd.DataFrame(rows, columns=list(DESCRIBED))
