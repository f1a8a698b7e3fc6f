"""Which siblings a panel cannot tell apart, and which few further genes would: known before any data.

A type is told from a sibling by measured markers that the sibling does not list, its *own* markers towards that
sibling. A type without markers of its own is known by those of its subtypes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from cellkey.hierarchy.catalogue import get_builtin
from cellkey.hierarchy.cell_type import path_text
from cellkey.hierarchy.resolution import Resolution, resolve_names
from cellkey.hierarchy.tree import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from cellkey.hierarchy.cell_type import CellType, Path
    from cellkey.records.schema import TableSchema

__all__ = ["identifiability", "identifiability_schema", "separating_genes", "separating_genes_schema"]

_ENOUGH: Final = 2
_SUGGESTED: Final = 3


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two siblings: their own measured markers towards each other, and unmeasured ones that would help."""

    parent: Path
    one: CellType
    other: CellType
    own: tuple[str, ...]
    others: tuple[str, ...]
    shared: tuple[str, ...]
    missing_own: tuple[str, ...]
    missing_others: tuple[str, ...]
    enough: int

    @property
    def status(self) -> str:
        fewest, most = sorted((len(self.own), len(self.others)))
        if most == 0:
            return "not_separable"
        if fewest == 0:
            return "one_sided"
        return "separable" if fewest >= self.enough else "weak"


def identifiability(
    hierarchy: Hierarchy | str,
    genes: Iterable[str],
    *,
    enough: int = _ENOUGH,
    only_problems: bool = False,
    species: str | None = None,
) -> pd.DataFrame:
    """Return one row per pair of siblings with what tells them apart.

    Parameters
    ----------
    hierarchy
        A hierarchy, or the name of a built-in one.
    genes
        Measured genes or proteins.
    enough
        Own markers that each of the two needs to count as separable; two, since one gene may fail in an assay.
    only_problems
        Leave out separable pairs.
    species
        ``"human"``, ``"mouse"``, or None to recognise it.

    Returns
    -------
    pandas.DataFrame
        Columns of :func:`identifiability_schema`; sorted by status, least separable first, then in the order
        of the hierarchy.
    """
    pairs = _pairs(hierarchy, genes, enough, species)
    order = {status: i for i, status in enumerate(_STATUSES)}
    chosen = [p for p in pairs if not (only_problems and p.status == "separable")]
    chosen.sort(key=lambda p: order[p.status])
    rows = [
        {
            "parent": path_text(p.parent), "one": p.one.name, "other": p.other.name, "status": p.status,
            "n_own_one": len(p.own), "n_own_other": len(p.others), "n_shared": len(p.shared),
            "own_one": p.own, "own_other": p.others, "shared": p.shared,
            "would_separate": _few(p),
        }
        for p in chosen
    ]
    return identifiability_schema().frame(rows)


def separating_genes(
    hierarchy: Hierarchy | str,
    genes: Iterable[str],
    n: int = 10,
    *,
    enough: int = _ENOUGH,
    species: str | None = None,
) -> pd.DataFrame:
    """Return the few genes whose addition to a panel would separate most siblings.

    The columns are those of :func:`separating_genes_schema`. Genes are chosen one after
    another: each time the one that gives a further own marker to most pairs that still need one; of equals the
    first by name.

    Parameters
    ----------
    hierarchy, genes, enough, species
        As in :func:`identifiability`.
    n
        Most genes.
    """
    pairs = [p for p in _pairs(hierarchy, genes, enough, species) if p.status != "separable"]
    needs = [_Need(p, side) for p in pairs for side in (0, 1)]
    needs = [need for need in needs if need.left > 0 and need.candidates]
    chosen: list[dict[str, object]] = []
    while needs and len(chosen) < n:
        counts = Counter(g for need in needs for g in need.candidates)
        gene = min(counts, key=lambda g: (-counts[g], g))
        helped = [need for need in needs if gene in need.candidates]
        chosen.append({
            "gene": gene,
            "rank": len(chosen) + 1,
            "n_pairs": len({need.title for need in helped}),
            "marker_of": sorted({need.name for need in helped}),
            "separates": sorted({need.title for need in helped}),
        })
        for need in helped:
            need.use(gene)
        needs = [need for need in needs if need.left > 0 and need.candidates]
    return separating_genes_schema().frame(chosen)


