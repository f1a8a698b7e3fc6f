"""Cells gathered in lists around centres, so that those near each other lie side by side in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from cellkey.clustering._blocks import block_starts
from cellkey.clustering._threads import n_threads, single_threaded_blas

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["CellLists", "over_threads"]

_CHUNK = 16_384
_PARTS = 64


class CellLists:
    """Cells around centres that come from a few rounds of k-means on some of the cells.

    Attributes
    ----------
    order
        Cells list by list, shape (cells,).
    points
        Points in that order, cells x dims, float32.
    lists, starts
        List of each cell in that order, and the first cell of each list, shape (lists + 1,).
    centres
        Lists x dims, float32.
    """

    def __init__(self, points: NDArray[np.float32], n_lists: int) -> None:
        n_cells = len(points)
        sample = points[np.linspace(0, n_cells - 1, min(n_cells, 40 * n_lists)).astype(np.intp)]
        centres = np.ascontiguousarray(sample[np.linspace(0, len(sample) - 1, n_lists).astype(np.intp)])
        with single_threaded_blas(), ThreadPoolExecutor(n_threads()) as pool:
            for _ in range(5):
                nearest = _nearest_centre(pool, sample, centres)
                counts = np.bincount(nearest, minlength=n_lists)
                sums = np.zeros((n_lists, points.shape[1]))
                np.add.at(sums, nearest, sample)
                some = counts > 0
                centres[some] = (sums[some] / counts[some, None]).astype(np.float32)
            lists = _nearest_centre(pool, points, centres)
        self.order = np.argsort(lists, kind="stable")
        self.points = np.ascontiguousarray(points[self.order])
        self.lists = lists[self.order]
        self.starts = np.searchsorted(self.lists, np.arange(n_lists + 1)).astype(np.int64)
        self.centres = centres

    def by_nearness(self) -> NDArray[np.int32]:
        """All lists by the distance of their centres from that of each list, the own first, lists x lists."""
        middle = self.centres.astype(np.float64) - self.centres.mean(axis=0)
        squares = (middle**2).sum(axis=1)
        with single_threaded_blas():
            gaps = squares[:, None] + squares - 2 * (middle @ middle.T)
        np.fill_diagonal(gaps, -np.inf)
        return np.argsort(gaps, axis=1, kind="stable").astype(np.int32)

    def as_given(self, near: NDArray[np.integer]) -> NDArray[np.int64]:
        """Neighbours of all cells (cells x k), counted list by list, as the cells were given."""
        found = np.empty(near.shape, dtype=np.int64)
        found[self.order] = self.order[near]
        return found

    def places(self, cells: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where cells lie that were given at these positions."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        return place[cells]


def over_threads(work: Callable[[int, int], None], n: int) -> None:
    """Call ``work(start, stop)`` for parts of ``range(n)`` that do not depend on the number of threads."""
    with single_threaded_blas(), ThreadPoolExecutor(n_threads()) as pool:
        list(pool.map(lambda span: work(*span), block_starts(n, max(1, n // _PARTS))))


def _nearest_centre(
    pool: ThreadPoolExecutor, points: NDArray[np.float32], centres: NDArray[np.float32]
) -> NDArray[np.intp]:
    half = np.einsum("ij,ij->i", centres, centres) / 2

    def nearest(span: tuple[int, int]) -> NDArray[np.intp]:
        return np.asarray((points[slice(*span)] @ centres.T - half).argmax(axis=1))

    return np.concatenate(list(pool.map(nearest, block_starts(len(points), _CHUNK))))
