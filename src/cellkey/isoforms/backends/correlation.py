"""A plain second backend: Leiden on correlations above the level where one false pair is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.isoforms.backend_settings import CorrelationParameters
from cellkey.isoforms.backends.communities import leiden_communities
from cellkey.isoforms.backends.interface import Backend, Network, edge_frame
from cellkey.isoforms.backends.pairs import best_gene_pairs
from cellkey.isoforms.backends.spectral import rescue_threshold
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.eigengenes import merge_close_modules
from cellkey.isoforms.modules import ModuleSet

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.feature_matrix import FeatureMatrix

__all__ = ["BACKEND"]


def infer(
    features: FeatureMatrix, parameters: CorrelationParameters, rng: np.random.Generator, reliability: pd.Series
) -> Network:
    """Return modules of genes whose best feature pair correlates strongly; the sign does not matter."""
    genes, numbers = features.gene_numbers()
    rows = unit_rows(features.values)
    varying = np.flatnonzero(np.einsum("ij,ij->i", rows, rows) > 0.5)
    threshold = rescue_threshold(max(len(varying), 2), features.effective_samples, parameters.expected_false_pairs)
    pairs = best_gene_pairs(rows[varying], numbers[varying], threshold, max_pairs=parameters.max_edges)
    first, second = varying[pairs.first], varying[pairs.second]
    community = leiden_communities(
        numbers[first],
        numbers[second],
        np.abs(pairs.weight),
        n_nodes=len(genes),
        resolution=parameters.resolution,
        seed=int(rng.integers(2**31)),
    )
    found = [[genes[g] for g in np.flatnonzero(community == c)] for c in np.unique(community)]
    found = [c for c in found if len(c) >= parameters.min_module_size]
    merges: list[dict[str, Any]] = []
    if parameters.merge_correlation is not None:
        found, merges = merge_close_modules(found, features, parameters.merge_correlation)
    calibration = {
        "community_algorithm": "leiden",
        "resolution": parameters.resolution,
        "correlation_threshold": threshold,
        "effective_samples": features.effective_samples,
        "n_edges": len(pairs),
        "partners_per_row_kept": pairs.capped,
    }
    modules = ModuleSet.ranked(found, min_size=parameters.min_module_size)
    return Network(modules, edge_frame(features, first, second, pairs.weight), calibration, None, tuple(merges))


BACKEND = Backend(
    name="correlation",
    description="plain correlations above the level of one expected false pair, then Leiden",
    parameters=CorrelationParameters,
    infer=infer,
)
