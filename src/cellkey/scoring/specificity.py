"""How clearly one cell type stands out from its siblings: robust z over clusters, and the gap to the best sibling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OnlyChild", "ScaleOf", "robust_scale", "robust_z", "sibling_gap", "sibling_scale"]

OnlyChild = Literal["parent", "none"]
ScaleOf = Literal["siblings", "type"]
_MAD_TO_SD = 1.4826


def robust_scale(scores: NDArray[np.float64], floor: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre and scale of each column over its finite rows.

    The centre is the median, the scale 1.4826 times the median absolute deviation; where that is zero the
    population standard deviation, and where that is zero too, 1. No scale is below ``floor``.
    """
    finite = np.isfinite(scores)
    centre = _masked_median(scores, finite)
    deviation = np.abs(scores - centre)
    scale = _MAD_TO_SD * _masked_median(deviation, finite)
    count = np.maximum(finite.sum(axis=0), 1)
    filled = np.where(finite, scores, 0.0)
    mean = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(finite, scores - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, np.where(spread > 0, spread, 1.0))
    return centre, np.maximum(scale, floor)


def robust_z(
    scores: NDArray[np.float64], floor: float = 0.0, *, parents: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the scores in robust units over clusters, clusters x nodes; NaN stays NaN.

    A single cluster has z = 0; of two clusters one is as far above as the other is below the centre.

    Parameters
    ----------
    scores
        Clusters x nodes.
    floor
        Least scale.
    parents
        Of the nodes: siblings share their median scale. Scores that are compared with each other need one
        unit; in units of its own, a type that many clusters hold would seem less special than a sibling that
        differs between clusters by noise alone. None gives every node its own scale, as published.
    """
    centre, scale = robust_scale(scores, floor)
    if parents is not None:
        scale = sibling_scale(scale, np.asarray(np.isfinite(scores).any(axis=0)), parents)
    return np.asarray((scores - centre) / scale)


def sibling_scale(
    scale: NDArray[np.float64], scored: NDArray[np.bool_], parents: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return for each node the median scale of the scored nodes with its parent; NaN if there are none."""
    _, family = np.unique(parents, return_inverse=True)
    order = np.lexsort((scale, ~scored, family))
    count = np.bincount(family, weights=scored).astype(np.int64)
    start = np.searchsorted(family[order], np.arange(len(count)))
    low, high = start + np.maximum(count - 1, 0) // 2, start + np.minimum(count // 2, np.maximum(count - 1, 0))
    shared = (scale[order][low] + scale[order][high]) / 2.0
    return np.asarray(np.where(count > 0, shared, np.nan)[family])


def _masked_median(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not len(values):
        return np.full(values.shape[1], np.nan)
    ordered = np.sort(np.where(mask, values, np.inf), axis=0)
    count = mask.sum(axis=0)
    columns = np.arange(values.shape[1])
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    high = np.minimum(high, len(values) - 1)
    middle = ordered[np.stack([low, high]), columns]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, middle.mean(axis=0), np.nan)


def sibling_gap(
    z: NDArray[np.float64], parents: NDArray[np.int64], *, only_child: OnlyChild = "parent"
) -> NDArray[np.float64]:
    """Return z of each node minus that of its best sibling, clusters x nodes.

    Siblings that could not be scored do not count. A node without any other is compared with its parent
    (``"parent"``: is it more than the parent alone?) or with nothing (``"none"``: its own z, as published);
    a lone root always keeps its own z.
    """
    best_other = best_of_others(z, parents)
    if only_child == "parent":
        above = np.where(parents >= 0, z[:, parents], np.nan)
        best_other = np.where(np.isfinite(best_other), best_other, above)
    return np.where(np.isfinite(best_other), z - best_other, z)


def best_of_others(values: NDArray[np.float64], parents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the greatest finite value among the other siblings, clusters x nodes; -inf if there is none."""
    order = np.argsort(parents, kind="stable")
    starts = np.flatnonzero(np.diff(parents[order], prepend=parents[order[0]] - 1))
    family = np.cumsum(np.isin(np.arange(len(order)), starts)) - 1
    ordered = np.where(np.isfinite(values[:, order]), values[:, order], -np.inf)
    best = np.maximum.reduceat(ordered, starts, axis=1)
    position = np.arange(len(order))
    holds = ordered == best[:, family]
    first = np.minimum.reduceat(np.where(holds, position, len(order)), starts, axis=1)
    is_first = position == first[:, family]
    second = np.maximum.reduceat(np.where(is_first, -np.inf, ordered), starts, axis=1)
    result = np.empty_like(ordered)
    result[:, order] = np.where(is_first, second[:, family], best[:, family])
    return result
