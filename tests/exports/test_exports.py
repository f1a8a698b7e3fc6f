"""What is written for each viewer and archive, read back without it."""

from __future__ import annotations

import ast
import csv
import gzip
import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellkey import _keys
from cellkey.annotation.agreement_files import consensus
from cellkey.annotation.run import annotate_file
from cellkey.errors import InputError, ParameterError, RunError
from cellkey.exports import FORMS, export_run
from cellkey.exports.labelled import open_labelled
from cellkey.exports.settings import parse_settings
from cellkey.records.run import read_manifest

TYPES = ["T Cells", "B Cells", "Ciliated Epithelium", "Secretory Epithelium"]


def rows(path: Path, separator: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter=separator))


def labels_of(run: Path) -> pd.Series:
    return ad.read_h5ad(run / "output.h5ad").obs[_keys.FINAL].astype(str)


# --- the door ---


def test_folders_appear_whole_and_are_replaced(run_directory: Path, tmp_path: Path) -> None:
    """A second export replaces the first; a folder of something else is left alone, and so is one after a failure."""
    folder, _ = export_run(run_directory, "xenium")
    assert folder == run_directory / "exports" / "xenium"
    manifest = read_manifest(folder)
    assert (manifest["kind"], manifest["form"], manifest["input"]["name"]) == ("export", "xenium", "run")
    (folder / "stale.csv").write_text("x")
    export_run(run_directory, "xenium")
    assert not (folder / "stale.csv").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else"):
        export_run(run_directory, "xenium", other)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError):
        export_run(run_directory, "cas", tmp_path / "cas")
    assert not (tmp_path / "cas").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_requests_that_cannot_be_met(run_directory: Path, tmp_path: Path, cells_file: Path) -> None:
    """Unknown forms, unknown settings, and cells without labels are told apart."""
    with pytest.raises(ParameterError, match=r"no export to 'vitesse'; did you mean 'vitessce'"):
        export_run(run_directory, "vitesse")
    with pytest.raises(InputError, match=r"unknown setting; did you mean 'cell_id'"):
        export_run(run_directory, "xenium", settings={"cel_id": "x"})
    with pytest.raises(InputError, match=r"holds no labels of this version: it lacks obs\['annotation'\]"):
        export_run(cells_file, "seurat", tmp_path / "out")
    with pytest.raises(InputError, match="holds no labelled cells"):
        export_run(tmp_path, "seurat", tmp_path / "out")


def test_settings_are_pairs() -> None:
    """NAME=VALUE, the value with any further equals sign."""
    assert parse_settings(["uns.title=a = b"]) == {"uns.title": "a = b"}
    with pytest.raises(ParameterError, match="not of the form NAME=VALUE"):
        parse_settings(["title"])
    with pytest.raises(ParameterError, match="gives a twice"):
        parse_settings(["a=1", "a=2"])


def test_every_form_has_a_writer() -> None:
    """Names lead to modules whose settings say what they mean."""
    for form in FORMS.values():
        assert all(form.settings().values()) or not form.settings()


def test_refined_labels_go_first(run_directory: Path) -> None:
    """After refinement its labels, clusters and tables are exported."""
    from cellkey.refinement import refine_run

    plan = {"operations": [{"op_type": "override", "cluster_id": "T Cells", "label": "B Cells"}]}
    refine_run(run_directory, plan=plan, figures=False)
    cells = open_labelled(run_directory)
    assert cells.is_refined
    assert cells.key == "cell_type_lvl1"
    assert set(cells.labels) == set(TYPES) - {"T Cells"}
    assert cells.call("T Cells")["assigned_label"] == "B Cells"
    assert len(cells.colours("cell_type_lvl1")) == 3


# --- tables ---


def test_xenium_explorer(run_directory: Path) -> None:
    """Every level is a file of its own, every cell is in it once."""
    folder, _ = export_run(run_directory, "xenium")
    labels = labels_of(run_directory)
    found = rows(folder / "label.csv")
    assert [r["cell_id"] for r in found] == labels.index.tolist()
    assert [r["group"] for r in found] == labels.tolist()
    assert {r["group"] for r in rows(folder / "level_0.csv")} == {"Immune Cells", "Epithelium"}
    assert (folder / "label.csv").read_text(encoding="utf-8").startswith("cell_id,group,color\n")
    stored = ad.read_h5ad(run_directory / "output.h5ad")
    colours = dict(zip(stored.obs[_keys.FINAL].cat.categories, stored.uns[_keys.colours(_keys.FINAL)], strict=True))
    assert [r["color"] for r in found] == [colours[r["group"]] for r in found]


