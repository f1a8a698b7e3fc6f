"""Correlations, their p values, and adjustment for many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bh", "correlation_at", "correlation_pvalues", "fisher_interval", "unit_rows"]

Array = NDArray[np.float64]


def unit_rows(rows: Array) -> Array:
    """Return rows centred and divided by their norm; constant rows become 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    constant = norm <= 1e-12 * np.maximum(np.abs(rows).max(axis=1, initial=0.0), 1e-300) * np.sqrt(rows.shape[1])
    return np.where(constant[:, None], 0.0, centred / np.where(constant, 1.0, norm)[:, None])


def correlation_pvalues(r: Array, n: Array | NDArray[np.int64] | float) -> Array:
    """Return two-sided p values of Pearson correlations from ``n`` samples (t test, n - 2 degrees of freedom)."""
    from scipy.stats import t

    df = np.asarray(n, dtype=np.float64) - 2
    r = np.asarray(r, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(r) * np.sqrt(np.maximum(df, 0) / np.maximum(1 - r * r, 0))
        p = 2 * t.sf(statistic, np.maximum(df, 1e-300))
    return np.asarray(np.where((df > 0) & np.isfinite(r), p, np.nan))


def correlation_at(p: float, n: float) -> float:
    """Return the absolute correlation of ``n`` samples whose two-sided p value is ``p``."""
    from scipy.stats import t

    quantile = float(t.isf(p / 2, n - 2))
    return quantile / float(np.sqrt(n - 2 + quantile**2))


def fisher_interval(r: Array, n: Array | NDArray[np.int64] | float, confidence: float = 0.95) -> tuple[Array, Array]:
    """Return the Fisher z interval of Pearson correlations; NaN below four samples."""
    from scipy.stats import norm

    with np.errstate(divide="ignore", invalid="ignore"):
        half = norm.isf((1 - confidence) / 2) / np.sqrt(np.asarray(n, dtype=np.float64) - 3)
        z = np.arctanh(np.asarray(r, dtype=np.float64))
        low, high = np.tanh(z - half), np.tanh(z + half)
    return np.asarray(low), np.asarray(high)


def bh(pvalues: Array, method: str = "bh") -> Array:
    """Return adjusted p values (Benjamini and Hochberg 1995, or ``by``) over those that are not NaN."""
    from scipy.stats import false_discovery_control

    p = np.asarray(pvalues, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested], method=method)
    return adjusted
