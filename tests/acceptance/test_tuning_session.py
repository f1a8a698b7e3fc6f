"""Every command and every Python block of a tuning session runs as a user would type it, on RNA and on protein data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellkey.datasets import synthetic_protein, synthetic_rna
from cellkey.io.write import write_cells
from command_line import run_command

LEVELS = "level_defaults"
GATES = [
    {LEVELS: {"0": {"min_coverage": 0.40}}},
    {LEVELS: {"0": {"min_coverage": 0.30}}},
    {LEVELS: {"0": {"min_coverage": 0.20}}},
    {LEVELS: {"0": {"min_pos_frac": 0.20}}},
    {LEVELS: {"0": {"min_pos_frac": 0.15}}},
    {LEVELS: {"1": {"min_gap": 0.20}, "2": {"min_gap": 0.15}}},
    {LEVELS: {"0": {"min_coverage": 0.50}, "1": {"min_coverage": 0.35}, "2": {"min_coverage": 0.25}}},
    {LEVELS: {"0": {"min_coverage": 0.50, "min_pos_frac": 0.30, "min_gap": 0.40},
              "1": {"min_coverage": 0.40, "min_pos_frac": 0.25, "min_gap": 0.30},
              "2": {"min_coverage": 0.30, "min_pos_frac": 0.20, "min_gap": 0.20}}},
]
SCORES = [
    {"anti_weight": 0.8}, {"anti_weight": 1.0}, {"anti_weight": 0.5}, {"anti_weight": 0.9}, {"anti_agg": "max"},
    {"positive_quantile": 0.50}, {"positive_quantile": 0.85}, {"de_bonus": 0.7}, {"de_bonus": 0.3},
]
REFINEMENTS = [
    {"score_threshold": 1.5}, {"score_threshold": 2.0}, {"score_threshold": 0.7}, {"min_cells": 1000},
    {"min_cells": 2000}, {"min_cells": 300}, {"heterogeneity_gap": 0.4}, {"heterogeneity_gap": 0.2},
    {"score_threshold": 1.5, "min_cells": 1000, "heterogeneity_gap": 0.4, "max_iterations": 2},
    {"score_threshold": 0.7, "min_cells": 300, "heterogeneity_gap": 0.2, "max_iterations": 5},
]
SPARSE_LEVELS = {"0": {"min_coverage": 0.30, "min_pos_frac": 0.15}, "1": {"min_coverage": 0.20, "min_pos_frac": 0.10}}
DEEP_LEVELS = {"0": {"min_coverage": 0.55, "min_gap": 0.45}, "1": {"min_coverage": 0.45, "min_gap": 0.35}}
TUMOUR_LEVELS = {"0": {"min_coverage": 0.35, "min_pos_frac": 0.20}}
COMBINED = [
    ["--scoring-params", {"positive_quantile": 0.50}, "--gating-params", {LEVELS: SPARSE_LEVELS}],
    ["--scoring-params", {"positive_quantile": 0.80, "de_bonus": 0.7}, "--gating-params", {LEVELS: DEEP_LEVELS}],
    ["--scoring-params", {"anti_weight": 0.8}, "--gating-params", {LEVELS: TUMOUR_LEVELS},
     "--refinement-params", {"score_threshold": 0.8, "min_cells": 300}],
    ["--scoring-params", {"anti_weight": 0.9, "anti_agg": "max"}, "--gating-params",
     {LEVELS: {"0": {"min_coverage": 0.55, "min_gap": 0.50}}}, "--refinement-params", {"score_threshold": 1.5}],
]
COMMANDS = [
    *(["--gating-params", g] for g in GATES), *(["--scoring-params", s] for s in SCORES),
    *(["--refinement-params", r] for r in REFINEMENTS), *COMBINED,
    ["--skip-refinement"], ["--no-gpu"], ["--random-seed", "42"],
]

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")


def call(*arguments: object) -> str:
    result = run_command(*(json.dumps(a) if isinstance(a, dict) else a for a in arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", params=["rna", "protein"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``input.h5ad``, ``map.json`` and a first run ``run_v1``."""
    folder = tmp_path_factory.mktemp(request.param)
    made = synthetic_rna(n_cells=500, n_genes=600, seed=1) if request.param == "rna" else synthetic_protein(
        n_cells=500, seed=1)
    write_cells(made.adata, folder / "input.h5ad")
    (folder / "map.json").write_text(json.dumps(made.marker_map))
    call("annotate", folder / "input.h5ad", "--output-dir", f"{folder}/run_v1/", "--marker-map", folder / "map.json",
         "--skip-figures")
    return folder


@pytest.mark.parametrize("options", COMMANDS, ids=[json.dumps(c)[1:60] for c in COMMANDS])
def test_annotate_with_every_option_of_the_guide(data: Path, options: list[object], tmp_path: Path) -> None:
    call("annotate", data / "run_v1/output.h5ad", "--annotation-only", "--output-dir", tmp_path / "run", *options,
         "--skip-figures", "--skip-cells")
    assert (tmp_path / "run" / "cluster_annotations.csv").is_file()


def test_the_first_commands_run_with_the_built_in_map(data: Path, tmp_path: Path, monkeypatch) -> None:
    """The input of the guide is called input.h5ad, and no map is named."""
    (tmp_path / "input.h5ad").symlink_to(data / "input.h5ad")
    monkeypatch.chdir(tmp_path)
    call("annotate", "input.h5ad", "--output-dir", "run1/", "--skip-figures")
    call("annotate", "run1/output.h5ad", "--annotation-only", "--output-dir", "run2/", "--skip-figures")
    call("export-markers", "--output", "my_tissue_markers.json")
    call("annotate", "run1/output.h5ad", "--annotation-only", "--marker-map", "my_tissue_markers.json", "-o", "run3",
         "--skip-figures", "--skip-cells")