def test_xenium_ids_come_from_their_column(run_directory: Path) -> None:
    """A named column is used; ids that repeat are refused."""
    with pytest.raises(InputError, match="cell ids repeat in 'truth'"):
        export_run(run_directory, "xenium", settings={"cell_id": "truth"})
    with pytest.raises(InputError, match="no column 'cell_idd'"):
        export_run(run_directory, "xenium", settings={"cell_id": "cell_idd"})


def test_seurat(run_directory: Path) -> None:
    """One row per cell with prefixed columns; a colour for every label."""
    folder, _ = export_run(run_directory, "seurat")
    found = rows(folder / "metadata.csv")
    assert [r["cell"] for r in found] == labels_of(run_directory).index.tolist()
    assert [r["cellkey_label"] for r in found] == labels_of(run_directory).tolist()
    assert all(k == "cell" or k.startswith("cellkey_") for k in found[0])
    assert found[0]["cellkey_level_1"] == found[0]["cellkey_label"]
    colours = rows(folder / "colours.csv")
    assert [c["label"] for c in colours if c["column"] == "cellkey_label"] == TYPES


def test_a_consensus_is_exported_with_the_cells_of_its_run(run_directory: Path, tmp_path: Path) -> None:
    """Every cell gets the label of its cluster's consensus; the run's own labels, and their margins, are gone."""
    said = pd.read_csv(run_directory / "cluster_annotations.csv", dtype={"cluster_id": str})
    doubtful = said["cluster_id"].iloc[0]
    said["label"] = ["" if c == doubtful else label for c, label in zip(
        said["cluster_id"], said["final_annotation"], strict=True)]
    said.loc[said["cluster_id"] == doubtful, "label"] = next(t for t in TYPES if t != said["final_annotation"].iloc[0])
    said[["cluster_id", "label"]].to_csv(tmp_path / "person.csv", index=False)
    agreed = tmp_path / "agreed"
    consensus([run_directory], tables=[f"{tmp_path / 'person.csv'}:label"], output_dir=agreed, figures=False,
              rules={"weights": "equal"})
    cells = open_labelled(agreed)
    table = pd.read_csv(agreed / "consensus.csv", dtype={"cluster_id": str}).set_index("cluster_id")
    clusters = cells.adata.obs["cluster_lvl0"].astype(str)
    assert cells.labels.astype(str).tolist() == table["label"].reindex(clusters).tolist()
    assert table.loc[doubtful, "label"] != said["final_annotation"].iloc[0]
    assert "cell_type_auto_margin" not in cells.adata.obs
    np.testing.assert_allclose(cells.confidence(), table["confidence"].reindex(clusters))
    for form in ("seurat", "xenium", "vitessce", "cellbrowser"):
        folder, _ = export_run(agreed, form)
        assert (folder / "manifest.json").is_file()
    assert [r["group"] for r in rows(agreed / "exports" / "xenium" / "label.csv")] == cells.labels.astype(str).tolist()
    (run_directory / "coarse_clusters.h5ad").unlink()
    with pytest.raises(InputError, match="holds no cells"):
        export_run(agreed, "seurat")


def test_runs_with_different_clusters_are_exported_cell_by_cell(run_directory: Path, tmp_path: Path) -> None:
    """Every cell has the label of its group; a cell that a run lacks is unassigned and has no cluster."""
    cells = ad.read_h5ad(run_directory / "output.h5ad")
    cells = cells[1:].copy()  # the second run lacks the first cell
    cells.obs["halves"] = np.where(np.arange(cells.n_obs) % 2, "a", "b") + cells.obs["truth"].astype(str).to_numpy()
    cells.obs = cells.obs[["halves"]]
    cells.uns, cells.obsm = {}, {}
    cells.write_h5ad(tmp_path / "halves.h5ad")
    tree = open_labelled(run_directory).hierarchy
    with pytest.warns(UserWarning, match="holds counts"):
        annotate_file(tmp_path / "halves.h5ad", tmp_path / "other", hierarchy=tree.to_dict(), cluster_key="halves",
                      figures=False)
    consensus([run_directory, tmp_path / "other"], output_dir=tmp_path / "agreed", figures=False)
    by_cell = pd.read_csv(tmp_path / "agreed" / "consensus_cells.csv").set_index("cell_id")
    found = open_labelled(tmp_path / "agreed")
    assert found.labels.iloc[0] == "Unassigned"
    assert found.adata.obs["cluster_lvl0"].isna().tolist() == [True] + [False] * (found.adata.n_obs - 1)
    assert found.labels.iloc[1:].astype(str).tolist() == by_cell["label"].reindex(found.adata.obs_names[1:]).tolist()
    for form in ("seurat", "xenium", "vitessce", "cellbrowser", "spatialdata"):
        export_run(tmp_path / "agreed", form)
    written = rows(tmp_path / "agreed" / "exports" / "seurat" / "metadata.csv")
    assert {r["cellkey_cluster"] for r in written[1:]} == set(by_cell["cluster_id"])
    export_run(tmp_path / "agreed", "cas", settings={"author_name": "A. Uthor", "title": "Two clusterings"})
    record = json.loads((tmp_path / "agreed" / "exports" / "cas" / "cas.json").read_text(encoding="utf-8"))
    said = {c: a["cell_label"] for a in record["annotations"] for c in a["cell_ids"]}
    assert said == by_cell["label"].reindex(found.adata.obs_names).fillna("unknown").to_dict()
    export_run(tmp_path / "agreed", "cellxgene", settings=SUBMISSION)
    out = ad.read_h5ad(tmp_path / "agreed" / "exports" / "cellxgene" / "cellxgene.h5ad")
    assert out.obs["author_cell_type"].astype(str).tolist() == found.labels.astype(str).tolist()
    assert out.obs["cell_type_ontology_term_id"].iloc[0] == "unknown"


