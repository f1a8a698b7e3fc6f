"""A matrix decoded once and kept as tiles: blocks of cells stored gene by gene, in memory or in a temporary file.

One pass over the source does all that needs every value (checks, totals, digest) and lays the values down so that
both directions are cheap afterwards: a block of cells is one tile, and a block of genes is one slice of every tile.
Counts take three bytes instead of the eight of a float32 CSR matrix.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.errors import RunError
from cellkey.io.stored import Buffer, StoredMatrix, block_rows
from cellkey.profiles import _kernels, _tile_kernels
from cellkey.profiles.expression import Expression, wide_enough

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Survey", "Sweep", "TileStore", "TiledExpression", "as_float", "canonical_rows", "in_order", "matrix_digest",
    "survey_matrix",
]



@dataclass(slots=True)
class Survey:
    """What one sweep over all values found.

    Attributes
    ----------
    minimum, maximum, n_not_finite, n_not_zero, integer_valued
        Over all values, zeros included.
    has_value, totals
        Per cell: whether any value is not zero, and their sum (float64).
    digest
        32 hex digits over all positions and values that are not zero: the same for every way to store or divide
        the matrix, different (but for a chance of 2^-128) if any value or position changed; empty where none was taken.
    """

    minimum: float
    maximum: float
    n_not_finite: int
    n_not_zero: int
    integer_valued: bool
    has_value: NDArray[np.bool_]
    totals: NDArray[np.float64]
    digest: str


class Sweep:
    """Gathers a :class:`Survey` from blocks of cells, in any order and on any number of threads."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.has_value = np.zeros(shape[0], dtype=bool)
        self.totals = np.zeros(shape[0])
        self._found: list[tuple[Any, ...]] = []

    def add(self, start: int, block: sp.csr_matrix) -> tuple[Any, ...]:
        """Describe a block of cells, and return what was found."""
        stop = start + block.shape[0]
        data = as_float(block.data)
        bits = data.view(np.uint32 if data.dtype == np.float32 else np.uint64)
        found = _tile_kernels.survey_rows(
            data, bits, block.indices, block.indptr, start, self.shape[1], self.totals[start:stop],
            self.has_value[start:stop],
        )
        self.note(found)
        return found  # type: ignore[no-any-return]

    def note(self, found: tuple[Any, ...]) -> None:
        """Take in what :func:`~cellkey.profiles._tile_kernels.survey_rows` returns."""
        self._found.append(found)

    def survey(self) -> Survey:
        """Return what all blocks together hold."""
        low = min((f[0] for f in self._found), default=np.inf)
        high = max((f[1] for f in self._found), default=-np.inf)
        n_some = sum(f[3] for f in self._found)
        if n_some < self.shape[0] * self.shape[1]:
            low, high = min(low, 0.0), max(high, 0.0)
        sums = [sum(int(f[k]) for f in self._found) % 2**64 for k in (5, 6)]
        return Survey(
            float(low), float(high), int(sum(f[2] for f in self._found)), int(n_some),
            not any(f[4] for f in self._found), self.has_value, self.totals, f"{sums[0]:016x}{sums[1]:016x}",
        )


def survey_matrix(X: Any) -> Survey:
    """Sweep a matrix in memory or on disk once; see :class:`Survey`."""
    sweep = Sweep((int(X.shape[0]), int(X.shape[1])))
    for start, block in _row_blocks(X):
        sweep.add(start, block)
    return sweep.survey()


