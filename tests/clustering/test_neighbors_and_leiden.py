"""Neighbours against brute force, graph weights against umap-learn, communities under a seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import igraph
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from cellkey.clustering import leiden, nearest_neighbors, neighbor_graph, neighbor_recall, number_by_size
from cellkey.clustering._threads import single_threaded_blas


def points(n=400, dims=10, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((4, dims)) * 3
    return (centres[rng.integers(0, 4, n)] + rng.standard_normal((n, dims))).astype(np.float32)


def brute(X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    near = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(X.astype(np.float64))
    distances, indices = near.kneighbors(X.astype(np.float64))
    return distances[:, 1:], indices[:, 1:]


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_exact_neighbours_equal_brute_force(method):
    """Indices and distances are those of all pairwise distances."""
    X = points()
    found = nearest_neighbors(X, 15, method=method)
    distances, indices = brute(X, 15)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    assert (found.method, found.recall) == ("exact", 1.0)


def kinds_of_points(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((n, 16))
    if kind in ("groups", "far"):
        X += (rng.standard_normal((12, 16)) * (3 if kind == "groups" else 300))[rng.integers(0, 12, n)]
    if kind == "equal":
        X[: 2 * n // 3] = X[0]
    return X.astype(np.float32)


@pytest.fixture
def small_searches(monkeypatch):
    """The approximate search takes few cells for many, and starts poorly."""
    monkeypatch.setattr("cellkey.clustering.neighbors._COMPARED", 300)
    monkeypatch.setattr("cellkey.clustering._exploring._LIST_CELLS", 64)


@pytest.mark.parametrize("kind", ["groups", "noise", "far"])
@pytest.mark.parametrize("min_recall", [0.9, 0.975])
def test_approximate_neighbours_reach_their_recall(kind, min_recall, small_searches):
    """At least the recall promised is reached on all cells, and it is stated."""
    X = kinds_of_points(kind, 4000)
    found = nearest_neighbors(X, 15, method="approximate", min_recall=min_recall)
    assert found.method == "approximate"
    assert found.recall >= min_recall
    distances, indices = brute(X, 15)
    assert neighbor_recall(found.indices, indices) >= min_recall - 0.01
    assert (found.distances >= distances * (1 - 1e-5)).all()


def test_a_recall_out_of_reach_means_all_pairs(small_searches):
    """Ever wider starts end with the exact search."""
    X = kinds_of_points("groups", 3000)
    found = nearest_neighbors(X, 15, method="approximate", min_recall=1.01)
    np.testing.assert_array_equal(found.indices, brute(X, 15)[1])
    assert found.recall == 1.0


def test_many_equal_cells_do_not_crowd_the_approximate_search(small_searches):
    """Thousands of cells at one point are neighbours at distance zero, and the others have theirs."""
    X = kinds_of_points("equal", 6000)
    found = nearest_neighbors(X, 15, method="approximate", min_recall=0.0)
    assert (found.distances[:4000] == 0).all()
    assert neighbor_recall(found.indices[4000:], nearest_neighbors(X, 15).indices[4000:]) > 0.4


@pytest.mark.parametrize("kind", ["groups", "noise", "far"])
def test_exploring_finds_more_with_every_round_whatever_the_threads(kind, small_searches, monkeypatch):
    """One thread and three give the same cells in the same places, nearest first and none twice."""
    from cellkey.clustering import _exploring

    X = kinds_of_points(kind, 4000)
    truth, ends = brute(X, 15)[1], []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        cells = _exploring.small_lists(X)
        rounds = [cells.as_given(near) for near in _exploring.explored_neighbors(cells, 30, 300)]
        recalls = [neighbor_recall(near, truth) for near in rounds]
        ends.append(rounds[-1])
    np.testing.assert_array_equal(*ends)
    assert recalls == sorted(recalls)
    assert recalls[-1] > max(0.9, recalls[0])
    assert not (ends[0] == np.arange(len(X))[:, None]).any()
    assert all(len(set(row)) == 30 for row in ends[0])
    distances = ((X[ends[0]].astype(float) - X[:, None]) ** 2).sum(axis=2)
    assert (np.diff(distances, axis=1) >= -1e-3 * distances[:, 1:] - 1e-3 * np.abs(X).max()).all()


@pytest.mark.parametrize("n_cells", [1, 2, 3, 16])
def test_few_cells_have_few_neighbours(n_cells):
    """There are min(k, cells - 1) neighbours; a lone cell has none and a graph without edges."""
    found = nearest_neighbors(points(n_cells), 15)
    assert found.indices.shape == (n_cells, min(15, n_cells - 1))
    graph = neighbor_graph(found)
    assert graph.shape == (n_cells, n_cells)
    assert graph.diagonal().sum() == 0


def test_identical_cells_are_neighbours_of_each_other():
    """Many cells at one point (all-zero cells) give finite weights of 1."""
    X = np.concatenate([np.zeros((40, 5), np.float32), points(40, 5)])
    found = nearest_neighbors(X, 15)
    assert (found.indices[:40] < 40).all()
    assert (found.indices != np.arange(80)[:, None]).all()
    graph = neighbor_graph(found)
    assert np.isfinite(graph.data).all()
    assert graph[:40, :40].data.min() == 1.0
    alike = neighbor_graph(nearest_neighbors(np.zeros((30, 3), np.float32), 5))
    assert np.isfinite(alike.data).all()


def test_graph_equals_fuzzy_simplicial_set_of_umap():
    """Weights are those of umap-learn for the same neighbours."""
    umap_ = pytest.importorskip("umap.umap_")
    X = points()
    found = nearest_neighbors(X, 15)
    own = np.arange(len(X))[:, None]
    indices = np.hstack([own, found.indices])
    distances = np.hstack([np.zeros_like(own, dtype=np.float32), found.distances])
    expected = umap_.fuzzy_simplicial_set(
        sp.coo_matrix((len(X), 1)), 16, None, None, knn_indices=indices, knn_dists=distances
    )[0].tocsr()
    graph = neighbor_graph(found)
    np.testing.assert_allclose(graph.toarray(), expected.toarray(), atol=1e-4)
    assert (graph != graph.T).nnz == 0
    assert graph.dtype == np.float32
    assert graph.has_sorted_indices


def graph_of(X: np.ndarray) -> sp.csr_matrix:
    return neighbor_graph(nearest_neighbors(X, 15))


def test_communities_repeat_under_a_seed_and_leave_other_randomness_alone():
    """Same graph and seed, same answer; igraph and random keep their state for the caller."""
    graph = graph_of(points())
    random.seed(5)
    expected = random.random()
    random.seed(5)
    labels = leiden(graph, seed=3)
    assert random.random() == expected
    np.testing.assert_array_equal(labels, leiden(graph, seed=3))
    random.seed(1)
    a = igraph.Graph.Erdos_Renyi(n=20, m=30).get_edgelist()
    random.seed(1)
    assert a == igraph.Graph.Erdos_Renyi(n=20, m=30).get_edgelist()


def test_communities_find_well_separated_groups():
    """Four clouds are four communities, numbered by size."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, 3], [50, 120, 80, 60])
    X = (rng.standard_normal((4, 5))[truth] * 30 + rng.standard_normal((310, 5))).astype(np.float32)
    labels = leiden(graph_of(X), resolution=0.2)
    assert adjusted_rand_score(truth, labels) == 1.0
    sizes = [int((labels == str(i)).sum()) for i in range(4)]
    assert sizes == [120, 80, 60, 50]


