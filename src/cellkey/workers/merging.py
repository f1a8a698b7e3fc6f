"""Exact merging of what was found in parts of the cells, two at a time and in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.clustering.features import Moments
from cellkey.clustering.inspect import MatrixScan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Covariance", "merge_covariances", "merge_moments", "merge_scans", "merged", "tree"]

_FAN_IN = 8


@dataclass(frozen=True, slots=True)
class Covariance:
    """Mean (features,) and population covariance (features x features) over ``n_cells`` cells, float64."""

    n_cells: int
    mean: NDArray[np.float64]
    values: NDArray[np.float64]


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Return the moments of two sets of cells together (Chan, Golub & LeVeque 1983)."""
    n = a.n_cells + b.n_cells
    gap = b.mean - a.mean
    mean = a.mean + gap * (b.n_cells / n)
    variance = (a.n_cells * a.sd**2 + b.n_cells * b.sd**2) / n + gap**2 * (a.n_cells / n) * (b.n_cells / n)
    return Moments(n, mean, np.sqrt(variance))


def merge_covariances(a: Covariance, b: Covariance) -> Covariance:
    """Return the covariance of two sets of cells together; :func:`merge_moments` for all pairs of features."""
    n = a.n_cells + b.n_cells
    gap = b.mean - a.mean
    values = a.values * (a.n_cells / n) + b.values * (b.n_cells / n)
    values += np.outer(gap, gap * ((a.n_cells / n) * (b.n_cells / n)))
    return Covariance(n, a.mean + gap * (b.n_cells / n), values)


def merge_scans(scans: Sequence[MatrixScan], axis: int) -> MatrixScan:
    """Return what was found in all parts; ``axis`` is 0 for parts of the cells and 1 for parts of the genes."""
    has_value = [s.has_value for s in scans]
    return MatrixScan(
        minimum=min(s.minimum for s in scans),
        maximum=max(s.maximum for s in scans),
        n_not_finite=sum(s.n_not_finite for s in scans),
        n_not_zero=sum(s.n_not_zero for s in scans),
        integer_valued=all(s.integer_valued for s in scans),
        has_value=np.logical_or.reduce(has_value) if axis else np.concatenate(has_value),
    )


def merged(merge: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """Merge values from left to right."""
    return reduce(merge, values)


def tree(merge: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Any:
    """Return one task that merges the results of tasks, a few at a time, so that none gathers all of them."""
    from dask import delayed

    level = list(tasks)
    while len(level) > 1:
        level = [delayed(merged)(merge, level[i : i + _FAN_IN]) for i in range(0, len(level), _FAN_IN)]
    return level[0]