def test_a_consensus_made_again_leaves_no_cells_of_the_one_before(run_directory: Path, tmp_path: Path) -> None:
    """Runs on the same clusters need no table of cells, and a stale one would relabel them."""
    agreed = tmp_path / "agreed"
    agreed.mkdir()
    (agreed / "consensus_cells.csv").write_text("cell_id,cluster_id,label,path,confidence\nx,0+0,T Cells,T Cells,0.9\n")
    table = pd.read_csv(run_directory / "cluster_annotations.csv", dtype={"cluster_id": str})
    table[["cluster_id", "final_annotation"]].to_csv(tmp_path / "person.csv", index=False)
    consensus([run_directory], tables=[f"{tmp_path / 'person.csv'}:final_annotation"], output_dir=agreed, figures=False)
    assert not (agreed / "consensus_cells.csv").exists()
    assert open_labelled(agreed).labels.astype(str).tolist() == labels_of(run_directory).tolist()


# --- viewers ---


def test_cell_browser(run_directory: Path) -> None:
    """Matrix, metadata, coordinates and markers agree with the cells; the configuration holds literals only."""
    stored = ad.read_h5ad(run_directory / "output.h5ad")
    stored.obs_names = [f"  two  blanks {i} " if i == 3 else name for i, name in enumerate(stored.obs_names)]
    stored.write_h5ad(run_directory / "output.h5ad")
    folder, _ = export_run(run_directory, "cellbrowser", settings={"shortLabel": 'it\'s "x"\n__import__("os")'})
    adata = ad.read_h5ad(run_directory / "output.h5ad")
    meta = rows(folder / "meta.tsv", "\t")
    assert [m["cellId"] for m in meta] == adata.obs_names.tolist()
    assert [m["Cell type"] for m in meta] == labels_of(run_directory).tolist()
    with gzip.open(folder / "exprMatrix.tsv.gz", "rt", encoding="utf-8") as handle:
        assert handle.readline().rstrip("\n").split("\t")[1:] == adata.obs_names.tolist()
        handle.seek(0)
        matrix = pd.read_csv(handle, sep="\t", index_col=0)
    np.testing.assert_array_equal(matrix.to_numpy().T, adata.X.toarray())
    assert matrix.index.tolist() == adata.var_names.tolist()
    tree = ast.parse((folder / "cellbrowser.conf").read_text(encoding="utf-8"))
    config = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
    assert config["shortLabel"] == 'it\'s "x"\n__import__("os")'
    assert [c["shortLabel"] for c in config["coords"]] == ["umap", "spatial"] or (
        {c["shortLabel"] for c in config["coords"]} == {"umap", "spatial"})
    for entry in (*config["coords"], *config["markers"]):
        assert (folder / entry["file"]).is_file()
    markers = rows(folder / "markers.tsv", "\t")
    assert {m["cluster"] for m in markers} == set(TYPES)
    assert {m["gene"] for m in markers if m["cluster"] == "T Cells"} == {"CD3D", "CD3E", "TRAC"}