def test_more_resolution_gives_more_communities():
    """Resolution orders the number of communities."""
    graph = graph_of(points(800))
    counts = [len(set(leiden(graph, resolution=r))) for r in (0.05, 0.6, 3.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_graph_without_edges_gives_single_cells():
    """Cells without neighbours are groups of their own."""
    assert leiden(sp.csr_matrix((3, 3))).tolist() == ["0", "1", "2"]
    assert leiden(sp.csr_matrix((1, 1))).tolist() == ["0"]


def test_numbering_is_by_size_then_first_member():
    """Ties in size go to the group seen first."""
    assert number_by_size(np.array([7, 7, 3, 9, 3, 9, 1])).tolist() == ["0", "0", "1", "2", "1", "2", "3"]


@pytest.mark.slow
def test_number_of_threads_does_not_matter(tmp_path):
    """One thread and two give the same neighbours, components and communities, bit by bit."""
    code = (
        "import numpy as np, scipy.sparse as sp, sys\n"
        "from cellkey.clustering import cluster_cells\n"
        "from cellkey.profiles.expression import Expression\n"
        "rng = np.random.default_rng(0)\n"
        "X = sp.csr_matrix(np.log1p(rng.poisson(rng.gamma(.3, 1., size=(3, 900))[rng.integers(0, 3, 700)])"
        ".astype(np.float32)))\n"
        "c = cluster_cells(Expression(X), [f'g{i}' for i in range(900)])\n"
        "np.savez(sys.argv[1], s=c.components.scores, g=c.graph.data, i=c.graph.indices, l=c.labels)\n"
    )
    results = []
    for threads in ("1", "2"):
        out = tmp_path / f"{threads}.npz"
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, str(out)], env=environment, check=True)
        results.append(np.load(out))
    for key in "sgil":
        np.testing.assert_array_equal(results[0][key], results[1][key])


