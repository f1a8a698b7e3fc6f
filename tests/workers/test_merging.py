"""Parts merged are the whole: moments, covariances and scans of slices, against NumPy on all cells."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.clustering.features import Moments
from cellkey.clustering.inspect import scan_matrix
from cellkey.workers.merging import Covariance, merge_covariances, merge_moments, merge_scans, merged


def slices(values: np.ndarray, seed: int) -> list[np.ndarray]:
    cuts = np.sort(np.random.default_rng(seed).choice(np.arange(1, len(values)), 4, replace=False))
    return np.split(values, cuts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_of_slices_are_those_of_all_cells(seed: int, offset: float) -> None:
    """Also where the mean is a million times the deviation."""
    values = np.random.default_rng(seed).normal(offset, 1.0, (97, 5))
    found = merged(merge_moments, [Moments(len(p), p.mean(axis=0), p.std(axis=0)) for p in slices(values, seed)])
    assert found.n_cells == 97
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.sd, values.std(axis=0), rtol=1e-8 if offset else 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_covariances_of_slices_are_those_of_all_cells(seed: int) -> None:
    values = np.random.default_rng(seed).normal(3.0, 1.0, (61, 6))
    parts = [Covariance(len(p), p.mean(axis=0), np.cov(p.T, bias=True).reshape(6, 6)) for p in slices(values, seed)
             if len(p) > 1]
    whole = np.concatenate([p for p in slices(values, seed) if len(p) > 1])
    found = merged(merge_covariances, parts)
    np.testing.assert_allclose(found.values, np.cov(whole.T, bias=True), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_of_slices_are_those_of_the_matrix(axis: int) -> None:
    """Whichever way the matrix is cut, a cell is empty only if all its values are zero."""
    values = np.random.default_rng(1).poisson(0.3, (40, 12)).astype(np.float32)
    values[7] = 0
    values[3, 2] = 1.5
    whole = scan_matrix(values)
    found = merge_scans([scan_matrix(p) for p in np.array_split(values, 3, axis=axis)], axis)
    np.testing.assert_array_equal(found.has_value, whole.has_value)
    assert not found.has_value[7]
    for name in ("minimum", "maximum", "n_not_finite", "n_not_zero", "integer_valued"):
        assert getattr(found, name) == getattr(whole, name)
