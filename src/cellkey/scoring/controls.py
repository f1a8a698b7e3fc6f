r"""Control genes matched by mean expression.

A marker is compared with genes of similar mean expression over all clusters. By default all such genes are
controls, so that no random draw enters the result; drawing a fixed number, as published, is possible.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.scoring.marker_sets import Exclusion

__all__ = ["BinSums", "ControlMeans", "Pairs", "all_controls", "drawn_controls", "eligible_controls", "expression_bins"]

_DECIMALS = 10  # sums made in another order of clusters must not break a tie


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a node and one of its genes, node by node; both of shape (pairs,)."""

    node: NDArray[np.intp]
    gene: NDArray[np.intp]

    @classmethod
    def of(cls, sets: Sequence[Sequence[int]]) -> Pairs:
        """Return the pairs of the gene sets of all nodes."""
        node = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
        gene = np.array([g for s in sets for g in s], dtype=np.intp)
        return cls(node.astype(np.intp), gene)

    def __len__(self) -> int:
        return len(self.node)


@dataclass(frozen=True, slots=True)
class ControlMeans:
    """Mean expression of the controls of each (node, marker) pair.

    Attributes
    ----------
    mean
        Groups x pairs; NaN where a marker has no control.
    count
        Number of controls, shape (pairs,).
    fell_back
        Whether fewer controls than first asked for were used, shape (pairs,).
    chosen
        The controls of each pair as positions of genes, where they were drawn; None where all eligible genes
        are controls.
    """

    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    fell_back: NDArray[np.bool_]
    chosen: tuple[NDArray[np.intp], ...] | None = None


def expression_bins(
    bulk: NDArray[np.float64], n_bins: int, *, low_limit: float | None = None
) -> NDArray[np.int64]:
    """Return the bin of each gene by its mean expression; bins hold about the same number of genes.

    The edges are the quantiles (linear interpolation) of the average ranks; an interval includes its upper
    edge. All comparisons are made in whole numbers, so that rounding never moves a gene.

    Parameters
    ----------
    bulk
        Mean expression over the groups, shape (genes,).
    n_bins
        Most bins; not more than there are different values.
    low_limit
        Genes at or below this expression share bin 0, the others are cut into the remaining bins; None
        treats all alike.
    """
    rounded = np.round(bulk, _DECIMALS)
    distinct = len(np.unique(rounded))
    wanted = min(n_bins, distinct)
    bins = np.zeros(len(bulk), dtype=np.int64)
    if wanted <= 1:
        return bins
    if low_limit is None:
        return _rank_quantile_bins(rounded, wanted)
    upper = rounded > round(low_limit, _DECIMALS)
    if upper.any():
        parts = min(wanted - 1, len(np.unique(rounded[upper])))
        bins[upper] = 1 + (_rank_quantile_bins(rounded[upper], parts) if parts > 1 else 0)
    return bins


def _rank_quantile_bins(values: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    doubled = (2 * ends - counts + 1)[inverse]  # twice the average rank: a whole number also for ties
    ordered = np.sort(doubled)
    position = (len(values) - 1) * np.arange(n_bins + 1)
    low, rest = position // n_bins, position % n_bins
    high = np.minimum(low + 1, len(values) - 1)
    edges = np.unique(ordered[low] * (n_bins - rest) + ordered[high] * rest)
    return np.maximum(np.searchsorted(edges, doubled * n_bins, side="left") - 1, 0)


def eligible_controls(bulk: NDArray[np.float64], min_bulk: float | None) -> NDArray[np.bool_]:
    """Return which genes are expressed enough to be controls, shape (genes,)."""
    return np.ones(len(bulk), dtype=bool) if min_bulk is None else bulk >= min_bulk


@dataclass(frozen=True, slots=True)
class BinSums:
    """Sum of the eligible genes of every bin of expression, groups x bins, and how many there are."""

    total: NDArray[np.float64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64], bins: NDArray[np.int64], eligible: NDArray[np.bool_]) -> BinSums:
        """Return the sums of ``values``, groups x genes."""
        n_bins, n_genes = int(bins.max(initial=0)) + 1, len(bins)
        member = sp.csr_matrix((eligible.astype(np.float64), (bins, np.arange(n_genes))), shape=(n_bins, n_genes))
        return cls((member @ values.T).T, np.bincount(bins[eligible], minlength=n_bins))


