"""Sums over cells in one order, however the cells are stored, read in blocks, or shared out to processes.

Cells are summed one after the other inside units of 8,192 cells, and the sums of units in a tree whose shape depends on
the number of units alone. Whoever sums whole subtrees and joins them therefore gets the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import scipy.sparse as sp

from cellkey.clustering._blocks import row_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["FAN_IN", "UNIT_CELLS", "TreeSum", "add_arrays", "cut", "equal_blocks", "merged", "sum_over_cells"]

#: Cells summed one after the other: a multiple of every block that is multiplied at once.
UNIT_CELLS = 8192
#: Sums that one node of the tree adds from left to right.
FAN_IN = 8

T = TypeVar("T")


def add_arrays(a: Any, b: Any) -> Any:
    """Return ``a``, to which ``b`` was added in place."""
    a += b
    return a


def merged(add: Callable[[T, T], T], parts: Sequence[T]) -> T:
    """Add parts from left to right: one node of the tree. The first part may be changed."""
    whole = parts[0]
    for part in parts[1:]:
        whole = add(whole, part)
    return whole


class TreeSum(Generic[T]):
    """The tree, one leaf after the other; holds one sum for each level.

    Parameters
    ----------
    add
        Returns the sum of two parts; it may change and return the first.
    """

    def __init__(self, add: Callable[[T, T], T]) -> None:
        self._add = add
        self._open: list[T | None] = []
        self._counts: list[int] = []

    def push(self, part: T) -> None:
        """Add the next leaf."""
        level = 0
        while True:
            if level == len(self._open):
                self._open.append(None)
                self._counts.append(0)
            before = self._open[level]
            part = part if before is None else self._add(before, part)
            self._counts[level] += 1
            if self._counts[level] < FAN_IN:
                self._open[level] = part
                return
            self._open[level], self._counts[level] = None, 0
            level += 1

    def total(self) -> T | None:
        """The sum of all leaves; None without any. Call it once, at the end."""
        whole: T | None = None
        for part in self._open:
            if part is not None:
                whole = part if whole is None else self._add(part, whole)
        return whole


def sum_over_cells(
    blocks: Iterable[Any], start: Callable[[], T], add_block: Callable[[T, Any], None], add: Callable[[T, T], T]
) -> T:
    """Sum blocks of cells, the first of which begins a unit.

    Parameters
    ----------
    blocks
        Blocks of cells in order; of any number of cells where the sum takes cells one by one.
    start, add_block
        Make an empty sum, and add the cells of a block to it one after the other.
    add
        Adds two sums; see :class:`TreeSum`.
    """
    tree = TreeSum(add)
    part, is_open = start(), False
    for block, ends in cut(blocks, UNIT_CELLS):
        add_block(part, block)
        is_open = not ends
        if ends:
            tree.push(part)
            part = start()
    if is_open:
        tree.push(part)
    whole = tree.total()
    return part if whole is None else whole


def cut(blocks: Iterable[Any], size: int) -> Iterator[tuple[Any, bool]]:
    """Yield blocks, cut where ``size`` rows are full, and whether they are with this one."""
    n = 0
    for block in blocks:
        start = 0
        while start < block.shape[0]:
            stop = min(start + size - n, block.shape[0])
            whole = stop - start == block.shape[0]
            n = (n + stop - start) % size
            yield (block if whole else row_view(block, start, stop)), n == 0
            start = stop


def equal_blocks(blocks: Iterable[Any], size: int) -> Iterator[Any]:
    """Yield the rows of blocks anew, ``size`` at a time; the last block may be smaller."""
    waiting: list[Any] = []
    for block, ends in cut(blocks, size):
        waiting.append(block)
        if ends:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[Any]) -> Any:
    if len(blocks) == 1:
        return blocks[0]
    return sp.vstack(blocks, format="csr") if sp.issparse(blocks[0]) else np.concatenate(blocks)
