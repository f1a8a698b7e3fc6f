"""Soft-thresholded correlations, and which power makes connectivity scale-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NetworkType",
    "SoftThreshold",
    "adjacency_strip",
    "advised_power",
    "choose_power",
    "connectivities",
    "correlation_of_adjacency",
    "scale_free_fit",
    "soft_threshold_table",
]

Array = NDArray[np.float64]
NetworkType = Literal["signed", "unsigned", "signed_hybrid"]

STRIP = 1024
N_BINS = 10


def _base(r: NDArray[Any], network_type: NetworkType) -> NDArray[Any]:
    """Similarity in 0 to 1 that is raised to the power, computed in place."""
    np.clip(r, -1.0, 1.0, out=r)
    if network_type == "signed":
        r += 1.0
        r *= 0.5
    elif network_type == "unsigned":
        np.abs(r, out=r)
    else:
        np.maximum(r, 0.0, out=r)
    return r


def raised(base: NDArray[Any], power: float) -> NDArray[Any]:
    """Return ``base ** power``; whole powers by squaring, which is much faster."""
    whole = round(power)
    if whole != power or whole < 1:
        return np.asarray(np.power(base, power, dtype=base.dtype))
    result, square = None, base
    while whole:
        if whole & 1:
            result = square.copy() if result is None else np.multiply(result, square, out=result)
        whole >>= 1
        if whole:
            square = square * square
    return base if result is None else result


def adjacency_strip(rows: NDArray[Any], start: int, stop: int, power: float, network_type: NetworkType) -> NDArray[Any]:
    """Return rows ``start:stop`` of the adjacency (zero diagonal) of unit rows (features x samples).

    ``signed``: ((1 + r) / 2) ** power; ``unsigned``: abs(r) ** power; ``signed_hybrid``: r ** power, 0 below 0.
    """
    strip = raised(_base(rows[start:stop] @ rows.T, network_type), power)
    strip[np.arange(stop - start), np.arange(start, stop)] = 0.0
    return strip


def correlation_of_adjacency(adjacency: float, power: float, network_type: NetworkType) -> float:
    """Return the correlation at which a pair reaches an adjacency."""
    base = float(adjacency ** (1.0 / power))
    return 2.0 * base - 1.0 if network_type == "signed" else base


def connectivities(rows: Array, powers: Sequence[int], network_type: NetworkType) -> Array:
    """Return the connectivity of every feature (its summed adjacencies to others) at every power, powers x features."""
    p = len(rows)
    found = np.zeros((len(powers), p))
    wanted = {int(k): i for i, k in enumerate(powers)}
    strip = max(64, min(STRIP, 8_000_000 // max(p, 1)))
    for start in range(0, p, strip):
        stop = min(start + strip, p)
        base = _base(rows[start:stop] @ rows.T, network_type)
        base[np.arange(stop - start), np.arange(start, stop)] = 0.0
        current = np.ones_like(base)
        for power in range(1, max(wanted) + 1):
            current *= base
            if power in wanted:
                found[wanted[power], start:stop] = current.sum(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class SoftThreshold:
    """The chosen power and how well connectivity follows a power law there.

    Parameters
    ----------
    r2
        Fit of the power law (0 to 1), negative when the slope rises.
    reached
        Whether the wanted fit was reached, or else the best of all powers taken.
    """

    power: float
    r2: float
    reached: bool
    table: pd.DataFrame


def scale_free_fit(connectivity: Array, n_bins: int = N_BINS) -> tuple[float, float, float]:
    """Return r2, slope and adjusted r2 of the truncated model of log10 p(k) on log10 k, over equal bins of k.

    The truncated model adds k itself as a term (power law with exponential cut-off).
    """
    low, high = float(connectivity.min()), float(connectivity.max())
    if not high > low:
        return 0.0, 0.0, 0.0
    breaks = np.linspace(low, high, n_bins + 1)
    middle = (breaks[1:] + breaks[:-1]) / 2
    inner = np.searchsorted(breaks[1:-1], connectivity, side="left")
    counts = np.bincount(inner, minlength=n_bins)
    mean = np.bincount(inner, weights=connectivity, minlength=n_bins) / np.maximum(counts, 1)
    k = np.where((counts == 0) | (mean == 0), middle, mean)
    x, y = np.log10(k), np.log10(counts / counts.sum() + 1e-9)
    slope, r2 = _line(x[:, None], y)
    _, truncated = _line(np.column_stack([x, k]), y)
    adjusted = 1 - (1 - truncated) * (n_bins - 1) / (n_bins - 3)
    return r2, float(slope[0]), adjusted


def _line(x: Array, y: Array) -> tuple[Array, float]:
    centred = x - x.mean(axis=0)
    target = y - y.mean()
    coefficients = np.linalg.lstsq(centred, target, rcond=None)[0]
    total = float(target @ target)
    residual = target - centred @ coefficients
    return coefficients, 0.0 if total == 0 else 1 - float(residual @ residual) / total


def soft_threshold_table(rows: Array, powers: Sequence[int], network_type: NetworkType) -> pd.DataFrame:
    """Return ``power``, ``sft_r2``, ``slope``, ``truncated_r2``, ``mean_k``, ``median_k``, ``max_k`` per power.

    Parameters
    ----------
    rows
        Features x samples, centred, unit norm.
    """
    records = []
    for power, k in zip(powers, connectivities(rows, powers, network_type), strict=True):
        r2, slope, truncated = scale_free_fit(k)
        records.append((int(power), r2, slope, truncated, float(k.mean()), float(np.median(k)), float(k.max())))
    return pd.DataFrame(records, columns=["power", "sft_r2", "slope", "truncated_r2", "mean_k", "median_k", "max_k"])


def choose_power(table: pd.DataFrame, min_r2: float, fallback: float | None = None) -> SoftThreshold:
    """Return the first power whose fit with a falling slope reaches ``min_r2``.

    Parameters
    ----------
    fallback
        Power to take when none does, if it is in the table; None takes the power with the best fit.
    """
    fit = (-np.sign(table["slope"]) * table["sft_r2"]).to_numpy(dtype=np.float64)
    enough = np.flatnonzero(fit >= min_r2)
    advised = np.flatnonzero(table["power"].to_numpy() == fallback)
    at = int(enough[0]) if enough.size else int(advised[0]) if advised.size else int(np.argmax(fit))
    chosen = table.assign(signed_r2=fit, chosen=np.arange(len(table)) == at)
    return SoftThreshold(float(table["power"].iloc[at]), float(fit[at]), bool(enough.size), chosen)


def advised_power(n_samples: int, network_type: NetworkType) -> int:
    """Return the power that the authors of the method advise where connectivity never gets scale-free."""
    step = sum(n_samples >= n for n in (20, 30, 40))
    return (18, 16, 14, 12)[step] if network_type == "signed" else (9, 8, 7, 6)[step]
