"""How far the switch feature of a gene can be trusted, as a weight from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError

if TYPE_CHECKING:
    from cellkey.isoforms.composition import GeneBlocks

__all__ = ["degradation_sensitivity", "degradation_weights", "estimability_weights", "minor_usage"]

Array = NDArray[np.float64]


def minor_usage(usage: Array, blocks: GeneBlocks) -> Array:
    """Return, per gene, one minus the mean over samples of the largest usage."""
    return np.asarray(1.0 - np.maximum.reduceat(usage, blocks.starts, axis=0).mean(axis=1))


def estimability_weights(
    usage: Array, blocks: GeneBlocks, *, min_minor_usage: float = 0.1, power: float = 1.0, floor: float = 0.0
) -> Array:
    """Return ``clip((minor usage / min_minor_usage) ** power, floor, 1)`` per gene.

    A gene whose minor isoforms have next to no reads has a switch coordinate made of counting noise.
    """
    return np.clip((minor_usage(usage, blocks) / min_minor_usage) ** power, floor, 1.0)


def degradation_sensitivity(log_ratios: Array, blocks: GeneBlocks, covariate: pd.Series) -> Array:
    """Return, per gene, the share of its log-ratio variance along a numeric covariate such as RIN.

    Raises
    ------
    BundleError
        If the covariate is not numeric or does not vary.
    """
    if not pd.api.types.is_numeric_dtype(covariate):
        msg = (
            f"samples.parquet, column {covariate.name!r}: a degradation "
            f"covariate must be numeric, found {covariate.dtype}"
        )
        raise BundleError(msg)
    values = covariate.astype(np.float64).to_numpy()
    centred = np.where(np.isnan(values), 0.0, values - np.nanmean(values))
    size = np.linalg.norm(centred)
    if size == 0:
        msg = f"samples.parquet, column {covariate.name!r}: a degradation covariate must vary, all values are equal"
        raise BundleError(msg)
    rows = log_ratios - log_ratios.mean(axis=1, keepdims=True)
    along = blocks.sums(((rows @ (centred / size)) ** 2)[:, None])[:, 0]
    total = blocks.sums(np.einsum("ij,ij->i", rows, rows)[:, None])[:, 0]
    return np.where(total > 0, along / np.where(total > 0, total, 1.0), 0.0)


def degradation_weights(
    log_ratios: Array, blocks: GeneBlocks, covariate: pd.Series, *, power: float = 1.0, floor: float = 0.0
) -> Array:
    """Return ``clip((1 - sensitivity) ** power, floor, 1)`` per gene."""
    return np.clip((1.0 - degradation_sensitivity(log_ratios, blocks, covariate)) ** power, floor, 1.0)
