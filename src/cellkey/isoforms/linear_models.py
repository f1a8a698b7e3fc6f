"""Least squares with heteroscedasticity-consistent (HC3) errors, and the two-sample and many-sample tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinearFit", "WelchTest", "least_squares", "one_way", "welch"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Coefficients of one response with HC3 errors (MacKinnon and White 1985).

    Parameters
    ----------
    estimate, se, covariance
        Coefficients, HC3 errors and the HC3 covariance.
    df
        Samples minus terms.
    """

    estimate: Array
    se: Array
    covariance: Array
    df: int

    def pvalues(self) -> Array:
        """Return two-sided p values per coefficient."""
        from scipy.stats import t

        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2 * t.sf(np.abs(self.estimate / self.se), self.df))

    def interval(self, confidence: float = 0.95) -> tuple[Array, Array]:
        """Return the confidence interval of every coefficient."""
        from scipy.stats import t

        half = t.isf((1 - confidence) / 2, self.df) * self.se
        return self.estimate - half, self.estimate + half

    def joint_pvalue(self, terms: NDArray[np.intp]) -> float:
        """Return the p value of the Wald test that all given coefficients are zero."""
        from scipy.stats import f

        b, v = self.estimate[terms], self.covariance[np.ix_(terms, terms)]
        if not np.isfinite(v).all() or np.linalg.matrix_rank(v) < len(terms):
            return float("nan")
        return float(f.sf(b @ np.linalg.solve(v, b) / len(terms), len(terms), self.df))


def least_squares(response: Array, design: Array) -> LinearFit | None:
    """Return the fit of ``response ~ design``, or None when the design is rank deficient or leaves no freedom."""
    n, k = design.shape
    if n <= k or np.linalg.matrix_rank(design) < k:
        return None
    q, r = np.linalg.qr(design)
    inverse = np.linalg.inv(r)
    estimate = inverse @ (q.T @ response)
    residual = response - design @ estimate
    free = 1.0 - np.einsum("ij,ij->i", q, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A sample with leverage 1 is fitted exactly: HC3 is not defined.
        scaled = np.where(free > 1e-10, residual / free, np.nan)
    meat = inverse @ (q.T * scaled)
    covariance = meat @ meat.T
    return LinearFit(estimate, np.sqrt(np.diag(covariance)), covariance, n - k)


@dataclass(frozen=True, slots=True)
class WelchTest:
    """Welch's t test of ``mean(b) - mean(a)``."""

    effect: float
    se: float
    statistic: float
    df: float
    pvalue: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the difference."""
        from scipy.stats import t

        half = float(t.isf((1 - confidence) / 2, self.df)) * self.se
        return self.effect - half, self.effect + half


def welch(a: Array, b: Array) -> WelchTest:
    """Return Welch's t test of two samples with at least two values each."""
    from scipy.stats import t

    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    effect, se = float(b.mean() - a.mean()), float(np.sqrt(va + vb))
    if se == 0.0:
        return WelchTest(effect, se, float("nan"), float("nan"), float("nan"))
    df = float((va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)))
    return WelchTest(effect, se, effect / se, df, float(2 * t.sf(abs(effect / se), df)))


def one_way(values: Array, levels: NDArray[np.intp]) -> tuple[float, float, int, int, float]:
    """Return F, eta squared, both degrees of freedom and p of a one-way analysis of variance."""
    from scipy.stats import f

    n, k = len(values), int(levels.max()) + 1
    means = np.bincount(levels, weights=values, minlength=k) / np.bincount(levels, minlength=k)
    within = float(((values - means[levels]) ** 2).sum())
    total = float(((values - values.mean()) ** 2).sum())
    between = total - within
    if total == 0.0:
        return float("nan"), 0.0, k - 1, n - k, float("nan")
    statistic = (between / (k - 1)) / (within / (n - k)) if within > 0 else float("inf")
    return statistic, between / total, k - 1, n - k, float(f.sf(statistic, k - 1, n - k))
