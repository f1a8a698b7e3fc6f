"""Topological overlap of all pairs and the average-linkage tree on it.

Pairs are held once, in single precision (condensed: row 0 with all later rows, then row 1, ...): 20,000 features need
0.8 GB. Strips of the adjacency are made again where they are needed instead of being kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellkey.isoforms.wgcna.adjacency import adjacency_strip

if TYPE_CHECKING:
    from cellkey.isoforms.wgcna.adjacency import NetworkType

__all__ = ["average_linkage", "block_of", "condensed_dissimilarity", "topological_overlap"]

Array = NDArray[np.float64]
Pairs = NDArray[np.float32]

STRIP = 2048
DOUBLE_UP_TO = 10_000
"""Blocks of more features than this multiply in single precision (error about 1e-6)."""


def _strips(n: int, strip: int) -> list[tuple[int, int]]:
    return [(s, min(s + strip, n)) for s in range(0, n, strip)]


def _overlap_blocks(rows: Array, power: float, network_type: NetworkType, strip: int) -> Any:
    """Yield ``(i, j, overlap)`` for strips i <= j: the overlap of rows of strip i with rows of strip j."""
    n = len(rows)
    unit = rows if n <= DOUBLE_UP_TO else rows.astype(np.float32)
    k = np.concatenate(
        [adjacency_strip(unit, s, e, power, network_type).sum(axis=1, dtype=np.float64) for s, e in _strips(n, strip)]
    )
    strips = _strips(n, strip)
    for a, (s, e) in enumerate(strips):
        first = adjacency_strip(unit, s, e, power, network_type)
        for t, f in strips[a:]:
            second = first if t == s else adjacency_strip(unit, t, f, power, network_type)
            shared = (first @ second.T).astype(np.float64)
            direct = first[:, t:f]
            overlap = (shared + direct) / (np.minimum(k[s:e, None], k[None, t:f]) + 1.0 - direct)
            if t == s:
                np.fill_diagonal(overlap, 1.0)
            yield s, t, overlap


def topological_overlap(rows: Array, power: float, network_type: NetworkType, *, strip: int = STRIP) -> Array:
    """Return the topological overlap of all features as a full matrix; for small blocks and checks.

    ``(sum_u a_iu a_uj + a_ij) / (min(k_i, k_j) + 1 - a_ij)``, diagonal 1 (Zhang and Horvath 2005).
    """
    full = np.empty((len(rows), len(rows)))
    for s, t, overlap in _overlap_blocks(rows, power, network_type, strip):
        full[s : s + len(overlap), t : t + overlap.shape[1]] = overlap
        full[t : t + overlap.shape[1], s : s + len(overlap)] = overlap.T
    return full


def condensed_dissimilarity(rows: Array, power: float, network_type: NetworkType, *, strip: int = STRIP) -> Pairs:
    """Return ``1 - overlap`` of all pairs of features, condensed, single precision, never below 0."""
    n = len(rows)
    pairs = np.empty(n * (n - 1) // 2, dtype=np.float32)
    for s, t, overlap in _overlap_blocks(rows, power, network_type, strip):
        dissimilarity = np.maximum(1.0 - overlap, 0.0).astype(np.float32)
        for i in range(len(dissimilarity)):
            row = s + i
            first = max(row + 1, t)
            stop = t + dissimilarity.shape[1]
            if first < stop:
                begin = _place(row, first, n)
                pairs[begin : begin + stop - first] = dissimilarity[i, first - t :]
    return pairs


def _place(i: int, j: int, n: int) -> int:
    return n * i - i * (i + 1) // 2 + (j - i - 1)


def block_of(pairs: Pairs, n: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """Return dissimilarities rows x columns from condensed pairs; 0 where both are the same feature."""
    i, j = np.minimum(rows[:, None], columns[None, :]), np.maximum(rows[:, None], columns[None, :])
    place = n * i - i * (i + 1) // 2 + (j - i - 1)
    same = i == j
    return np.where(same, 0.0, pairs[np.where(same, 0, place)]).astype(np.float64)


def average_linkage(pairs: Pairs, n: int) -> Array:
    """Return the average-linkage tree as (n - 1) x 4: two nodes, height, size; rows by height.

    Parameters
    ----------
    pairs
        Condensed dissimilarities; overwritten.

    Notes
    -----
    Nearest-neighbour chains (Murtagh 1983), on single-precision pairs in place: a quarter of the memory that the
    usual routines take.
    """
    from cellkey.isoforms.wgcna._kernels import merge_nearest

    merges = np.empty((max(n - 1, 0), 4))
    if n < 2:
        return merges
    merge_nearest(pairs, n, merges)
    merges = merges[np.argsort(merges[:, 2], kind="stable")]
    parent = np.arange(2 * n - 1)
    for step in range(n - 1):
        nodes = sorted(_root(parent, int(v)) for v in merges[step, :2])
        parent[nodes] = n + step
        merges[step, :2] = nodes
    return merges


def _root(parent: NDArray[np.intp], node: int) -> int:
    top = node
    while parent[top] != top:
        top = int(parent[top])
    while parent[node] != top:
        parent[node], node = top, int(parent[node])
    return top
