"""A cells x genes matrix that stays on disk, in HDF5 or Zarr, read a slice at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["StoredMatrix", "block_rows"]

_FORMS = {"csr_matrix": "csr", "csc_matrix": "csc"}
_BLOCK_VALUES = 4_000_000
_MOST_ROWS = 8192


class StoredMatrix:
    """Cells x genes on disk: CSR or CSC as AnnData stores them, or a dense array.

    Parameters
    ----------
    node
        Group of a sparse matrix, or a data set: of h5py or of zarr (format 2 or 3, sharded or not).
    budget
        Bytes of memory that a decoded copy of the matrix may take; see
        :class:`~cellkey.profiles.tiles.TileStore`.

    Raises
    ------
    InputError
        If the node is none of these, or its parts do not fit together.
    """

    def __init__(self, node: Any, budget: int | None = None) -> None:
        self.node = node
        self.budget = budget
        encoding = str(node.attrs.get("encoding-type", "array"))
        self.format = _FORMS.get(encoding, "dense")
        if self.format == "dense":
            if not hasattr(node, "shape") or len(node.shape) != 2:
                msg = f"{_name(node)} is no matrix (stored as {encoding!r})"
                raise InputError(msg)
            self.shape = (int(node.shape[0]), int(node.shape[1]))
            self.dtype, self.nnz = np.dtype(node.dtype), self.shape[0] * self.shape[1]
            return
        self.shape = (int(node.attrs["shape"][0]), int(node.attrs["shape"][1]))
        self.dtype, self.nnz = np.dtype(node["data"].dtype), int(node["data"].shape[0])
        self._indptr: NDArray[np.int64] = np.asarray(node["indptr"][:], dtype=np.int64)
        major = self.shape[0 if self.format == "csr" else 1]
        whole = len(self._indptr) == major + 1 and self._indptr[-1] == self.nnz == node["indices"].shape[0]
        if not whole or (np.diff(self._indptr) < 0).any():
            msg = f"{_name(node)} is damaged: its starts of rows do not fit its {self.nnz:,} values"
            raise InputError(msg)

    def __getitem__(self, key: Any) -> Any:
        """Return rows (slice or ascending positions) of CSR and dense, or columns ``[:, a:b]`` of CSC."""
        if isinstance(key, tuple):
            return self._columns(key[1])
        if isinstance(key, slice):
            start, stop, _ = key.indices(self.shape[0])
            return self._rows(start, max(start, stop))
        return self._some_rows(np.asarray(key))

    def row_blocks(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(first row, block)`` over all cells of CSR or dense."""
        step = self.rows_per_block
        for start in range(0, self.shape[0], step):
            yield start, self._rows(start, min(start + step, self.shape[0]))

    @property
    def rows_per_block(self) -> int:
        """Cells read at a time; see :func:`block_rows`."""
        return block_rows(self.shape[0], self.nnz)

    def column_blocks(self) -> Iterator[tuple[int, sp.csc_matrix]]:
        """Yield ``(first column, block)`` over all genes of CSC, some four million values at a time."""
        step = int(max(1, min(self.shape[1], _BLOCK_VALUES / max(self.nnz / max(self.shape[1], 1), 1.0))))
        for start in range(0, self.shape[1], step):
            yield start, self._columns(slice(start, min(start + step, self.shape[1])))

    def _rows(self, start: int, stop: int) -> Any:
        if self.format == "dense":
            return np.asarray(self.node[start:stop])
        if self.format == "csc":
            return sp.vstack([sp.csr_matrix((0, self.shape[1])), self._columns(slice(None)).tocsr()[start:stop]],
                             format="csr")
        return sp.csr_matrix(self._slice(start, stop), shape=(stop - start, self.shape[1]))

    def _columns(self, key: slice) -> sp.csc_matrix:
        start, stop, _ = key.indices(self.shape[1])
        return sp.csc_matrix(self._slice(start, stop), shape=(self.shape[0], max(stop - start, 0)))

    def _slice(self, start: int, stop: int) -> tuple[Any, Any, Any]:
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        indices = np.asarray(self.node["indices"][low:high])
        # Positions fit 32 bits, and twice the width would cost memory and time throughout.
        indices = indices.astype(np.int32, copy=False)
        return np.asarray(self.node["data"][low:high]), indices, (self._indptr[start : stop + 1] - low).astype(np.int32)

    def _some_rows(self, rows: NDArray[np.intp]) -> Any:
        """Read block by block what holds the rows wanted; neighbours in one block share one read."""
        parts, step = [], self.rows_per_block
        for block in np.unique(rows // step):
            inside = rows[rows // step == block]
            first = int(inside[0])
            parts.append(self._rows(first, int(inside[-1]) + 1)[inside - first])
        if self.format == "dense":
            return np.concatenate(parts) if parts else np.empty((0, self.shape[1]), self.dtype)
        return sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, self.shape[1]), dtype=self.dtype)


def block_rows(n_obs: int, n_values: int) -> int:
    """Cells of one block: at most 8,192 and about four million values, and a power of two.

    So blocks end where the units end in which sums over cells are taken.
    """
    most = int(max(1, min(_MOST_ROWS, _BLOCK_VALUES / max(n_values / max(n_obs, 1), 1.0))))
    return 1 << (most.bit_length() - 1)


def _name(node: Any) -> str:
    return str(getattr(node, "name", "the matrix")).lstrip("/") or "the matrix"
