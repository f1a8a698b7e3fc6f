"""Whether a split is worth making: gaps, agreement of subsets, and statistics of parts against all cells."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import cell_factors
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.refinement.cell_access import Cells
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.plan import Subcluster
from cellkey.refinement.profiling import joined_rank_z, profile_merged, profile_parts, profiles_of_ids, with_groups
from cellkey.refinement.separation import join_unseparated, separation, valley_depth
from cellkey.refinement.splitting import find_parts, part_seed, split_stability


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def blobs(rng: np.random.Generator, sizes: tuple[int, ...], apart: float, n_features: int = 12):
    X = np.vstack([rng.normal(0, 1, (n, n_features)) for n in sizes])
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for i in range(1, len(sizes)):
        X[labels == i, 2 * i : 2 * i + 2] += apart
    return X.astype(np.float32), labels


def names(n: int) -> np.ndarray:
    return np.array([f"g{i}" for i in range(n)], dtype=object)


def test_a_valley_is_as_deep_as_cells_are_missing(rng: np.random.Generator) -> None:
    unimodal = valley_depth(rng.normal(0.5, 0.5, 4000))
    apart = valley_depth(np.concatenate([rng.normal(0, 0.1, 2000), rng.normal(1, 0.1, 2000)]))
    between = valley_depth(np.concatenate([rng.normal(0, 0.35, 2000), rng.normal(1, 0.35, 2000)]))
    assert unimodal < 0.1
    assert apart > 0.95
    assert unimodal < between < apart
    assert valley_depth(np.zeros(10)) == 0.0


def test_a_line_through_one_cloud_is_no_gap(rng: np.random.Generator) -> None:
    X, _ = blobs(rng, (800,), 0.0)
    side = X[:, 0] > 0
    assert separation(X, side, ~side) < 0.3


def test_two_populations_are_separated_whatever_the_order_of_cells(rng: np.random.Generator) -> None:
    X, t = blobs(rng, (300, 60), 6.0)
    first = separation(X, t == 0, t == 1)
    order = rng.permutation(len(t))
    assert first > 0.9
    assert separation(X[order], t[order] == 0, t[order] == 1) == pytest.approx(first, abs=1e-9)


def test_parts_without_a_gap_are_joined_and_others_kept(rng: np.random.Generator) -> None:
    X, t = blobs(rng, (400, 200), 6.0)
    labels = np.where(t == 1, "2", np.where(X[:, 0] > 0, "1", "0"))
    joined, gaps = join_unseparated(X, labels, 0.5, lambda _a, _b: True)
    assert set(joined) == {"0", "2"}
    assert all(v >= 0.5 for v in gaps.values())
    kept, _ = join_unseparated(X, labels, 0.5, lambda a, b: {a, b} != {"0", "1"})
    assert len(set(kept)) == 3


def test_agreement_tells_populations_from_lines(rng: np.random.Generator) -> None:
    settings = RefinementParameters().subclustering(min_cells=10, seed=1)
    X, t = blobs(rng, (200, 200), 7.0)
    mean, parts = split_stability(X, t.astype(str), settings, 4)
    assert mean > 0.95
    assert min(parts.values()) > 0.95
    line = np.where(X[:, 5] > 0, "1", "0")
    assert split_stability(X, line, settings, 4)[0] < 0.5
    assert np.isnan(split_stability(X, line, settings, 0)[0])


@pytest.mark.parametrize("storage", ["dense", "csr", "csc"])
def test_parts_survive_constant_genes_in_any_storage(rng: np.random.Generator, storage: str) -> None:
    X, t = blobs(rng, (120, 90), 9.0)
    X = np.abs(np.hstack([X, np.full((len(X), 3), 2.0, np.float32), np.zeros((len(X), 2), np.float32)]))
    kept = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}[storage](X)
    cells = Cells(kept, names(X.shape[1]))
    found = find_parts(cells, np.arange(len(t)), Subcluster(cluster_id="3"), RefinementParameters(min_cells=50))
    assert found.labels is not None
    assert {len(set(t[found.labels == p])) for p in set(found.labels)} == {1}


@pytest.mark.parametrize("n", [1, 2, 3, 19])
def test_tiny_clusters_stay_whole(rng: np.random.Generator, n: int) -> None:
    X, t = blobs(rng, (n,), 0.0)
    cells = Cells(X, names(X.shape[1]))
    found = find_parts(cells, np.arange(n), Subcluster(cluster_id="3", min_cells=1), RefinementParameters())
    assert found.labels is None
    assert found.reason
    assert len(t) == n


def test_seeds_belong_to_clusters() -> None:
    assert part_seed(1, "3") == part_seed(1, "3") != part_seed(1, "4")
    assert part_seed(2, "3") != part_seed(1, "3")


@pytest.fixture
def counts(rng: np.random.Generator):
    X = sp.csr_matrix(rng.poisson(0.6, (300, 40)).astype(np.float32))
    labels = np.array([str(i) for i in rng.integers(0, 4, 300)], dtype=object)
    expression = Expression(X, scale=cell_factors(X))
    return X, labels, expression, profile_clusters(expression, labels, names(40))


def test_parts_are_measured_against_all_cells(counts) -> None:
    """Statistics of a part equal those it would have as a cluster of the whole; ranks are among its siblings."""
    X, labels, expression, whole = counts
    rows = np.flatnonzero(np.isin(labels, ["1", "2"]))
    part = profile_parts(Expression(X[rows], scale=expression.scale[rows]), labels[rows], whole)
    at = [whole.groups.index(g) for g in part.groups]
    for field in ("mean", "median", "detection"):
        np.testing.assert_allclose(getattr(part, field), getattr(whole, field)[at], atol=1e-12)
    np.testing.assert_array_equal(part.positive, whole.positive[:, at])
    np.testing.assert_array_equal(part.thresholds, whole.thresholds)
    np.testing.assert_allclose(part.rank_z[0], -part.rank_z[1], atol=1e-9)
    both = with_groups(whole, part, removed=["1", "2"])
    assert both.groups == whole.groups


def test_ranks_of_joined_clusters_are_exact(counts) -> None:
    X, labels, expression, whole = counts
    joined = np.where(np.isin(labels.astype(str), ["1", "2"]), "m", labels).astype(object)
    direct = profile_clusters(expression, joined, names(40))
    np.testing.assert_allclose(
        joined_rank_z(whole, ["1", "2"]), direct.rank_z[direct.groups.index("m")], atol=1e-8)
    assert not joined_rank_z(whole, list(whole.groups)).any()
    rows = np.flatnonzero(joined == "m")
    merged = profile_merged(Expression(X[rows], scale=expression.scale[rows]), "m", labels[rows], whole)
    np.testing.assert_allclose(merged.mean[0], direct.mean[direct.groups.index("m")], atol=1e-12)
    np.testing.assert_allclose(merged.rank_z[0], direct.rank_z[direct.groups.index("m")], atol=1e-8)


def test_profiles_of_refined_clusters_can_be_made_again(counts) -> None:
    """The identifiers say how every cluster came about, so nothing else need be kept."""
    X, labels, expression, whole = counts
    ids = labels.copy()
    ids[ids == "1"] = np.where(np.arange((ids == "1").sum()) % 2, "1:0", "1:1")
    nested = np.flatnonzero(ids == "1:0")
    ids[nested] = np.where(np.arange(len(nested)) % 3, "1:0:0", "1:0:1")
    ids[np.isin(ids.astype(str), ["2", "3"])] = "2+m"
    again = profiles_of_ids(ids, labels, whole, Cells(X, names(40), transform="normalise"))
    direct = profile_clusters(expression, ids, names(40))
    assert again.groups == direct.groups
    np.testing.assert_allclose(again.mean, direct.mean, atol=1e-12)
    np.testing.assert_allclose(again.median, direct.median, atol=1e-12)
    np.testing.assert_allclose(again.positive, direct.positive, atol=1e-12)
    np.testing.assert_array_equal(again.n_cells, direct.n_cells)
