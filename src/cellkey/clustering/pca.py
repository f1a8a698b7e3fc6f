"""Principal components of scaled, clipped features, from blocks of cells and without a dense copy of the
matrix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.clustering import _kernels
from cellkey.clustering._gpu import gpu_components
from cellkey.clustering._sums import equal_blocks, sum_over_cells
from cellkey.clustering._threads import n_threads, single_threaded_blas
from cellkey.clustering.eigen import largest_eigenpairs
from cellkey.errors import ParameterError
from cellkey.profiles.tiles import TiledExpression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from cellkey.clustering.features import Moments
    from cellkey.device import Device
    from cellkey.profiles.expression import Expression

__all__ = [
    "MAX_FEATURES", "Components", "FeatureScaling", "Products", "ScaledBlocks", "components_from_products",
    "principal_components", "project", "sum_products",
]

_TILE = 64
_PANEL = 256
_SPARSE_LIMIT = 0.2
MAX_FEATURES = 10_000
"""Most features of which components are computed: their covariance takes 800 MB."""
_KEPT_BYTES = 256_000_000
_SINGLE_FEATURES = 500
#: Cells that are scaled and multiplied at once; units of cells consist of such blocks.
_BLOCK_CELLS = 1024


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components of cells.

    Parameters
    ----------
    scores
        Cells x components, float32; centred.
    loadings
        Features x components, float64, orthonormal; the largest entry of each column is positive.
    variance
        Variance along each component (population), float64, descending.
    total_variance
        Sum of the variances of all scaled features.
    """

    scores: NDArray[np.float32]
    loadings: NDArray[np.float64]
    variance: NDArray[np.float64]
    total_variance: float


def principal_components(
    expression: Expression,
    features: NDArray[np.intp],
    moments: Moments,
    *,
    n_components: int = 30,
    clip: float = 10.0,
    rows: NDArray[np.intp] | None = None,
    block_cells: int = 8192,
    device: Device = "cpu",
) -> Components:
    """Return the leading principal components of features scaled to mean 0 and variance 1 and clipped.

    The covariance of the features is summed over blocks of cells in float64 and decomposed, so memory is
    bounded by ``features**2`` and one block. Values are clipped exactly at ``+-clip`` standard deviations:
    on sparse blocks the clip acts on the stored values and the centring stays implicit. Standard deviations
    are those of the sample (ddof 1), as usual in this field.

    Parameters
    ----------
    expression, rows
        Values, and the cells to use (ascending); None takes all.
    features
        Positions of the variables; they must vary over ``rows``.
    moments
        Mean and standard deviation of exactly these features over ``rows``.
    n_components
        At most ``min(features - 1, cells - 1)`` are returned, and at least 1.
    clip
        In standard deviations; 0 does not clip. Without it one cell with an extreme value may own a
        component.
    block_cells
        Cells that are read at once; the result does not depend on it.
    device
        ``"gpu"`` scales, multiplies and decomposes by cupy, all in float64; variances then differ from those of the CPU
        by rounding (less than 1e-6 of the largest).

    Notes
    -----
    Every sum is taken in one order (:mod:`cellkey.clustering._sums`), whatever the storage, the blocks and the number
    of threads or processes, so that equal moments give equal bits on one kind of processor. The sign of a component is
    fixed by its largest loading (the first by position among equals). Blocks of 1,024 cells with more than 500 features
    and a fifth of values are multiplied dense and in float32, which changes variances by less than 1e-6 of the largest;
    all else is float64.
    """
    n_features = len(features)
    if n_features > MAX_FEATURES:
        msg = f"{n_features:,} features asked for; components are computed for at most {MAX_FEATURES:,}"
        raise ParameterError(msg)
    scaling = FeatureScaling.of(moments, clip)
    blocks = ScaledBlocks(expression, features, rows, block_cells, scaling)
    n_cells = moments.n_cells
    n_kept = max(1, min(n_components, n_features - 1, n_cells - 1))
    if device == "gpu":
        scores, loadings, variance, total = gpu_components(blocks.unscaled, scaling, n_cells, n_kept)
        signs = _signs(loadings)
        return Components(scores * signs.astype(np.float32), loadings * signs, variance, total)
    products = sum_products(blocks, n_features)

    def scores_on(centre: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float32]:
        return project(blocks, scaling.offset, centre, axes, n_cells)

    return components_from_products(products, scaling.offset, n_cells, n_kept, scores_on)


