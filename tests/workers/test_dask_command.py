"""``cellkey annotate --scheduler`` and ``--local-cluster``: the same run directory, and clear errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellkey.errors import InputError, MissingDependencyError, ParameterError
from cellkey.io.on_disk import open_on_disk
from cellkey.workers import connection
from cellkey.workers.connection import WorkerPlan, Workers
from command_line import run_command

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
TABLES = ("cluster_annotations", "marker_scores", "decision_steps", "gating_details", "marker_evidence")


def annotate(*arguments: object):
    return run_command("annotate", *arguments, "--skip-figures")


@pytest.mark.parametrize("form", ["csr.h5ad", "csc.zarr"])
def test_the_run_directory_is_the_same(
    form: str, stored: Callable[..., Path], small_map: dict, tmp_path: Path, workers: Workers
) -> None:
    """All tables of annotation, and the cells with their labels."""
    import json

    path = stored(form)
    (tmp_path / "map.json").write_text(json.dumps(small_map))
    usual = (path, "--marker-map", tmp_path / "map.json", "--skip-refinement", "-q", "-o")
    assert annotate(*usual, tmp_path / "memory").exit_code == 0
    address = workers.client.scheduler.address
    done = annotate(*usual, tmp_path / "dask", "--scheduler", address)
    assert done.exit_code == 0, done.output
    for name in TABLES:
        a, b = (pd.read_csv(tmp_path / run / f"{name}.csv") for run in ("dask", "memory"))
        pd.testing.assert_frame_equal(a, b)
    far, near = (ad.read_h5ad(tmp_path / run / "output.h5ad") for run in ("dask", "memory"))
    pd.testing.assert_frame_equal(far.obs, near.obs)
    np.testing.assert_array_equal(far.X.toarray(), near.X.toarray())
    again = annotate(tmp_path / "dask" / "output.h5ad", "--annotation-only", "--skip-refinement", "-o",
                     tmp_path / "again", "--scheduler", "tcp://127.0.0.1:9", "-q")
    assert again.exit_code == 0  # from the stored profiles: no cell is read, so no worker is needed


def test_mistakes_are_said_at_once(
    stored: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong address, both options and a number below one end with 2, and nothing is written."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 1)
    path = stored("csr.h5ad")
    out = tmp_path / "run"
    for options, text in (
        (("--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers"),
        (("--scheduler", "nonsense://x"), "no Dask scheduler answers"),
        (("--scheduler", "tcp://127.0.0.1:9", "--local-cluster", "2"), "not both"),
        (("--local-cluster", "0"), "at least 1"),
    ):
        done = annotate(path, "-o", out, *options)
        assert done.exit_code == 2, done.output
        assert text in done.output
        assert not list(tmp_path.glob("run/*"))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"cellkey\[dask\]"), WorkerPlan(local=1).connect():
        pass


def test_only_forms_that_are_read_in_slices(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 1\n")
    with pytest.raises(InputError, match=r"write it as \.h5ad or Zarr first"):
        open_on_disk(tmp_path / "folder")
    with pytest.raises(ParameterError):
        WorkerPlan()


def test_opened_on_disk_everything_is_there(small_cells: Callable[..., ad.AnnData], tmp_path: Path) -> None:
    """Only X, raw values and layers stay on disk; names that repeat are made unique as usual."""
    adata = small_cells()
    adata.raw = adata.copy()
    adata.layers["other"] = adata.X.copy()
    adata.obsm["X_any"] = np.arange(2 * adata.n_obs, dtype=np.float32).reshape(-1, 2)
    adata.obs_names = ["same", "same", *adata.obs_names[2:]]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = open_on_disk(tmp_path / "cells.h5ad")
    assert hasattr(found.X, "group")
    assert hasattr(found.layers["other"], "group")
    assert list(found.obs_names[:2]) == ["same", "same-1"]
    np.testing.assert_array_equal(found.obsm["X_any"], adata.obsm["X_any"])
    np.testing.assert_array_equal(found.X[:5].toarray(), adata.X[:5].toarray())
    np.testing.assert_array_equal(found.raw.X[:5].toarray(), adata.X[:5].toarray())


def test_parts_of_other_stores_are_refused(stored: Callable[..., Path], tmp_path: Path) -> None:
    """A modality or a table is read whole; no worker is started for it."""
    done = annotate(stored("csr.h5ad"), "-o", tmp_path / "run", "--local-cluster", "2", "--modality", "rna")
    assert done.exit_code == 2
    assert "not tables or modalities" in done.output
