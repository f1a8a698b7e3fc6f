"""Components that most features follow: usually cell composition, depth or quality rather than regulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.isoforms.correlation import correlation_pvalues, unit_rows
from cellkey.isoforms.feature_matrix import FeatureMatrix
from cellkey.isoforms.tables import HIDDEN_FACTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["hidden_factors", "sharpened", "without_factors"]

Array = NDArray[np.float64]

LOADING = 0.3
"""A feature loads on a component at this absolute correlation (and p <= 0.01)."""


def hidden_factors(
    features: FeatureMatrix,
    sample_columns: pd.DataFrame,
    *,
    max_share: float = 0.5,
    n_components: int = 10,
    suspects: Sequence[str] = (),
) -> tuple[pd.DataFrame, Array]:
    """Return the leading components with the share of features that load on them, and their profiles.

    Parameters
    ----------
    sample_columns
        Numeric columns (library size and covariates) over the samples of ``features``.
    max_share
        A component that more features than this load on is flagged.
    suspects
        Columns of ``sample_columns`` whose correlation with a component (absolute 0.8 or more) flags it too.

    Returns
    -------
    table, profiles
        ``component``, ``variance_share``, ``feature_share``, ``best_column``, ``best_column_r``, ``flagged``,
        ``reason``; and components x samples of unit norm.
    """
    rows = unit_rows(features.values)
    rows = rows[np.einsum("ij,ij->i", rows, rows) > 0.5]
    values, vectors = np.linalg.eigh(rows.T @ rows)
    k = min(n_components, max(features.effective_samples - 2, 1), len(values))
    profiles = vectors[:, ::-1][:, :k].T
    profiles = np.where(profiles.sum(axis=1, keepdims=True) < 0, -profiles, profiles)
    share_of_variance = values[::-1][:k] / max(float(values.sum()), 1e-300)
    r = rows @ unit_rows(profiles).T
    loads = (np.abs(r) >= LOADING) & (correlation_pvalues(r, features.effective_samples) <= 0.01)
    names, with_columns = _column_correlations(profiles, sample_columns)
    records = []
    for c in range(k):
        best = int(np.argmax(np.abs(with_columns[c]))) if names else -1
        share = float(loads[:, c].mean()) if len(loads) else 0.0
        reasons = [f"{share:.0%} of features load on it"] if share > max_share else []
        reasons += [
            f"correlates {with_columns[c, i]:.2f} with {n}"
            for i, n in enumerate(names)
            if n in suspects and abs(with_columns[c, i]) >= 0.8
        ]
        records.append(
            {
                "component": c + 1,
                "variance_share": share_of_variance[c],
                "feature_share": share,
                "best_column": names[best] if names else "",
                "best_column_r": with_columns[c, best] if names else np.nan,
                "flagged": bool(reasons),
                "reason": "; ".join(reasons),
            }
        )
    return pd.DataFrame(records, columns=[c for c in HIDDEN_FACTORS.names if c != "removed"]), profiles


def _column_correlations(profiles: Array, columns: pd.DataFrame) -> tuple[list[str], Array]:
    names, values = [], []
    for name in columns.columns:
        x = columns[name].to_numpy(dtype=np.float64)
        x = np.where(np.isfinite(x), x, np.nanmean(x) if np.isfinite(x).any() else 0.0)
        if np.ptp(x) > 0:
            names.append(str(name))
            values.append(x)
    if not names:
        return [], np.zeros((len(profiles), 0))
    return names, unit_rows(profiles) @ unit_rows(np.array(values)).T


def sharpened(features: FeatureMatrix, profile: Array, *, rounds: int = 10) -> Array:
    """Return a component estimated from the half of its features that follow it best, repeatedly.

    A leading component mixes the common factor with what modules have in common; features that follow the factor and
    nothing else follow it best, so that their own component is the factor.
    """
    rows = unit_rows(features.values)
    rows = rows[np.einsum("ij,ij->i", rows, rows) > 0.5]
    current = profile
    for _ in range(rounds):
        strength = np.abs(rows @ current)
        loading = strength >= LOADING
        if loading.sum() < 10:
            return current
        chosen = rows[strength >= np.median(strength[loading])]
        _, vectors = np.linalg.eigh(chosen.T @ chosen)
        following = vectors[:, -1] * (1.0 if vectors[:, -1] @ current >= 0 else -1.0)
        done = abs(float(following @ current)) > 1 - 1e-10
        current = following
        if done:
            break
    return current


def without_factors(features: FeatureMatrix, profiles: Array) -> FeatureMatrix:
    """Return the features with some components regressed out, sharpened; they count as removed design terms."""
    profiles = np.array([sharpened(features, p) for p in profiles])
    basis, _ = np.linalg.qr(np.hstack([features.basis, profiles.T]))
    once = features.values - (features.values @ basis) @ basis.T
    names = tuple(f"hidden factor {i + 1}" for i in range(len(profiles)))
    return FeatureMatrix(once, features.features, features.sample_ids, basis, features.covariates + names)
