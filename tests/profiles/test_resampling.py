"""Resamples equal the profiles of a matrix in which cells are repeated, whatever the order, storage or threads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import ClusterProfiles, profile_clusters
from cellkey.profiles.resampling import Resampler, Resamples

STATISTICS = ("mean", "median", "detection", "rank_z")
OVERALL = ("overall_mean", "overall_median", "overall_std", "zero_share")


def cells(rng: np.random.Generator, *, negative: bool = False) -> np.ndarray:
    """Genes from sparse to dense, with ties, a constant one and one of zeros."""
    X = rng.poisson([0.2, 0.8, 3.0, 9.0, 1.0, 1.0], size=(60, 6)).astype(np.float32)
    X[:, 3] = rng.normal(5, 2, 60)
    X[:, 4], X[:, 5] = 2.0, 0.0
    if negative:
        X[:, 1] -= 1.0
        X[:, 3] -= 5.0
    return X


def resampled(X: object, labels: np.ndarray, names: np.ndarray, **options: object) -> tuple[ClusterProfiles, Resamples]:
    genes = [f"g{i}" for i in range(X.shape[1])]  # type: ignore[attr-defined]
    resampler = Resampler(names, range(len(genes)), n_resamples=8, seed=3)
    basis = options.pop("basis", "auto")
    profiles = profile_clusters(
        Expression(X), labels, genes, quantiles=(0.75,), basis=basis, resampler=resampler, **options  # type: ignore[arg-type]
    )
    return profiles, resampler.result()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([None if i % 11 == 0 else f"{i % 3}" for i in range(60)], dtype=object)


NAMES = np.array([f"cell{i}" for i in range(60)], dtype=object)


@pytest.mark.parametrize("basis", ["auto", "nonzero", "all"])
@pytest.mark.parametrize("negative", [False, True])
def test_a_resample_equals_the_profile_of_repeated_cells(
    labels: np.ndarray, basis: str, negative: bool, rng: np.random.Generator
) -> None:
    X = cells(rng, negative=negative)
    profiles, found = resampled(X, labels, NAMES, basis=basis)
    weights = Resampler(NAMES, range(6), n_resamples=8, seed=3).weights
    for b in range(found.n_resamples):
        rows = np.repeat(np.arange(60), weights[:, b])
        again = profile_clusters(
            Expression(X[rows]), labels[rows], profiles.var_names, quantiles=(0.75,), basis=basis  # type: ignore[arg-type]
        )
        ours = found.profiles(profiles, b)
        np.testing.assert_array_equal(ours.n_cells, again.n_cells)
        for name in (*STATISTICS, *OVERALL, "positive", "thresholds"):
            np.testing.assert_allclose(getattr(ours, name), getattr(again, name), rtol=2e-6, atol=2e-6, err_msg=name)


def test_weights_are_poisson_of_mean_one() -> None:
    weights = Resampler([f"c{i}" for i in range(20_000)], [], n_resamples=20).weights.astype(np.float64)
    assert abs(weights.mean() - 1.0) < 0.01
    assert abs(weights.var() - 1.0) < 0.02
    assert abs((weights == 0).mean() - np.exp(-1)) < 0.005
    assert abs(np.corrcoef(weights[:, 0], weights[:, 1])[0, 1]) < 0.03
    assert abs(np.corrcoef(weights[:-1, 0], weights[1:, 0])[0, 1]) < 0.03


def test_order_of_cells_genes_and_groups_means_nothing(labels: np.ndarray, rng: np.random.Generator) -> None:
    X = cells(rng)
    _, found = resampled(X, labels, NAMES)
    order = rng.permutation(60)
    _, shuffled = resampled(X[order], labels[order], NAMES[order])
    genes = rng.permutation(6)
    _, turned = resampled(X[:, genes], labels, NAMES)
    renamed = np.array([None if v is None else {"0": "2", "1": "0", "2": "1"}[v] for v in labels], dtype=object)
    _, other = resampled(X, renamed, NAMES)
    for name in ("mean", "median", "detection", "positive", "rank_z"):
        ours = getattr(found, name)
        np.testing.assert_allclose(getattr(shuffled, name), ours, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(getattr(turned, name), ours[:, :, genes], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(getattr(other, name), ours[:, [1, 2, 0]], rtol=1e-6, atol=1e-6)


def test_storage_and_threads_mean_nothing(labels: np.ndarray, rng: np.random.Generator) -> None:
    X = cells(rng)
    _, found = resampled(X, labels, NAMES)
    for form, jobs in ((sp.csr_matrix(X), 1), (sp.csc_matrix(X), 1), (sp.csr_matrix(X), 3)):
        _, other = resampled(form, labels, NAMES, n_jobs=jobs)
        for name in (*STATISTICS, "positive", "n_cells", *OVERALL, "thresholds"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found, name))


def test_seed_and_names_decide_the_draws() -> None:
    first = Resampler(NAMES, [], n_resamples=5, seed=1).weights
    np.testing.assert_array_equal(first, Resampler(NAMES, [], n_resamples=5, seed=1).weights)
    assert (first != Resampler(NAMES, [], n_resamples=5, seed=2).weights).any()
    np.testing.assert_array_equal(first[:, :3], Resampler(NAMES, [], n_resamples=3, seed=1).weights)
    same = Resampler(["a", "a", "b"], [], n_resamples=30).weights
    assert (same[0] != same[1]).any()


def test_genes_that_are_not_held_keep_their_values(labels: np.ndarray, rng: np.random.Generator) -> None:
    X = cells(rng)
    resampler = Resampler(NAMES, [2, 0], n_resamples=4)
    profiles = profile_clusters(Expression(X), labels, list("abcdef"), resampler=resampler)
    found = resampler.result()
    assert found.genes.tolist() == ["a", "c"]
    one = found.profiles(profiles, 0)
    np.testing.assert_array_equal(one.mean[:, [1, 3, 4, 5]], profiles.mean[:, [1, 3, 4, 5]])
    assert (one.mean[:, [0, 2]] != profiles.mean[:, [0, 2]]).any()


def test_a_group_of_one_cell_vanishes_from_some_resamples() -> None:
    X = np.ones((30, 2), dtype=np.float32)
    labels = np.array(["alone", *["many"] * 29], dtype=object)
    resampler = Resampler([f"c{i}" for i in range(30)], [0, 1], n_resamples=60)
    profile_clusters(Expression(X), labels, ["a", "b"], resampler=resampler)
    found = resampler.result()
    empty = found.n_cells[:, 0] == 0
    assert 0.2 < empty.mean() < 0.55  # 1/e
    assert (found.mean[empty, 0] == 0).all()
