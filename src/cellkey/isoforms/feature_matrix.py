"""Features of genes over samples: the input of every backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ABUNDANCE", "CHANNELS", "SPLICING", "SWITCH", "FeatureMatrix", "zscore_rows"]

SWITCH = "switch"
ABUNDANCE = "abundance"
SPLICING = "psi"
CHANNELS = (ABUNDANCE, SWITCH, SPLICING)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """Feature scores of genes, after the design was removed.

    Parameters
    ----------
    values
        Features x samples, float64.
    features
        One row per feature, sorted by ``gene_id``, ``feature_type``, ``feature_id``; also ``n_transcripts``
        (NaN for abundance).
    sample_ids
        Columns of ``values``, sorted.
    basis
        Orthonormal columns (samples x terms) that were regressed out; the intercept is always one of them.
    covariates
        Names of the sample columns that were regressed out.
    """

    values: Array
    features: pd.DataFrame
    sample_ids: tuple[str, ...]
    basis: Array
    covariates: tuple[str, ...] = ()

    @property
    def gene_ids(self) -> NDArray[np.object_]:
        """Gene of every feature."""
        return np.asarray(self.features["gene_id"], dtype=object)

    @property
    def feature_types(self) -> NDArray[np.object_]:
        """Channel of every feature."""
        return np.asarray(self.features["feature_type"], dtype=object)

    @property
    def feature_ids(self) -> NDArray[np.object_]:
        """Id of every feature: ``<gene_id>::<feature_type>``, of a splicing event also ``::<psi_uid>``."""
        return np.asarray(self.features["feature_id"], dtype=object)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.values.shape[1])

    @property
    def effective_samples(self) -> int:
        """Number of samples that tests may count on: samples minus removed terms beyond the intercept."""
        return self.n_samples - int(self.basis.shape[1]) + 1

    @property
    def genes(self) -> list[str]:
        """Sorted ids of all genes that own a feature."""
        return sorted(set(self.gene_ids))

    def gene_numbers(self) -> tuple[list[str], NDArray[np.intp]]:
        """Return the sorted genes, and the number of the gene of every feature among them."""
        genes, numbers = np.unique(self.gene_ids.astype(str), return_inverse=True)
        return [str(g) for g in genes], numbers.astype(np.intp)

    def remove_design(self, rows: Array) -> Array:
        """Return rows (any x samples) without the part that the removed design explains."""
        return rows - (rows @ self.basis) @ self.basis.T

    def frame(self) -> pd.DataFrame:
        """Return the feature columns followed by one column per sample."""
        scores = pd.DataFrame(self.values, columns=list(self.sample_ids))
        return pd.concat([self.features.reset_index(drop=True), scores], axis=1)


def zscore_rows(rows: Array) -> Array:
    """Return rows with mean 0 and population standard deviation 1; constant rows become 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    sd = np.sqrt(np.einsum("ij,ij->i", centred, centred) / rows.shape[1])
    scale = np.abs(rows).max(axis=1, initial=0.0)
    constant = sd <= 1e-12 * np.maximum(scale, 1e-300)
    return np.where(constant[:, None], 0.0, centred / np.where(constant, 1.0, sd)[:, None])
