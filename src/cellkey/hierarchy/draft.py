"""Cell types as they are read, before they are checked: changeable, and aware of their lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cellkey.hierarchy.cell_type import CellType, Path
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Draft", "DraftHierarchy", "ListedName"]


@dataclass(frozen=True, slots=True)
class ListedName:
    """A marker name and the line it stands on."""

    name: str
    line: int | None = None


@dataclass(slots=True)
class Draft:
    """A cell type as read."""

    path: Path
    line: int | None = None
    markers: list[ListedName] = field(default_factory=list)
    anti_markers: list[ListedName] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def cell_type(self) -> CellType:
        """Return the checked node."""
        return CellType(
            self.path,
            tuple(m.name for m in self.markers),
            tuple(m.name for m in self.anti_markers),
            **self.settings,
        )


@dataclass(slots=True)
class DraftHierarchy:
    """All that a source says, as read."""

    name: str = ""
    nodes: list[Draft] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    gating: dict[str, Any] = field(default_factory=dict)
    gating_line: int | None = None
    cell_states: dict[str, Any] = field(default_factory=dict)

    def child_groups(self) -> Iterator[list[Draft]]:
        """Yield the groups of nodes that share a parent."""
        groups: dict[Path, list[Draft]] = {}
        for node in self.nodes:
            groups.setdefault(node.path[:-1], []).append(node)
        yield from groups.values()

    def hierarchy(self) -> Hierarchy:
        """Return the checked value."""
        nodes = tuple(node.cell_type() for node in self.nodes)
        return Hierarchy(nodes, self.name, self.metadata, self.gating, self.cell_states)
