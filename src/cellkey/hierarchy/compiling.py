"""A hierarchy cut down to a panel before any data: what is dropped, what must lean on its parent, what stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from cellkey.errors import HierarchyError, MissingGenesError
from cellkey.hierarchy.catalogue import get_builtin
from cellkey.hierarchy.resolution import no_marker_measured, resolve_names
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.records.schema import TableSchema

__all__ = [
    "LIMITS",
    "MAJOR_IMMUNE_TYPES",
    "CompiledHierarchy",
    "RoleLimits",
    "Status",
    "Tier",
    "compile_for_panel",
    "compiled_schema",
    "keep_supported",
    "panel_tier",
]

Tier = Literal["small", "medium", "large"]
Status = Literal["full", "fallback_to_parent", "disabled"]

_LARGEST_SMALL: Final = 1500
_LARGEST_MEDIUM: Final = 9000
_FEWEST_MARKERS: Final = 2


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """Least measured share of a type's markers: below ``keep`` it goes, below ``trust`` it leans on its parent."""

    keep: float
    trust: float


LIMITS: Final[Mapping[tuple[str, str], RoleLimits]] = {
    ("small", "major"): RoleLimits(0.40, 0.60),
    ("small", "optional"): RoleLimits(0.55, 0.75),
    ("medium", "major"): RoleLimits(0.30, 0.50),
    ("medium", "optional"): RoleLimits(0.40, 0.60),
    ("large", "major"): RoleLimits(0.20, 0.35),
    ("large", "optional"): RoleLimits(0.30, 0.45),
}
"""Limits by size of the panel and role of the type (those of the published package)."""

MAJOR_IMMUNE_TYPES: Final = frozenset({
    "CL:0000738", "CL:0000988", "CL:0000084", "CL:0000624", "CL:0000625", "CL:0000623", "CL:0000236", "CL:0000786",
    "CL:0000766", "CL:0000235", "CL:0000576", "CL:0000451", "CL:0000097", "CL:0000775",
})  # fmt: skip
"""Cell Ontology ids of common immune types (not of regulatory T cells) that two measured markers are enough for."""

