"""Sums over cells have one order: no storage, block, number of threads or budget of memory shows in a single bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import Moments, gene_moments, principal_components
from cellkey.clustering._sums import UNIT_CELLS, TreeSum, add_arrays, equal_blocks
from cellkey.profiles.expression import Expression
from cellkey.profiles.tiles import TiledExpression, TileStore


@pytest.fixture(scope="module")
def counts() -> sp.csr_matrix:
    """Three units of cells, sparse ones first and then dense ones, so that both kinds of products are summed."""
    rng = np.random.default_rng(0)
    n_cells = 2 * UNIT_CELLS + 3000
    values = rng.poisson(rng.gamma(1.0, 1.0, 520), (n_cells, 520)).astype(np.float32)
    sparse = np.arange(n_cells) < UNIT_CELLS + 2500
    values[sparse] *= rng.random((int(sparse.sum()), 520)) < 0.15
    return sp.csr_matrix(values)


def ways(X: sp.csr_matrix, scale: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "tiles", TiledExpression(TileStore.of(X), scale=scale)
    yield "tiles in a file", TiledExpression(TileStore.of(X, budget=0), scale=scale)
    yield "by cells", Expression(X, scale=scale)
    yield "by genes", Expression(X.tocsc(), scale=scale)


def components_of(expression: Expression, block_cells: int = 8192) -> list[np.ndarray]:
    moments = gene_moments(expression, block_cells=block_cells)
    features = np.flatnonzero(moments.sd > 0)[::-1].copy()
    found = principal_components(
        expression, features, Moments(moments.n_cells, moments.mean[features], moments.sd[features]), n_components=4,
        block_cells=block_cells,
    )
    return [moments.mean, moments.sd, found.scores, found.loadings, found.variance, np.array(found.total_variance)]


def test_moments_and_components_have_the_same_bits_however_cells_are_read(
    counts: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = 500 / np.asarray(counts.sum(axis=1)).ravel()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = components_of(Expression(counts, scale=scale))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name, expression in ways(counts, scale):
        for block_cells in (8192, 1000) if name == "by cells" else (8192,):
            for a, b in zip(components_of(expression, block_cells), expected, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{name} {block_cells}")


def test_some_cells_are_summed_as_a_matrix_of_them_alone(counts: sp.csr_matrix) -> None:
    rows = np.flatnonzero(np.arange(counts.shape[0]) % 3)
    tiled, alone = TiledExpression(TileStore.of(counts)), Expression(counts[rows])
    found, expected = gene_moments(tiled, rows=rows), gene_moments(alone)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.sd, expected.sd)
    features = np.arange(0, 520, 5)
    chosen = Moments(len(rows), expected.mean[features], expected.sd[features])
    found, expected = (
        principal_components(e, features, chosen, n_components=3, rows=r).scores
        for e, r in ((tiled, rows), (alone, None))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("storage", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("edges", [[], [3, 4, 20], [10], list(range(1, 25))])
def test_blocks_are_cut_and_joined_to_equal_ones(edges: list[int], storage: Any) -> None:
    X = np.arange(75).reshape(25, 3)
    blocks = list(equal_blocks([storage(part) for part in np.split(X, edges)], 10))
    assert [b.shape[0] for b in blocks] == [10, 10, 5]
    whole = np.concatenate([b.toarray() if sp.issparse(b) else b for b in blocks])
    np.testing.assert_array_equal(whole, X)


@pytest.mark.parametrize("n", [0, 1, 8, 9, 600])
def test_the_tree_sums_everything_once(n: int) -> None:
    tree: TreeSum[np.ndarray] = TreeSum(add_arrays)
    for i in range(n):
        tree.push(np.array([i, 1]))
    total = tree.total()
    assert (total is None) if n == 0 else (total == [n * (n - 1) // 2, n]).all()