class _Need:
    """Own markers that one of two siblings still lacks."""

    def __init__(self, pair: _Pair, side: int) -> None:
        own, missing = ((pair.own, pair.missing_own), (pair.others, pair.missing_others))[side]
        self.left = pair.enough - len(own)
        self.candidates = set(missing)
        self.name = (pair.one, pair.other)[side].name
        self.title = f"{pair.one.name} | {pair.other.name}"

    def use(self, gene: str) -> None:
        self.candidates.discard(gene)
        self.left -= 1


_STATUSES: Final = ("not_separable", "one_sided", "weak", "separable")


def _pairs(hierarchy: Hierarchy | str, genes: Iterable[str], enough: int, species: str | None) -> list[_Pair]:
    tree = hierarchy if isinstance(hierarchy, Hierarchy) else get_builtin(hierarchy)
    panel = list(dict.fromkeys(str(g) for g in genes))
    resolution = resolve_names(tree.all_markers(), panel, species=species)
    groups: list[Sequence[CellType]] = [tree.roots, *(tree.children(n.path) for n in tree)]
    return [_pair(tree, one, other, resolution, enough) for group in groups for one, other in combinations(group, 2)]


def _pair(tree: Hierarchy, one: CellType, other: CellType, resolution: Resolution, enough: int) -> _Pair:
    mine, theirs = _known_by(tree, one), _known_by(tree, other)
    measured_mine, measured_theirs = resolution.variables(mine), resolution.variables(theirs)
    return _Pair(
        one.path[:-1],
        one,
        other,
        tuple(v for v in measured_mine if v not in measured_theirs),
        tuple(v for v in measured_theirs if v not in measured_mine),
        tuple(v for v in measured_mine if v in measured_theirs),
        tuple(_unmeasured(mine, theirs, resolution)),
        tuple(_unmeasured(theirs, mine, resolution)),
        enough,
    )


def _known_by(tree: Hierarchy, node: CellType) -> tuple[str, ...]:
    if node.markers:
        return node.markers
    return tuple(dict.fromkeys(m for c in tree.children(node.path) for m in _known_by(tree, c)))


def _unmeasured(own: Sequence[str], others: Sequence[str], resolution: Resolution) -> Iterator[str]:
    return (m for m in own if m not in resolution.found and m not in others)


def _few(pair: _Pair) -> tuple[str, ...]:
    """Up to three genes per lacking side, so that each gets what it lacks."""
    found: list[str] = []
    for own, missing in ((pair.own, pair.missing_own), (pair.others, pair.missing_others)):
        if len(own) < pair.enough:
            found += sorted(missing)[:_SUGGESTED]
    return tuple(found)


def identifiability_schema() -> TableSchema:
    """Return the schema of the table of siblings and what tells them apart."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "identifiability.csv",
        "What a panel measures to tell siblings apart.",
        (
            Column("parent", "string", "Type above both, from the root; empty for top-level types."),
            Column("one", "string", "First sibling."),
            Column("other", "string", "Second sibling."),
            Column(
                "status",
                "string",
                "not_separable: the same measured markers, or none; one_sided: only one of them has markers of its "
                "own, so the other is known by absence alone; weak: one of them has too few; separable.",
                _STATUSES,
            ),
            Column("n_own_one", "int", "Measured markers of the first that the second does not list."),
            Column("n_own_other", "int", "Measured markers of the second that the first does not list."),
            Column("n_shared", "int", "Measured markers that both list."),
            Column("own_one", "list", "Those of the first."),
            Column("own_other", "list", "Those of the second."),
            Column("shared", "list", "Those of both."),
            Column("would_separate", "list", "Unmeasured markers that would help, up to three per type."),
        ),
    )


def separating_genes_schema() -> TableSchema:
    """Return the schema of genes worth adding to a panel."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "separating_genes.csv",
        "Genes whose addition to a panel would tell most siblings apart.",
        (
            Column("gene", "string", "Marker that is not measured."),
            Column("rank", "int", "Order of choice; each helps where the earlier ones did not."),
            Column("n_pairs", "int", "Pairs of siblings that it helps to tell apart."),
            Column("marker_of", "list", "Types it is a marker of."),
            Column("separates", "list", "The pairs."),
        ),
    )
