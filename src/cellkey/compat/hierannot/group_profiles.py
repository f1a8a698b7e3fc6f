"""Groups of cells to one profile each: means, sums, medians and trimmed means, read in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import scipy.sparse as sp

from cellkey.errors import ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["AggregateMethod", "Centrality", "GroupProfiles", "aggregate_matrix", "central_cells", "group_codes"]

AggregateMethod = Literal["mean", "sum", "median", "trimmed_mean"]
Centrality = Literal["centroid", "graph_degree"]
_BLOCK_CELLS = 8192
_BLOCK_VALUES = 8_000_000


@dataclass(frozen=True, slots=True)
class GroupProfiles:
    """One profile per group.

    ``values`` is groups x features, float64; ``n_cells`` the number of cells behind each.
    """

    groups: tuple[str, ...]
    n_cells: NDArray[np.int64]
    values: NDArray[np.float64]


def group_codes(
    labels: Sequence[Any] | NDArray[np.object_], keep: NDArray[np.bool_] | None = None, min_cells: int = 1
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the groups in order of first appearance, and the position of each cell's group.

    Parameters
    ----------
    labels
        Group of each cell; None and NaN leave a cell out, as does ``keep``.
    keep
        Cells to use; all if None.
    min_cells
        Groups with fewer cells are left out.

    Returns
    -------
    Names, and codes of shape (cells,) with -1 for cells that are left out.
    """
    values = np.asarray(labels, dtype=object)
    present = np.array([v is not None and v == v for v in values], dtype=bool)
    present &= True if keep is None else keep
    names = np.array([str(v) for v in values[present]], dtype=str)
    codes = np.full(len(values), -1, dtype=np.int64)
    if not len(names):
        return (), codes
    unique, first, inverse, counts = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    order = [i for i in np.argsort(first) if counts[i] >= min_cells]
    position = np.full(len(unique), -1, dtype=np.int64)
    position[order] = np.arange(len(order))
    codes[present] = position[inverse]
    return tuple(str(unique[i]) for i in order), codes


def aggregate_matrix(
    X: Any,
    groups: Sequence[str],
    codes: NDArray[np.int64],
    *,
    method: AggregateMethod = "mean",
    trim_fraction: float = 0.1,
) -> GroupProfiles:
    """Aggregate the rows of a matrix by group.

    Parameters
    ----------
    X
        Cells x features; dense, sparse, or backed by a file. Read in blocks, never copied or made dense as a
        whole.
    groups, codes
        From :func:`group_codes`.
    method
        ``mean``, ``sum``, ``median``, or ``trimmed_mean``: per feature, the mean without the
        ``floor(n * trim_fraction)`` lowest and highest of n cells (the plain mean of two cells or fewer).
    trim_fraction
        Share (0 to below 0.5) cut off at each end.

    Raises
    ------
    ParameterError
        If the method is unknown or the share out of range.
    """
    if method not in get_args(AggregateMethod):
        msg = f"method {method!r} is unknown{did_you_mean(method, get_args(AggregateMethod))}"
        raise ParameterError(msg)
    if not 0 <= trim_fraction < 0.5:
        msg = f"trim_fraction must be from 0 to below 0.5, got {trim_fraction}"
        raise ParameterError(msg)
    sizes = np.bincount(codes[codes >= 0], minlength=len(groups)).astype(np.int64)
    if method in ("mean", "sum"):
        values = _sums(X, codes, len(groups))
        if method == "mean":
            values /= np.maximum(sizes, 1)[:, None]
    else:
        summary = _median if method == "median" else lambda part: _trimmed_mean(part, trim_fraction)
        values = _by_group(X, codes, len(groups), summary)
    return GroupProfiles(tuple(groups), sizes, values)


def _sums(X: Any, codes: NDArray[np.int64], n_groups: int) -> NDArray[np.float64]:
    """Sum of each group in float64, one pass over blocks of cells."""
    total = np.zeros((n_groups, int(X.shape[1])))
    step = X.shape[0] if sp.issparse(X) and X.format == "csc" else _BLOCK_CELLS
    for start in range(0, X.shape[0], max(step, 1)):
        stop = min(start + step, X.shape[0])
        cells = np.flatnonzero(codes[start:stop] >= 0)
        member = sp.csr_matrix(
            (np.ones(len(cells)), (codes[start:stop][cells], cells)), shape=(n_groups, stop - start)
        )
        block = X if stop - start == X.shape[0] else X[start:stop]
        part = member @ (block if sp.issparse(block) else np.asarray(block, dtype=np.float64))
        total += part.toarray() if sp.issparse(part) else part
    return total


