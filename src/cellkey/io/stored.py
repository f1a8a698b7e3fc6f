"""A cells x genes matrix that stays on disk, in HDF5 or Zarr, read a slice at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Buffer", "StoredMatrix", "block_rows"]

_FORMS = {"csr_matrix": "csr", "csc_matrix": "csc"}
_BLOCK_VALUES = 4_000_000
_MOST_ROWS = 8192


class Buffer:
    """Memory that one block after the other is read into.

    Fresh memory costs a page fault for every 4 KiB, about as much time as reading them, and is given back late.
    """

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def array(self, name: str, n: int, dtype: Any) -> NDArray[Any]:
        """Return room for ``n`` values; what was there under this name before is overwritten."""
        held = self._held.get(name)
        if held is None or len(held) < n or held.dtype != dtype:
            self._held.pop(name, None)
            held = self._held[name] = np.empty(n + n // 16, dtype=dtype)
        return held[:n]


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
        self._parts = {name: node[name] for name in ("data", "indices")}
        self.dtype, self.nnz = np.dtype(self._parts["data"].dtype), int(self._parts["data"].shape[0])
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

    def row_blocks(
        self, step: int | None = None, buffers: Sequence[Buffer] = ()
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(first row, block)`` over all cells of CSR or dense.

        Parameters
        ----------
        step
            Cells of a block; None takes :attr:`rows_per_block`.
        buffers
            Memory that sparse blocks of HDF5 are read into, in turn: a block lasts until as many more have been
            read. Without buffers, and in other forms, each block has memory of its own.
        """
        step = step or self.rows_per_block
        for k, start in enumerate(range(0, self.shape[0], step)):
            buffer = buffers[k % len(buffers)] if buffers else None
            yield start, self._rows(start, min(start + step, self.shape[0]), buffer)

    @property
    def rows_per_block(self) -> int:
        """Cells read at a time; see :func:`block_rows`."""
        return block_rows(self.shape[0], self.nnz)

    def column_blocks(
        self, n_values: int = _BLOCK_VALUES, buffers: Sequence[Buffer] = ()
    ) -> Iterator[tuple[int, sp.csc_matrix]]:
        """Yield ``(first column, block)`` over all genes of CSC, some ``n_values`` values at a time.

        See :meth:`row_blocks` for ``buffers``.
        """
        step = int(max(1, min(self.shape[1], n_values / max(self.nnz / max(self.shape[1], 1), 1.0))))
        for k, start in enumerate(range(0, self.shape[1], step)):
            buffer = buffers[k % len(buffers)] if buffers else None
            yield start, self._columns(slice(start, min(start + step, self.shape[1])), buffer)

    def _rows(self, start: int, stop: int, buffer: Buffer | None = None) -> Any:
        if self.format == "dense":
            return np.asarray(self.node[start:stop])
        if self.format == "csc":
            return sp.vstack([sp.csr_matrix((0, self.shape[1])), self._columns(slice(None)).tocsr()[start:stop]],
                             format="csr")
        return sp.csr_matrix(self._slice(start, stop, buffer), shape=(stop - start, self.shape[1]))

    def _columns(self, key: slice, buffer: Buffer | None = None) -> sp.csc_matrix:
        start, stop, _ = key.indices(self.shape[1])
        return sp.csc_matrix(self._slice(start, stop, buffer), shape=(self.shape[0], max(stop - start, 0)))

    def _slice(self, start: int, stop: int, buffer: Buffer | None) -> tuple[Any, Any, Any]:
        low, high = int(self._indptr[start]), int(self._indptr[stop])
        # Positions fit 32 bits, and twice the width would cost memory and time throughout.
        indices = self._read("indices", low, high, np.dtype(np.int32), buffer)
        data = self._read("data", low, high, self.dtype, buffer)
        return data, indices, (self._indptr[start : stop + 1] - low).astype(np.int32)

    def _read(
        self, name: str, low: int, high: int, dtype: np.dtype[Any], buffer: Buffer | None
    ) -> NDArray[Any]:
        part = self._parts[name]
        if buffer is None or high == low or not hasattr(part, "read_direct"):
            return np.asarray(part[low:high]).astype(dtype, copy=False)
        room = buffer.array(name, high - low, dtype)
        part.read_direct(room, np.s_[low:high])
        return room

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
