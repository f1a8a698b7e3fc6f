r"""Support of a node by its own evidence and by its best child.

.. math::
    B_n = (1 - \beta_n) L_n + \beta_n \max(0, \max_{d} B_d)

for internal nodes, and :math:`B_n = L_n` for leaves. A node whose own evidence is missing takes the child's
support, one whose children are all missing its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["best_child", "branch_support"]


def branch_support(
    local: NDArray[np.float64], parents: NDArray[np.int64], levels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the branch support of all nodes and the support of the best child; both clusters x nodes.

    Parameters
    ----------
    local
        Evidence of each node itself, NaN where it could not be scored.
    parents, levels
        Position of the parent (-1 for roots) and level of each node.
    weights
        Share that the best child contributes, one per node.
    """
    support = local.copy()
    below = np.full_like(local, np.nan)
    for level in range(int(levels.max(initial=0)), 0, -1):
        children = np.flatnonzero(levels == level)
        above = np.unique(parents[children])
        best = best_child(support[:, children], parents[children], above)
        below[:, above] = best
        own, weight = local[:, above], weights[above]
        with np.errstate(invalid="ignore"):
            blended = (1.0 - weight) * own + weight * best
        support[:, above] = np.where(np.isfinite(best), np.where(np.isfinite(own), blended, best), own)
    return support, below


def best_child(
    support: NDArray[np.float64], parents: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return ``max(0, best finite child)`` for each wanted parent, NaN if no child is finite."""
    order = np.argsort(parents, kind="stable")
    starts = np.searchsorted(parents[order], wanted)
    ordered = np.where(np.isfinite(support[:, order]), np.maximum(support[:, order], 0.0), -np.inf)
    best = np.maximum.reduceat(ordered, starts, axis=1)
    return np.where(np.isfinite(best), best, np.nan)
