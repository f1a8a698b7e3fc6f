"""A small refined-looking run to export, and the readers of the ecosystem in environments of their own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData

HOSTILE = ["../x", "=1+1", "a\tb", 'he said "yes"', "<b>", "Ä,ö"]


@functools.cache
def _python_with(module: str) -> str | None:
    for python in (sys.executable, *os.environ.get("CELLKEY_VALIDATORS", "").split(os.pathsep)):
        if python and subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False,
                                     env=_plain_environment()).returncode == 0:
            return python
    return None


def _plain_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}


@pytest.fixture(scope="session")
def run_with() -> Callable[..., str]:
    """Run code where a package of the ecosystem is installed: here, or in an environment of its own.

    ``CELLKEY_VALIDATORS`` names Python executables, separated as in PATH.
    """
    def run(module: str, code: str, *arguments: object) -> str:
        python = _python_with(module)
        if python is None:
            pytest.skip(f"{module} is not installed here nor in an environment named by CELLKEY_VALIDATORS")
        done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False,
                              env=_plain_environment())
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_directory(small_cells: Callable[..., AnnData], small_map: dict[str, Any], tmp_path: Path) -> Path:
    """A run over counts with Ensembl ids, an embedding, positions, and columns with awkward values."""
    from cellkey.annotation.run import annotate_file
    from cellkey.io.write import write_cells

    adata = small_cells()
    rng = np.random.default_rng(1)
    adata.var["gene_ids"] = [f"ENSG{i:011d}.3" for i in range(adata.n_vars)]
    adata.obsm["X_umap"] = rng.normal(size=(adata.n_obs, 2))
    adata.obsm["spatial"] = rng.random((adata.n_obs, 2)) * 100
    adata.obs["notes"] = [HOSTILE[i % len(HOSTILE)] for i in range(adata.n_obs)]
    adata.obs["cell_type"] = adata.obs["truth"]
    adata.obs_names = [f"{HOSTILE[1]}{i}" if i % 40 == 0 else f"cell,{i}" for i in range(adata.n_obs)]
    write_cells(adata, tmp_path / "cells.h5ad")
    with pytest.warns(UserWarning, match="holds counts"):
        annotate_file(tmp_path / "cells.h5ad", tmp_path / "run", hierarchy=small_map, cluster_key="truth",
                      figures=False)
    return tmp_path / "run"
