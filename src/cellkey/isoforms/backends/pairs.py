"""Strong pairs of rows, found block by block so that no matrix of all pairs is ever held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GenePairs", "best_gene_pairs", "strongest_per_gene_pair"]

BLOCK = 2048


@dataclass(frozen=True, slots=True)
class GenePairs:
    """Gene pairs with the rows that carry their strongest similarity.

    Parameters
    ----------
    first, second
        Row positions.
    weight
        Signed similarity.
    capped
        Largest number of partners that was kept per row, or 0 when nothing was left out.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    weight: NDArray[np.float64]
    capped: int = 0

    def __len__(self) -> int:
        return len(self.first)


def best_gene_pairs(
    rows: NDArray[np.float64], genes: NDArray[np.intp], threshold: float, *, max_pairs: int, block: int = BLOCK
) -> GenePairs:
    """Return pairs of rows of different genes with ``|inner product| >= threshold``, the strongest per gene pair.

    Parameters
    ----------
    rows
        Rows x dimensions, unit norm.
    genes
        Gene number of every row.
    max_pairs
        When more pairs are expected than this, every row keeps its strongest partners only, as many as fit.
    """
    single = np.ascontiguousarray(rows, dtype=np.float32)
    expected = _expected_pairs(single, threshold)
    limit = 0 if expected <= max_pairs else max(int(max_pairs // max(len(rows), 1)), 10)
    found = []
    for start in range(0, len(single), block):
        stop = min(start + block, len(single))
        found.append(_block_pairs(single, genes, start, stop, threshold, limit))
    first = np.concatenate([f for f, _, _ in found]) if found else np.array([], dtype=np.intp)
    second = np.concatenate([s for _, s, _ in found]) if found else np.array([], dtype=np.intp)
    weight = np.concatenate([w for _, _, w in found]) if found else np.array([], dtype=np.float64)
    best = strongest_per_gene_pair(genes, first, second, weight)
    return GenePairs(first[best], second[best], weight[best], limit)


def _expected_pairs(rows: NDArray[np.float32], threshold: float, sample: int = 256) -> float:
    if len(rows) < 2 * sample:
        return 0.0
    chosen = np.linspace(0, len(rows) - 1, sample).astype(np.intp)
    share = (np.abs(rows[chosen] @ rows.T) >= threshold).mean()
    return float(share) * len(rows) ** 2 / 2


def _block_pairs(
    rows: NDArray[np.float32], genes: NDArray[np.intp], start: int, stop: int, threshold: float, limit: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    offset = 0 if limit else start
    similarity = rows[start:stop] @ rows[offset:].T
    size = np.abs(similarity)
    strong = size >= np.float32(threshold)
    if limit and limit < len(rows):
        # The threshold of a row is its limit-th strongest partner; ties stay, so that order does not matter.
        cut = np.partition(size, size.shape[1] - limit - 1, axis=1)[:, size.shape[1] - limit - 1]
        strong &= size >= cut[:, None]
    i, j = np.nonzero(strong)
    first, second = i + start, j + offset
    usable = genes[first] != genes[second]
    if not limit:
        usable &= first < second
    weight = similarity[i[usable], j[usable]].astype(np.float64)
    first, second = first[usable], second[usable]
    return np.minimum(first, second), np.maximum(first, second), np.clip(weight, -1.0, 1.0)


def strongest_per_gene_pair(
    genes: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp], weight: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return the positions of the pairs of rows that stand for their pairs of genes, sorted by gene numbers."""
    if not len(weight):
        return np.array([], dtype=np.intp)
    low, high = np.minimum(genes[first], genes[second]), np.maximum(genes[first], genes[second])
    key = low.astype(np.int64) * (int(high.max()) + 1) + high
    order = np.lexsort((second, first, -np.abs(weight), key))
    ordered = key[order]
    return order[np.r_[True, ordered[1:] != ordered[:-1]]]
