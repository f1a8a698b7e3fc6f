"""Partial correlations of a shrunken covariance, for comparison with published results.

The precision of a Ledoit-Wolf covariance (Ledoit and Wolf 2004) has the form identity plus low rank, so its rows are
computed block by block and no feature x feature matrix is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellkey.isoforms.backend_settings import BaselineParameters
from cellkey.isoforms.backends.gene_graph import SimilarityBlock, dense_similarity, gene_graph_network
from cellkey.isoforms.backends.interface import Backend, Network

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["BACKEND", "ORIGINAL_FEATURES", "partial_correlations", "shrinkage_of"]

Array = NDArray[np.float64]

ORIGINAL_FEATURES = {"abundance_normalisation": "cpm", "scale_switch": False, "orientation": "pivot"}
"""Feature settings of the backends that reproduce published numbers."""


def shrinkage_of(values: Array) -> float:
    """Return the Ledoit-Wolf shrinkage of features x samples."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(values.T))


def partial_correlations(values: Array) -> tuple[SimilarityBlock, float]:
    """Return a block reader of partial correlations (zero diagonal) of features x samples, and the shrinkage."""
    centred = values - values.mean(axis=1, keepdims=True)
    p, n = centred.shape
    shrinkage = shrinkage_of(values)
    mean_variance = float(np.einsum("ij,ij->", centred, centred)) / (n * p)
    ridge = shrinkage * mean_variance
    if ridge <= 0.0:
        covariance = (1 - shrinkage) * (centred @ centred.T) / n
        return dense_similarity(_scaled(np.linalg.pinv(covariance, hermitian=True))), shrinkage
    weight = (1 - shrinkage) / n
    # (ridge I + weight C C')^-1 = (I - C K C') / ridge, with K of samples x samples.
    core = np.linalg.inv(np.eye(n) * ridge + weight * centred.T @ centred) * weight
    right = centred @ core
    diagonal = (1.0 - np.einsum("ij,ij->i", right, centred)) / ridge
    root = np.sqrt(diagonal)

    def block(start: int, stop: int) -> Array:
        rows = (right[start:stop] @ centred.T) / ridge
        rows /= root[start:stop, None] * root[None, :]
        rows[np.arange(stop - start), np.arange(start, stop)] = 0.0
        return np.asarray(rows)

    return block, shrinkage


def _scaled(precision: Array) -> Array:
    root = np.sqrt(np.maximum(np.diag(precision), 1e-300))
    partial = -precision / root[:, None] / root[None, :]
    np.fill_diagonal(partial, 0.0)
    return partial


def infer(
    features: FeatureMatrix, parameters: BaselineParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of the thresholded partial-correlation graph; deterministic."""
    similarity, shrinkage = partial_correlations(features.values)
    return gene_graph_network(
        features,
        similarity,
        parameters,
        reliability,
        seed=int(rng.integers(2**31)),
        calibration={"shrinkage": shrinkage, "alpha": parameters.alpha},
    )


BACKEND = Backend(
    name="baseline",
    description="Ledoit-Wolf partial correlations above a threshold, connected components",
    parameters=BaselineParameters,
    infer=infer,
    feature_defaults=ORIGINAL_FEATURES,
)
