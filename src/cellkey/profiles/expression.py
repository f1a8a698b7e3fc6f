"""A cells x genes matrix on the scale that scoring uses, read in blocks and never copied as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.profiles import _sparse_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["TARGET_SUM", "Expression", "factors_from_totals", "major_parts", "take_cells", "wide_enough"]

TARGET_SUM = 1e4
"""Total that cells of counts are scaled to: the field's convention."""

_BLOCK_CELLS = 8192
_BLOCK_VALUES = 4_000_000


class Expression:
    """Values of a cells x genes matrix on the scale that scoring uses.

    Parameters
    ----------
    X
        Cells x genes; a dense array, CSR or CSC, in memory or backed by an HDF5 file (h5py dataset or
        AnnData's backed sparse matrix). Never modified, never made dense as a whole.
    scale
        Per-cell factor, float64, shape (cells,). When given, ``X`` holds counts and values are read as
        ``log1p(X * scale)``; when None, values are read as they are.

    Notes
    -----
    All values are handed out as float32, so that a value has one bit pattern however it is read.
    """

    block_values: int | None = None
    """Values that a block of genes should hold; None leaves it to the reader."""

    def __init__(self, X: Any, *, scale: NDArray[np.float64] | None = None) -> None:
        self.X = X
        self.scale = None if scale is None else np.ascontiguousarray(scale, dtype=np.float64)
        self._counts: NDArray[np.int64] | None = None
        self._small_logs: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None
        self.shape: tuple[int, int] = (int(X.shape[0]), int(X.shape[1]))
        if self.scale is not None and self.scale.shape != (self.n_obs,):
            msg = f"scale has shape {self.scale.shape}, expected ({self.n_obs},)"
            raise ValueError(msg)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.shape[0]

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.shape[1]

    @property
    def storage(self) -> str:
        """``"csr"``, ``"csc"`` or ``"dense"``."""
        return getattr(self.X, "format", "dense")

    @property
    def in_memory(self) -> bool:
        """Whether the matrix is an ndarray or a SciPy sparse matrix."""
        return isinstance(self.X, np.ndarray) or sp.issparse(self.X)

    def row_blocks(
        self,
        columns: NDArray[np.intp] | None = None,
        rows: NDArray[np.intp] | None = None,
        block_cells: int = _BLOCK_CELLS,
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(start, block)`` over cells, in order; blocks are float32 CSR or dense arrays.

        Parameters
        ----------
        columns
            Genes to keep, in the order given; None keeps all.
        rows
            Cells to visit, ascending; ``start`` then counts positions in ``rows``. None visits all.
        block_cells
            Cells per block; bounds the memory.

        Indices of chosen columns may be in any order.
        """
        if self.storage == "csc" and self.in_memory:
            yield from _csc_row_blocks(self, columns, rows, block_cells)
            return
        if self.storage == "csr" and self.in_memory:
            yield from self._csr_blocks(columns, rows, block_cells)
            return
        total = self.n_obs if rows is None else len(rows)
        for start in range(0, total, block_cells):
            stop = min(start + block_cells, total)
            chosen = slice(start, stop) if rows is None else np.asarray(rows[start:stop])
            block = self.X[chosen]
            if columns is not None:
                block = block[:, columns]
            yield start, self._scaled(block, chosen)

    def columns(self, index: NDArray[np.intp]) -> sp.csc_matrix:
        """Return the values of some genes as float32 CSC, cells x ``len(index)``; stored zeros are dropped."""
        index = np.asarray(index, dtype=np.int64)
        if self.storage == "csr" and self.in_memory:
            block = self._gather_csr(index)
        elif self.in_memory:
            block = sp.csc_matrix(wide_enough(self.X[:, index]), copy=True)
        else:
            parts = [sp.csr_matrix(wide_enough(block)) for _, block in self._raw_blocks(index)]
            block = sp.vstack(parts, format="csc") if parts else sp.csc_matrix((0, len(index)))
        if block.has_canonical_format is False:
            block.sum_duplicates()
        data = np.asarray(block.data)
        if self.scale is not None:
            data = _sparse_kernels.log_scaled(data, block.indices, self.scale, *self.small_logs())
        result = sp.csc_matrix((data.astype(np.float32, copy=False), block.indices, block.indptr), shape=block.shape)
        if not result.data.all():
            result.eliminate_zeros()
        return result

    def small_logs(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Values that small counts have at each factor, factors x 8, and the place of every cell's factor; made once.

        Cells of equal totals share their factor: however many cells of counts there are, factors are few.
        """
        if self._small_logs is None:
            if self.scale is None:
                msg = "values without factors have no logarithms"
                raise ValueError(msg)
            import pandas as pd

            place, factors = pd.factorize(self.scale)
            self._small_logs = _sparse_kernels.small_logs(factors), place.astype(np.int32)
        return self._small_logs

    def _gather_csr(self, index: NDArray[np.int64]) -> sp.csc_matrix:
        # Only the chosen genes are turned around; a full conversion to CSC would double the memory.
        X = self.X
        if self._counts is None:
            self._counts = _sparse_kernels.gene_counts(X.indices, X.indptr, self.n_vars)
        if len(self._counts) and len(index) and np.array_equal(index, np.arange(index[0], index[0] + len(index))):
            starts = np.concatenate([[0], np.cumsum(self._counts[index])])
            # NumPy asks the system for large pages, which compiled code does not.
            data, rows = np.empty(starts[-1], dtype=X.data.dtype), np.empty(starts[-1], dtype=np.int32)
            _sparse_kernels.gather_range(X.data, X.indices, X.indptr, int(index[0]), starts[:-1].copy(), data, rows)
            block = sp.csc_matrix((data, rows, starts), shape=(self.n_obs, len(index)))
            block.has_canonical_format = True
            return block
        position = np.full(self.n_vars, -1, dtype=np.int64)
        position[index] = np.arange(len(index))
        data, indices, indptr = _sparse_kernels.gather_columns(X.data, X.indices, X.indptr, position, len(index))
        return sp.csc_matrix((data, indices, indptr), shape=(self.n_obs, len(index)))

    def _csr_blocks(
        self, columns: NDArray[np.intp] | None, rows: NDArray[np.intp] | None, block_cells: int
    ) -> Iterator[tuple[int, sp.csr_matrix]]:
        """Blocks of all cells, as views of the stored indices where nothing is scaled or selected, or of some cells."""
        X = self.X
        per_cell = max(X.nnz / max(self.n_obs, 1), 1.0)
        step = int(max(1, min(block_cells, _BLOCK_VALUES / per_cell))) if rows is None else block_cells
        total = self.n_obs if rows is None else len(rows)
        width = self.n_vars if columns is None else len(columns)
        position = None
        if columns is not None:
            position = np.full(self.n_vars, -1, dtype=np.int64)
            position[columns] = np.arange(len(columns))
        for start in range(0, total, step):
            stop = min(start + step, total)
            chosen = slice(start, stop) if rows is None else np.asarray(rows[start:stop])
            data, indices, indptr = _csr_parts(X, chosen)
            if position is not None:
                data, indices, indptr = _sparse_kernels.select_columns(data, indices, indptr, position)
            block = sp.csr_matrix((data, indices, indptr), shape=(stop - start, width), copy=False)
            yield start, self._scaled(block, chosen)

    def _raw_blocks(self, columns: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        for start in range(0, self.n_obs, _BLOCK_CELLS):
            yield start, self.X[start : min(start + _BLOCK_CELLS, self.n_obs)][:, columns]

    def _scaled(self, block: Any, chosen: slice | NDArray[np.intp]) -> Any:
        scale = None if self.scale is None else self.scale[chosen]
        if sp.issparse(block):
            block = block.tocsr()
            data = block.data
            if scale is not None:
                data = _sparse_kernels.log_scaled_rows(data, block.indptr, scale)
            return sp.csr_matrix((data.astype(np.float32, copy=False), block.indices, block.indptr), shape=block.shape)
        dense = np.asarray(block)
        if scale is not None:
            dense = np.log1p(dense.astype(np.float64) * scale[:, None])
        return dense.astype(np.float32, copy=False)


def take_cells(X: Any, rows: NDArray[np.intp]) -> Any:
    """Return some cells of a matrix in memory or on disk, in its own form.

    SciPy copies the whole array of column indices for every choice of rows where the two index arrays differ in type,
    as they do in most files.
    """
    if sp.issparse(X) and X.format == "csr":
        return sp.csr_matrix(_csr_parts(X, np.asarray(rows)), shape=(len(rows), X.shape[1]))
    return X[rows]


def _csr_parts(X: Any, chosen: slice | NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    if not isinstance(chosen, slice):
        return _sparse_kernels.take_rows(X.data, X.indices, X.indptr, chosen)  # type: ignore[no-any-return]
    return major_parts(X, chosen.start, chosen.stop)


def major_parts(X: Any, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return values, indices and starts of some rows of CSR, or columns of CSC, without a copy of the values."""
    low, high = int(X.indptr[start]), int(X.indptr[stop])
    return X.data[low:high], X.indices[low:high], X.indptr[start : stop + 1] - X.indptr[start]


def factors_from_totals(totals: NDArray[np.float64], target_sum: float | None = TARGET_SUM) -> NDArray[np.float64]:
    """Return what scales cells with these totals to the same total: the ``scale`` of :class:`Expression`.

    Parameters
    ----------
    totals
        Sum of each cell, shape (cells,).
    target_sum
        Total per cell after scaling. None takes the median of the totals.

    Returns
    -------
    Shape (cells,), float64. Cells without any count have factor 0, so that their values stay 0.
    """
    some = totals > 0
    if target_sum is None:
        target_sum = float(np.median(totals[some])) if some.any() else 1.0
    factors = np.zeros_like(totals)
    factors[some] = target_sum / totals[some]
    return factors


def wide_enough(block: Any) -> Any:
    """Return half-precision values as float32, because sparse matrices cannot hold them."""
    return block.astype(np.float32) if block.dtype == np.float16 else block


def _csc_row_blocks(
    expression: Expression, columns: NDArray[np.intp] | None, rows: NDArray[np.intp] | None, block_cells: int
) -> Iterator[tuple[int, Any]]:
    # Cells of a gene-major matrix are scattered; turn only the genes asked for around, once.
    kept = expression.X if columns is None else expression.X[:, columns]
    turned = Expression(sp.csr_matrix(kept), scale=expression.scale)
    yield from turned.row_blocks(rows=rows, block_cells=block_cells)
