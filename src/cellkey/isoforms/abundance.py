"""Gene expression of samples on one scale."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Normalisation", "cpm_scale", "log_expression", "median_of_ratios", "scale_factors", "tmm_factors"]

Array = NDArray[np.float64]
Normalisation = Literal["median_of_ratios", "cpm", "tmm"]


def median_of_ratios(counts: Array) -> Array:
    """Return one size factor per sample from gene counts (genes x samples).

    The factor is ``exp(median over genes of (ln(x + 0.5) - mean over samples of ln(x + 0.5)))``. A few strong genes
    cannot push all others the opposite way, as they do in counts per million.
    """
    logs = np.log(counts + 0.5)
    return np.asarray(np.exp(np.median(logs - logs.mean(axis=1, keepdims=True), axis=0)))


def cpm_scale(counts: Array) -> Array:
    """Return reads per sample in millions, so that ``counts / scale`` are counts per million."""
    return np.asarray(np.maximum(counts.sum(axis=0), 1e-12) / 1e6)


def tmm_factors(counts: Array, trim_ratio: float = 0.3, trim_sum: float = 0.05) -> Array:
    """Return effective library sizes in millions, by trimmed means of log ratios (Robinson and Oshlack 2010).

    The reference is the sample whose upper quartile is closest to the mean upper quartile.
    """
    library = np.maximum(counts.sum(axis=0), 1e-12)
    expressed = counts[counts.sum(axis=1) > 0]
    if not len(expressed):
        return np.asarray(library / 1e6)
    quartile = np.quantile(expressed / library, 0.75, axis=0)
    reference = int(np.argmin(np.abs(quartile - quartile.mean())))
    logs = np.array(
        [
            _tmm_log(expressed[:, j], expressed[:, reference], library[j], library[reference], trim_ratio, trim_sum)
            for j in range(counts.shape[1])
        ]
    )
    return np.asarray(library * np.exp2(logs - logs.mean()) / 1e6)


def _tmm_log(x: Array, ref: Array, n_x: float, n_ref: float, trim_ratio: float, trim_sum: float) -> float:
    used = (x > 0) & (ref > 0)
    if not used.any():
        return 0.0
    share, ref_share = x[used] / n_x, ref[used] / n_ref
    ratio, strength = np.log2(share / ref_share), 0.5 * np.log2(share * ref_share)
    variance = (1 - share) / x[used] + (1 - ref_share) / ref[used]
    if np.abs(ratio).max() < 1e-6:
        return 0.0
    n = len(ratio)
    low, low_sum = np.floor(n * trim_ratio) + 1, np.floor(n * trim_sum) + 1
    from scipy.stats import rankdata

    ranks, sums = rankdata(ratio), rankdata(strength)
    keep = (ranks >= low) & (ranks <= n + 1 - low) & (sums >= low_sum) & (sums <= n + 1 - low_sum)
    if not keep.any():
        return 0.0
    return float(np.average(ratio[keep], weights=1 / np.maximum(variance[keep], 1e-12)))


def scale_factors(counts: Array, method: Normalisation) -> Array:
    """Return the divisor of every sample under a normalisation."""
    return {"median_of_ratios": median_of_ratios, "cpm": cpm_scale, "tmm": tmm_factors}[method](counts)


def log_expression(counts: Array, factors: Array) -> Array:
    """Return ``log2(counts / factor + 0.5)`` (genes x samples)."""
    return np.log2(counts / factors + 0.5)
