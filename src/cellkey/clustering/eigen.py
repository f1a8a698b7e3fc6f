"""The largest eigenvalues of a symmetric matrix and their vectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.clustering._blocks import block_starts
from cellkey.clustering._threads import n_threads, single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Single = NDArray[np.float32]

__all__ = ["largest_eigenpairs"]

#: Up to this size a matrix is decomposed whole, which takes no longer.
_WHOLE = 1000
#: Vectors multiplied at once: reading the matrix is what a product costs, so more of them cost hardly more.
_WIDTH = 16
_BASIS = 640
_SOONEST, _LATEST = 32, 128
#: Largest residual relative to its eigenvalue. The value is then right to its square over the gap, about 1e-9.
_TOLERANCE = 1e-5
_MOST_RESTARTS = 10
_PANEL = 512


def largest_eigenpairs(matrix: Values, n_kept: int) -> tuple[Values, Values]:
    """Return the ``n_kept`` largest eigenvalues, descending, and their vectors, shape (n, ``n_kept``), of either sign.

    Parameters
    ----------
    matrix
        Symmetric and positive semi-definite, n x n.
    n_kept
        At least 1, at most n.

    Notes
    -----
    Matrices up to 1,000 rows, and those of which a fifth or more is wanted, are decomposed whole. For others a block
    Krylov basis is built (Golub & Underwood 1977, in: Mathematical Software III, 361), its vectors all kept orthogonal,
    and begun anew from the best vectors when it is full (Wu & Simon 2000, SIAM J. Matrix Anal. Appl. 22:602). Cells of
    one kind have a flat spectrum, for which 30 components take hundreds of products with the matrix; one vector at a
    time, each of them would read the matrix from memory. The basis is float32, the values and vectors those of the
    float64 matrix on the space found: a residual of 1e-5 makes values right to 1e-9. No sum depends on the number of
    threads.
    """
    n = len(matrix)
    with single_threaded_blas():
        space = None if n <= _WHOLE or n_kept * 5 >= n else _leading_space(matrix, n_kept)
        if space is None:
            return _descending(matrix, n_kept)
        space = _orthonormal(space.astype(np.float64))[0]
        values, turn = np.linalg.eigh(space.T @ (matrix @ space))
        return values[::-1], space @ turn[:, ::-1]


def _descending(matrix: Values, n_kept: int) -> tuple[Values, Values]:
    from scipy.linalg import eigh

    n = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=(n - n_kept, n - 1))
    return values[::-1], vectors[:, ::-1]


def _leading_space(matrix: Values, n_kept: int) -> Single | None:
    """A basis of the space of the leading vectors, float32, n x ``n_kept``; None if it is not found in time."""
    n, most = len(matrix), max(_BASIS, 4 * n_kept)
    unit = float(np.trace(matrix)) / n or 1.0
    single = np.multiply(matrix, 1.0 / unit, dtype=np.float32, casting="same_kind")
    basis = np.empty((n, most), dtype=np.float32, order="F")
    inner = np.zeros((most, most))  # the matrix as the basis sees it
    start = np.random.default_rng(0).standard_normal((n, _WIDTH)).astype(np.float32)
    block, width, n_restarts = _orthonormal(start)[0], 0, 0
    checked, check_at, before = 0, 4 * n_kept, 1.0
    with ThreadPoolExecutor(n_threads()) as pool:
        while n_restarts <= _MOST_RESTARTS:
            basis[:, width : width + _WIDTH] = block
            image = _product(pool, single, block)
            width += _WIDTH
            block, link = _next_block(basis[:, :width], image, inner)
            full = width + _WIDTH > most
            if width < check_at and not full:
                continue
            n_wanted = min(2 * n_kept, width // 2) if full else n_kept
            values, turn = _descending(inner[:width, :width], n_wanted)
            size = np.linalg.norm(link @ turn[-_WIDTH:, :n_kept], axis=0)
            residual = float((size / np.maximum(values[:n_kept], _TOLERANCE)).max())
            if residual <= _TOLERANCE or full:
                best = basis[:, :width] @ turn.astype(np.float32)
            if residual <= _TOLERANCE:
                return best[:, :n_kept]
            if full:
                width, n_restarts = n_wanted, n_restarts + 1
                basis[:, :width] = best
                inner[:] = 0.0
                np.fill_diagonal(inner[:width, :width], values)
            wait = _vectors_needed(before, residual, width - checked)
            checked, check_at, before = width, width + wait, residual
    return None


def _orthonormal(block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    from scipy.linalg import qr

    return qr(block, mode="economic", overwrite_a=True, check_finite=False)  # type: ignore[no-any-return]


def _product(pool: ThreadPoolExecutor, matrix: Single, block: Single) -> Single:
    out = np.empty_like(block)

    def panel(span: tuple[int, int]) -> None:
        out[slice(*span)] = matrix[slice(*span)] @ block

    list(pool.map(panel, block_starts(len(matrix), _PANEL)))
    return out


def _next_block(basis: Any, image: Single, inner: Values) -> tuple[Single, Single]:
    """What the basis lacks of the ``image`` of its last block: an orthonormal block, and its factor.

    Writes the products of basis and image into ``inner``.
    """
    width = basis.shape[1]
    shares = basis.T @ image
    inner[:width, width - _WIDTH : width] = shares
    inner[width - _WIDTH : width, :width] = shares.T
    block, first = _orthonormal(image - basis @ shares)
    block, second = _orthonormal(block - basis @ (basis.T @ block))  # twice is enough
    return block, second @ first


def _vectors_needed(before: float, now: float, done: int) -> int:
    """After how many more vectors to look again, when ``done`` of them took the residual from ``before`` to ``now``."""
    gained = np.log(before / now) if 0 < now < before else 0.0
    needed = 0.5 * done * np.log(now / _TOLERANCE) / gained if gained else np.inf  # it falls ever faster
    return int(np.clip(needed, _SOONEST, _LATEST))
