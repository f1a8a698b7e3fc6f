"""Moments, features and principal components against dense oracles."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import Moments, choose_features, excess_variance, gene_moments, principal_components
from cellkey.errors import ParameterError
from cellkey.profiles.expression import Expression

STORAGES = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}


def blobs(n_cells=300, n_genes=60, density=0.2, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n_cells)
    level = rng.gamma(1.0, 1.0, size=(3, n_genes))
    X = rng.poisson(level[group] * 2) * (rng.random((n_cells, n_genes)) < density)
    return np.log1p(X).astype(np.float32)


def moments_of(expression, features=None):
    return gene_moments(expression, columns=features)


def oracle(X: np.ndarray, k: int, clip: float = 10.0):
    X = X.astype(np.float64)
    Z = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    Z = np.clip(Z, -clip, clip) if clip else Z
    Z -= Z.mean(axis=0)
    _, s, Vt = np.linalg.svd(Z, full_matrices=False)
    V = Vt[:k].T
    V *= np.sign(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])])
    return Z @ V, s[:k] ** 2 / len(X), V


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("rows", [None, np.arange(3, 300, 2)])
def test_moments_equal_dense_ones(storage, rows):
    """Mean and population deviation are those of the dense values, for all cells or some."""
    X = blobs()
    found = gene_moments(Expression(STORAGES[storage](X)), rows=rows, block_cells=64)
    part = X.astype(np.float64) if rows is None else X[rows].astype(np.float64)
    np.testing.assert_allclose(found.mean, part.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.sd, part.std(axis=0), rtol=1e-10)
    assert found.n_cells == len(part)


def test_large_means_cost_no_digits():
    """Intensities around a large mean keep their deviation."""
    X = (1e4 + np.random.default_rng(0).standard_normal((500, 5))).astype(np.float32)
    found = gene_moments(Expression(X), block_cells=100)
    np.testing.assert_allclose(found.sd, X.astype(np.float64).std(axis=0), rtol=1e-9)


@pytest.mark.parametrize("density", [0.05, 0.6])
@pytest.mark.parametrize("clip", [10.0, 2.0, 0.0])
@pytest.mark.parametrize("storage", STORAGES)
def test_components_equal_dense_decomposition(storage, clip, density):
    """Scores, loadings and variances are those of the scaled, clipped dense matrix."""
    X = blobs(density=density)
    X[7, 3] = 60.0  # far out, so that the clip acts
    expression = Expression(STORAGES[storage](X))
    found = principal_components(
        expression, np.arange(60), moments_of(expression), n_components=8, clip=clip, block_cells=77
    )
    scores, variance, loadings = oracle(X, 8, clip)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-9)
    np.testing.assert_allclose(found.loadings, loadings, atol=1e-7)
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    assert found.scores.dtype == np.float32


def test_components_equal_those_of_scikit_learn():
    """An independent library gives the same subspace and variances."""
    from sklearn.decomposition import PCA

    X = blobs(seed=3)
    expression = Expression(sp.csr_matrix(X))
    found = principal_components(expression, np.arange(60), moments_of(expression), n_components=6)
    Z = np.clip((X - X.mean(axis=0)) / X.std(axis=0, ddof=1), -10, 10).astype(np.float64)
    other = PCA(6, svd_solver="full").fit(Z)
    np.testing.assert_allclose(found.variance * 300 / 299, other.explained_variance_, rtol=1e-5)
    overlap = np.linalg.svd(found.loadings.T @ other.components_.T)[1]
    np.testing.assert_allclose(overlap, 1.0, atol=1e-6)


def test_genes_whose_zero_is_out_of_reach_are_clipped_below():
    """A steady gene with a single zero is clipped at the lower end, sparse or dense."""
    X = blobs(density=0.1)
    X[:, 0] = 5 + 0.01 * np.random.default_rng(0).random(300)
    X[0, 0] = 0
    for storage in STORAGES.values():
        expression = Expression(storage(X))
        found = principal_components(expression, np.arange(60), moments_of(expression), n_components=5)
        np.testing.assert_allclose(found.variance, oracle(X, 5)[1], rtol=1e-7)


def test_many_features_use_the_iterative_solver():
    """More than 1,000 features take another solver and give the same answer."""
    X = blobs(n_cells=200, n_genes=1200, density=0.15)
    keep = np.flatnonzero(X.std(axis=0) > 1e-3)
    expression = Expression(sp.csr_matrix(X))
    found = principal_components(expression, keep, moments_of(expression, keep), n_components=5)
    scores, variance, _ = oracle(X[:, keep], 5)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-8)
    np.testing.assert_allclose(np.abs(found.scores), np.abs(scores), atol=1e-4)


@pytest.mark.parametrize("block_cells", [1, 50, 10_000])
def test_block_size_does_not_matter(block_cells):
    """Any block size gives the same components to 1e-6."""
    expression = Expression(sp.csr_matrix(blobs()))
    moments = moments_of(expression)
    a = principal_components(expression, np.arange(60), moments, n_components=10)
    b = principal_components(expression, np.arange(60), moments, n_components=10, block_cells=block_cells)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "k"), [(3, 60, 2), (300, 1, 1), (2, 2, 1), (300, 5, 4), (40, 60, 30)]
)
def test_fewer_components_for_small_data(n_cells, n_genes, k):
    """There are min(30, features - 1, cells - 1) components, at least one."""
    X = np.random.default_rng(0).random((n_cells, n_genes)).astype(np.float32)
    expression = Expression(X)
    found = principal_components(expression, np.arange(n_genes), moments_of(expression))
    assert found.scores.shape == (n_cells, k)
    assert np.isfinite(found.scores).all()


def test_backed_values_give_the_same_components(tmp_path):
    """Reading from disk changes nothing."""
    X = sp.csr_matrix(blobs())
    ad.AnnData(X).write_h5ad(tmp_path / "x.h5ad")
    disk, memory = Expression(ad.read_h5ad(tmp_path / "x.h5ad", backed="r").X), Expression(X)
    moments = moments_of(memory)
    a = principal_components(memory, np.arange(60), moments, block_cells=64)
    b = principal_components(disk, np.arange(60), moments, block_cells=64)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_too_many_features_are_refused():
    """A covariance that would not fit in memory is refused by name."""
    expression = Expression(sp.csr_matrix((2, 10_001), dtype=np.float32))
    moments = Moments(2, np.zeros(10_001), np.ones(10_001))
    with pytest.raises(ParameterError, match="10,000"):
        principal_components(expression, np.arange(10_001), moments)


# Features


def names(n: int) -> list[str]:
    return [f"g{i:04d}" for i in range(n)]


def test_constant_and_forbidden_variables_are_left_out():
    """Deviation must exceed 1e-3; masked variables take no part; order is by name."""
    moments = Moments(10, np.zeros(5), np.array([0.0, 1e-3, 1.1e-3, 1.0, 1.0]))
    chosen = choose_features(
        moments, ["e", "d", "c", "b", "a"], allowed=np.array([True, True, True, True, False])
    )
    assert chosen.tolist() == [3, 2]
    only = np.array([False, False, False, False, True])
    assert choose_features(moments, ["e", "d", "c", "b", "a"], chosen=only).tolist() == [4]


def markers_and_noise(seed=0):
    """900 noise genes of all levels and 100 that differ between three groups."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, 600)
    level = np.tile(rng.gamma(0.5, 2.0, 1000), (3, 1))
    for gene in range(900, 1000):
        level[gene % 3, gene] = level[gene % 3, gene] * 6 + 1
    X = rng.poisson(level[group]).astype(np.float64)
    return np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4).astype(np.float32)


