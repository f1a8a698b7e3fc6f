"""Relations of the nodes of a key by the positions of their parents, and the best node of a table of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["DECIMALS", "ancestor_or_self", "best_nodes", "lineage_of", "related_nodes"]

DECIMALS = 10  # sums made in another order of cells or clusters must not break a tie


def ancestor_or_self(parents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each node (row) which nodes (columns) are itself or its ancestors."""
    line = np.eye(len(parents), dtype=bool)
    current = parents.copy()
    while (current >= 0).any():
        rows = np.flatnonzero(current >= 0)
        line[rows, current[rows]] = True
        current = np.where(current >= 0, parents[np.maximum(current, 0)], -1)
    return line


def related_nodes(parents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each node (row) which nodes (columns) are itself, its ancestors or its descendants."""
    line = ancestor_or_self(parents)
    return line | line.T


def lineage_of(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root above (or at) each node."""
    root = np.arange(len(parents))
    while (parents[root] >= 0).any():
        root = np.where(parents[root] >= 0, parents[root], root)
    return root


def best_nodes(values: NDArray[np.float64], names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the node with the greatest finite value per row (-1 if none) and the value; ties by name."""
    order = np.argsort(np.asarray(names, dtype=str), kind="stable")
    ranked = np.where(np.isfinite(values[:, order]), np.round(values[:, order], DECIMALS), -np.inf)
    found = order[ranked.argmax(axis=1)].astype(np.int64)
    chosen = values[np.arange(len(values)), found]
    return np.where(np.isfinite(chosen), found, -1), np.where(np.isfinite(chosen), chosen, np.nan)
