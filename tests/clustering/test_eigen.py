"""Leading eigenvalues and vectors against the whole decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh

from cellkey.clustering import eigen
from cellkey.clustering._threads import single_threaded_blas
from cellkey.clustering.eigen import largest_eigenpairs


def covariance(n: int, n_cells: int, n_signals: int = 3) -> np.ndarray:
    """Noise, whose spectrum is flat, with a few directions that stand out."""
    rng = np.random.default_rng(n + n_cells)
    X = rng.standard_normal((n_cells, n))
    X += rng.standard_normal((n_cells, n_signals)) @ rng.standard_normal((n_signals, n)) * 0.3
    return X.T @ X / n_cells


def check(matrix: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> None:
    n, k = vectors.shape
    with single_threaded_blas():
        expected = eigh(matrix, eigvals_only=True, subset_by_index=(n - k, n - 1))[::-1]
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-9 * expected[0])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-12)
    residual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    assert (residual <= 2e-5 * values + 1e-6 * values[0]).all()


@pytest.mark.parametrize("n_cells", [40, 700, 1600])
def test_values_and_vectors_are_those_of_the_whole_decomposition(n_cells):
    """Also of a flat spectrum, and of fewer cells than features, where all other values are 0."""
    matrix = covariance(1100, n_cells)
    check(matrix, *largest_eigenpairs(matrix, 30))


def test_a_basis_that_is_full_begins_anew_from_its_best_vectors(monkeypatch):
    monkeypatch.setattr(eigen, "_BASIS", 160)
    monkeypatch.setattr(eigen, "_MOST_RESTARTS", 100)
    monkeypatch.setattr(eigen, "_descending", usual := RecordSizes())
    matrix = covariance(1100, 1600)
    values, vectors = largest_eigenpairs(matrix, 20)
    check(matrix, values, vectors)
    assert max(usual.sizes) == 160


def test_what_does_not_converge_is_decomposed_whole(monkeypatch):
    monkeypatch.setattr(eigen, "_BASIS", 96)
    monkeypatch.setattr(eigen, "_MOST_RESTARTS", 0)
    monkeypatch.setattr(eigen, "_descending", usual := RecordSizes())
    matrix = covariance(1100, 1600)
    check(matrix, *largest_eigenpairs(matrix, 20))
    assert usual.sizes[-1] == 1100


def test_threads_do_not_matter(monkeypatch):
    matrix = covariance(1100, 300)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(largest_eigenpairs(matrix, 10))
    for one, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, three)


def test_a_matrix_of_zeros_has_values_of_zero():
    values, vectors = largest_eigenpairs(np.zeros((1100, 1100)), 4)
    np.testing.assert_array_equal(values, np.zeros(4))
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-12)


class RecordSizes:
    """The usual decomposition, which notes what it was asked for."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._usual = eigen._descending

    def __call__(self, matrix, n_kept):
        self.sizes.append(len(matrix))
        return self._usual(matrix, n_kept)
