"""Small files of cells with planted types, and pipelines that misbehave on purpose."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from cellkey.batch import BatchSettings
from cellkey.batch.rows import DatasetRow
from cellkey.testing import ModelServer

TYPES = {
    "T": ("CD3D", "CD3E", "CD3G", "CD2", "TRAC", "IL7R", "CD247", "LCK"),
    "B": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "PAX5", "CD22", "VPREB3"),
    "endothelial": ("PECAM1", "VWF", "CDH5", "CLDN5", "KDR", "EGFL7", "FLT1", "ERG"),
}
EXPECTED = {"T": "CD4-positive, alpha-beta T cell", "B": "mature B cell", "endothelial": "endothelial cell"}
"""What the scripted model calls the planted types."""


def cellkey(*arguments: str | Path) -> tuple[int, str]:
    """Run a command in this process; return exit code and everything it printed."""
    from typer.testing import CliRunner

    from cellkey.cli import build_app

    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def settings(server: ModelServer | None = None, **changes) -> BatchSettings:
    model = {
        "provider": server.url if server else "scripted",
        "model": "scripted",
        "cache": "off",
        "retries": 8,
        **changes.pop("model", {}),
    }
    return BatchSettings.parse({"umap": False, "annotator": "llm", "model": model, **changes})


def write_cells_file(path: Path, *, n_per_type: int = 40, seed: int = 0, names: str = "symbol") -> Path:
    """Write counts of three planted types to an ``.h5ad`` file."""
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(seed)
    genes = [g for own in TYPES.values() for g in own] + [f"GENE{i}" for i in range(200)]
    rate = np.full((len(TYPES), len(genes)), 0.4)
    for i, own in enumerate(TYPES.values()):
        rate[i, [genes.index(g) for g in own]] = 8.0
    truth = np.repeat(np.arange(len(TYPES)), n_per_type)
    X = sp.csr_matrix(rng.poisson(rate[truth]).astype(np.int32))
    obs = pd.DataFrame(
        {"truth": pd.Categorical([list(TYPES)[t] for t in truth])}, index=[f"cell{i}" for i in range(len(truth))]
    )
    var = pd.DataFrame(index=genes)
    if names == "ensembl":
        var["feature_name"] = genes
        var.index = [f"ENSG{i:011d}" for i in range(len(genes))]
    path.parent.mkdir(parents=True, exist_ok=True)
    anndata.AnnData(X, obs=obs, var=var).write_h5ad(path)
    return path


def write_hierarchy(path: Path) -> str:
    """Write a marker hierarchy of the planted types; return its path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({f"{name} cells": {"markers": list(genes)} for name, genes in TYPES.items()}))
    return str(path)


def make_tree(root: Path, **tissues: list[str]) -> Path:
    """Make a data root; names of datasets by tissue."""
    for seed, (tissue, names) in enumerate(tissues.items()):
        for i, name in enumerate(names):
            write_cells_file(root / tissue / "h5ad_unlabelled" / f"{name}.h5ad", seed=10 * seed + i)
    return root


def empty_tree(root: Path, **tissues: list[str]) -> Path:
    """Make a data root whose files are empty, for tests that do not read them."""
    for tissue, names in tissues.items():
        for name in names:
            path = root / tissue / "h5ad_unlabelled" / f"{name}.h5ad"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def _row(job, **more) -> DatasetRow:
    return DatasetRow(job.dataset.name, job.dataset.tissue, str(job.dataset.path), output_dir=str(job.folder), **more)


def _meet(folder: Path) -> None:
    """Wait for two others, who must be at work at the same time."""
    (folder / "here").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.parent.glob("*/here"))) < 3:
        if time.monotonic() > deadline:
            raise RuntimeError("nobody else came")
        time.sleep(0.02)


def misbehave(job, say) -> DatasetRow:
    """Do what the name of the dataset says."""
    say("started")
    name = job.dataset.name
    job.folder.mkdir(parents=True, exist_ok=True)
    if name.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("crash"):
        os._exit(7)
    if name.startswith("raise"):
        raise RuntimeError("planted")
    if name.startswith("slow"):
        time.sleep(0.6)
    if name.startswith("meet"):
        _meet(job.folder)
    if name.startswith("wait"):
        (job.folder / "waiting").touch()
        time.sleep(60)
    if name.startswith("money"):
        return _row(job, error="budget of $1.00", error_type="BudgetExceededError")
    (job.folder / "pid.json").write_text(json.dumps({"pid": os.getpid(), "time": time.time()}))
    return _row(job, status="success", n_cells=1, n_genes=1, n_clusters=1)


MISBEHAVE = "batch_helpers:misbehave"


def labels_of(path: Path) -> dict[str, dict[str, int]]:
    import anndata

    return {
        p.parent.name: anndata.read_h5ad(p).obs["cell_type"].value_counts().to_dict()
        for p in sorted(path.glob("*/*/*_annotated.h5ad"))
    }
