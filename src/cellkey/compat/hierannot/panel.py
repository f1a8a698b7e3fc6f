"""Restriction of a built-in hierarchy to the genes of a panel, with a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cellkey.compat.hierannot.hierarchies import get_builtin_hierarchy
from cellkey.compat.hierannot.programs import MarkerProgram

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["PRESERVED", "REPORT_COLUMNS", "compile_builtin_hierarchy_for_panel"]

PRESERVED: Final = frozenset({
    "Immune", "T cell", "CD4 T cell", "CD8 T cell", "NK cell", "B cell", "Plasma cell", "Myeloid", "Macrophage",
    "Monocyte", "Dendritic cell", "Mast cell", "Neutrophil",
})
"""Immune types that two measured markers are enough for."""

REPORT_COLUMNS: Final = (
    "name", "level", "panel_tier", "category", "role", "lineage_module", "requires_ancestor_support",
    "fallback_to_parent_allowed", "positive_markers_total", "positive_markers_present",
    "positive_markers_present_fraction", "negative_markers_total", "negative_markers_present",
    "negative_markers_present_fraction", "compiled_positive_markers", "compiled_negative_markers", "status",
    "builtin_name", "panel_name", "panel_gene_count",
)

# By tier and role: a node is disabled, and falls back to its parent, below these shares of its markers.
_LIMITS: Final = {
    ("small", "major"): (0.40, 0.60), ("small", "optional"): (0.55, 0.75),
    ("medium", "major"): (0.30, 0.50), ("medium", "optional"): (0.40, 0.60),
    ("large", "major"): (0.20, 0.35), ("large", "optional"): (0.30, 0.45),
}


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
    """
    import pandas as pd

    genes = {str(g).strip().upper() for g in gene_list if g is not None and g == g and str(g).strip()}
    tier = "small" if len(genes) <= 1500 else "medium" if len(genes) <= 9000 else "large"
    rows: list[dict[str, Any]] = []
    roots = [_compiled(r, 1, genes, tier, preserve_major_immune_subtypes, rows)
             for r in get_builtin_hierarchy(builtin_name)]
    report = pd.DataFrame(rows, columns=[c for c in REPORT_COLUMNS if c not in _CONSTANT])
    report = report.assign(panel_tier=tier, builtin_name=builtin_name, panel_name=panel_name,
                           panel_gene_count=len(genes))
    return [r for r in roots if r is not None], report[list(REPORT_COLUMNS)]


_CONSTANT = ("panel_tier", "builtin_name", "panel_name", "panel_gene_count")


def _compiled(
    program: MarkerProgram, level: int, genes: set[str], tier: str, preserve: bool, rows: list[dict[str, Any]]
) -> MarkerProgram | None:
    below = [_compiled(c, level + 1, genes, tier, preserve, rows) for c in program.children]
    kept = [c for c in below if c is not None]
    about = program.metadata
    role = "optional" if about.get("role") == "optional" else "major"
    positive = [m for m in program.positive_markers if m.upper() in genes]
    negative = [m for m in program.negative_markers if m.upper() in genes]
    share = _share(positive, program.positive_markers)
    off_below, back_below = _LIMITS[tier, role]
    off, back = len(positive) < 2 or share < off_below, share < back_below
    if preserve and program.name in PRESERVED:
        off, back = len(positive) < 2, False
    needs_ancestor = bool(about.get("requires_ancestor_support", True))
    if off and kept and needs_ancestor:
        off, back = False, True
    status = "disabled" if off else "fallback_to_parent" if back else "full"
    rows.append({
        "name": program.name, "level": level, "category": about.get("category"), "role": role,
        "lineage_module": about.get("lineage_module"), "requires_ancestor_support": needs_ancestor,
        "fallback_to_parent_allowed": bool(about.get("fallback_to_parent", True)),
        "positive_markers_total": len(program.positive_markers), "positive_markers_present": len(positive),
        "positive_markers_present_fraction": share, "negative_markers_total": len(program.negative_markers),
        "negative_markers_present": len(negative),
        "negative_markers_present_fraction": _share(negative, program.negative_markers),
        "compiled_positive_markers": positive, "compiled_negative_markers": negative, "status": status,
    })
    if off:
        return None
    metadata = {**about, "compiled_status": status} if status != "full" and not kept else dict(about)
    return MarkerProgram(program.name, positive, negative, kept, program.description, list(program.aliases),
                         program.min_markers_present, metadata)


def _share(found: list[str], listed: list[str]) -> float:
    return len(found) / len(listed) if listed else 1.0
