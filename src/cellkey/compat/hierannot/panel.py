"""Restriction of a built-in hierarchy to the genes of a panel, with the report of the published package.

The rules are those of :mod:`cellkey.hierarchy.compiling`; here genes are found by their upper-case names alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cellkey.compat.hierannot.programs import MarkerProgram, as_programs
from cellkey.hierarchy.catalogue import get_builtin
from cellkey.hierarchy.compiling import Status, keep_supported, panel_tier
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

    from cellkey.hierarchy.cell_type import CellType

__all__ = ["REPORT_COLUMNS", "compile_builtin_hierarchy_for_panel"]

REPORT_COLUMNS: Final = (
    "name", "level", "panel_tier", "category", "role", "lineage_module", "requires_ancestor_support",
    "fallback_to_parent_allowed", "positive_markers_total", "positive_markers_present",
    "positive_markers_present_fraction", "negative_markers_total", "negative_markers_present",
    "negative_markers_present_fraction", "compiled_positive_markers", "compiled_negative_markers", "status",
    "builtin_name", "panel_name", "panel_gene_count",
)


def compile_builtin_hierarchy_for_panel(
    gene_list: Iterable[str],
    builtin_name: str,
    panel_name: str | None = None,
    preserve_major_immune_subtypes: bool = True,
) -> tuple[list[MarkerProgram], pd.DataFrame]:
    """Return a built-in hierarchy with the markers of a panel, and a report with one row per program.

    Programs with fewer than two measured markers, or too small a share of them, are removed unless a subtype
    remains; the report lists subtypes before their parents.

    Parameters
    ----------
    gene_list
        Measured genes; case and blanks do not matter.
    builtin_name
        Name of the hierarchy.
    panel_name
        For the report.
    preserve_major_immune_subtypes
        Keep common immune types that have two measured markers, whatever share that is.

    Raises
    ------
    HierarchyError
        If there is no built-in hierarchy of this name, with close matches.
    """
    import pandas as pd

    genes = {str(g).strip().upper() for g in gene_list if g is not None and g == g and str(g).strip()}
    tree, tier = get_builtin(str(builtin_name)), panel_tier(len(genes))
    slim = {n.path: replace(n, markers=_among(n.markers, genes), anti_markers=_among(n.anti_markers, genes))
            for n in tree}
    kept, status = keep_supported(tree, slim, tier, preserve=preserve_major_immune_subtypes)
    of_panel = {"panel_tier": tier, "builtin_name": builtin_name, "panel_name": panel_name,
                "panel_gene_count": len(genes)}
    rows = [_row(n, slim[n.path], status[n.path]) | of_panel for n in _subtypes_first(tree, tree.roots)]
    roots = as_programs(Hierarchy(kept)) if kept else []
    return roots, pd.DataFrame(rows, columns=list(REPORT_COLUMNS))


def _among(markers: tuple[str, ...], genes: set[str]) -> tuple[str, ...]:
    return tuple(m for m in markers if m.upper() in genes)


def _subtypes_first(tree: Hierarchy, nodes: Iterable[CellType]) -> Iterator[CellType]:
    for node in nodes:
        yield from _subtypes_first(tree, tree.children(node.path))
        yield node


def _row(node: CellType, slim: CellType, status: Status) -> dict[str, Any]:
    about = node.metadata
    return {
        "name": node.name, "level": node.level + 1, "category": about.get("category"),
        "role": "optional" if about.get("role") == "optional" else "major",
        "lineage_module": about.get("lineage_module"),
        "requires_ancestor_support": bool(about.get("requires_ancestor_support", True)),
        "fallback_to_parent_allowed": bool(about.get("fallback_to_parent", True)),
        "positive_markers_total": len(node.markers), "positive_markers_present": len(slim.markers),
        "positive_markers_present_fraction": _share(slim.markers, node.markers),
        "negative_markers_total": len(node.anti_markers), "negative_markers_present": len(slim.anti_markers),
        "negative_markers_present_fraction": _share(slim.anti_markers, node.anti_markers),
        "compiled_positive_markers": list(slim.markers), "compiled_negative_markers": list(slim.anti_markers),
        "status": status,
    }


def _share(found: tuple[str, ...], listed: tuple[str, ...]) -> float:
    return len(found) / len(listed) if listed else 1.0
