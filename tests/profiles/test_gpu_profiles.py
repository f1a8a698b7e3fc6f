"""Profiles and resamples of a GPU are those of the CPU: equal where nothing is summed, to 1e-12 where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.profiles import _gpu
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import ClusterProfiles, profile_clusters
from cellkey.profiles.resampling import Resampler, Resamples
from cellkey.profiles.tiles import TiledExpression, TileStore

_SUMS = {"mean", "overall_mean", "overall_std", "rank_z"}


def counts(n_cells: int = 400, n_genes: int = 40) -> tuple[sp.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(5)
    X = sp.csr_matrix(rng.poisson(rng.gamma(0.6, 1.5, n_genes), (n_cells, n_genes)).astype(np.float32))
    labels = np.array([None if u < 0.05 else str(int(u * 5)) for u in rng.random(n_cells)], dtype=object)
    labels[7] = "alone"
    return X, labels


def signed() -> np.ndarray:
    """Negative values, ties, a gene of zeros, a constant gene and a gene that is negative everywhere."""
    rng = np.random.default_rng(6)
    dense = rng.standard_normal((400, 30)).astype(np.float32)
    dense[rng.random(dense.shape) < 0.3] = 0
    dense[:, 3], dense[:, 4], dense[:, 5], dense[:, 6] = 0, 2, -1, np.round(dense[:, 6])
    return dense


def on(device: Any, expression: Expression, labels: np.ndarray, **options: Any) -> tuple[ClusterProfiles, Resamples]:
    names = [f"cell{i}" for i in range(expression.n_obs)]
    resampler = Resampler(names, np.arange(0, expression.n_vars, 2), n_resamples=12, seed=3)
    profiles = profile_clusters(
        expression, labels, [f"g{i}" for i in range(expression.n_vars)], n_jobs=2, resampler=resampler, device=device,
        **options,
    )
    return profiles, resampler.result()


def compare(expression: Expression, labels: np.ndarray, **options: Any) -> None:
    cpu, gpu = (on(device, expression, labels, **options) for device in ("cpu", "gpu"))
    for name in ClusterProfiles.__dataclass_fields__:
        a, b = getattr(cpu[0], name), getattr(gpu[0], name)
        if name in _SUMS:
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12, err_msg=name)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(b, a, err_msg=name)
    for name in Resamples.__dataclass_fields__:
        a, b = getattr(cpu[1], name), getattr(gpu[1], name)
        if isinstance(a, np.ndarray) and a.dtype == np.float32:
            np.testing.assert_allclose(b, a, rtol=2e-6, atol=1e-6, err_msg=name)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(b, a, err_msg=name)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("basis", ["auto", "nonzero", "all"])
@pytest.mark.parametrize("values", ["counts", "scaled", "signed"])
def test_profiles_are_those_of_the_cpu(values: str, basis: str) -> None:
    X, labels = counts()
    scale = np.random.default_rng(1).uniform(0.5, 2, X.shape[0]) if values == "scaled" else None
    compare(Expression(signed() if values == "signed" else X, scale=scale), labels, basis=basis)


@pytest.mark.usefixtures("gpu")
def test_every_storage_goes_the_same_way() -> None:
    X, labels = counts()
    for expression in (Expression(sp.csc_matrix(X)), TiledExpression(TileStore.of(X), scale=np.full(len(labels), 0.7))):
        compare(expression, labels)


@pytest.mark.usefixtures("gpu")
def test_blocks_fit_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few bytes hold few genes, so the genes come in many blocks, and resamples two at a time."""
    X, labels = counts()
    seen = []
    call = _gpu.DeviceStatistics._statistics

    def watched(self: Any, block: Any) -> Any:
        seen.append(block.n_genes)
        return call(self, block)

    monkeypatch.setattr(_gpu, "free_bytes", lambda: 2 * 1000 * _gpu._BYTES_PER_VALUE)
    monkeypatch.setattr(_gpu, "_SCRATCH_BYTES", 2 * 8 * _gpu._SCRATCH_ARRAYS * 6 * 12)
    monkeypatch.setattr(_gpu.DeviceStatistics, "_statistics", watched)
    compare(Expression(X), labels)
    assert sum(seen) == X.shape[1]
    assert len(seen) > 4


@pytest.mark.gpu
def test_a_card_holds_one_block_at_a_time(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """6.4 million values take 820 MB at once; with 128 MB allowed for a block no more than 200 is ever held."""
    if gpu != "card":
        pytest.skip("memory of the device")
    import cupy

    rng = np.random.default_rng(0)
    X = sp.random(40_000, 800, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    labels = np.array([str(i % 9) for i in range(X.shape[0])], dtype=object)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    held = pool.total_bytes()
    monkeypatch.setattr(_gpu, "free_bytes", lambda: 2 * 128 * 2**20)
    profile_clusters(Expression(X), labels, [f"g{i}" for i in range(800)], n_jobs=4, device="gpu")
    assert pool.total_bytes() - held < 200 * 2**20
