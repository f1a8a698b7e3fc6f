"""A hierarchy as a text tree, for terminals and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["tree_text"]


def tree_text(hierarchy: Hierarchy, *, markers: bool = True) -> str:
    """Return one line per cell type, indented by level.

    Parameters
    ----------
    hierarchy
        What to show.
    markers
        List the markers, with anti-markers behind a minus sign; otherwise only their numbers.
    """
    return "\n".join(_lines(hierarchy, hierarchy.roots, "", markers, top=True)) + "\n"


def _lines(
    hierarchy: Hierarchy, nodes: Sequence[CellType], indent: str, markers: bool, *, top: bool = False
) -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        branch = "" if top else "└─ " if last else "├─ "
        yield f"{indent}{branch}{node.name}{_about(node, markers)}"
        below = indent if top else indent + ("   " if last else "│  ")
        yield from _lines(hierarchy, hierarchy.children(node.path), below, markers)


def _about(node: CellType, markers: bool) -> str:
    ontology = f" [{node.ontology_id}]" if node.ontology_id else ""
    if not markers:
        return f" (+{len(node.markers)}, -{len(node.anti_markers)}){ontology}"
    names = [*node.markers, *(f"-{m}" for m in node.anti_markers)]
    return f"{ontology}: {' '.join(names)}" if names else f"{ontology} (group)"
