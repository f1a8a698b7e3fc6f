"""Communities of a weighted graph."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

__all__ = ["connected_components", "core_members", "leiden_communities"]

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


def leiden_communities(
    first: Ints, second: Ints, weight: Floats, *, n_nodes: int, resolution: float = 1.0, seed: int = 0
) -> Ints:
    """Return the community of every node (Leiden, weighted modularity; Traag et al. 2019).

    Parameters
    ----------
    first, second, weight
        Edges with positive weights.
    seed
        Seed of the node order.
    """
    import igraph

    if not len(first):
        return np.arange(n_nodes)
    graph = igraph.Graph(n=n_nodes, edges=np.column_stack([first, second]))
    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = graph.community_leiden(
            objective_function="modularity",
            weights=np.asarray(weight, dtype=float),
            resolution=resolution,
            n_iterations=-1,
        )
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership, dtype=np.intp)


def connected_components(first: Ints, second: Ints, *, n_nodes: int) -> Ints:
    """Return the component of every node."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components as components

    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n_nodes, n_nodes))
    return np.asarray(components(graph, directed=False)[1], dtype=np.intp)


def core_members(first: Ints, second: Ints, membership: Ints, k: int) -> NDArray[np.bool_]:
    """Return nodes that stay when nodes with fewer than ``k`` edges inside their community are removed, repeatedly."""
    alive = np.ones(len(membership), dtype=bool)
    inside = membership[first] == membership[second]
    a, b = first[inside], second[inside]
    while True:
        used = alive[a] & alive[b]
        degree = np.bincount(np.r_[a[used], b[used]], minlength=len(membership))
        drop = alive & (degree < k)
        if not drop.any():
            return alive
        alive &= ~drop
