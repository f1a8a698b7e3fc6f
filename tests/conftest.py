"""Shared fixtures: where the labelled data are, small cells with a known answer, a quiet matplotlib."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData

os.environ.setdefault("MPLBACKEND", "Agg")
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

SMALL_MAP: dict[str, Any] = {
    "Immune Cells": {
        "markers": ["PTPRC", "CD74", "CD52"], "anti_markers": ["EPCAM"], "ontology_id": "CL:0000738",
        "children": {
            "T Cells": {"markers": ["CD3D", "CD3E", "TRAC"], "anti_markers": ["CD79A"], "ontology_id": "CL:0000084"},
            "B Cells": {"markers": ["CD79A", "MS4A1", "CD19"], "anti_markers": ["CD3D"], "ontology_id": "CL:0000236"},
        },
    },
    "Epithelium": {
        "markers": ["EPCAM", "KRT8", "KRT18"], "anti_markers": ["PTPRC"], "ontology_id": "CL:0000066",
        "children": {
            "Ciliated Epithelium": {"markers": ["FOXJ1", "TUBB4B", "PIFO"], "ontology_id": "CL:0000067"},
            "Secretory Epithelium": {"markers": ["PAX8", "MUC16", "OVGP1"], "anti_markers": ["FOXJ1"]},
        },
    },
}
KINDS = {
    "T Cells": ("PTPRC", "CD74", "CD52", "CD3D", "CD3E", "TRAC"),
    "B Cells": ("PTPRC", "CD74", "CD52", "CD79A", "MS4A1", "CD19"),
    "Ciliated Epithelium": ("EPCAM", "KRT8", "KRT18", "FOXJ1", "TUBB4B", "PIFO"),
    "Secretory Epithelium": ("EPCAM", "KRT8", "KRT18", "PAX8", "MUC16", "OVGP1"),
}


def _data_folder() -> Path | None:
    named = os.environ.get("CELLKEY_DATA")
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared" / "data"]
    return next((c for c in candidates if c.is_dir()), None)


@pytest.fixture(scope="session")
def labelled_data() -> Path:
    """Folder of real labelled data sets; tests that need it are skipped where it is absent."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("labelled data not found: set CELLKEY_DATA to the folder that holds pbmc3k.h5ad")
    return folder


@pytest.fixture
def small_map() -> dict[str, Any]:
    """Marker map of two lineages with two types each, as plain values."""
    return json.loads(json.dumps(SMALL_MAP))


@pytest.fixture
def small_cells() -> Callable[..., AnnData]:
    """Make counts of four well separated types, with the true type in ``obs["truth"]``."""

    def make(n_per_type: int = 40, n_other: int = 60, seed: int = 0, storage: str = "csr") -> AnnData:
        import anndata as ad
        import pandas as pd
        import scipy.sparse as sp

        rng = np.random.default_rng(seed)
        genes = sorted({g for names in KINDS.values() for g in names})
        names = [*genes, *(f"GENE{i}" for i in range(n_other))]
        rows, truth = [], []
        for kind, markers in KINDS.items():
            rate = np.array([2.5 if g in markers else 0.05 for g in genes] + [0.4] * n_other)
            rows.append(rng.poisson(rate, (n_per_type, len(names))))
            truth += [kind] * n_per_type
        order = rng.permutation(len(truth))
        X = np.vstack(rows)[order].astype(np.float32)
        obs = pd.DataFrame({"truth": pd.Categorical(np.array(truth)[order])}, index=[f"cell{i}" for i in range(len(X))])
        convert = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[storage]
        return ad.AnnData(convert(X), obs=obs, var=pd.DataFrame(index=names))

    return make


@pytest.fixture
def cells_file(tmp_path: Path, small_cells: Callable[..., AnnData]) -> Path:
    """An ``.h5ad`` file of small cells."""
    path = tmp_path / "cells.h5ad"
    small_cells().write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def annotated_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a run of simulated cells, in clusters that hold two populations where ``merged`` says so."""

    def make(
        merged: Sequence[tuple[str, str]], change: Callable[[AnnData], None] = lambda adata: None, **options: Any
    ) -> Path:
        from cellkey.annotation.run import annotate_file
        from cellkey.datasets import synthetic_rna

        folder = tmp_path_factory.mktemp("annotated")
        made = synthetic_rna(520, 120, merged=merged, seed=6)
        change(made.adata)
        made.adata.write_h5ad(folder / "cells.h5ad")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            annotate_file(folder / "cells.h5ad", folder / "run", hierarchy=made.marker_map,
                          cluster_key="true_cluster", figures=False, **options)
        return folder / "run"

    return make


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    """A marker map file that fits the small cells."""
    path = tmp_path / "map.json"
    path.write_text(json.dumps(SMALL_MAP), encoding="utf-8")
    return path


@pytest.fixture(params=["stand-in", pytest.param("card", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A GPU: one whose kernels the C++ compiler made for the CPU, and the card of this machine, if it has one."""
    import sys

    import anndata  # noqa: F401 - looks for cupy when it is imported, and so before there is a stand-in

    from cellkey import device
    from cellkey.testing.cuda import compiler, stand_in_cupy

    caches = (device.why_no_gpu, device.compiled)
    for cached in caches:
        cached.cache_clear()
    if request.param == "stand-in":
        if compiler() is None:
            pytest.skip("no C++ compiler")
        monkeypatch.setitem(sys.modules, "cupy", stand_in_cupy())
    elif device.why_no_gpu():
        pytest.skip(device.why_no_gpu())
    yield request.param
    for cached in caches:
        cached.cache_clear()
