"""The article's own scripts, with nothing changed but the import line (and the path of the data)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from article import article_text, python_blocks

_SETUP = """
import warnings
warnings.simplefilter("ignore")
import matplotlib
matplotlib.use("Agg")
"""


def _cells(labelled_data: Path, target: Path) -> None:
    """Blood cells with counts in a layer, and stand-ins for the coordinates and the embedding that the text needs."""
    import anndata as ad

    cells = ad.read_h5ad(labelled_data / "kang_ifnb_pbmc.h5ad")[::4].copy()
    cells.obs = cells.obs[[]]
    cells.layers["counts"] = cells.X.copy()
    rng = np.random.default_rng(0)
    cells.obsm["spatial"] = rng.uniform(0, 1000, (cells.n_obs, 2))
    markers = [g for g in ("CD3D", "MS4A1", "LYZ", "NKG7", "CD14", "FCGR3A", "IL7R", "GNLY") if g in cells.var_names]
    cells.obsm["X_emb_scgpt"] = np.log1p(cells[:, markers].X.toarray()).astype(np.float32)
    cells.write_h5ad(target)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.filterwarnings("default")
def test_every_python_block_of_the_article_runs(labelled_data: Path, builtins: None, tmp_path: Path) -> None:
    """In the order of the text, in one session; the figures and tables it names are there afterwards."""
    text = article_text()
    if text is None:
        pytest.skip("the article's text is not here: name its file in CELLKEY_ARTICLE")
    for package in ("scanpy", "leidenalg", "skmisc", "umap"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the article's scripts need {package}")
    _cells(labelled_data, tmp_path / "data.h5ad")
    blocks = python_blocks(text)
    assert len(blocks) == 11
    script = _SETUP + "\n".join(blocks).replace("from hierannot import", "from cellkey.compat.hierannot import")
    (tmp_path / "script.py").write_text(script.replace("path/to/data.h5ad", "data.h5ad"), encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    written = {p.name for p in (tmp_path / "output").iterdir()}
    assert written == {
        "cluster_export_leiden.csv", "fig_diag_confidence.png", "fig_diagnostic_hierarchy_fit.png",
        "fig_hierarchy_fit_compare.png", "fig_marker_canonical_dotplot.png", "fig_marker_dotplot.png",
        "fig_spatial_hierannot_leiden.png", "fig_umap_std_cluster_hierannot.png", "marker_rankings_robust.csv"}


_R_DATA = r"""
suppressPackageStartupMessages({library(Seurat); library(reticulate)})
use_python(Sys.getenv("RETICULATE_PYTHON"), required = TRUE)
set.seed(1)
hierannot <- import("cellkey.compat.hierannot")
roots <- hierannot$get_builtin_hierarchy("colon_tme")
kinds <- list(c("EPCAM", "KRT20", "MUC2", "TFF3", "SPINK4"), c("COL1A1", "COL1A2", "DCN", "LUM", "COL3A1"),
              c("PTPRC", "CD53", "CD3D", "CD3E", "TRBC1"), c("PECAM1", "VWF", "EMCN", "KDR", "CLDN5"))
genes <- unique(c(unlist(kinds), "CD4", "LYZ", "KIT", paste0("GENE", 1:400)))
cluster <- rep(0:3, each = 30)
rate <- matrix(0.4, length(genes), length(cluster), dimnames = list(genes, paste0("cell", seq_along(cluster))))
for (k in 0:3) rate[kinds[[k + 1]], cluster == k] <- 4
counts <- matrix(rpois(length(rate), rate), nrow(rate), dimnames = dimnames(rate))
seurat_obj <- CreateSeuratObject(counts = as(counts, "CsparseMatrix"))
seurat_obj$seurat_cluster <- paste0("c", cluster)
"""
_R_CHECK = r"""
found <- table(seurat_obj$seurat_cluster, seurat_obj$hierannot_export_label, useNA = "ifany")
stopifnot(!anyNA(seurat_obj$hierannot_export_label_with_cluster))
stopifnot("Fibroblast" %in% seurat_obj$hierannot_export_label[seurat_obj$seurat_cluster == "c1"])
print(found)
"""


def _r_block(text: str) -> str:
    """The article's R script from ``library(Seurat)`` to the clean-up; the figures need coordinates."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("library(Seurat)"))
    stop = next(i for i, line in enumerate(lines) if line.startswith("# Visualize HierAnnot labels on"))
    block = "\n".join(lines[start:stop])
    block = block.replace('use_virtualenv("/path/to/hierannot_env")', 'use_python(Sys.getenv("RETICULATE_PYTHON"))')
    return block.replace('import("hierannot")', 'import("cellkey.compat.hierannot")')


@pytest.mark.slow
@pytest.mark.r
def test_the_r_block_of_the_article_runs(builtins: None, tmp_path: Path) -> None:
    """On a small Seurat object, with the import line and the path of the environment changed."""
    text = article_text()
    if text is None:
        pytest.skip("the article's text is not here: name its file in CELLKEY_ARTICLE")
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("Rscript is not installed (Debian: r-base-core)")
    for package in ("Seurat", "reticulate"):
        have = subprocess.run([rscript, "-e", f"quit(status = !requireNamespace('{package}', quietly = TRUE))"],
                              capture_output=True, check=False)
        if have.returncode != 0:
            pytest.skip(f"the R package {package} is not installed (Debian: r-cran-{package.lower()})")
    python = os.environ.get("CELLKEY_R_PYTHON", sys.executable)
    asked = "cat(as.integer(packageVersion('reticulate') >= '1.38'))"
    new_reticulate = subprocess.run([rscript, "-e", asked], capture_output=True, text=True, check=True).stdout == "1"
    numpy = subprocess.run([python, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True,
                           check=True).stdout
    if not new_reticulate and int(numpy.split(".")[0]) >= 2:
        pytest.skip("reticulate before 1.38 cannot read NumPy 2: name a Python with numpy<2 in CELLKEY_R_PYTHON")
    (tmp_path / "script.R").write_text(_R_DATA + _r_block(text) + _R_CHECK, encoding="utf-8")
    done = subprocess.run([rscript, "script.R"], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "RETICULATE_PYTHON": python}, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "Fibroblast" in done.stdout