def _by_group(
    X: Any, codes: NDArray[np.int64], n_groups: int, summary: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Apply a summary to the dense values of each group, a few features at a time."""
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    bounds = np.searchsorted(codes[order], np.arange(n_groups + 1))
    values = np.zeros((n_groups, int(X.shape[1])))
    for start, dense in _feature_blocks(X):
        chosen = dense[order]
        for group in range(n_groups):
            part = chosen[bounds[group] : bounds[group + 1]]
            values[group, start : start + dense.shape[1]] = summary(part)
    return values


def _feature_blocks(X: Any) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Dense cells x features blocks, float64."""
    n_cells, n_features = int(X.shape[0]), int(X.shape[1])
    width = max(1, min(n_features, _BLOCK_VALUES // max(n_cells, 1)))
    source = X.tocsc() if sp.issparse(X) else X
    for start in range(0, n_features, width):
        stop = min(start + width, n_features)
        if sp.issparse(source) or isinstance(source, np.ndarray):
            block = source[:, start:stop]
        else:  # backed matrices are read by rows
            rows = [source[i : i + _BLOCK_CELLS][:, start:stop] for i in range(0, n_cells, _BLOCK_CELLS)]
            block = sp.vstack(rows) if rows and sp.issparse(rows[0]) else np.concatenate(rows)
        dense = block.toarray() if sp.issparse(block) else np.asarray(block)
        yield start, dense.astype(np.float64, copy=False)


def _median(part: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.median(part, axis=0) if len(part) else np.zeros(part.shape[1])


def _trimmed_mean(part: NDArray[np.float64], fraction: float) -> NDArray[np.float64]:
    n = len(part)
    cut = int(np.floor(n * fraction)) if n > 2 else 0
    kept = np.sort(part, axis=0)[cut : n - cut] if cut else part
    return kept.mean(axis=0) if len(kept) else np.zeros(part.shape[1])


def central_cells(
    codes: NDArray[np.int64],
    points: Any,
    *,
    fraction: float = 0.8,
    mode: Centrality = "centroid",
) -> NDArray[np.bool_]:
    """Return which cells are central to their group; at least one of each group.

    Parameters
    ----------
    codes
        Group of each cell, -1 for none.
    points
        For ``centroid`` cells x dimensions (Euclidean distance to the group's mean decides), for
        ``graph_degree`` the cells x cells connectivities (the sum within the group decides).
    fraction
        Share of each group to keep, rounded up.
    mode
        How centrality is measured. Ties are broken by the order of the cells.

    Raises
    ------
    ParameterError
        If the fraction is not above 0 and at most 1, or the mode unknown.
    """
    if not 0 < fraction <= 1:
        msg = f"central_fraction must be above 0 and at most 1, got {fraction}"
        raise ParameterError(msg)
    if mode not in get_args(Centrality):
        msg = f"centrality_mode {mode!r} is unknown{did_you_mean(mode, get_args(Centrality))}"
        raise ParameterError(msg)
    n_groups = int(codes.max(initial=-1)) + 1
    cells = np.flatnonzero(codes >= 0)
    distance = np.full(len(codes), np.inf)
    if mode == "centroid":
        distance[cells] = _distances(points, codes, n_groups)[cells]
    else:
        member = sp.csr_matrix((np.ones(len(cells)), (cells, codes[cells])), shape=(len(codes), n_groups))
        within = sp.csr_matrix(points) @ member
        distance[cells] = -np.asarray(within[cells, codes[cells]]).ravel()
    order = np.lexsort((distance, codes))
    order = order[codes[order] >= 0]
    sizes = np.bincount(codes[cells], minlength=n_groups)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = np.zeros(len(codes), dtype=bool)
    keep[order] = rank < np.maximum(np.ceil(sizes * fraction - 1e-9), 1)[codes[order]]
    return keep


def _distances(points: Any, codes: NDArray[np.int64], n_groups: int) -> NDArray[np.float64]:
    centres = _sums(points, codes, n_groups)
    centres /= np.maximum(np.bincount(codes[codes >= 0], minlength=n_groups), 1)[:, None]
    square = (centres**2).sum(axis=1)
    found = np.full(len(codes), np.inf)
    for start in range(0, len(codes), _BLOCK_CELLS):
        block, own = points[start : start + _BLOCK_CELLS], codes[start : start + _BLOCK_CELLS]
        own = np.maximum(own, 0)
        if sp.issparse(block):
            block = block.tocsr().astype(np.float64)
            cross = np.asarray(block.multiply(centres[own]).sum(axis=1)).ravel()
            length = np.asarray(block.multiply(block).sum(axis=1)).ravel()
            found[start : start + len(own)] = length - 2 * cross + square[own]
        else:
            dense = np.asarray(block, dtype=np.float64)
            found[start : start + len(own)] = ((dense - centres[own]) ** 2).sum(axis=1)
    return found