_MAJOR_IMMUNE_NAMES: Final = frozenset({
    "immune", "t cell", "cd4 t cell", "cd8 t cell", "nk cell", "b cell", "plasma cell", "myeloid", "macrophage",
    "monocyte", "dendritic cell", "mast cell", "neutrophil",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompiledHierarchy:
    """A hierarchy for one panel.

    Attributes
    ----------
    hierarchy
        What is left, with the measured names only.
    report
        One row per type of the original, in its order; columns of :func:`compiled_schema`.
    tier
        Size class of the panel.
    n_genes
        Number of different genes in the panel.
    """

    hierarchy: Hierarchy
    report: pd.DataFrame
    tier: Tier
    n_genes: int


def panel_tier(n_genes: int) -> Tier:
    """Return ``small`` up to 1,500 genes, ``medium`` up to 9,000, else ``large``."""
    if n_genes <= _LARGEST_SMALL:
        return "small"
    return "medium" if n_genes <= _LARGEST_MEDIUM else "large"


def compile_for_panel(
    hierarchy: Hierarchy | str,
    genes: Iterable[str],
    *,
    preserve_major_immune_subtypes: bool = True,
    species: str | None = None,
) -> CompiledHierarchy:
    """Return the part of a hierarchy that a panel can support, with the reasons.

    A type stays with at least two measured markers and the share of :data:`LIMITS` for its role
    (``metadata["role"]``, ``major`` unless it says ``optional``). One with fewer stays only to hold its
    subtypes; one with somewhat more leans on its parent (``metadata["compiled_status"]``).

    Parameters
    ----------
    hierarchy
        A hierarchy, or the name of a built-in one.
    genes
        Measured genes or proteins; other names of a gene and mouse symbols are found as in data.
    preserve_major_immune_subtypes
        Keep the common immune types (:data:`MAJOR_IMMUNE_TYPES`) with two measured markers, whatever share.
    species
        ``"human"``, ``"mouse"``, or None to recognise it.

    Raises
    ------
    MissingGenesError
        If no marker is measured.
    HierarchyError
        If every type falls below its limits.
    """
    tree = hierarchy if isinstance(hierarchy, Hierarchy) else get_builtin(hierarchy)
    panel = list(dict.fromkeys(str(g).strip() for g in genes if g is not None and g == g and str(g).strip()))
    if not panel:
        msg = "the panel names no gene"
        raise MissingGenesError(msg)
    resolution = resolve_names(tree.all_markers(), panel, species=species)
    if not resolution.found:
        raise no_marker_measured(resolution, tree.name or "the hierarchy")
    tier = panel_tier(len({g.upper() for g in panel}))
    slim = {n.path: _measured(n, resolution) for n in tree}
    kept, status = keep_supported(tree, slim, tier, preserve=preserve_major_immune_subtypes)
    if not kept:
        msg = f"no cell type of {tree.name or 'the hierarchy'} has enough markers among these {len(panel)} genes"
        raise HierarchyError(msg)
    compiled = Hierarchy(kept, tree.name, tree.metadata, tree.gating, tree.cell_states)
    report = compiled_schema().frame(_rows(tree, slim, status, tier))
    return CompiledHierarchy(compiled, report, tier, len(panel))


def _measured(node: CellType, resolution: Resolution) -> CellType:
    """Return the type with its measured names; of two names of one gene the first."""
    again = {*resolution.repeated(node.markers)}
    return replace(
        node,
        markers=tuple(m for m in node.markers if m in resolution.found and m not in again),
        anti_markers=tuple(m for m in node.anti_markers if m in resolution.found),
    )


def keep_supported(
    tree: Hierarchy, slim: Mapping[tuple[str, ...], CellType], tier: Tier, *, preserve: bool
) -> tuple[tuple[CellType, ...], dict[tuple[str, ...], Status]]:
    """Return the types that a panel supports, and what became of every type, by its path.

    Parameters
    ----------
    tree
        The whole hierarchy.
    slim
        Every type with its measured markers only, however they were found.
    tier
        Size class of the panel.
    preserve
        Whether two measured markers are enough for common immune types.
    """
    status = _statuses(tree, slim, tier, preserve)
    return tuple(_marked(slim[n.path], status, tree) for n in tree if status[n.path] != "disabled"), status


def _statuses(
    tree: Hierarchy, slim: Mapping[tuple[str, ...], CellType], tier: Tier, preserve: bool
) -> dict[tuple[str, ...], Status]:
    """Status of every type; subtypes are judged before their parents."""
    found: dict[tuple[str, ...], Status] = {}
    for node in reversed(tree.nodes):
        holds = any(found[c.path] != "disabled" for c in tree.children(node.path))
        own = _own_status(node, len(slim[node.path].markers), tier, preserve)
        if node.is_grouping:
            own = "full" if holds else "disabled"
        elif own == "disabled" and holds and node.metadata.get("requires_ancestor_support", True):
            own = "fallback_to_parent"
        found[node.path] = own
    # A type whose parent went has no place; that can only be where a parent asks for no support.
    for node in tree:
        if node.parent_path is not None and found[node.parent_path] == "disabled":
            found[node.path] = "disabled"
    return found


def _own_status(node: CellType, n_measured: int, tier: Tier, preserve: bool) -> Status:
    if n_measured < _FEWEST_MARKERS:
        return "disabled"
    if preserve and _is_major_immune(node):
        return "full"
    limits = LIMITS[tier, _role(node)]
    share = n_measured / len(node.markers)
    return "disabled" if share < limits.keep else "fallback_to_parent" if share < limits.trust else "full"


def _is_major_immune(node: CellType) -> bool:
    return node.ontology_id in MAJOR_IMMUNE_TYPES or node.name.casefold() in _MAJOR_IMMUNE_NAMES


def _role(node: CellType) -> str:
    return "optional" if node.metadata.get("role") == "optional" else "major"


def _marked(node: CellType, status: Mapping[tuple[str, ...], Status], tree: Hierarchy) -> CellType:
    """Note on a type that is left without subtypes that it leans on its parent."""
    own = status[node.path]
    if own == "full" or any(status[c.path] != "disabled" for c in tree.children(node.path)):
        return node
    return replace(node, metadata={**node.metadata, "compiled_status": own})


def _rows(
    tree: Hierarchy, slim: Mapping[tuple[str, ...], CellType], status: Mapping[tuple[str, ...], Status], tier: Tier
) -> Iterator[dict[str, object]]:
    for node in tree:
        left = slim[node.path]
        yield {
            "path": node.path_text,
            "name": node.name,
            "level": node.level,
            "tier": tier,
            "role": _role(node),
            "lineage_module": str(node.metadata.get("lineage_module", "")),
            "status": status[node.path],
            "reason": _reason(node, left, status[node.path], tier),
            "n_markers": len(node.markers),
            "n_measured": len(left.markers),
            "coverage": _share(left.markers, node.markers),
            "n_anti_markers": len(node.anti_markers),
            "n_anti_measured": len(left.anti_markers),
            "anti_coverage": _share(left.anti_markers, node.anti_markers),
            "markers": left.markers,
            "anti_markers": left.anti_markers,
            "missing": [m for m in node.markers if m not in left.markers],
        }


def _share(part: tuple[str, ...], whole: tuple[str, ...]) -> float:
    return len(part) / len(whole) if whole else 1.0


def _reason(node: CellType, left: CellType, status: Status, tier: Tier) -> str:
    if node.is_grouping:
        return "holds subtypes" if status == "full" else "none of its subtypes is left"
    measured = f"{len(left.markers)} of {len(node.markers)} markers"
    limits = LIMITS[tier, _role(node)]
    if status == "full":
        return measured
    if len(left.markers) < _FEWEST_MARKERS:
        needed = "two are needed"
    else:
        needed = f"{limits.keep if status == 'disabled' else limits.trust:.0%} asked of a type of this role"
    kept = "; kept for its subtypes" if status != "disabled" and _would_go(left, node, limits) else ""
    return f"{measured}, {needed}{kept}"


def _would_go(left: CellType, node: CellType, limits: RoleLimits) -> bool:
    return len(left.markers) < _FEWEST_MARKERS or len(left.markers) / len(node.markers) < limits.keep


def compiled_schema() -> TableSchema:
    """Return the schema of the report on a compiled hierarchy."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "compiled_hierarchy.csv",
        "What becomes of each cell type of a hierarchy on a panel.",
        (
            Column("path", "string", "Cell type, from the root."),
            Column("name", "string", "Its own label."),
            Column("level", "int", "Number of nodes above."),
            Column("tier", "string", "Size class of the panel.", ("small", "medium", "large")),
            Column("role", "string", "Optional types need more of their markers.", ("major", "optional")),
            Column("lineage_module", "string", "Module of lineages the type belongs to, where the hierarchy says so."),
            Column(
                "status",
                "string",
                "Kept, kept but leaning on its parent, or removed.",
                ("full", "fallback_to_parent", "disabled"),
            ),
            Column("reason", "string", "Why."),
            Column("n_markers", "int", "Listed markers."),
            Column("n_measured", "int", "Those the panel measures."),
            Column("coverage", "float", "Measured share of the markers; 1 for a group without markers."),
            Column("n_anti_markers", "int", "Listed anti-markers."),
            Column("n_anti_measured", "int", "Those the panel measures."),
            Column("anti_coverage", "float", "Measured share of the anti-markers; 1 if none is listed."),
            Column("markers", "list", "Markers that are left."),
            Column("anti_markers", "list", "Anti-markers that are left."),
            Column("missing", "list", "Markers the panel does not measure."),
        ),
    )