@dataclass(frozen=True, slots=True)
class FeatureScaling:
    """Clips and scales a block; sparse blocks keep their zeros and so leave out ``offset``."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    keeps_zero: bool

    @classmethod
    def of(cls, moments: Moments, clip: float) -> FeatureScaling:
        """Return the scaling of features with these moments, clipped at ``clip`` deviations (0: not)."""
        sd = moments.sd * np.sqrt(moments.n_cells / max(1, moments.n_cells - 1))
        sd = np.where(sd > 0, sd, 1.0)
        reach = clip * sd if clip > 0 else np.full_like(sd, np.inf)
        lower, upper = moments.mean - reach, moments.mean + reach
        # A zero stays a zero unless zero itself is out of reach (a gene that is high and steady in all
        # cells).
        return cls(moments.mean, sd, lower, upper, bool(((lower <= 0) & (upper >= 0)).all()))

    @property
    def offset(self) -> NDArray[np.float64]:
        """What sparse blocks leave out, ``mean / sd``."""
        return self.mean / self.sd

    def apply(self, block: Any) -> Any:
        """Return a block of cells x features (CSR, CSC or dense), scaled: CSR without the offset, or dense with it.

        How values are stored, stored zeros included, makes no difference.
        """
        if not sp.issparse(block):
            block = sp.csr_matrix(block)
        elif not block.data.all():
            block = block.copy()
            block.eliminate_zeros()
        if self.keeps_zero and block.nnz <= _SPARSE_LIMIT * block.shape[0] * block.shape[1]:
            return self._apply_sparse(block.tocsr())
        # Of many features products are taken in float32, a few hundred cells at a time, and added in float64.
        dense = np.empty(block.shape, dtype=np.float32 if block.shape[1] > _SINGLE_FEATURES else np.float64)
        limits = (self.mean, self.sd, self.lower, self.upper)
        fill = _kernels.fill_scaled_genes if block.format == "csc" else _kernels.fill_scaled
        fill(block.data, block.indices, block.indptr, *limits, dense)
        return dense

    def _apply_sparse(self, block: Any) -> sp.csr_matrix:
        if not block.has_sorted_indices:
            block = block.sorted_indices()
        at = block.indices
        data = np.clip(block.data.astype(np.float64), self.lower[at], self.upper[at]) / self.sd[at]
        return sp.csr_matrix((data, at, block.indptr), shape=block.shape)


class ScaledBlocks:
    """Scaled blocks of 1,024 cells, from tiles on threads; unscaled blocks of another matrix are kept for the second
    pass as far as the memory allowed reaches."""

    def __init__(
        self,
        expression: Expression,
        features: NDArray[np.intp] | None,
        rows: NDArray[np.intp] | None,
        block_cells: int,
        scaling: FeatureScaling,
    ) -> None:
        self._expression, self._features = expression, features
        self._rows = rows
        self._block_cells, self._scaling = block_cells, scaling
        self._kept: list[Any] = []
        self._n_kept = 0
        self._keeping = True

    def __iter__(self) -> Iterator[Any]:
        source = self._expression
        if isinstance(source, TiledExpression) and self._rows is None and source.X.tile_cells % _BLOCK_CELLS == 0:
            tiles = source.map_tiles(self._scaled_tile, self._features, n_threads())
            return (block for blocks in tiles for block in blocks)
        return map(self._scaling.apply, self.unscaled())

    def _scaled_tile(self, genes: sp.csc_matrix) -> list[Any]:
        """A tile as it lies if it is one block, else cell by cell."""
        pieces = [genes] if genes.shape[0] <= _BLOCK_CELLS else equal_blocks([genes.tocsr()], _BLOCK_CELLS)
        return [self._scaling.apply(piece) for piece in pieces]

    def unscaled(self) -> Iterator[Any]:
        """Yield the values as they were read, 1,024 cells at a time."""
        yield from self._kept
        n_bytes = 0
        for block in equal_blocks(self._read(self._n_kept), _BLOCK_CELLS):
            n_bytes += block.nbytes if isinstance(block, np.ndarray) else 8 * block.nnz
            if self._keeping and n_bytes <= _KEPT_BYTES:
                self._kept.append(block)
                self._n_kept += block.shape[0]
            else:
                self._keeping = False
            yield block
        self._keeping = False

    def _read(self, start: int) -> Iterator[Any]:
        rows = self._rows
        if start:
            n_cells = self._expression.n_obs if rows is None else len(rows)
            if start == n_cells:
                return
            rows = np.arange(start, n_cells) if rows is None else rows[start:]
        for _, block in self._expression.row_blocks(self._features, rows, self._block_cells):
            yield block


@dataclass(slots=True)
class Products:
    """Sums of scaled features over cells, and of their products (float64, the upper triangle).

    Blocks that were sparse leave out the offset of the features; they are summed apart from dense ones until all cells
    are known. ``sums`` is 2 x features, sparse blocks first; a matrix is None where there was no such block.
    """

    sums: NDArray[np.float64]
    n_sparse: int = 0
    sparse: NDArray[np.float64] | None = None
    dense: NDArray[np.float64] | None = None

    @property
    def _empty(self) -> NDArray[np.float64]:
        return np.zeros((self.sums.shape[1],) * 2)

    def add_block(self, pool: ThreadPoolExecutor, block: Any) -> None:
        """Add one block; the threads of the pool share its products."""
        if sp.issparse(block):
            self.sparse = self._empty if self.sparse is None else self.sparse
            _add_sparse(pool, block, self.sparse)
            self.sums[0] += np.asarray(block.sum(axis=0)).ravel()
            self.n_sparse += block.shape[0]
        else:
            self.dense = self._empty if self.dense is None else self.dense
            _add_dense(pool, block, self.dense)
            self.sums[1] += block.sum(axis=0, dtype=np.float64)

    def add(self, other: Products) -> Products:
        """Add the sums over other cells, in place."""
        self.sums += other.sums
        self.n_sparse += other.n_sparse
        for name in ("sparse", "dense"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours is not None and theirs is not None:
                ours += theirs
            elif theirs is not None:
                setattr(self, name, theirs.copy())
        return self

    def covariance(
        self, offset: NDArray[np.float64], n_cells: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean (features,) and covariance (features x features, population) of the scaled values."""
        sums, products = self.sums[0].copy(), self.dense
        if self.sparse is not None:  # move the origin to the mean of each feature, as in the dense part
            cross = np.outer(sums, offset)
            moved = self.sparse - (cross + cross.T - self.n_sparse * np.outer(offset, offset))
            sums -= self.n_sparse * offset
            products = moved if products is None else moved + products
        mean = (sums + self.sums[1]) / n_cells
        return mean, _kernels.centred(self._empty if products is None else products, mean, n_cells)


