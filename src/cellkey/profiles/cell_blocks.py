"""Blocks of cells of any matrix, in memory or on disk, as CSR in one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.io.stored import Buffer, StoredMatrix, block_rows
from cellkey.profiles.expression import wide_enough
from cellkey.profiles.shelf import Extent, Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["as_float", "canonical_rows", "cell_blocks"]


def cell_blocks(
    X: Any, shelf: Shelf | None = None, buffers: Sequence[Buffer] = ()
) -> Iterator[tuple[int, sp.csr_matrix]]:
    """Blocks of cells as CSR with int32 indices, whatever the storage."""
    if isinstance(X, np.ndarray) or sp.issparse(X):
        step = block_rows(X.shape[0], int(getattr(X, "nnz", np.prod(X.shape))))
        whole = X if isinstance(X, np.ndarray) or X.format == "csr" else sp.csr_matrix(X)
        for start in range(0, X.shape[0], step):
            yield start, canonical_rows(whole[start : start + step])
        return
    if not isinstance(X, StoredMatrix):
        X = StoredMatrix(getattr(X, "group", X))
    if X.format == "csc":
        yield from _turned_blocks(X, Shelf(0) if shelf is None else shelf)
        return
    for start, block in X.row_blocks(buffers=buffers):
        yield start, canonical_rows(block)


def _turned_blocks(X: StoredMatrix, shelf: Shelf) -> Iterator[tuple[int, sp.csr_matrix]]:
    """Blocks of cells of a gene-major matrix: every block of genes is cut into pieces, one for each block of cells.

    The pieces share the budget of the tiles that are made from them; they go when their block has been handed out.
    """
    n_obs, n_vars = X.shape
    step = block_rows(n_obs, X.nnz)
    edges = np.arange(0, n_obs + step, step)
    pieces: list[list[tuple[Any, ...]]] = [[] for _ in edges[:-1]]
    for first, block in X.column_blocks(buffers=[Buffer()]):
        turned = canonical_rows(block.tocsr())
        for k, (low, high) in enumerate(zip(edges[:-1], np.minimum(edges[1:], n_obs), strict=True)):
            a, b = turned.indptr[low], turned.indptr[high]
            if b > a:
                starts = turned.indptr[low : high + 1] - a
                columns = turned.indices[a:b] + np.int32(first)
                pieces[k].append(tuple(shelf.put(p) for p in (turned.data[a:b], columns, starts)))
    for k, low in enumerate(edges[:-1]):
        n_rows = int(min(step, n_obs - low))
        parts = [sp.csr_matrix(tuple(shelf.get(p) for p in piece), shape=(n_rows, n_vars)) for piece in pieces[k]]
        shelf.in_memory -= sum(p.nbytes for piece in pieces[k] for p in piece if not isinstance(p, Extent))
        pieces[k] = []
        whole = sp.csr_matrix((n_rows, n_vars), dtype=X.dtype)
        if parts:  # each row is the chain of its pieces, which are in the order of genes
            indptr = np.sum([p.indptr for p in parts], axis=0).astype(np.int32)
            order = np.argsort(np.concatenate([np.repeat(np.arange(n_rows), np.diff(p.indptr)) for p in parts]),
                               kind="stable")
            whole = sp.csr_matrix((np.concatenate([p.data for p in parts])[order],
                                   np.concatenate([p.indices for p in parts])[order], indptr), shape=(n_rows, n_vars))
        yield int(low), whole


def canonical_rows(block: Any) -> sp.csr_matrix:
    """Return a block of cells as CSR with int32 indices, ascending and without repeats."""
    turned = sp.csr_matrix(wide_enough(block))
    if not turned.has_canonical_format:
        turned = turned.copy()
        turned.sum_duplicates()
    parts = (turned.data, turned.indices.astype(np.int32, copy=False), turned.indptr.astype(np.int32, copy=False))
    return sp.csr_matrix(parts, shape=turned.shape, copy=False)


def as_float(data: NDArray[Any]) -> NDArray[Any]:
    """float32 where that is exact, else float64."""
    if data.dtype in (np.float32, np.float64):
        return np.ascontiguousarray(data)
    small = data.dtype.kind == "b" or data.dtype in (np.uint8, np.int8, np.uint16, np.int16, np.float16) or (
        not len(data) or (np.abs(data.max()) < 2**24 and np.abs(data.min()) < 2**24))
    return data.astype(np.float32 if small else np.float64)