def test_reading_the_results(data: Path) -> None:
    results = pd.read_csv(data / "run_v1/cluster_annotations.csv")
    results["final_annotation"].value_counts()
    results["stop_reason"].value_counts()
    unassigned = results[results["final_annotation"] == "Unassigned"]
    details = pd.read_csv(data / "run_v1/gating_details.csv")
    for cluster in results["cluster"]:
        cluster_details = details[details["cluster"] == cluster]
        assert len(cluster_details[["root_type", "coverage", "pos_frac", "score"]])
        assert len(cluster_details[["root_type", "coverage", "pos_frac", "passed"]])
    assert details[details["cluster"] == "problematic_cluster"].empty
    assert len(unassigned) <= len(results)


def test_comparing_two_versions(data: Path) -> None:
    call("annotate", data / "run_v1/output.h5ad", "--annotation-only", "--gating-params",
         {LEVELS: {"0": {"min_coverage": 0.35}}}, "--output-dir", f"{data}/run_v2/", "--skip-figures")
    v1, v2 = (pd.read_csv(data / v / "cluster_annotations.csv") for v in ("run_v1", "run_v2"))
    changed = v1.merge(v2, on="cluster", suffixes=("_v1", "_v2"))
    changed = changed[changed["final_annotation_v1"] != changed["final_annotation_v2"]]
    assert len(changed) <= len(v1)
    assert (v1["final_annotation"] == "Unassigned").sum() >= (v2["final_annotation"] == "Unassigned").sum()


def test_checking_the_cells(data: Path) -> None:
    """Slices of X answer to toarray(), and obs['annotation'] holds the labels."""
    import anndata

    adata = anndata.read_h5ad(data / "run_v1/output.h5ad")
    assert adata.X.min() >= 0
    marker = adata.var_names[0]
    expr = adata[:, marker].X.toarray().flatten()
    assert 0 <= (expr > 0).mean() <= 1
    label = adata.obs["annotation"].value_counts().index[0]
    assert adata[adata.obs["annotation"] == label].n_obs


def test_auditing_an_exported_map(tmp_path: Path) -> None:
    """The audit walks markers, anti_markers and children from the top; the wrapped export serves it."""
    call("export-markers", "--output", tmp_path / "marker_map.json", "--wrapped")
    with (tmp_path / "marker_map.json").open() as f:
        markers = json.load(f)

    def list_all_markers(node, path=""):
        all_markers = []
        if "markers" in node:
            all_markers += [(path, m, "positive") for m in node["markers"]]
        if "anti_markers" in node:
            all_markers += [(path, m, "anti") for m in node["anti_markers"]]
        if "children" in node:
            for child_name, child_node in node["children"].items():
                all_markers.extend(list_all_markers(child_node, f"{path}/{child_name}"))
        return all_markers

    found = list_all_markers(markers)
    assert len(found) > 100
    assert {kind for _, _, kind in found} == {"positive", "anti"}


TISSUE_MAPS = {
    "comment in JSON": """{"_gating_params": {"root_hard_requirements": {"Immune Cells": {
        "marker": "CD45", "min_pos_frac": 0.30,  // Lower from 0.50 if CD45 expression is low
        "min_enrichment": 0.0}}}, "Immune Cells": {"markers": ["PTPRC"]}}""",
    "nested": """{"Epithelium": {"markers": ["EPCAM", "KRT8", "KRT18"], "children": {
        "Ciliated Epithelium": {"markers": ["FOXJ1", "TUBB4B", "DNAH5", "CCDC78"], "anti_markers": ["MUC5B"]},
        "Secretory Epithelium": {"markers": ["MUC5B", "SCGB1A1", "MUC16"], "anti_markers": ["FOXJ1"]}}}}""",
    "vetoes of unknown roots": """{"_gating_params": {"root_veto_markers": {
        "Macrophages": {"markers": ["EPCAM", "CD3D"], "max_pos_frac": 0.10}}, "root_hard_requirements": {
        "Endothelium": {"marker": "PECAM1", "min_pos_frac": 0.50, "min_enrichment": 0.0}}},
        "Epithelium": {"markers": ["EPCAM"]}}""",
}


@pytest.mark.parametrize("name", TISSUE_MAPS)
def test_maps_as_the_guide_writes_them(name: str, tmp_path: Path) -> None:
    from cellkey.annotation.cells import annotate

    (tmp_path / "map.json").write_text(TISSUE_MAPS[name])
    made = synthetic_rna(n_cells=200, n_genes=300, seed=2)
    made.adata.var_names = ["PTPRC", "EPCAM", "KRT8", "FOXJ1", "MUC5B", *made.adata.var_names[5:]]
    assert len(annotate(made.adata, tmp_path / "map.json", copy=True).cluster_annotations)


@pytest.mark.parametrize(("thin", "gates", "least"), [
    (None, True, 0.90), (None, False, 0.95), (0.4, True, 0.90), (0.4, False, 0.95)])
def test_accuracy_on_generated_cells_with_known_types(thin: float | None, gates: bool, least: float) -> None:
    """Exclusive markers at 10 to 20 % density: nearly all cells get their true leaf, also from 40 % of the counts."""
    from cellkey.annotation.cells import annotate

    options = {} if thin is None else {"thin": thin}
    made = synthetic_rna(n_cells=3000, n_genes=2000, gates=gates, seed=3, **options)
    density = made.adata.X.nnz / np.prod(made.adata.shape)
    assert 0.05 <= density <= 0.25
    annotate(made.adata, made.marker_map)
    right = made.adata.obs["cell_type_auto"].astype(str) == made.adata.obs["true_label"].astype(str)
    assert right.mean() >= least