@pytest.mark.parametrize("kind", ["groups", "noise", "equal", "far"])
def test_leaving_out_far_lists_finds_the_same_neighbours(kind):
    """The pruned search gives what comparing all pairs gives, whether cells fall into groups or not."""
    from cellkey.clustering import neighbors

    rng = np.random.default_rng(3)
    points = rng.standard_normal((2500, 12)).astype(np.float32)
    if kind in ("groups", "far"):
        points += (rng.standard_normal((9, 12)) * (4 if kind == "groups" else 400))[rng.integers(0, 9, 2500)]
    if kind == "equal":
        points[:1500] = points[0]
    pruned = neighbors._sorted_neighbors(points, neighbors._pruned_candidates(points, 24), 15)
    distances, indices = brute(points, 15)
    if kind != "equal":  # of equal cells any are nearest
        assert np.array_equal(pruned[0], indices)
    np.testing.assert_allclose(pruned[1], distances, rtol=1e-5, atol=1e-5 * np.abs(points).max())


def test_the_approximate_search_takes_more_than_the_cells_of_its_start():
    """Up to 16,384 cells it would compare all pairs anyway; beyond, recall is measured and at least 0.975."""
    X = points(17_000, 20, seed=1)
    assert nearest_neighbors(X[:16_384], 15, method="approximate").method == "exact"
    exact, found = (nearest_neighbors(X, 15, method=method) for method in ("auto", "approximate"))
    assert (exact.method, found.method) == ("exact", "approximate")
    assert found.recall >= 0.975
    assert neighbor_recall(found.indices, exact.indices) >= 0.97


def test_linear_algebra_stays_on_one_thread_until_the_last_block_is_left():
    """Also when blocks of several threads overlap and do not end in the order they began."""
    from threadpoolctl import threadpool_info

    def most() -> int:
        used = [lib for lib in threadpool_info() if lib["user_api"] == "blas" and "faiss" not in lib["filepath"]]
        return max(lib["num_threads"] for lib in used)  # faiss brings a library of its own, used by its search alone

    with single_threaded_blas():
        assert most() == 1
    before = most()
    first, second = single_threaded_blas(), single_threaded_blas()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert most() == 1
    second.__exit__(None, None, None)
    assert most() == before
