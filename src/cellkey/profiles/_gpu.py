"""Profiles on a CUDA device: blocks of genes are sorted and summarised there, with the results of the CPU.

Ranks, medians, thresholds and counts are equal to those of the CPU bit by bit, and so are sums as long as both take
them in the order of cells; tests allow sums a relative difference of 1e-12. Blocks are read (and scaled) by the CPU, on
as many threads as it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.device import compiled, free_bytes, launch
from cellkey.profiles._kernels import LEAST_POSITIVE
from cellkey.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import scipy.sparse as sp
    from numpy.typing import NDArray

    Span = tuple[int, int]

__all__ = ["DeviceResamples", "DeviceStatistics"]

_BYTES_PER_VALUE = 128
"""Of a block on the device: values, cells, groups, two sets of keys, and the work space of sorting them."""
_SCRATCH_BYTES = 512 * 2**20
_SCRATCH_ARRAYS = 13


class DeviceStatistics:
    """The device's form of :func:`~cellkey.profiles.profile.gene_statistics`, for one set of groups.

    Parameters
    ----------
    codes, sizes
        Group of each cell, -1 for none, and cells of each group.
    quantiles, basis
        Of the positivity threshold; ``basis`` as its code in :mod:`cellkey.profiles._kernels`.
    """

    def __init__(
        self, codes: NDArray[np.integer[Any]], sizes: NDArray[np.int64], quantiles: NDArray[np.float64], basis: int
    ) -> None:
        import cupy

        self._codes = cupy.asarray(codes.astype(np.int64))
        self._sizes, self._quantiles = cupy.asarray(sizes), cupy.asarray(quantiles)
        self._n_cells, self._basis = np.int64(sizes.sum()), np.int32(basis)

    def fill(
        self, result: dict[str, NDArray[Any]], read: Callable[[Span], sp.csc_matrix], spans: list[Span], n_jobs: int
    ) -> Iterator[int]:
        """Put the statistics of all genes in their places in ``result``; yields how many genes were added.

        Threads read blocks (float32 CSC, all cells) and the device gathers them, since it is the faster the more genes
        it sorts at once, as far as half of its free memory reaches.
        """
        most = free_bytes() // (2 * _BYTES_PER_VALUE)
        held: list[_Block] = []
        n_values = start = 0
        for block in in_order(read, [(span,) for span in spans], n_jobs):
            if held and n_values + block.nnz > most:
                start += yield from self._add(result, held, start)
                held, n_values = [], 0
            held.append(_Block.of(block))
            n_values += block.nnz
        if held:
            yield from self._add(result, held, start)

    def _add(self, result: dict[str, NDArray[Any]], held: list[_Block], start: int) -> Generator[int, None, int]:
        whole = _Block.joined(held)
        for name, part in self._statistics(whole).items():
            result[name][start : start + whole.n_genes] = part
        yield whole.n_genes
        return whole.n_genes

    def _statistics(self, block: _Block) -> dict[str, NDArray[Any]]:
        """The statistics of a block, as :func:`~cellkey.profiles.profile.gene_statistics` returns them."""
        import cupy

        module = _module()
        n_genes, n_groups, n_quantiles = block.n_genes, len(self._sizes), len(self._quantiles)
        genes, groups, levels = np.int64(n_genes), np.int64(n_groups), np.int64(n_quantiles)
        values = _Sorted.of(block, self._codes, n_groups)
        n, by_group = np.int64(len(values.keys)), values.by_group
        by_group.sort()
        starts = _starts(by_group, n_genes * n_groups)
        found = {
            "sums": cupy.empty((n_genes, n_groups)), "medians": cupy.empty((n_genes, n_groups)),
            "above": cupy.empty((n_genes, n_groups), dtype=np.int64), "rank_sums": cupy.empty((n_genes, n_groups)),
            "positive": cupy.empty((n_genes, n_quantiles, n_groups), dtype=np.int64),
            "thresholds": cupy.empty((n_genes, n_quantiles)), "overall": cupy.empty((n_genes, 5)),
        }
        twice_ranks = cupy.zeros((n_genes, n_groups), dtype=np.uint64)
        least = np.float64(LEAST_POSITIVE)
        launch(module, "group_sums", n_genes * n_groups,
               (genes, groups, block.data, block.indptr, values.group_of, found["sums"], found["above"]))
        launch(module, "add_ranks", int(n), (n, genes, groups, self._n_cells, values.keys, values.starts,
                                             values.group_of[values.order], twice_ranks))
        launch(module, "gene_overall", n_genes,
               (genes, groups, levels, self._n_cells, self._basis, least, block.data, block.indptr, values.group_of,
                values.keys, values.starts, found["sums"], self._quantiles, found["thresholds"], found["overall"]))
        launch(module, "group_statistics", n_genes * n_groups,
               (genes, groups, levels, self._n_cells, values.keys, values.starts, by_group, starts, self._sizes,
                twice_ranks, found["thresholds"], found["medians"], found["rank_sums"], found["positive"]))
        return {name: cupy.asnumpy(part) for name, part in found.items()}


class DeviceResamples:
    """The device's form of :func:`~cellkey.profiles._resample_kernels.resample_genes`, for one set of draws.

    Parameters
    ----------
    codes, weights, sizes
        Group of each cell (-1 for none), cells x resamples (uint8), and groups x resamples.
    quantile, basis
        Of the positivity threshold.
    """

    def __init__(
        self, codes: NDArray[np.integer[Any]], weights: NDArray[np.uint8], sizes: NDArray[np.int64], quantile: float,
        basis: int,
    ) -> None:
        import cupy

        self._codes = cupy.asarray(codes.astype(np.int64))
        self._weights, self._sizes = cupy.asarray(weights), cupy.asarray(sizes)
        self._quantile, self._basis = np.float64(quantile), np.int32(basis)

    def __call__(self, block: sp.csc_matrix) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the statistics of a block of genes by group and over all cells."""
        n_groups, n_times = self._sizes.shape
        step = max(1, _SCRATCH_BYTES // (8 * _SCRATCH_ARRAYS * n_groups * n_times))
        spans = range(0, block.shape[1], step)
        parts = [self._statistics(_Block.of(block[:, start : start + step])) for start in spans]
        return np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1)

    def _statistics(self, block: _Block) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import cupy

        n_genes, (n_groups, n_times) = block.n_genes, self._sizes.shape
        values = _Sorted.of(block, self._codes, n_groups)
        result = cupy.zeros((5, n_genes, n_groups, n_times), dtype=np.float32)
        overall = cupy.zeros((5, n_genes, n_times), dtype=np.float32)
        numbers, fractions = (
            cupy.zeros((5, n_genes, n_groups, n_times), dtype=np.int64),
            cupy.zeros((4, n_genes, n_groups, n_times)),
        )
        stored, negative, lower, upper, passed = (numbers[i] for i in range(5))
        sums, ranks, low_half, high_half = (fractions[i] for i in range(4))
        launch(_module(), "resample_genes", n_genes * n_times,
               (np.int64(n_genes), np.int64(n_groups), np.int64(n_times), np.int64(len(self._codes)), self._basis,
                np.float64(LEAST_POSITIVE), self._quantile, values.keys, values.starts, block.rows[values.order],
                values.group_of[values.order], self._weights, self._sizes, sums, stored, negative, lower, upper,
                passed, ranks, low_half, high_half, result, overall))
        return cupy.asnumpy(result), cupy.asnumpy(overall)


