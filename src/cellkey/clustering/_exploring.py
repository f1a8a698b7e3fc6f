"""Approximate search for the nearest neighbours of many cells, whose cost per cell hardly grows with their number.

Every cell is compared with some thousand cells of the nearest lists. After that, neighbours of neighbours are compared
in rounds (Dong, Moses & Li 2011, "Efficient k-nearest neighbor graph construction for generic similarity measures"),
here with every cell reading the last round alone, so that neither the number of threads nor chance has a part in the
answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.clustering import _search_kernels
from cellkey.clustering._lists import CellLists, over_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    #: Neighbours of cells, their squared distances, and whether they are new.
    _Found = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]

__all__ = ["explored_neighbors", "small_lists"]

_LIST_CELLS = 512
_MOST_LISTS = 4096
#: Of a cell, so many cells are followed that have it as a neighbour, and at most so many that it has.
_MOST_BACK = 12
_MOST_FOLLOWED = 64
_ROUNDS = 20
#: A round that replaces a smaller share of the neighbours has found what it can.
_LEAST_NEW = 5e-3


def small_lists(points: NDArray[np.float32]) -> CellLists:
    """Return lists of some 500 cells each, more in very many cells."""
    return CellLists(points, int(np.clip(len(points) // _LIST_CELLS, 1, _MOST_LISTS)))


def explored_neighbors(cells: CellLists, n_neighbors: int, n_compared: int) -> Iterator[NDArray[np.int32]]:
    """Yield neighbours of all cells, better and better until a round finds hardly any.

    Parameters
    ----------
    cells
        More than ``n_neighbors`` of them.
    n_neighbors
        Twice those wanted: rounds that follow fewer end early, and miss more.
    n_compared
        Cells with which each is compared at first.

    Yields
    ------
    Cells x ``n_neighbors``, nearest first and without the cell itself; all count cells list by list. What was yielded
    is written over later.
    """
    shape = (len(cells.points), n_neighbors)
    width = min(n_neighbors, _MOST_FOLLOWED)
    near, far = np.zeros(shape, dtype=np.int32), np.full(shape, np.inf, dtype=np.float32)
    fresh = np.ones(shape, dtype=bool)
    nearness = cells.by_nearness()

    def compare(first: int, last: int) -> None:
        _search_kernels.search_near_lists(cells.points, cells.starts, nearness, first, last, n_compared,
                                          near, far, fresh)

    over_threads(compare, len(nearness))
    yield near
    old, new = (near, far, fresh), (np.empty_like(near), np.empty_like(far), np.empty_like(fresh))
    for _ in range(_ROUNDS):
        _explore(cells.points, old, new, width)
        yield new[0]
        if new[2][:, :width].mean() < _LEAST_NEW:
            return
        old, new = new, old


def _explore(points: NDArray[np.float32], old: _Found, new: _Found, width: int) -> None:
    back = _search_kernels.reverse_neighbors(*old, width, _MOST_BACK)

    def look(first: int, last: int) -> None:
        _search_kernels.explore(points, *old, *back, width, first, last, *new)

    over_threads(look, len(points))
