"""Exports read by the ecosystem's own programs, where they are installed."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from test_exports import SUBMISSION, labels_of

from cellkey.exports import export_run

VALIDATE = """
import sys
from cellxgene_schema.validate import validate
valid, errors, _ = validate(sys.argv[1])
assert valid, errors
print("valid")
"""
GENES = """
import gzip, os, cellxgene_schema
folder = os.path.join(os.path.dirname(cellxgene_schema.__file__), "gencode_files")
for line in gzip.open(os.path.join(folder, "genes_homo_sapiens.csv.gz"), "rt").readlines()[:500]:
    print(line.split(",")[0])
"""


@pytest.mark.slow
def test_cellxgene_schema_accepts_the_file(run_directory: Path, run_with: Callable[..., str]) -> None:
    """The portal's validator finds nothing; genes are named by ids that it knows."""
    known = [line for line in run_with("cellxgene_schema", GENES).splitlines() if line.startswith("ENSG")]
    file = run_directory / "output.h5ad"
    adata = ad.read_h5ad(file)
    adata.var["gene_ids"] = known[: adata.n_vars]
    del adata.obsm["spatial"]  # the schema allows it for Visium and Slide-seq only
    adata.write_h5ad(file)
    folder, _ = export_run(run_directory, "cellxgene", settings=SUBMISSION)
    assert run_with("cellxgene_schema", VALIDATE, folder / "cellxgene.h5ad").endswith("valid\n")


def test_cell_annotation_schema_is_valid(run_directory: Path, run_with: Callable[..., str]) -> None:
    """The JSON file fits the published schema."""
    folder, _ = export_run(run_directory, "cas", settings={"author_name": "A. Uthor", "title": "Test"})
    run_with("cas_schema", """
import json, os, sys, cas_schema, jsonschema
schema = json.load(open(os.path.join(os.path.dirname(cas_schema.__file__), "schemas", "general_schema.json")))
jsonschema.validate(json.load(open(sys.argv[1])), schema)
""", folder / "cas.json")


def test_cap_anndata_reads_the_columns(run_directory: Path, run_with: Callable[..., str]) -> None:
    """The reader of the Cell Annotation Platform finds the label set and its columns."""
    folder, _ = export_run(run_directory, "cas", settings={"author_name": "A. Uthor", "title": "Test"})
    out = run_with("cap_anndata", """
import sys
from cap_anndata import read_h5ad
with read_h5ad(sys.argv[1]) as cells:
    cells.read_obs(); cells.read_uns()
    print(*sorted(set(cells.obs["cell_type--cell_ontology_term_id"])))
    print(cells.uns["cellannotation_metadata"]["cell_type"]["annotation_method"])
    print(cells.uns["hierarchy"]["cell_type_level_0"])
""", folder / "cas.h5ad")
    assert out.split() == ["CL:0000066", "CL:0000067", "CL:0000084", "CL:0000236", "algorithmic", "0"]


def test_vitessce_reads_the_configuration(run_directory: Path, run_with: Callable[..., str]) -> None:
    """The Python package takes the configuration and writes the same again."""
    folder, _ = export_run(run_directory, "vitessce")
    run_with("vitessce", """
import json, sys
from vitessce import VitessceConfig
given = json.load(open(sys.argv[1]))
again = VitessceConfig.from_dict(given).to_dict()
assert again["datasets"] == given["datasets"], again["datasets"]
assert again["coordinationSpace"] == given["coordinationSpace"]
assert len(again["layout"]) == len(given["layout"])
""", folder / "vitessce.json")


def test_spatialdata_reads_the_table(run_directory: Path, run_with: Callable[..., str]) -> None:
    """The table is valid, with its link to the regions."""
    file = run_directory / "output.h5ad"
    adata = ad.read_h5ad(file)
    adata.obs["region"] = "cells"
    adata.obs["region"] = adata.obs["region"].astype("category")
    adata.obs["cell_id"] = np.arange(adata.n_obs)
    adata.uns["spatialdata_attrs"] = {"region": "cells", "region_key": "region", "instance_key": "cell_id"}
    adata.write_h5ad(file)
    folder, _ = export_run(run_directory, "spatialdata")
    out = run_with("spatialdata", """
import sys, warnings
warnings.simplefilter("ignore")
import spatialdata
from spatialdata.models import TableModel
table = spatialdata.read_zarr(sys.argv[1]).tables["table"]
TableModel().validate(table)
print(table.uns["spatialdata_attrs"]["region"], table.obs["annotation"].nunique())
""", folder / "labelled.zarr")
    assert out.split() == ["cells", "4"]


def test_cell_browser_builds(run_directory: Path, run_with: Callable[..., str], tmp_path: Path) -> None:
    """The converter of the Cell Browser parses every file of the folder."""
    folder, _ = export_run(run_directory, "cellbrowser")
    out = run_with("cellbrowser.cellbrowser", """
import sys, os
from cellbrowser import cellbrowser as cb
os.chdir(sys.argv[1])
conf = cb.loadConfig("cellbrowser.conf")
names = cb.readMatrixSampleNames(conf["exprMatrix"])
meta = cb.parseOneColumn(conf["meta"], conf["clusterField"])
coords = cb.parseCoordsAsDict(conf["coords"][0]["file"])
markers = cb.parseMarkerTable(conf["markers"][0]["file"], None)
print(len(names), len(meta), len(coords), len(markers[0]))
""", folder)
    n = str(len(labels_of(run_directory)))
    assert out.split()[-4:] == [n, n, n, "4"]


@pytest.mark.r
def test_seurat_takes_the_metadata(run_directory: Path, tmp_path: Path) -> None:
    """Seurat adds the columns to an object with the same cells, and the colours name its labels."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    if subprocess.run(["Rscript", "-e", "stopifnot(requireNamespace('SeuratObject', quietly = TRUE))"],
                      capture_output=True, check=False).returncode:
        pytest.skip("the R package SeuratObject is not installed")
    folder, _ = export_run(run_directory, "seurat")
    adata = ad.read_h5ad(run_directory / "output.h5ad")
    table = adata.to_df().T
    with gzip.open(tmp_path / "counts.csv.gz", "wt") as handle:
        table.to_csv(handle)
    script = tmp_path / "read.R"
    script.write_text("""
suppressPackageStartupMessages(library(SeuratObject))
args <- commandArgs(TRUE)
counts <- as.matrix(read.csv(args[1], row.names = 1, check.names = FALSE))
object <- CreateSeuratObject(counts)
object <- AddMetaData(object, read.csv(args[2], row.names = 1))
colours <- read.csv(args[3])
mine <- colours[colours$column == "cellkey_label", ]
object$cellkey_label <- factor(object$cellkey_label, levels = mine$label)
stopifnot(!anyNA(object$cellkey_label), is.numeric(object$cellkey_margin))
cat(paste(names(table(object$cellkey_label)), table(object$cellkey_label)), sep = "\\n")
""")
    done = subprocess.run(["Rscript", str(script), str(tmp_path / "counts.csv.gz"), str(folder / "metadata.csv"),
                           str(folder / "colours.csv")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == ["T Cells 40", "B Cells 40", "Ciliated Epithelium 40",
                                           "Secretory Epithelium 40"]