def all_controls(
    values: NDArray[np.float64],
    bins: NDArray[np.int64],
    eligible: NDArray[np.bool_],
    pairs: Pairs,
    excluded: Exclusion,
    sums: BinSums,
) -> ControlMeans:
    """Take all eligible genes of a marker's bin as its controls.

    Parameters
    ----------
    values
        Groups x genes.
    bins, eligible
        Bin of each gene, and whether it may be a control.
    pairs
        The markers; a marker is never its own control, because it is in ``excluded`` for its node.
    excluded
        The genes that cannot be controls of a node.
    sums
        Of ``values``, by bin.

    Notes
    -----
    The mean over a bin without the excluded genes of a node is the sum over the bin minus the sum over those
    genes, so that the work does not grow with the number of controls.
    """
    n_bins, n_genes = len(sums.count), len(bins)
    entries = excluded.genes.tocoo()
    kept = eligible[entries.col]
    node, gene = entries.row[kept], entries.col[kept]
    cells = node.astype(np.int64) * n_bins + bins[gene]
    used, compact = np.unique(cells, return_inverse=True)
    left_out = sp.csr_matrix((np.ones(len(gene)), (compact, gene)), shape=(len(used), n_genes))
    left_sums, left_counts = (left_out @ values.T).T, np.bincount(compact, minlength=len(used))

    pair_bin = bins[pairs.gene]
    count = sums.count[pair_bin].astype(np.int64)
    total = sums.total[:, pair_bin]
    if len(used):
        wanted = excluded.of_node[pairs.node].astype(np.int64) * n_bins + pair_bin
        at = np.minimum(np.searchsorted(used, wanted), len(used) - 1)
        hit = used[at] == wanted
        count = count - np.where(hit, left_counts[at], 0)
        total = total - np.where(hit, left_sums[:, at], 0.0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return ControlMeans(mean, count, np.zeros(len(pairs), dtype=bool))


def drawn_controls(
    values: NDArray[np.float64],
    genes: NDArray[np.object_],
    bins: NDArray[np.int64],
    eligible: NDArray[np.bool_],
    pairs: Pairs,
    excluded: Exclusion,
    sizes: Sequence[int],
    *,
    seed: int | None,
    node_names: Sequence[str],
) -> ControlMeans:
    """Draw controls without replacement from the eligible genes of each marker's bin.

    The first of ``sizes`` that the candidates allow is drawn; if none does, all candidates are taken. Every
    marker of a node has its own random stream, derived from the seed and from both names, so that a change
    in one node, or another order of nodes, genes or clusters, leaves the controls of all others alone.
    """
    names = genes.astype(str)
    by_name = np.argsort(names, kind="stable")
    chosen: list[NDArray[np.intp]] = []
    fell_back = np.zeros(len(pairs), dtype=bool)
    outside = excluded.genes.toarray().astype(bool)
    for i, (node, gene) in enumerate(zip(pairs.node.tolist(), pairs.gene.tolist(), strict=True)):
        allowed = (bins == bins[gene]) & eligible & ~outside[excluded.of_node[node]]
        allowed[gene] = False
        candidates = by_name[allowed[by_name]]
        size = next((k for k in sizes if k <= len(candidates)), None)
        fell_back[i] = len(candidates) > 0 and size != sizes[0]
        if size is not None and size < len(candidates):
            rng = np.random.default_rng(_stream(seed, node_names[node], names[gene]))
            candidates = np.sort(rng.choice(candidates, size=size, replace=False))
        chosen.append(candidates.astype(np.intp))
    count = np.array([len(c) for c in chosen], dtype=np.int64)
    drawn = Pairs.of([c.tolist() for c in chosen])
    weights = sp.csr_matrix((1.0 / count[drawn.node], (drawn.node, drawn.gene)), shape=(len(pairs), len(bins)))
    mean = (weights @ values.T).T
    return ControlMeans(np.where(count > 0, mean, np.nan), count, fell_back, tuple(chosen))


def _stream(seed: int | None, *names: str) -> list[int] | None:
    if seed is None:
        return None
    digest = hashlib.blake2b("\x1f".join(names).encode(), digest_size=16).digest()
    return [seed, int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")]