@dataclass(frozen=True, slots=True)
class _Block:
    """Genes on the device, all cells, as CSC."""

    data: Any
    rows: Any
    indptr: Any

    @classmethod
    def of(cls, block: sp.csc_matrix) -> _Block:
        import cupy

        rows, indptr = block.indices.astype(np.int32, copy=False), block.indptr.astype(np.int64, copy=False)
        return cls(cupy.asarray(block.data), cupy.asarray(rows), cupy.asarray(indptr))

    @classmethod
    def joined(cls, blocks: list[_Block]) -> _Block:
        import cupy

        if len(blocks) == 1:
            return blocks[0]
        n_before = np.cumsum([0, *(len(b.data) for b in blocks[:-1])])
        ends = [b.indptr[1:] + int(n) for b, n in zip(blocks, n_before, strict=True)]
        return cls(
            cupy.concatenate([b.data for b in blocks]), cupy.concatenate([b.rows for b in blocks]),
            cupy.concatenate([cupy.zeros(1, dtype=np.int64), *ends]),
        )

    @property
    def n_genes(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A block of genes, and its values in ascending order within each gene.

    ``keys`` are sorted, ``order`` are the places of their values in the block, ``starts`` where a gene begins;
    ``by_group`` are keys by gene and group, not sorted yet.
    """

    block: _Block
    group_of: Any
    keys: Any
    order: Any
    starts: Any
    by_group: Any

    @classmethod
    def of(cls, block: _Block, codes: Any, n_groups: int) -> _Sorted:
        import cupy

        n = len(block.data)
        group_of = cupy.empty(n, dtype=np.int32)
        by_value, by_group = cupy.empty(n, dtype=np.uint64), cupy.empty(n, dtype=np.uint64)
        launch(_module(), "label_values", n,
               (np.int64(n), np.int64(block.n_genes), np.int64(n_groups), block.data, block.rows, block.indptr, codes,
                group_of, by_value, by_group))
        order = cupy.argsort(by_value)
        keys = by_value[order]
        return cls(block, group_of, keys, order, _starts(keys, block.n_genes), by_group)


def _starts(keys: Any, n_segments: int) -> Any:
    import cupy

    starts = cupy.empty(n_segments + 1, dtype=np.int64)
    launch(_module(), "segment_starts", n_segments + 1, (np.int64(n_segments), np.int64(len(keys)), keys, starts))
    return starts


def _module() -> Any:
    return compiled("cellkey.profiles", "_gene_statistics.cu")
