"""Markers of all nodes against their controls: differences, their clipped mean and its sampling error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.scoring.controls import ControlMeans, Pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.means import ClusterMeans

__all__ = ["Sign", "sign_of"]


@dataclass(frozen=True, slots=True)
class Sign:
    """Statistics of the markers (or the anti-markers) of all nodes; groups x nodes, or one value per node.

    Attributes
    ----------
    enrichment
        Mean clipped difference from the controls; NaN where no marker has a control.
    marker_mean, control_mean
        Means of the markers that have controls, and of their controls, before clipping.
    n_present, n_detected
        Measured markers, and how many of them are detected in a group.
    n_controls, median_controls
        Controls of all markers together, and the median per marker (NaN without markers).
    fell_back
        Whether some marker had fewer controls than asked for.
    error
        Standard error of ``enrichment`` from counting transcripts in cells; 0 where it is not known. That of
        the controls, means over many genes, is left out.
    """

    enrichment: NDArray[np.float64]
    marker_mean: NDArray[np.float64]
    control_mean: NDArray[np.float64]
    n_present: NDArray[np.int64]
    n_detected: NDArray[np.int64]
    n_controls: NDArray[np.int64]
    median_controls: NDArray[np.float64]
    fell_back: NDArray[np.bool_]
    error: NDArray[np.float64]

    @property
    def detection(self) -> NDArray[np.float64]:
        """Share of the measured markers that are detected; NaN without measured markers."""
        shown = np.maximum(self.n_present, 1)
        return np.where(self.n_present > 0, self.n_detected / shown, np.nan)


def sign_of(
    means: ClusterMeans, scored: Sequence[Sequence[int]], pairs: Pairs, controls: ControlMeans,
    detected: NDArray[np.bool_], clip: float,
) -> Sign:
    """Enrichment of the scored genes of all nodes over their controls."""
    n_nodes = len(scored)
    shown = Pairs.of(scored)
    n_present = np.bincount(shown.node, minlength=n_nodes).astype(np.int64)
    n_detected = _sum_by_node(detected[:, shown.gene].astype(np.float64), shown.node, n_nodes).astype(np.int64)

    counted = np.isin(_codes(pairs, means), _codes(shown, means)) & (controls.count > 0)
    node, gene = pairs.node[counted], pairs.gene[counted]
    values, matched = means.values[:, gene], controls.mean[:, counted]
    n_used = np.bincount(node, minlength=n_nodes)
    clipped = _clipped(values - matched, node, n_used, clip)

    def mean(part: NDArray[np.float64]) -> NDArray[np.float64]:
        total = _sum_by_node(part, node, n_nodes)
        return np.where(n_used > 0, total / np.maximum(n_used, 1), np.nan)

    own = np.isin(_codes(pairs, means), _codes(shown, means))
    return Sign(
        enrichment=mean(clipped), marker_mean=mean(values), control_mean=mean(matched), n_present=n_present,
        n_detected=n_detected,
        n_controls=np.bincount(pairs.node[own], weights=controls.count[own], minlength=n_nodes).astype(np.int64),
        median_controls=_median_by_node(controls.count[own], pairs.node[own], n_nodes),
        fell_back=np.bincount(pairs.node[own], weights=controls.fell_back[own], minlength=n_nodes) > 0,
        error=_error_of_mean(means, node, gene, n_used),
    )


def _error_of_mean(
    means: ClusterMeans, node: NDArray[np.intp], gene: NDArray[np.intp], n_used: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Standard error of the mean over each node's genes, whose counts vary on their own."""
    if means.error is None:
        return np.zeros((len(means.values), len(n_used)))
    squared = _sum_by_node(means.error[:, gene] ** 2, node, len(n_used))
    return np.asarray(np.sqrt(squared) / np.maximum(n_used, 1))


def _codes(pairs: Pairs, means: ClusterMeans) -> NDArray[np.int64]:
    return pairs.node.astype(np.int64) * max(len(means.genes), 1) + pairs.gene


def _sum_by_node(values: NDArray[np.float64], node: NDArray[np.intp], n_nodes: int) -> NDArray[np.float64]:
    """Sum columns of one node; ``node`` is ascending."""
    total = np.zeros((len(values), n_nodes))
    if len(node):
        present, starts = np.unique(node, return_index=True)
        total[:, present] = np.add.reduceat(values, starts, axis=1)
    return total


def _clipped(
    differences: NDArray[np.float64], node: NDArray[np.intp], n_used: NDArray[np.int64], quantile: float
) -> NDArray[np.float64]:
    """Clip the differences of nodes with three markers or more at a quantile of their absolute values."""
    if quantile >= 1.0 or not len(node):
        return differences
    n_nodes, widest = len(n_used), int(n_used.max())
    starts = np.cumsum(n_used) - n_used
    slot = np.arange(len(node)) - starts[node]
    ordered = np.full((len(differences), n_nodes, widest), np.inf)
    ordered[:, node, slot] = np.abs(differences)
    ordered.sort(axis=2)
    position = quantile * np.maximum(n_used - 1, 0)
    low = position.astype(np.intp)
    high = np.minimum(low + 1, np.maximum(n_used - 1, 0))
    each = np.arange(n_nodes)
    lower, upper = ordered[:, each, low], ordered[:, each, high]
    with np.errstate(invalid="ignore"):
        limit = lower + (upper - lower) * (position - low)
    limit = np.where((n_used >= 3) & (limit > 0), limit, np.inf)[:, node]
    return np.clip(differences, -limit, limit)


def _median_by_node(counts: NDArray[np.int64], node: NDArray[np.intp], n_nodes: int) -> NDArray[np.float64]:
    order = np.lexsort((counts, node))
    n = np.bincount(node, minlength=n_nodes)
    start = np.cumsum(n) - n
    ordered = np.append(counts[order], 0).astype(np.float64)
    low, high = start + np.maximum(n - 1, 0) // 2, start + n // 2
    top = len(ordered) - 1
    return np.where(n > 0, (ordered[np.minimum(low, top)] + ordered[np.minimum(high, top)]) / 2.0, np.nan)