def test_vitessce(run_directory: Path) -> None:
    """Levels are one nested set from broad to fine, every path of the configuration leads to stored values."""
    zarr = pytest.importorskip("zarr")
    folder, _ = export_run(run_directory, "vitessce", settings={"url": "https://example.org/cells.zarr"})
    config = json.loads((folder / "vitessce.json").read_text(encoding="utf-8"))
    file = config["datasets"][0]["files"][0]
    assert file["url"] == "https://example.org/cells.zarr"
    sets = {s["name"]: s["path"] for s in file["options"]["obsSets"]}
    assert sets["Cell type by level"] == ["obs/level_0", "obs/level_1"]
    store = zarr.open_group(str(folder / "cells.zarr"), mode="r")
    embedded = [e["path"] for e in file["options"]["obsEmbedding"]]
    for path in [*sets["Cell type by level"], sets["Cell type"], sets["Cluster"], "X", *embedded,
                 file["options"]["obsLocations"]["path"]]:
        assert path in store
    stored = ad.read_zarr(folder / "cells.zarr")
    assert stored.obs["label"].astype(str).tolist() == labels_of(run_directory).tolist()
    nested = [c["path"] for c in config["coordinationSpace"]["obsSetColor"]["A"] if c["path"][0] != "Cell type"]
    assert ["Cell type by level", "Immune Cells", "T Cells"] in nested
    used = {v["component"] for v in config["layout"]}
    assert {"scatterplot", "spatial", "obsSets", "featureList"} <= used
    assert all(0 <= v["x"] < 12 and v["h"] > 0 for v in config["layout"])


def test_spatialdata_table(run_directory: Path) -> None:
    """The table carries its encoding; without a link to regions it says so."""
    zarr = pytest.importorskip("zarr")
    folder, notes = export_run(run_directory, "spatialdata", settings={"table": "labelled"})
    attrs = dict(zarr.open_group(str(folder / "labelled.zarr"), mode="r")["tables/labelled"].attrs)
    assert attrs["spatialdata-encoding-type"] == "ngff:regions_table"
    assert attrs["region"] is None
    assert "annotates no region" in notes[0]
    for name in ("../up", "a/b", "", "__x"):
        with pytest.raises(ParameterError, match="no name of an element"):
            export_run(run_directory, "spatialdata", settings={"table": name})


def test_spatialdata_refuses_a_broken_link(run_directory: Path) -> None:
    """Every way in which the table would not be valid is named."""
    adata = ad.read_h5ad(run_directory / "output.h5ad")
    adata.uns["spatialdata_attrs"] = {"region": "cells", "region_key": "region", "instance_key": "cell_id"}
    adata.obs["a b"] = 1
    adata.obs["Notes"] = 1
    adata.write_h5ad(run_directory / "output.h5ad")
    with pytest.raises(InputError) as caught:
        export_run(run_directory, "spatialdata")
    for text in ("no column 'region'", "no column 'cell_id'", "'a b'", "differ in case only"):
        assert text in str(caught.value)


# --- archives ---

SUBMISSION = {
    "uns.title": "Test", "uns.organism_ontology_term_id": "NCBITaxon:9606",
    "obs.assay_ontology_term_id": "EFO:0009922", "obs.development_stage_ontology_term_id": "unknown",
    "obs.disease_ontology_term_id": "PATO:0000461", "obs.donor_id": "d1", "obs.is_primary_data": "false",
    "obs.self_reported_ethnicity_ontology_term_id": "unknown", "obs.sex_ontology_term_id": "unknown",
    "obs.suspension_type": "cell", "obs.tissue_ontology_term_id": "UBERON:0000178", "obs.tissue_type": "tissue",
}


def test_cellxgene_reports_all_that_is_missing(run_directory: Path) -> None:
    """Nothing is invented: every required field without a value is in one message."""
    with pytest.raises(InputError) as caught:
        export_run(run_directory, "cellxgene")
    for name in SUBMISSION:
        assert f"--set {name}=" in str(caught.value)


def test_cellxgene_fields(run_directory: Path) -> None:
    """Ids are those of the called types, the author's column moves, and the portal's own columns are not written."""
    folder, _ = export_run(run_directory, "cellxgene", settings=SUBMISSION)
    adata = ad.read_h5ad(folder / "cellxgene.h5ad")
    found = dict(zip(adata.obs["author_cell_type"], adata.obs["cell_type_ontology_term_id"], strict=True))
    assert found == {"T Cells": "CL:0000084", "B Cells": "CL:0000236", "Ciliated Epithelium": "CL:0000067",
                     "Secretory Epithelium": "CL:0000066"}  # its parent's: the type itself has none
    exact = dict(zip(adata.obs["author_cell_type"], adata.obs["author_cell_type_is_exact"], strict=True))
    assert [t for t, own in exact.items() if not own] == ["Secretory Epithelium"]
    assert "cell_type" not in adata.obs
    assert adata.obs["author_cell_type_input"].tolist() == ad.read_h5ad(
        run_directory / "output.h5ad").obs["truth"].tolist()
    assert not [c for c in adata.obs if c.startswith(("cell_type_auto", "cluster_lvl"))]
    assert adata.obs["is_primary_data"].dtype == bool
    assert adata.var_names[0] == "ENSG00000000000"
    assert not adata.var["feature_is_filtered"].any()
    for key in [k for k in adata.uns if k.endswith("_colors")]:
        assert len(adata.uns[key]) == len(adata.obs[key.removesuffix("_colors")].cat.categories)


