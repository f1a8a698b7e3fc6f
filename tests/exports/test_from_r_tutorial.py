"""The tutorial "From R and back" run as it stands: its R, Python and shell blocks in their order."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from anndata import AnnData

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "from-r.md"
MAKE_OBJECT = """
suppressPackageStartupMessages(library(SeuratObject))
counts <- as.matrix(read.csv("counts.csv.gz", row.names = 1, check.names = FALSE))
object <- CreateSeuratObject(as(counts, "CsparseMatrix"))
object$seurat_clusters <- factor(read.csv("truth.csv", row.names = 1)[colnames(object), 1])
"""


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(r|python|bash)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                   "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.r
@pytest.mark.slow
def test_the_page_runs(small_cells: Callable[..., AnnData], tmp_path: Path) -> None:
    """Every cell comes back with a label, and clusters have one each."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    if subprocess.run(["Rscript", "-e", "stopifnot(requireNamespace('SeuratObject', quietly = TRUE))"],
                      capture_output=True, check=False).returncode:
        pytest.skip("the R package SeuratObject is not installed")
    adata = small_cells(30, 40)
    with gzip.open(tmp_path / "counts.csv.gz", "wt") as handle:
        adata.to_df().astype(int).T.to_csv(handle)
    adata.obs["truth"].cat.codes.to_csv(tmp_path / "truth.csv")
    found = blocks()
    assert [language for language, _ in found] == ["r", "python", "bash", "r"]
    first, python, shell, last = (code for _, code in found)
    save, load = 'saveRDS(object, "object.rds")', 'library(SeuratObject); object <- readRDS("object.rds")'
    for name, code in (("first.R", f"{MAKE_OBJECT}\n{first}\n{save}"), ("last.R", f"{load}\n{last}")):
        (tmp_path / name).write_text(code, encoding="utf-8")
    run(["Rscript", "first.R"], tmp_path)
    run([sys.executable, "-c", python], tmp_path)
    run(["bash", "-euo", "pipefail", "-c", shell], tmp_path)
    table = run(["Rscript", "last.R"], tmp_path)
    rows = re.findall(r"^ *(\S.*?)((?: +\d+){4})$", table, flags=re.M)
    counts = {label: [int(n) for n in numbers.split()] for label, numbers in rows if not label.isdigit()}
    assert sum(map(sum, counts.values())) == adata.n_obs
    assert {n for numbers in counts.values() for n in numbers} == {0, 30}