def matrix_digest(X: Any) -> str:
    """Return the digest of a matrix; see :class:`Survey`."""
    return X.survey.digest if isinstance(X, TileStore) else survey_matrix(X).digest


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
        self._shelf = _Shelf(budget)
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
        blocks = ((*item, buffer) for item, buffer in zip(_row_blocks(X, store._shelf, buffers), cycle(buffers)))
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
            data = _kernels.log_scaled(data, rows, self.scale[cells], logs, factor_of[cells])
        return sp.csc_matrix((data.astype(np.float32, copy=False), rows, starts), shape=(n_rows, len(starts) - 1))

    def columns(self, index: NDArray[np.intp]) -> sp.csc_matrix:
        """Return the values of some genes as float32 CSC; see :meth:`Expression.columns`."""
        index = np.asarray(index, dtype=np.int64)
        data, rows, indptr = self.X.columns(index)
        if self.scale is not None:
            data = _kernels.log_scaled(data, rows, self.scale, *self.small_logs())
        block = sp.csc_matrix((data.astype(np.float32, copy=False), rows, indptr), shape=(self.n_obs, len(index)))
        if self.scale is not None and not self.scale.all():  # cells without counts
            block.eliminate_zeros()
        return block


@dataclass(frozen=True, slots=True)
class _Extent:
    """An array in the temporary file."""

    offset: int
    n: int
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Tile:
    first: int
    n_rows: int
    data: NDArray[Any] | _Extent
    rows: NDArray[Any] | _Extent
    starts: NDArray[Any] | _Extent


class _Shelf:
    """Arrays in memory as far as the budget reaches, the rest in an unnamed temporary file."""

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self.in_memory = 0
        self.in_file = 0
        self._file: Any = None

    def put(self, array: NDArray[Any]) -> NDArray[Any] | _Extent:
        """Keep a copy."""
        if self.budget is None or self.in_memory + array.nbytes <= self.budget:
            self.in_memory += array.nbytes
            return array.copy()
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="cellkey-")  # noqa: SIM115 - lives as long as the store
            weakref.finalize(self, self._file.close)
        place = _Extent(self.in_file, len(array), array.dtype)
        try:
            self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            free = shutil.disk_usage(folder).free / 2**30
            msg = (f"cannot write the temporary file of the matrix in {folder} ({error.strerror}; {free:.1f} GiB "
                   "free): set TMPDIR to a larger disk, or raise --memory-limit")
            raise RunError(msg) from error
        self.in_file += array.nbytes
        return place

    def get(self, place: NDArray[Any] | _Extent, low: int = 0, high: int | None = None) -> NDArray[Any]:
        if not isinstance(place, _Extent):
            return place[low:high]
        n = (place.n if high is None else high) - low
        out = np.empty(n, dtype=place.dtype)
        view = out.view(np.uint8).data
        at, done = place.offset + low * place.dtype.itemsize, 0
        while done < len(view):
            got = os.preadv(self._file.fileno(), [view[done:]], at + done)
            if not got:
                msg = "the temporary file of the matrix ended early"
                raise RunError(msg)
            done += got
        return out


def _row_blocks(
    X: Any, shelf: _Shelf | None = None, buffers: Sequence[Buffer] = ()
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
        yield from _turned_blocks(X, _Shelf(0) if shelf is None else shelf)
        return
    for start, block in X.row_blocks(buffers=buffers):
        yield start, canonical_rows(block)


def _turned_blocks(X: StoredMatrix, shelf: _Shelf) -> Iterator[tuple[int, sp.csr_matrix]]:
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
        shelf.in_memory -= sum(p.nbytes for piece in pieces[k] for p in piece if not isinstance(p, _Extent))
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


def _narrowest(data: NDArray[Any], found: tuple[Any, ...]) -> np.dtype[Any]:
    """The type that holds the values of a tile exactly in the fewest bytes."""
    low, high, n_bad, _, fraction = found[:5]
    if n_bad == 0 and not fraction and len(data) and low >= 0 and high <= 65_535:
        return np.dtype(np.uint8 if high <= 255 else np.uint16)
    return data.dtype


def in_order(
    work: Callable[..., Any], items: Iterable[tuple[Any, ...]], n_jobs: int
) -> Iterator[Any]:
    """Apply ``work`` on threads while the next items are read; results come in the order of the items."""
    with ThreadPoolExecutor(max(n_jobs, 1)) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(work, *item))
            if len(waiting) > max(n_jobs, 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
