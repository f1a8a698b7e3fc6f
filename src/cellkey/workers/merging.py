"""Merging of what was found in parts of the matrix, with the numbers of a run in one process."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.clustering._sums import FAN_IN, UNIT_CELLS, merged
from cellkey.profiles.survey import MatrixScan
from cellkey.workers.matrix import spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cellkey.workers.matrix import Span

__all__ = ["merge_scans", "subtree_spans", "tree"]


def merge_scans(scans: Sequence[MatrixScan], axis: int) -> MatrixScan:
    """Return what was found in all parts; ``axis`` is 0 for parts of the cells and 1 for parts of the genes."""
    has_value = [s.has_value for s in scans]
    return MatrixScan(
        minimum=min(s.minimum for s in scans),
        maximum=max(s.maximum for s in scans),
        n_not_finite=sum(s.n_not_finite for s in scans),
        n_not_zero=sum(s.n_not_zero for s in scans),
        integer_valued=all(s.integer_valued for s in scans),
        has_value=np.logical_or.reduce(has_value) if axis else np.concatenate(has_value),
    )


def subtree_spans(n_cells: int, values_per_cell: float, n_values: int, at_least: int) -> list[Span]:
    """Return spans of cells whose sums are nodes of the tree of :mod:`cellkey.clustering._sums`, all of one level.

    They hold at most ``n_values`` values, and there are ``at_least`` so many, as far as units of cells are not cut.
    """
    step = UNIT_CELLS
    while step * FAN_IN * values_per_cell <= n_values and n_cells > step * FAN_IN * (at_least - 1):
        step *= FAN_IN
    return spans(n_cells, step)


def tree(add: Callable[[Any, Any], Any], tasks: Sequence[Any]) -> Any:
    """Return one task that adds the results of tasks in the tree of :class:`~cellkey.clustering._sums.TreeSum`."""
    from dask import delayed

    level = list(tasks)
    while len(level) > 1:
        level = [delayed(_node)(add, level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
    return level[0]


def _node(add: Callable[[Any, Any], Any], parts: Sequence[Any]) -> Any:
    # A result may be asked for again, so the worker's own copy stays as it is.
    return merged(add, [deepcopy(parts[0]), *parts[1:]])
