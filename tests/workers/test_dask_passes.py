"""The same numbers on a cluster as in memory, for every form, and the same answer after a worker was killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellkey.annotation.passes import LocalPasses
from cellkey.clustering import ClusteringParameters, gene_moments
from cellkey.clustering.features import Moments
from cellkey.clustering.pca import Components, principal_components
from cellkey.errors import RunError
from cellkey.io.on_disk import open_on_disk, open_store
from cellkey.io.read import read_cells
from cellkey.io.stored import StoredMatrix
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import ClusterProfiles
from cellkey.profiles.resampling import Resampler
from cellkey.profiles.tiles import TiledExpression, TileStore
from cellkey.workers import passes as passes_module
from cellkey.workers.connection import WorkerPlan, Workers
from cellkey.workers.passes import DaskPasses

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
PARAMETERS = ClusteringParameters(n_pcs=8, n_top_genes=300, device="cpu")
SMALL_PARTS = 9000  # of the small cells, five parts if sparse
FORMS = ("csr.h5ad", "csc.h5ad", "dense.h5ad", "csr.zarr", "csc.zarr", "dense.zarr")


def expression_of(passes: Any, X: Any, names: list[str], assume: str | None = None) -> tuple[Expression, Any]:
    report = passes.inspect(X, var_names=names, assume=assume)
    scale = passes.scale(X, report)
    return TiledExpression(X, scale=scale) if isinstance(X, TileStore) else Expression(X, scale=scale), report


def assert_equal_profiles(found: ClusterProfiles, expected: ClusterProfiles) -> None:
    for field in dataclasses.fields(ClusterProfiles):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert a.dtype == b.dtype, field.name
        else:
            assert a == b


def assert_equal_moments(found: Moments, expected: Moments) -> None:
    assert found.n_cells == expected.n_cells
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.sd, expected.sd)


def assert_equal_components(found: Components, expected: Components) -> None:
    for name in ("scores", "loadings", "variance", "total_variance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def decoded(path: Path) -> TileStore:
    """The matrix as a run in one process reads it."""
    root = open_store(path)
    try:
        return TileStore.of(StoredMatrix(root["X"]))
    finally:
        if hasattr(root, "close"):
            root.close()


@pytest.mark.parametrize("form", ["csr.h5ad", "csc.zarr"])
def test_resamples_equal_those_of_memory(form: str, stored: Callable[..., Path], workers: Workers) -> None:
    path = stored(form)
    adata = read_cells(path)
    names = list(adata.var_names)
    labels = np.array([f"{i % 3}" for i in range(adata.n_obs)], dtype=object)
    found = []
    for passes, X in ((LocalPasses(), adata.X), (DaskPasses(workers, path, part_values=SMALL_PARTS),
                                                   open_on_disk(path).X)):
        resampler = Resampler(adata.obs_names, range(0, adata.n_vars, 7), n_resamples=4)
        expression, _ = expression_of(passes, X, names)
        passes.profiles(expression, labels, names, resampler=resampler)
        found.append(resampler.result())
    for name in ("n_cells", "mean", "median", "positive", "rank_z", "overall_std", "thresholds"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name), err_msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_numbers_of_memory(form: str, stored: Callable[..., Path], workers: Workers) -> None:
    """Factors, moments, components, clusters and profiles, bit by bit."""
    path = stored(form)
    names = list(read_cells(path).var_names)
    memory, cluster = LocalPasses(), DaskPasses(workers, path, part_values=27_000 if "dense" in form else SMALL_PARTS)
    here, report = expression_of(memory, decoded(path), names)
    there, far_report = expression_of(cluster, open_on_disk(path).X, names)
    assert dataclasses.replace(far_report, storage=report.storage) == report
    np.testing.assert_array_equal(there.scale, here.scale)
    assert len(cluster._parts()) > 3
    assert len(cluster._rounds()[0]) > 3

    groups, own = cluster.cluster(there, names, params=PARAMETERS), memory.cluster(here, names, params=PARAMETERS)
    assert_equal_moments(cluster.moments(), gene_moments(here))
    assert_equal_components(groups.components, own.components)
    np.testing.assert_array_equal(groups.labels, own.labels)
    assert groups.n_clusters > 1
    labels = own.labels.astype(object)
    labels[:5] = None
    assert_equal_profiles(cluster.profiles(there, labels, names), memory.profiles(here, labels, names))


@pytest.mark.parametrize("storage", ["csr", "csc"])
def test_several_units_of_cells_are_summed_alike(storage: str, tmp_path: Path, workers: Workers) -> None:
    """Whichever units a task takes, and whether a fraction of a count is lost to the order of a sum."""
    import anndata as ad
    import scipy.sparse as sp

    rng = np.random.default_rng(3)
    X = sp.csr_matrix(rng.poisson(0.2, (20_000, 90)).astype(np.float32))
    X.data *= rng.random(X.nnz).astype(np.float32)
    path = tmp_path / "cells.h5ad"
    ad.AnnData(X.asformat(storage)).write_h5ad(path)
    names, features = [f"g{i}" for i in range(90)], np.arange(80)[::-1].copy()
    here, _ = expression_of(LocalPasses(), decoded(path), names, assume="counts")
    expected = gene_moments(here)
    chosen = Moments(20_000, expected.mean[features], expected.sd[features])
    components = principal_components(here, features, chosen, n_components=5)
    for part_values in (50_000, 10**8):
        cluster = DaskPasses(workers, path, part_values=part_values)
        there, report = expression_of(cluster, open_on_disk(path).X, names, assume="counts")
        assert report.transform == "normalise"
        np.testing.assert_array_equal(there.scale, here.scale)
        assert_equal_moments(cluster.moments(), expected)
        assert_equal_components(cluster.components(features, chosen, n_components=5), components)


class Cramped(Workers):
    """Workers that claim to have hardly any memory."""

    memory = 300_000  # type: ignore[assignment]


def test_little_memory_means_several_rounds_and_equal_profiles(stored: Callable[..., Path], workers: Workers) -> None:
    path = stored("csr.h5ad")
    adata = read_cells(path)
    names, labels = list(adata.var_names), adata.obs["truth"].astype(object).to_numpy()
    cluster = DaskPasses(Cramped(workers.client), path, part_values=SMALL_PARTS)
    there, _ = expression_of(cluster, open_on_disk(path).X, names)
    assert len(cluster._rounds()) > 1
    seen: list[float] = []
    found = cluster.profiles(there, labels, names, progress=seen.append)
    here, _ = expression_of(LocalPasses(), adata.X, names)
    assert_equal_profiles(found, LocalPasses().profiles(here, labels, names))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_log_normalised_values_and_layers(small_cells: Callable[..., Any], tmp_path: Path, workers: Workers) -> None:
    """A layer is read as it is; nothing is normalised twice."""
    adata = small_cells()
    adata.layers["aligned"] = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X).astype(np.float32)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    on_disk = open_on_disk(tmp_path / "cells.h5ad")
    cluster = DaskPasses(workers, tmp_path / "cells.h5ad", part_values=SMALL_PARTS)
    report = cluster.inspect(on_disk.layers["aligned"], name="aligned")
    assert (report.name, report.transform) == ("aligned", "none")
    assert cluster.scale(on_disk.layers["aligned"], report) is None
    expected = gene_moments(Expression(adata.layers["aligned"]))
    np.testing.assert_allclose(cluster.moments().mean, expected.mean, rtol=1e-12)


def _kill_one(workers: Workers) -> None:
    pids = workers.client.run(os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)


def _deadly(parent: int) -> None:
    if os.getpid() != parent:
        os._exit(9)


@pytest.mark.slow
def test_killed_workers_change_no_number(
    stored: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed with features in its memory, one in the middle of the profiles; a task that kills every worker
    is an error with the likely reason. Afterwards nothing is left."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    path = stored("csr.h5ad")
    adata = read_cells(path)
    names, labels = list(adata.var_names), adata.obs["truth"].astype(object).to_numpy()
    here, _ = expression_of(LocalPasses(), adata.X, names)
    expected = LocalPasses().cluster(here, names, params=PARAMETERS)
    usual = passes_module.components_from_products
    killed = []
    with WorkerPlan(local=2).connect() as workers:
        folder = Path(workers.client.cluster.workers[0].local_directory).parent
        pids = list(workers.client.run(os.getpid).values())
        cluster = DaskPasses(workers, path, part_values=SMALL_PARTS)
        there, _ = expression_of(cluster, open_on_disk(path).X, names)

        def kill_then_decompose(*arguments: Any) -> Any:
            _kill_one(workers)
            killed.append("features")
            return usual(*arguments)

        monkeypatch.setattr(passes_module, "components_from_products", kill_then_decompose)
        found = cluster.cluster(there, names, params=PARAMETERS)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert_equal_components(found.components, expected.components)

        def kill_once(share: float) -> None:
            if len(killed) == 1:
                _kill_one(workers)
                killed.append("profiles")

        profiles = cluster.profiles(there, labels, names, progress=kill_once)
        assert killed == ["features", "profiles"]
        assert_equal_profiles(profiles, LocalPasses().profiles(here, labels, names))

        workers.client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        workers.client.wait_for_workers(2, timeout=30)
        with pytest.raises(RunError, match="memory was short"):
            workers.gather([passes_module._delayed(_deadly)(os.getpid())])
        pids += list(workers.client.run(os.getpid).values())
    assert not folder.exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
