"""Choose the threshold of a gene graph by how stable its edges are on subsamples."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.isoforms.evidence import select_feature_samples

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.backends.interface import Backend
    from cellkey.isoforms.feature_matrix import FeatureMatrix
    from cellkey.parameters import Parameters

__all__ = ["ALPHA_GRID", "stability_selection"]

ALPHA_GRID = (0.005, 0.01, 0.02, 0.05, 0.10, 0.15, 0.20)
FRACTION = 0.8
"""Share of the samples in a refit."""

STABLE = 0.6
"""An edge is stable when at least this share of the refits contains it."""


def stability_selection(
    backend: Backend,
    parameters: Parameters,
    features: FeatureMatrix,
    reliability: pd.Series,
    rng: np.random.Generator,
    *,
    n_refits: int = 50,
) -> dict[str, Any]:
    """Return ``recommended_alpha`` and, per threshold, the numbers of edges and stable edges.

    For backends without a threshold ``alpha`` there is one row and no recommendation. The recommended threshold is the
    smallest at which the expected number of false stable edges, bounded by ``q^2 / ((2 * 0.6 - 1) * pairs)`` for a mean
    of ``q`` edges (Meinshausen and Buehlmann 2010), is at most one or 5 % of the stable edges; without such a threshold
    it is the one with the smallest bound.
    """
    has_alpha = "alpha" in type(parameters).model_fields
    n = features.n_samples
    subsets = [np.sort(g.permutation(n)[: round(FRACTION * n)]) for g in rng.spawn(n_refits)]
    n_genes = len(features.genes)
    pairs = n_genes * (n_genes - 1) / 2
    summary: list[dict[str, Any]] = []
    for alpha in ALPHA_GRID if has_alpha else (None,):
        block = parameters if alpha is None else parameters.updated(alpha=alpha)
        seen: Counter[tuple[str, str]] = Counter()
        total = 0
        for subset in subsets:
            edges = backend.infer(
                select_feature_samples(features, subset), block, np.random.default_rng(0), reliability
            ).edges
            seen.update(zip(edges["source"], edges["target"], strict=True))
            total += len(edges)
        mean_edges = total / n_refits
        stable = sum(count >= STABLE * n_refits for count in seen.values())
        bound = mean_edges**2 / ((2 * STABLE - 1) * pairs) if pairs else 0.0
        summary.append(
            {"alpha": alpha, "mean_edge_count": mean_edges, "stable_edge_count": stable, "expected_false_bound": bound}
        )
    acceptable = [
        s
        for s in summary
        if s["stable_edge_count"] and s["expected_false_bound"] <= max(1.0, 0.05 * s["stable_edge_count"])
    ]
    chosen = acceptable[0] if acceptable else min(summary, key=lambda s: s["expected_false_bound"])
    return {"recommended_alpha": chosen["alpha"], "n_refits": n_refits, "fraction": FRACTION, "summary": summary}
