"""Which genes of a cell type are scored: what its parent does not list already, or all where too few remain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse as sp

from cellkey.records.vocabulary import ScoreStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.scoring.key import MeasuredKey
    from cellkey.scoring.panel_presets import ControlExclusion

__all__ = ["Exclusion", "MarkerSets", "MarkerStrategy", "choose_marker_sets", "effective_markers",
           "excluded_from_controls"]

MarkerStrategy = Literal["none", "subtract_direct_parent", "subtract_ancestors", "sibling_unique_only"]
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarkerSets:
    """Markers of every node, as names and as columns; all tuples follow the nodes of the hierarchy.

    Attributes
    ----------
    effective
        Names left after those of the parent (or other relatives) are taken away.
    scored, negative
        Columns that are scored, and columns of measured anti-markers.
    with_controls
        Columns for which controls are looked up; the same as ``scored`` unless the published behaviour is
        asked for.
    used_listed
        Whether all listed markers are scored because too few of the effective ones are measured.
    n_scored_set
        Size of the list that ``scored`` was taken from, shape (nodes,).
    n_effective_found
        Measured effective markers, shape (nodes,).
    missing, missing_negative
        Names of that list, and anti-markers, that are not measured.
    status
        Of each node; ``NO_CONTROLS`` and ``FEWER_CONTROLS`` are found out later.
    """

    effective: tuple[Names, ...]
    scored: tuple[tuple[int, ...], ...]
    negative: tuple[tuple[int, ...], ...]
    with_controls: tuple[tuple[int, ...], ...]
    used_listed: NDArray[np.bool_]
    n_scored_set: NDArray[np.int64]
    n_effective_found: NDArray[np.int64]
    missing: tuple[Names, ...]
    missing_negative: tuple[Names, ...]
    status: tuple[ScoreStatus, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Genes that cannot be controls: distinct sets x genes, and the set of each node."""

    genes: sp.csr_matrix
    of_node: NDArray[np.intp]


def effective_markers(
    hierarchy: Hierarchy, *, roots: MarkerStrategy = "none", children: MarkerStrategy = "subtract_direct_parent"
) -> tuple[Names, ...]:
    """Return the markers of each node that tell it from its relatives; all of them where none would be left."""
    found = []
    for node in hierarchy.nodes:
        taken = _RELATIVES[roots if node.level == 0 else children](hierarchy, node)
        own = tuple(m for m in node.markers if m not in taken)
        found.append(own or node.markers)
    return tuple(found)


_RELATIVES: Mapping[str, Callable[[Hierarchy, CellType], set[str]]] = {
    "none": lambda _tree, _node: set(),
    "subtract_direct_parent": lambda tree, node: {m for p in [tree.parent(node.path)] if p for m in p.markers},
    "subtract_ancestors": lambda tree, node: {m for a in tree.ancestors(node.path) for m in a.markers},
    "sibling_unique_only": lambda tree, node: {m for s in tree.siblings(node.path) for m in s.markers},
}


def choose_marker_sets(
    key: MeasuredKey,
    columns: Mapping[str, int],
    effective: Sequence[Names],
    *,
    min_markers: int,
    min_fraction: float,
    fall_back: bool,
    controls_for_fallback: bool,
) -> MarkerSets:
    """Choose the markers that are scored.

    Parameters
    ----------
    key
        The hierarchy as measured.
    columns
        Listed name to column, for measured names.
    effective
        From :func:`effective_markers`.
    min_markers, min_fraction
        Measured markers that a node needs, and their least share; a node's own ``min_markers_present`` goes
        before.
    fall_back
        Score all listed markers of a node of whose effective ones too few are measured.
    controls_for_fallback
        Look up controls for those as well; the published programs do not.
    """
    scored, negative, controls, status, missing, missing_negative = [], [], [], [], [], []
    used_listed = np.zeros(key.n_nodes, dtype=bool)
    sizes, found_effective = np.zeros(key.n_nodes, dtype=np.int64), np.zeros(key.n_nodes, dtype=np.int64)
    for i, node in enumerate(key.hierarchy.nodes):
        needed = node.min_markers_present or min_markers
        own = _columns(effective[i], columns)
        listed = _columns(node.markers, columns)
        share = len(own) / max(len(effective[i]), 1)
        short = len(own) < needed or share < min_fraction
        used_listed[i] = fall_back and short and bool(listed)
        chosen = listed if used_listed[i] else own
        names = node.markers if used_listed[i] else effective[i]
        sizes[i], found_effective[i] = len(names), len(own)
        scored.append(chosen)
        controls.append(chosen if controls_for_fallback else _columns(effective[i] or node.markers, columns))
        negative.append(_columns(node.anti_markers, columns))
        missing.append(tuple(m for m in names if m not in columns))
        missing_negative.append(tuple(m for m in node.anti_markers if m not in columns))
        status.append(_status(len(chosen), len(names), needed, min_fraction))
    return MarkerSets(tuple(effective), tuple(scored), tuple(negative), tuple(controls), used_listed, sizes,
                      found_effective, tuple(missing), tuple(missing_negative), tuple(status))


def _columns(names: Sequence[str], columns: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(columns[m] for m in names if m in columns))


def _status(n_found: int, n_listed: int, needed: int, min_fraction: float) -> ScoreStatus:
    if n_found == 0:
        return ScoreStatus.NO_MARKERS
    if n_found < needed:
        return ScoreStatus.TOO_FEW
    return ScoreStatus.LOW_FRACTION if n_found / max(n_listed, 1) < min_fraction else ScoreStatus.OK


def excluded_from_controls(
    key: MeasuredKey, columns: Mapping[str, int], policy: ControlExclusion, n_genes: int
) -> Exclusion:
    """Return which genes cannot be controls of which nodes.

    ``all_markers`` leaves out every gene that any node lists for or against itself, ``own_markers`` those of
    the node, ``branch`` those of the node, its ancestors, descendants and siblings.
    """
    tree = key.hierarchy
    own = [set(_columns((*n.markers, *n.anti_markers), columns)) for n in tree.nodes]
    of_node = np.arange(len(own))
    if policy == "all_markers":
        sets, of_node = [set().union(*own)], np.zeros(len(own), dtype=np.intp)
    elif policy == "own_markers":
        sets = own
    else:
        sets = [set().union(*(own[k] for k in _branch(tree, i))) for i in range(len(own))]
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    cols = np.array([g for s in sets for g in sorted(s)], dtype=np.intp)
    return Exclusion(sp.csr_matrix((np.ones(len(cols)), (rows, cols)), shape=(len(sets), n_genes)), of_node)


def _branch(tree: Hierarchy, index: int) -> list[int]:
    path = tree.nodes[index].path
    relatives = [*tree.ancestors(path), *tree.descendants(path), *tree.siblings(path)]
    return [index, *(tree.index(n.path) for n in relatives)]
