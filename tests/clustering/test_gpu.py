"""Clusters of a GPU are those of the CPU: variances to 1e-6 of the largest, the same neighbours up to ties."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from cellkey.clustering import (
    ClusteringParameters,
    _gpu,
    cluster_cells,
    gene_moments,
    leiden,
    nearest_neighbors,
    principal_components,
)
from cellkey.clustering.neighbors import neighbor_recall
from cellkey.profiles.expression import Expression


def counts(n_cells: int = 300, n_genes: int = 90) -> sp.csr_matrix:
    rng = np.random.default_rng(2)
    rate = np.full((n_cells, n_genes), 0.3)
    rate[: n_cells // 2, :20] = 3.0
    return sp.csr_matrix(rng.poisson(rate).astype(np.float32))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", ["sparse", "dense", "many features"])
def test_components_are_those_of_the_cpu(kind: str) -> None:
    X = counts(400, 600) if kind == "many features" else counts()
    X = X if kind == "sparse" else sp.csr_matrix(X.toarray() + 1)
    expression = Expression(X)
    moments, features = gene_moments(expression), np.arange(X.shape[1])
    cpu, gpu = (
        principal_components(expression, features, moments, n_components=5, device=device)
        for device in ("cpu", "gpu")
    )
    np.testing.assert_allclose(gpu.variance, cpu.variance, atol=1e-6 * cpu.variance[0])
    np.testing.assert_allclose(gpu.scores[:, 0], cpu.scores[:, 0], atol=1e-4 * cpu.scores[:, 0].std())


@pytest.mark.parametrize(("n_cells", "k"), [(900, 15), (2500, 40), (5, 15)])
def test_neighbours_are_those_of_the_cpu(gpu: str, n_cells: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also far from the origin, with copies of one point, and when pairs come in many small tiles."""
    rng = np.random.default_rng(3)
    points = (rng.standard_normal((n_cells, 12)) + 300 * rng.integers(0, 2, (n_cells, 1))).astype(np.float32)
    points[: n_cells // 10] = points[0]
    if gpu == "stand-in":
        monkeypatch.setattr(_gpu, "_QUERIES", 1000)
        monkeypatch.setattr(_gpu, "_TILE_BYTES", 8 * 1000 * 700)
    cpu, found = (nearest_neighbors(points, k, method="exact", device=device) for device in ("cpu", "gpu"))
    np.testing.assert_allclose(found.distances, cpu.distances, rtol=1e-6)
    apart = np.arange(n_cells // 10, n_cells)  # the copies have more equally near neighbours than are kept
    assert neighbor_recall(found.indices[apart], cpu.indices[apart]) == 1.0
    assert (found.method, found.recall) == ("exact", 1.0)


@pytest.mark.usefixtures("gpu")
def test_the_whole_way_says_where_each_step_ran() -> None:
    expression, names = Expression(counts()), [f"g{i}" for i in range(90)]
    parts = [cluster_cells(expression, names, params=ClusteringParameters(n_pcs=5, device=d)) for d in ("cpu", "gpu")]
    assert [p.device for p in parts] == ["cpu", "gpu"]
    assert parts[1].on_gpu[:2] == ("components", "neighbours")
    note = next(note for note in parts[1].notes if note.startswith("device:"))
    assert "components and neighbours" in note
    assert ("communities on the CPU" in note) == (not _gpu.communities_on_gpu())
    assert adjusted_rand_score(parts[0].labels, parts[1].labels) > 0.9


@pytest.mark.usefixtures("gpu")
def test_the_approximate_search_stays_on_the_cpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellkey.clustering.neighbors._COMPARED", 300)
    names = [f"g{i}" for i in range(90)]
    settings = ClusteringParameters(n_pcs=5, device="gpu", search="approximate")
    found = cluster_cells(Expression(counts(1200)), names, params=settings)
    assert found.search == "approximate"
    assert "neighbours" not in found.on_gpu
    assert any("neighbours and communities on the CPU" in n for n in found.notes) or _gpu.communities_on_gpu()


def test_communities_come_from_rapids_where_it_is(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that calls cellkey's own Leiden: what is handed over and read back, not what the library finds."""
    if gpu == "card":
        pytest.skip("the library itself may be there")

    def communities(data: object, resolution: float, random_state: int, key_added: str, adjacency: object) -> None:
        data.obs[key_added] = leiden(adjacency, resolution=resolution, seed=random_state)  # type: ignore[attr-defined]

    rapids = types.ModuleType("rapids_singlecell")
    rapids.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    rapids.tl = types.SimpleNamespace(leiden=communities)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rapids_singlecell", rapids)
    expression, names = Expression(counts()), [f"g{i}" for i in range(90)]
    parts = [cluster_cells(expression, names, params=ClusteringParameters(n_pcs=5, device=d)) for d in ("cpu", "gpu")]
    assert parts[1].on_gpu == ("components", "neighbours", "communities")
    assert adjusted_rand_score(parts[0].labels, parts[1].labels) == 1.0
