"""One small Dask cluster for all tests of a module, and the same cells in every form that can be read in slices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.workers.connection import WorkerPlan, Workers


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    with WorkerPlan(local=2, memory=4 * 2**30).connect() as connected:
        yield connected


@pytest.fixture
def stored(small_cells: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Write the small cells in a form such as ``csc.zarr`` and return the path."""

    def write(form: str, **options: Any) -> Path:
        import anndata as ad

        storage, _, kind = form.partition(".")
        adata = small_cells(**{"n_per_type": 60, "n_other": 540, **options})
        X = sp.csr_matrix(adata.X).astype(np.float32)
        adata.X = X.toarray() if storage == "dense" else X.asformat(storage)
        path = tmp_path / f"cells.{kind}"
        with warnings.catch_warnings(), ad.settings.override(zarr_write_format=3):
            warnings.simplefilter("ignore")  # about the defaults of later versions
            (adata.write_h5ad if kind == "h5ad" else adata.write_zarr)(path)
        return path

    return write
