"""Factors that bring counts to the scale used for scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.clustering import _kernels
from cellkey.clustering._blocks import sweep
from cellkey.profiles.expression import TARGET_SUM, factors_from_totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.clustering.inspect import MatrixReport

__all__ = ["cell_factors", "cell_totals", "working_scale"]


def cell_factors(X: Any, target_sum: float | None = TARGET_SUM) -> NDArray[np.float64]:
    """Return the factor that scales each cell to the same total.

    Parameters
    ----------
    X
        Counts, cells x genes; dense, CSR or CSC, in memory or backed.
    target_sum
        Total per cell after scaling; 10,000 is the field's convention. None takes the median of the totals.

    Returns
    -------
    Shape (cells,), float64. Cells without any count have factor 0, so that their values stay 0.
    """
    return factors_from_totals(cell_totals(X), target_sum)


def cell_totals(X: Any) -> NDArray[np.float64]:
    """Return the sum of each cell, shape (cells,), in one sweep."""
    totals = np.zeros(X.shape[0], dtype=np.float64)
    for axis, start, block in sweep(X):
        if axis == 1:
            totals += np.bincount(block.indices, weights=block.data, minlength=X.shape[0])
        else:
            totals[start : start + block.shape[0]] = _row_sums(block)
    return totals


def _row_sums(block: Any) -> NDArray[np.float64]:
    if not sp.issparse(block):
        return np.asarray(block.sum(axis=1, dtype=np.float64))
    sums: NDArray[np.float64] = _kernels.row_sums(block.data, block.indptr)
    return sums


def working_scale(X: Any, report: MatrixReport, target_sum: float | None = TARGET_SUM) -> NDArray[np.float64] | None:
    """Return the ``scale`` argument of :class:`~cellkey.profiles.Expression` that ``report.transform`` asks
    for."""
    if report.transform == "normalise":
        return cell_factors(X, target_sum)
    return np.ones(X.shape[0]) if report.transform == "log1p" else None