def sum_products(blocks: Iterable[Any], n_features: int) -> Products:
    """Sum scaled blocks of 1,024 cells, the first of which begins a unit."""
    with single_threaded_blas(), ThreadPoolExecutor(n_threads()) as pool:
        return sum_over_cells(
            blocks, lambda: Products(np.zeros((2, n_features))), lambda part, block: part.add_block(pool, block),
            Products.add,
        )


def _add_sparse(pool: ThreadPoolExecutor, block: Any, out: NDArray[np.float64]) -> None:
    def tile(start: int) -> None:
        _kernels.add_cross_products(block.data, block.indices, block.indptr, start, start + _TILE, out)

    list(pool.map(tile, range(0, len(out), _TILE)))


def _add_dense(pool: ThreadPoolExecutor, block: NDArray[Any], out: NDArray[np.float64]) -> None:
    def panel(start: int) -> None:
        stop = start + _PANEL
        out[start:stop, start:] += block[:, start:stop].T @ block[:, start:]

    list(pool.map(panel, range(0, len(out), _PANEL)))


def components_from_products(
    products: Products,
    offset: NDArray[np.float64],
    n_cells: int,
    n_kept: int,
    scores_on: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float32]],
) -> Components:
    """Return the components of cells whose products are summed; ``scores_on`` takes mean and loadings."""
    with single_threaded_blas():
        mean, covariance = products.covariance(offset, n_cells)
        variance, loadings = _leading_components(covariance, n_kept)
        scores = scores_on(mean, loadings)
    return Components(scores, loadings, variance, float(np.trace(covariance)))


def _leading_components(
    covariance: NDArray[np.float64], n_kept: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest eigenvalues, descending, and their vectors with the sign rule of :class:`Components`."""
    values, vectors = largest_eigenpairs(covariance, n_kept)
    return np.maximum(values, 0.0), vectors * _signs(vectors)


def _signs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """What makes the largest entry of each column positive."""
    largest = np.argmax(np.abs(vectors).round(8), axis=0)
    return np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def project(
    blocks: Iterable[Any],
    offset: NDArray[np.float64],
    mean: NDArray[np.float64],
    loadings: NDArray[np.float64],
    n_cells: int,
) -> NDArray[np.float32]:
    """Return the components of scaled blocks, cells x components."""
    scores = np.empty((n_cells, loadings.shape[1]), dtype=np.float32)
    start = 0
    for block in blocks:
        centre = mean + offset if sp.issparse(block) else mean
        stop = start + block.shape[0]
        axes = loadings if block.dtype == np.float64 else loadings.astype(np.float32)
        scores[start:stop] = block @ axes - centre @ loadings
        start = stop
    return scores