def test_most_variable_genes_are_the_ones_that_differ_between_groups():
    """Genes that mark groups rank above noise at every level of expression."""
    X = markers_and_noise()
    moments = gene_moments(Expression(sp.csr_matrix(X)))
    top = np.argsort(-excess_variance(moments))[:100]
    assert (top >= 900).mean() > 0.8


def test_ranking_agrees_with_scanpy_on_real_data(labelled_data):
    """Half of the 2,000 genes at least are those of scanpy's default on real counts; chance would be 15 %."""
    import warnings

    import scanpy as sc

    data = ad.read_h5ad(labelled_data / "pbmc3k.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.X = data.X.astype(np.float32)
        sc.pp.normalize_total(data, target_sum=1e4)
        sc.pp.log1p(data)
        sc.pp.highly_variable_genes(data, n_top_genes=2000)
    mine = choose_features(gene_moments(Expression(data.X)), list(data.var_names))
    assert len(mine) == 2000
    assert data.var["highly_variable"].to_numpy()[mine].mean() > 0.5


def test_markers_are_added_to_the_most_variable():
    """Map markers take part whatever their rank, as long as they vary."""
    X = markers_and_noise()
    X[:, 5] = 1.0
    moments = gene_moments(Expression(X))
    plain = choose_features(moments, names(1000), n_top=600)
    with_markers = choose_features(
        moments, names(1000), n_top=600, always_use=["g0005", "g0006", "g0007", "none"]
    )
    assert len(plain) == 600
    assert set(with_markers) == set(plain) | {6, 7}


def test_ranking_does_not_depend_on_the_order_of_genes():
    """Shuffled genes give the same names in the same order, ties included."""
    X = markers_and_noise()
    X[:, 10:20] = X[:, [30]]
    order = np.random.default_rng(1).permutation(1000)
    label = np.array(names(1000))
    a = choose_features(gene_moments(Expression(X)), label, n_top=550)
    b = choose_features(gene_moments(Expression(X[:, order])), label[order], n_top=550)
    assert label[a].tolist() == label[order][b].tolist()


def test_small_panels_and_zero_use_everything():
    """Up to 500 features, or n_top=0, nothing is ranked away."""
    moments = gene_moments(Expression(markers_and_noise()[:, :500]))
    varies = int((moments.sd > 1e-3).sum())
    assert len(choose_features(moments, names(500), n_top=100)) == varies
    wide = gene_moments(Expression(markers_and_noise()))
    assert len(choose_features(wide, names(1000), n_top=0)) == int((wide.sd > 1e-3).sum())


def test_excess_variance_without_any_variable():
    """Constant data have no variable feature."""
    moments = Moments(10, np.ones(4), np.zeros(4))
    assert np.isneginf(excess_variance(moments)).all()
    assert len(choose_features(moments, names(4))) == 0
