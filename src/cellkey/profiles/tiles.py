"""A matrix decoded once and kept as tiles: blocks of cells stored gene by gene, in memory or in a temporary file.

One pass over the source does all that needs every value (checks, totals, digest) and lays the values down so that
both directions are cheap afterwards: a block of cells is one tile, and a block of genes is one slice of every tile.
Counts take three bytes instead of the eight of a float32 CSR matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.io.stored import Buffer, StoredMatrix
from cellkey.profiles import _sparse_kernels, _tile_kernels
from cellkey.profiles.cell_blocks import as_float, cell_blocks
from cellkey.profiles.expression import Expression
from cellkey.profiles.shelf import Extent, Shelf
from cellkey.profiles.survey import Survey, Sweep
from cellkey.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["TileStore", "TiledExpression"]


class TileStore:
    """A matrix as tiles; make one with :meth:`of`.

    Attributes
    ----------
    shape, dtype, nnz
        Of the source.
    survey
        What the pass found.
    source_format
        ``"csr"``, ``"csc"`` or ``"dense"``: how the source is stored.
    in_file
        Bytes that lie in the temporary file; 0 if all tiles are in memory.
    """

    format = "csr"
    source_format = "csr"

    def __init__(self, shape: tuple[int, int], dtype: Any, nnz: int, budget: int | None) -> None:
        self.shape = shape
        # Sparse matrices cannot hold half precision.
        self.dtype = np.dtype(np.float32 if dtype == np.float16 else dtype)
        self.nnz = nnz
        self.survey: Survey
        self._shelf = Shelf(budget)
        self._tiles: list[_Tile] = []
        # Whole numbers below 2^24 and float32 values are exact as float32.
        self._single = self.dtype.kind in "bui" or self.dtype == np.float32

    @classmethod
    def of(cls, X: StoredMatrix | Any, *, budget: int | None = None, n_jobs: int = 2,
           progress: Callable[[float], None] | None = None) -> TileStore:
        """Read a matrix once and keep it as tiles.

        Parameters
        ----------
        X
            On disk (:class:`~cellkey.io.stored.StoredMatrix`) or in memory; any storage.
        budget
            Bytes of memory for tiles; what does not fit goes to a file in the folder for temporary files
            (``TMPDIR``), which is removed with the store. None keeps everything in memory.
        n_jobs
            Threads; the reader has one more.
        progress
            Called with the share of cells done.

        Raises
        ------
        RunError
            If the temporary file does not fit its disk.
        """
        store = cls((int(X.shape[0]), int(X.shape[1])), X.dtype, int(getattr(X, "nnz", np.prod(X.shape))), budget)
        store.source_format = str(getattr(X, "format", "dense"))
        sweep = Sweep(store.shape)

        def work(start: int, block: sp.csr_matrix, buffer: Buffer) -> tuple[int, int, Any]:
            found = sweep.add(start, block)
            data = as_float(block.data)
            turned = buffer.array("turned", len(data), _narrowest(data, found))
            rows = buffer.array("rows", len(data), np.dtype(np.uint16))
            store._single = store._single and turned.dtype != np.float64
            starts = _tile_kernels.turn_rows(data, block.indices, block.indptr, store.shape[1], turned, rows)
            return start, block.shape[0], (turned, rows, starts)

        # As many as can be in the hands of threads, and the one that is being read.
        buffers = [Buffer() for _ in range(max(n_jobs, 1) + 1)]
        blocks = ((*item, buffer) for item, buffer in zip(cell_blocks(X, store._shelf, buffers), cycle(buffers)))
        for start, n_rows, parts in in_order(work, blocks, n_jobs):
            store._tiles.append(_Tile(start, n_rows, *(store._shelf.put(part) for part in parts)))
            if progress is not None:
                progress((start + n_rows) / store.shape[0])
        store.survey = sweep.survey()
        return store

    @property
    def in_file(self) -> int:
        """Bytes in the temporary file."""
        return self._shelf.in_file

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> sp.csr_matrix:
        """Return cells (slice or ascending positions) with their values as they are in the source."""
        chosen = np.arange(*rows.indices(self.shape[0])) if isinstance(rows, slice) else np.asarray(rows)
        parts = [part.astype(self.dtype, copy=False) for _, part in self.blocks(None, chosen)]
        empty = sp.csr_matrix((0, self.shape[1]), dtype=self.dtype)
        return sp.vstack(parts, format="csr") if parts else empty

    def blocks(
        self, columns: NDArray[np.intp] | None, rows: NDArray[np.intp] | None
    ) -> Iterator[tuple[NDArray[np.intp], sp.csr_matrix]]:
        """Yield ``(cells, block)`` tile by tile: float CSR with ascending indices, unscaled."""
        wanted = np.arange(self.shape[1]) if columns is None else np.asarray(columns, dtype=np.int64)
        for tile in self._tiles:
            cells = np.arange(tile.first, tile.first + tile.n_rows)
            inside = None
            if rows is not None:
                inside = rows[np.searchsorted(rows, tile.first) : np.searchsorted(rows, tile.first + tile.n_rows)]
                if not len(inside):
                    continue
            data = self._floats(self._shelf.get(tile.data))
            parts = _tile_kernels.tile_rows(
                data, self._shelf.get(tile.rows), self._shelf.get(tile.starts), wanted, tile.n_rows
            )
            block = sp.csr_matrix(parts, shape=(tile.n_rows, len(wanted)))
            yield (cells, block) if inside is None else (inside, block[inside - tile.first])

    @property
    def tile_cells(self) -> int:
        """Cells of every tile but the last; 0 if there is only one."""
        return self._tiles[0].n_rows if len(self._tiles) > 1 else 0

    @property
    def n_tiles(self) -> int:
        """Number of blocks of cells."""
        return len(self._tiles)

    def tile(
        self, place: int, columns: NDArray[np.int64] | None
    ) -> tuple[int, int, NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
        """Return one block of cells gene by gene: first cell, number of cells, values as float, cells, starts of genes.

        Cells count from the first of the block and ascend in each gene; genes come in the order asked for.
        """
        tile = self._tiles[place]
        data, rows, starts = (self._shelf.get(part) for part in (tile.data, tile.rows, tile.starts))
        if columns is not None:
            data, rows, starts = _tile_kernels.tile_columns(data, rows, starts, columns)
        return tile.first, tile.n_rows, self._floats(data), rows.astype(np.int32, copy=False), starts

    def columns(self, index: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64]]:
        """Return genes as CSC without stored zeros: values as float, rows, starts; cells ascend in each gene."""
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1) if len(index) else []
        pieces = []
        counts = np.zeros(len(index) + 1, dtype=np.int64)
        for tile in self._tiles:
            starts = self._shelf.get(tile.starts)
            counts[1:] += starts[index + 1] - starts[index]
            pieces.append((tile, starts))
        indptr = np.cumsum(counts)
        data = np.empty(indptr[-1], dtype=np.float32 if self._single else np.float64)
        rows = np.empty(indptr[-1], dtype=np.int32)
        cursor = indptr[:-1].copy()
        for tile, starts in pieces:
            place = 0
            for run in runs:
                low, high = int(starts[run[0]]), int(starts[run[-1] + 1])
                stop = place + len(run)
                if high > low:
                    _tile_kernels.merge_columns(
                        self._floats(self._shelf.get(tile.data, low, high)), self._shelf.get(tile.rows, low, high),
                        starts[run[0] : run[-1] + 2] - low, tile.first, cursor[place:stop], data, rows,
                    )
                place = stop
        if np.array_equal(cursor, indptr[1:]):
            return data, rows, indptr
        kept = np.concatenate([np.arange(a, b) for a, b in zip(indptr[:-1], cursor, strict=True)])
        return data[kept], rows[kept], np.concatenate([[0], np.cumsum(cursor - indptr[:-1])])

    def _floats(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.astype(np.float32 if self._single else np.float64, copy=False)


class TiledExpression(Expression):
    """Values on the scoring scale, read from tiles: the same numbers as from the matrix in memory."""

    X: TileStore
    block_values = 1_000_000  # small blocks cost nothing here, and keep memory flat

    @property
    def in_memory(self) -> bool:
        """True: a block of genes costs no sweep over the matrix."""
        return True

    def row_blocks(
        self, columns: NDArray[np.intp] | None = None, rows: NDArray[np.intp] | None = None, block_cells: int = 8192
    ) -> Iterator[tuple[int, Any]]:
        """Yield ``(start, block)`` over cells, one tile at a time; see :meth:`Expression.row_blocks`."""
        start = 0
        for cells, block in self.X.blocks(columns, rows):
            for low in range(0, len(cells), block_cells):
                part = block if len(cells) <= block_cells else block[low : low + block_cells]
                chosen = cells[low : low + block_cells]
                yield start, self._scaled(part, slice(int(chosen[0]), int(chosen[-1]) + 1) if rows is None else chosen)
                start += len(chosen)

    def map_tiles(
        self, work: Callable[[sp.csc_matrix], Any], columns: NDArray[np.intp] | None = None, n_jobs: int = 1
    ) -> Iterator[Any]:
        """Apply ``work`` to every tile on threads and yield the results in the order of cells.

        ``work`` takes float32 CSC, the cells of the tile x the genes asked for, with ascending cells. At most
        ``n_jobs + 2`` results exist at a time.
        """
        wanted = None if columns is None else np.asarray(columns, dtype=np.int64)
        if self.scale is not None:
            self.small_logs()  # once, before threads ask for it
        items = ((place, wanted) for place in range(self.X.n_tiles))
        return in_order(lambda place, wanted: work(self._tile(place, wanted)), items, n_jobs)

    def _tile(self, place: int, columns: NDArray[np.int64] | None) -> sp.csc_matrix:
        first, n_rows, data, rows, starts = self.X.tile(place, columns)
        if self.scale is not None:
            cells = slice(first, first + n_rows)
            logs, factor_of = self.small_logs()
            data = _sparse_kernels.log_scaled(data, rows, self.scale[cells], logs, factor_of[cells])
        return sp.csc_matrix((data.astype(np.float32, copy=False), rows, starts), shape=(n_rows, len(starts) - 1))

    def columns(self, index: NDArray[np.intp]) -> sp.csc_matrix:
        """Return the values of some genes as float32 CSC; see :meth:`Expression.columns`."""
        index = np.asarray(index, dtype=np.int64)
        data, rows, indptr = self.X.columns(index)
        if self.scale is not None:
            data = _sparse_kernels.log_scaled(data, rows, self.scale, *self.small_logs())
        block = sp.csc_matrix((data.astype(np.float32, copy=False), rows, indptr), shape=(self.n_obs, len(index)))
        if self.scale is not None and not self.scale.all():  # cells without counts
            block.eliminate_zeros()
        return block


@dataclass(frozen=True, slots=True)
class _Tile:
    first: int
    n_rows: int
    data: NDArray[Any] | Extent
    rows: NDArray[Any] | Extent
    starts: NDArray[Any] | Extent


def _narrowest(data: NDArray[Any], found: tuple[Any, ...]) -> np.dtype[Any]:
    """The type that holds the values of a tile exactly in the fewest bytes."""
    low, high, n_bad, _, fraction = found[:5]
    if n_bad == 0 and not fraction and len(data) and low >= 0 and high <= 65_535:
        return np.dtype(np.uint8 if high <= 255 else np.uint16)
    return data.dtype
