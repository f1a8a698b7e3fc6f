"""Sample covariates: design columns, what they explain, and what remains without them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError, CellkeyWarning, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_COVARIATES", "Design", "design_of", "explained_share", "residual_quality"]

Array = NDArray[np.float64]

DEFAULT_COVARIATES = ("RIN", "PMI", "mito_mapping_rate", "percent_assigned")
"""Technical covariates that are removed wherever the sample table has them."""


@dataclass(frozen=True, slots=True)
class Design:
    """Covariates as an orthonormal basis that includes the intercept.

    Parameters
    ----------
    basis
        Samples x terms, orthonormal columns; linearly dependent columns are left out.
    covariates
        Sample columns that are in the design.
    absent, constant
        Requested columns that the sample table lacks or that do not vary.
    """

    basis: Array
    covariates: tuple[str, ...]
    absent: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()

    def residuals(self, rows: Array) -> Array:
        """Return least-squares residuals of rows (features x samples)."""
        # Twice: the second pass removes the rounding of the first, which matters for rows with a large mean.
        once = rows - (rows @ self.basis) @ self.basis.T
        return np.asarray(once - (once @ self.basis) @ self.basis.T)


def design_of(samples: pd.DataFrame, covariates: Sequence[str] | None = None) -> Design:
    """Return the design of covariates.

    Parameters
    ----------
    samples
        Sample table.
    covariates
        Columns to remove. None means those of :data:`DEFAULT_COVARIATES` that are there. Numeric columns enter as
        they are (missing becomes the mean), other columns as indicators (missing is a level of its own).

    Raises
    ------
    BundleError
        If a named column is absent, or the covariates leave fewer than three degrees of freedom.
    """
    asked = DEFAULT_COVARIATES if covariates is None else tuple(covariates)
    absent = tuple(c for c in asked if c not in samples.columns)
    if absent and covariates is not None:
        known = [str(c) for c in samples.columns]
        msg = f"{len(absent)} covariate(s) are not in the sample table"
        raise BundleError(
            msg,
            [
                Problem(
                    f"no such column{did_you_mean(c, known)}",
                    f"samples.parquet, column {c!r}",
                    f"columns are {', '.join(known[:20])}",
                )
                for c in absent
            ],
        )
    present = [c for c in dict.fromkeys(asked) if c not in absent]
    constant = tuple(c for c in present if samples[c].nunique(dropna=False) < 2)
    used = tuple(c for c in present if c not in constant)
    if constant:
        warnings.warn(f"covariates that do not vary were left out: {', '.join(constant)}", CellkeyWarning, stacklevel=2)
    n = len(samples)
    columns = [np.ones((n, 1)), *(covariate_columns(samples[c]) for c in used)]
    basis = _orthonormal(np.hstack(columns))
    if n - basis.shape[1] < 3:
        msg = (
            f"the covariates {list(used)} take {basis.shape[1]} terms and leave {n - basis.shape[1]} degrees of "
            f"freedom of {n} samples; at least 3 must remain: remove fewer covariates"
        )
        raise BundleError(msg)
    return Design(basis, used, absent, constant)


def covariate_columns(column: pd.Series) -> Array:
    """Return the design columns of one covariate, scaled to unit size so that none drowns the others."""
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        values = column.astype(np.float64).to_numpy()
        centred = values - np.nanmean(values)
        filled = np.where(np.isnan(centred), 0.0, centred)
        return np.asarray(filled[:, None] / max(np.abs(filled).max(), 1e-300))
    levels = column.astype(object).where(column.notna(), "(missing)").astype(str)
    names = sorted(set(levels))
    return np.stack([(levels == name).to_numpy(dtype=np.float64) for name in names], axis=1)


def _orthonormal(columns: Array) -> Array:
    # The intercept comes first, so that its direction stays exact; the rest is centred before it is reduced.
    n = len(columns)
    intercept = np.full((n, 1), 1 / np.sqrt(n))
    rest = columns[:, 1:] - columns[:, 1:].mean(axis=0)
    if not rest.shape[1]:
        return intercept
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    return np.hstack([intercept, left[:, sizes > 1e-9 * max(sizes.max(), 1e-300)]])


def explained_share(rows: Array, design: Design) -> Array:
    """Return the share of every row's variance that the covariates explain (0 to 1; 0 for constant rows)."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    total = np.einsum("ij,ij->i", centred, centred)
    fitted = centred @ design.basis[:, 1:]
    part = np.einsum("ij,ij->i", fitted, fitted)
    return np.where(total > 0, part / np.where(total > 0, total, 1.0), 0.0)


def residual_quality(features: pd.DataFrame, before: Array, after: Array, design: Design) -> pd.DataFrame:
    """Return per feature how much variance the covariates took.

    Columns ``feature_id``, ``gene_id``, ``feature_type``, ``var_before``, ``var_after``, ``var_retained_frac``,
    ``confound_r2_before``, ``confound_r2_after``.
    """
    var_before, var_after = before.var(axis=1), after.var(axis=1)
    return features[["feature_id", "gene_id", "feature_type"]].assign(
        var_before=var_before,
        var_after=var_after,
        var_retained_frac=np.where(var_before > 0, var_after / np.where(var_before > 0, var_before, 1.0), 0.0),
        confound_r2_before=explained_share(before, design),
        confound_r2_after=explained_share(after, design),
    )
