"""A run from file to directory: every promised file, column and key; nothing of the user's is changed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cellkey.annotation.cells import annotate
from cellkey.annotation.run import annotate_file
from cellkey.errors import CellkeyWarning, InputError
from cellkey.records.fields import COARSE_CLUSTERS
from cellkey.records.tables import ALL_TABLES

TABLES = ("cluster_annotations", "marker_scores", "decision_steps", "gating_details", "marker_evidence")
FIGURES = ("cluster_size_distribution", "confidence_distribution", "depth_distribution", "stop_reason_summary",
           "root_composition", "marker_coverage_heatmap")

pytestmark = pytest.mark.filterwarnings("ignore:.* holds counts:cellkey.errors.CellkeyWarning")


@pytest.fixture
def run(tmp_path: Path, cells_file: Path, map_file: Path) -> Path:
    annotate_file(cells_file, tmp_path / "run", hierarchy=map_file, dpi=50)
    return tmp_path / "run"


def test_all_promised_files_exist_and_follow_their_schema(run: Path) -> None:
    for name in TABLES:
        table = ALL_TABLES[name].read_csv(run / f"{name}.csv")
        assert len(table)
        assert list(pd.read_csv(run / f"{name}.csv").columns) == ALL_TABLES[name].names
    assert {p.stem for p in (run / "figures").glob("*.png")} >= set(FIGURES)
    assert not list(run.glob(".*"))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert {"cluster_annotations.csv", "coarse_clusters.h5ad", "output.h5ad", "profiles.h5"} <= set(manifest["outputs"])


def test_the_h5ad_file_holds_all_promised_fields(run: Path) -> None:
    adata = ad.read_h5ad(run / "coarse_clusters.h5ad")
    for field in (f for f in COARSE_CLUSTERS.fields if not f.condition):
        where = adata.obs if field.slot == "obs" else adata.uns
        first = field.name.replace("<N>", "0").replace("<column>", "cell_type_auto")
        assert first in where, first
    assert "de_wilcoxon_X" in adata.uns
    for name in ("cluster_lvl0", "cell_type_auto", "cell_type_auto_root", "cell_type_auto_path", "annotation"):
        assert isinstance(adata.obs[name].dtype, pd.CategoricalDtype), name
    assert adata.obs["cell_type_auto_conf"].dtype == np.float64
    assert json.loads(adata.uns["stage_h_marker_map"])["nodes"][0]["path"]
    assert json.loads(adata.uns["stage_h_gating_params"])["effective"]["levels"]
    assert sp.issparse(adata.X)
    assert adata.X.format == "csr"
    adata.write_h5ad(run / "again.h5ad")  # survives a second write
    assert (run / "output.h5ad").stat().st_ino == (run / "coarse_clusters.h5ad").stat().st_ino


def test_labels_are_right_and_x_is_untouched(run: Path, cells_file: Path) -> None:
    before, after = ad.read_h5ad(cells_file), ad.read_h5ad(run / "output.h5ad")
    assert (after.obs["cell_type_auto"].astype(str) == before.obs["truth"].astype(str)).mean() > 0.98
    assert (before.X != after.X).nnz == 0
    assert list(before.obs_names) == list(after.obs_names)
    assert "truth" in after.obs


def test_composition_and_trace_are_json(run: Path) -> None:
    table = pd.read_csv(run / "cluster_annotations.csv", keep_default_na=False)
    for text in table["decision_trace"]:
        assert all(isinstance(label, str) and isinstance(score, float) for label, score in json.loads(text))
    for text in filter(None, table["composition"]):
        json.loads(text)


def test_annotation_only_repeats_the_labels_without_reading_the_matrix(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cellkey.annotation.passes as passes

    monkeypatch.setattr(passes, "profile_clusters", lambda *_a, **_k: pytest.fail("the matrix was read"))
    again = annotate_file(run / "output.h5ad", tmp_path / "run2", annotation_only=True, figures=False)
    assert not again.read_matrix
    for name in TABLES:
        assert (run / f"{name}.csv").read_bytes() == (tmp_path / "run2" / f"{name}.csv").read_bytes(), name
    third = annotate_file(tmp_path / "run2" / "output.h5ad", tmp_path / "run3", annotation_only=True, figures=False,
                          gating={"max_depth": 0})
    assert not third.read_matrix
    assert set(third.result.cluster_annotations["assigned_level"]) == {0}


def test_annotation_only_notices_that_the_cells_changed(run: Path, tmp_path: Path) -> None:
    adata = ad.read_h5ad(run / "output.h5ad")
    adata.X = adata.X * 2
    adata.write_h5ad(run / "output.h5ad")
    assert annotate_file(run / "output.h5ad", tmp_path / "run2", annotation_only=True, figures=False,
                         cells=False).read_matrix


def test_two_runs_with_one_seed_write_the_same_tables(
    run: Path, cells_file: Path, map_file: Path, tmp_path: Path
) -> None:
    annotate_file(cells_file, tmp_path / "twin", hierarchy=map_file, figures=False)
    for name in TABLES:
        assert (run / f"{name}.csv").read_bytes() == (tmp_path / "twin" / f"{name}.csv").read_bytes()


def test_running_on_the_own_output_gives_the_same_labels(run: Path, map_file: Path, tmp_path: Path) -> None:
    second = annotate_file(run / "output.h5ad", tmp_path / "second", hierarchy=map_file, figures=False)
    first = ad.read_h5ad(run / "output.h5ad")
    assert (np.asarray(second.result.obs["cell_type_auto"]) == first.obs["cell_type_auto"].to_numpy()).all()
    assert "cell_type_auto_input" not in ad.read_h5ad(tmp_path / "second" / "output.h5ad").obs


def test_existing_clusters_are_used_as_they_are(cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    result = annotate_file(cells_file, tmp_path / "r", hierarchy=map_file, cluster_key="truth", figures=False).result
    table = result.cluster_annotations
    assert (table["cluster_id"] == table["assigned_label"]).all()


@pytest.mark.parametrize("storage", ["csr", "csc", "dense"])
def test_every_storage_gives_the_same_calls(small_cells: Callable[..., AnnData], small_map: dict, storage: str) -> None:
    base = annotate(small_cells(), small_map, copy=True).cluster_annotations
    other = annotate(small_cells(storage=storage), small_map, copy=True).cluster_annotations
    pd.testing.assert_frame_equal(base, other)


def test_label_columns_of_the_input_change_nothing(small_cells: Callable[..., AnnData], small_map: dict) -> None:
    plain, labelled = small_cells(), small_cells()
    labelled.obs["cell_type"] = np.random.default_rng(0).permutation(labelled.obs["truth"])
    labelled.obs["cell_type_auto"] = "mine"
    with pytest.warns(CellkeyWarning, match="cell_type_auto_input"):
        one = annotate(labelled, small_map)
    two = annotate(plain, small_map)
    pd.testing.assert_frame_equal(one.cluster_annotations, two.cluster_annotations)
    assert set(labelled.obs["cell_type_auto_input"]) == {"mine"}
    assert (labelled.obs["cell_type_auto"] == plain.obs["cell_type_auto"]).all()


def test_layers_are_chosen_as_promised(small_cells: Callable[..., AnnData], small_map: dict) -> None:
    adata = small_cells()
    adata.layers["aligned"] = adata.X.copy()
    assert annotate(adata, small_map, copy=True).facts["layer"] == "aligned"
    adata.layers["batchcorr"] = adata.X.copy()
    assert annotate(adata, small_map, copy=True).facts["layer"] == "batchcorr"
    result = annotate(adata, small_map, layer="X")
    assert "de_wilcoxon_X" in adata.uns
    assert result.facts["layer"] == "X"


def test_cells_without_a_cluster_stay_unassigned(small_cells: Callable[..., AnnData], small_map: dict) -> None:
    adata = small_cells()
    adata.obs["k"] = adata.obs["truth"].astype(object)
    adata.obs.iloc[:5, adata.obs.columns.get_loc("k")] = np.nan
    with pytest.warns(CellkeyWarning, match="5 of 160 cells"):
        annotate(adata, small_map, groupby="k")
    assert set(adata.obs["cell_type_auto"][:5]) == {"Unassigned"}
    assert adata.obs["cluster_lvl0"][:5].isna().all()


def test_differential_results_are_readable_by_scanpy(small_cells: Callable[..., AnnData], small_map: dict) -> None:
    sc = pytest.importorskip("scanpy")
    adata = small_cells()
    annotate(adata, small_map, groupby="truth")
    table = sc.get.rank_genes_groups_df(adata, "T Cells", key="de_wilcoxon_X")
    assert set(table["names"][:3]) <= {"CD3D", "CD3E", "TRAC"}
    assert {"pvals", "pvals_adj", "logfoldchanges", "scores"} <= set(table.columns)
    assert (table["pvals_adj"] >= table["pvals"]).all()


def test_technical_markers_move_to_obs(small_map: dict) -> None:
    from cellkey.clustering import intensity_column

    rng = np.random.default_rng(0)
    names = ["DAPI", "Collagen IV", "Beta-actin", "PTPRC", "CD3D", "CD79A", "EPCAM", "KRT8"]
    values = rng.gamma(2.0, 0.5, (90, len(names))).astype(np.float32)
    values[:45, 3:5] += 3
    values[45:, 6:] += 3
    adata = AnnData(values, var=pd.DataFrame(index=names))
    annotate(adata, small_map)
    for name in names[:3]:
        np.testing.assert_array_equal(adata.obs[intensity_column(name)], values[:, names.index(name)])
    assert {"DAPI_intensity", "Collagen_IV_intensity", "Beta_actin_intensity"} <= set(adata.obs.columns)
    assert not set(names[:3]) & set(adata.uns["de_wilcoxon_X"]["params"])


def test_the_result_shows_itself(small_cells: Callable[..., AnnData], small_map: dict) -> None:
    adata = small_cells()
    adata.obs["k"] = adata.obs["truth"].astype(str).replace("T Cells", "<script>alert(1)</script>")
    result: Any = annotate(adata, small_map, groupby="k")
    assert "<script>" not in result._repr_html_()
    assert "&lt;script&gt;" in result._repr_html_()
    assert "T Cells" in repr(result)
    text = result.explain("B Cells")
    assert "Step 0: which top-level type?" in text
    assert "Stopped: leaf_reached" in text


@pytest.mark.real_data
def test_real_blood_cells_are_named(labelled_data: Path) -> None:
    adata = ad.read_h5ad(labelled_data / "pbmc3k.h5ad")
    annotate(adata, clustering={"resolution": 1.0})
    paths = adata.obs.groupby("cell_type", observed=True)["cell_type_auto_path"]
    calls = paths.agg(lambda p: p.value_counts().index[0])
    assert "B Cells" in calls["B"]
    assert "Monocyte" in calls["CD14+ Mono"]
    assert "T Cells" in calls["Naive CD4 T"]
    assert "NK" in calls["NK"]


def test_what_is_no_anndata_is_refused_with_the_way_to_one(tmp_path):
    """MuData, SpatialData and paths are common in notebooks; each is told what to pass instead."""
    mudata = pytest.importorskip("mudata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two = mudata.MuData({"rna": ad.AnnData(np.ones((2, 2))), "prot": ad.AnnData(np.ones((2, 1)))})
    store = type("SpatialData", (), {"tables": {"nuclei": None}})()
    told = {"found MuData: take one modality.* rna, prot": two, "found SpatialData: take one table.* nuclei": store,
            "found str: annotate_file": str(tmp_path), "found NoneType": None}
    for match, given in told.items():
        with pytest.raises(InputError, match=match):
            annotate(given)
