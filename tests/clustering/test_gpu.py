"""What the GPU computes is what the CPU computes, within stated tolerances; which device was used is said."""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from cellkey.clustering import ClusteringParameters, cluster_cells, gene_moments, principal_components
from cellkey.clustering._gpu import choose_device, device_note
from cellkey.profiles.expression import Expression


def counts(n_cells: int = 300, n_genes: int = 90) -> sp.csr_matrix:
    rng = np.random.default_rng(2)
    rate = np.full((n_cells, n_genes), 0.3)
    rate[: n_cells // 2, :20] = 3.0
    return sp.csr_matrix(rng.poisson(rate).astype(np.float32))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cupy that computes on numpy, and a rapids-singlecell that computes on cellkey's own steps."""
    from cellkey.clustering import leiden, nearest_neighbors, neighbor_graph

    cupy = types.ModuleType("cupy")
    for name in ("zeros", "asarray"):
        setattr(cupy, name, getattr(np, name))
    cupy.asnumpy = np.asarray  # type: ignore[attr-defined]
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1)
    cupy.cuda = types.SimpleNamespace(runtime=runtime)  # type: ignore[attr-defined]

    def neighbors(data: object, n_neighbors: int, use_rep: str, random_state: int) -> None:
        data.obsp["connectivities"] = neighbor_graph(nearest_neighbors(data.obsm[use_rep], n_neighbors - 1))

    def communities(data: object, resolution: float, random_state: int, key_added: str) -> None:
        data.obs[key_added] = leiden(data.obsp["connectivities"], resolution=resolution, seed=random_state)

    rapids = types.ModuleType("rapids_singlecell")
    rapids.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    rapids.pp = types.SimpleNamespace(neighbors=neighbors)  # type: ignore[attr-defined]
    rapids.tl = types.SimpleNamespace(leiden=communities)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "rapids_singlecell", rapids)


def compare_devices(X: sp.csr_matrix) -> None:
    """Variances to 1e-6 of the largest, components to 1e-3 of their spread, partitions to an ARI of 0.9."""
    expression = Expression(X)
    moments, features = gene_moments(expression), np.arange(X.shape[1])
    cpu = principal_components(expression, features, moments, n_components=5)
    gpu = principal_components(expression, features, moments, n_components=5, device="gpu")
    np.testing.assert_allclose(gpu.variance, cpu.variance, atol=1e-6 * cpu.variance[0])
    np.testing.assert_allclose(gpu.scores[:, 0], cpu.scores[:, 0], atol=1e-3 * cpu.scores[:, 0].std())
    names = [f"g{i}" for i in range(X.shape[1])]
    parts = [cluster_cells(expression, names, params=ClusteringParameters(n_pcs=5, device=d)) for d in ("cpu", "gpu")]
    assert [p.device for p in parts] == ["cpu", "gpu"]
    assert any("device: gpu" in note for note in parts[1].notes)
    assert adjusted_rand_score(parts[0].labels, parts[1].labels) > 0.9


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("density", ["sparse", "dense"])
def test_the_way_over_the_gpu_computes_the_same(density: str) -> None:
    X = counts()
    compare_devices(X if density == "sparse" else sp.csr_matrix(X.toarray() + 1))


@pytest.mark.gpu
@pytest.mark.skipif(
    find_spec("rapids_singlecell") is None or choose_device("auto") != "gpu",
    reason="no rapids-singlecell with a CUDA device",
)
def test_a_real_gpu_agrees_with_the_cpu() -> None:
    compare_devices(counts(2000, 300))


def test_the_reason_for_the_cpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("rapids_singlecell") is None:
        assert device_note("auto", "cpu") == "device: cpu (rapids-singlecell is not installed)"
    rapids = types.ModuleType("rapids_singlecell")
    rapids.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "rapids_singlecell", rapids)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert choose_device("auto") == "cpu"
    assert device_note("auto", "cpu") == "device: cpu (no CUDA device answers)"
    assert device_note("cpu", "cpu") == "device: cpu"