def test_cellxgene_unusable_terms(run_directory: Path, tmp_path: Path) -> None:
    """Forbidden and unknown terms give way to the next one above, undecided cells are unknown."""
    adata = ad.read_h5ad(run_directory / "output.h5ad")
    text = adata.uns[_keys.MARKER_MAP].replace("CL:0000084", "CL:0000255").replace("CL:0000067", "CL:9999999")
    adata.uns[_keys.MARKER_MAP] = text
    status = adata.obs["cell_type_auto_status"].astype(str)
    status[adata.obs["truth"] == "B Cells"] = "mixed"
    adata.obs["cell_type_auto_status"] = status.astype("category")
    adata.write_h5ad(tmp_path / "labelled.h5ad")
    obo = tmp_path / "cl.obo"
    obo.write_text("format-version: 1.2\nontology: cl\n\n" + "".join(
        f"[Term]\nid: {i}\nname: n{i}\n\n" for i in ("CL:0000738", "CL:0000236", "CL:0000066")))
    folder, _ = export_run(tmp_path / "labelled.h5ad", "cellxgene", settings={**SUBMISSION, "ontology": str(obo)})
    out = ad.read_h5ad(folder / "cellxgene.h5ad")
    found = dict(zip(out.obs["author_cell_type"], out.obs["cell_type_ontology_term_id"], strict=True))
    assert found == {"T Cells": "CL:0000738", "B Cells": "unknown", "Ciliated Epithelium": "CL:0000066",
                     "Secretory Epithelium": "CL:0000066"}
    assert not out.obs.loc[out.obs["author_cell_type"] == "T Cells", "author_cell_type_is_exact"].any()


def test_cell_annotation_schema(run_directory: Path) -> None:
    """Evidence are the markers that are on, the rationale is the trace, ranks begin with the broadest level."""
    with pytest.raises(InputError, match=r"author_name(.|\n)*title"):
        export_run(run_directory, "cas")
    folder, _ = export_run(run_directory, "cas", settings={"author_name": "A. Uthor", "title": "Test"})
    obs = ad.read_h5ad(folder / "cas.h5ad").obs
    t = obs[obs["cell_type"] == "T Cells"].iloc[0]
    assert t["cell_type--cell_ontology_term_id"] == "CL:0000084"
    assert t["cell_type--cell_ontology_term"] == "T cell"
    assert set(t["cell_type--marker_gene_evidence"].split(", ")) == {"CD3D", "CD3E", "TRAC"}
    assert t["cell_type--cell_fullname"] == "Immune Cells / T Cells"
    assert t["cell_type--category_fullname"] == "Immune Cells"
    assert "which top-level type?" in t["cell_type--rationale"]
    record = json.loads((folder / "cas.json").read_text(encoding="utf-8"))
    assert sorted(c for a in record["annotations"] for c in a["cell_ids"]) == sorted(obs.index)
    assert all(len(a["rationale"]) <= 2000 for a in record["annotations"])
    assert record["labelsets"][0]["annotation_method"] == "algorithmic"


def test_cellxgene_keeps_counts_in_raw(run_directory: Path) -> None:
    """Counts in raw stay there under the same ids as X; without counts anywhere the export is refused."""
    file = run_directory / "output.h5ad"
    adata = ad.read_h5ad(file)
    counts = adata.X.toarray()
    adata.raw = adata.copy()
    adata.X = np.log1p(counts)
    adata = adata[:, 1:].copy()  # raw may hold more genes than X
    adata.write_h5ad(file)
    folder, _ = export_run(run_directory, "cellxgene", settings=SUBMISSION)
    out = ad.read_h5ad(folder / "cellxgene.h5ad")
    np.testing.assert_array_equal(out.raw.X.toarray(), counts)
    assert out.raw.var_names.tolist()[1:] == out.var_names.tolist()
    assert out.raw.var_names[0] == "ENSG00000000000"
    np.testing.assert_allclose(out.X.toarray(), np.log1p(counts)[:, 1:], rtol=1e-6)
    adata.raw = None
    adata.write_h5ad(file)
    with pytest.raises(InputError, match="holds no counts"):
        export_run(run_directory, "cellxgene", settings=SUBMISSION)
