"""Sweeps over any matrix in storage order: rows of CSR and dense arrays, columns of CSC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.profiles.expression import major_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["block_starts", "row_view", "sweep"]

# Values per block: about 64 MB as float64.
_BLOCK_VALUES = 8_000_000
_BLOCK_ROWS = 8192


def block_starts(n: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` that cover ``range(n)`` in steps of ``step``."""
    for start in range(0, n, step):
        yield start, min(start + step, n)


def sweep(X: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(axis, start, block)`` so that every value is read once, in the order it is stored.

    ``axis`` is 0 when the block holds whole rows (CSR matrix or dense array) and 1 when it holds whole
    columns (CSC matrix). ``X`` may be in memory or a backed HDF5 matrix.
    """
    n_rows, n_columns = X.shape
    form = getattr(X, "format", "dense")
    if form == "csc":
        for start, stop in block_starts(n_columns, _columns_per_block(X)):
            yield 1, start, sp.csc_matrix(X[:, start:stop])
        return
    if form == "csr":
        for start, stop in block_starts(n_rows, _BLOCK_ROWS):
            yield 0, start, row_view(X, start, stop) if sp.issparse(X) else sp.csr_matrix(X[start:stop])
        return
    for start, stop in block_starts(n_rows, max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // max(1, n_columns)))):
        yield 0, start, np.asarray(X[start:stop])


def row_view(X: Any, start: int, stop: int) -> Any:
    """Some rows of a matrix in memory; those of a dense or CSR matrix without a copy of the values."""
    if not sp.issparse(X) or X.format != "csr":
        return X[start:stop]
    view = sp.csr_matrix(major_parts(X, start, stop), shape=(stop - start, X.shape[1]), copy=False)
    view.has_sorted_indices = X.has_sorted_indices
    return view


def _columns_per_block(X: Any) -> int:
    n_rows, n_columns = X.shape
    # A tenth of the values stored is dense for this field, so the bound holds in practice.
    return int(max(1, min(n_columns, 10 * _BLOCK_VALUES // max(1, n_rows))))
