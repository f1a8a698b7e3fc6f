"""Enrichment, markers and both through the same run: tables, labels, explanations, comparison, command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import pandas as pd
import pytest
from anndata import AnnData

from cellkey.annotation.cells import annotate
from cellkey.annotation.compare import compare_runs
from cellkey.annotation.hierarchy_fit import hierarchy_fit, rank_hierarchies
from cellkey.annotation.methods import plan_methods
from cellkey.annotation.registry import METHODS, get_method, methods_table
from cellkey.annotation.robust_markers import canonical_markers, robust_markers
from cellkey.annotation.run import annotate_file
from cellkey.datasets import synthetic_protein
from cellkey.errors import ParameterError
from cellkey.hierarchy import Hierarchy
from cellkey.profiles.means import means_from_profiles
from cellkey.records.tables import ALL_TABLES
from cellkey.records.vocabulary import MethodAgreement
from cellkey.scoring.enrichment_settings import EnrichmentScoring
from command_line import run_command

pytestmark = pytest.mark.filterwarnings("ignore:.*holds counts:cellkey.errors.CellkeyWarning")
SHARED = ("cluster_annotations", "marker_scores", "decision_steps", "gating_details", "marker_evidence")
OWN = ("enrichment_calls", "enrichment_scores")


def result_of(cells: AnnData, tree: dict[str, Any], method: str, **options: Any) -> Any:
    return annotate(cells, tree, groupby="truth", method=method, copy=True, n_jobs=1, **options)


def test_enrichment_names_pure_clusters(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    """Every type gets its own name; both methods agree and say so."""
    result = result_of(small_cells(n_other=400), small_map, "both")
    calls = result.tables["enrichment_calls"].set_index("cluster_id")
    assert (calls["annot_export_label"] == calls.index).all()
    comparison = result.tables["method_comparison"]
    assert set(comparison["agreement"]) == {MethodAgreement.SAME}
    assert result.annotation.method == "markers"
    assert "enrichment  reports B Cells (resolved" in result.explain("B Cells")


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
def test_a_panel_of_markers_is_told_to_use_the_marker_score() -> None:
    """Proteins have no genes to be compared with; the user hears which method is made for them."""
    made = synthetic_protein(n_cells=400, seed=1)
    found = annotate(made.adata, made.marker_map, method="enrichment", copy=True)
    said = " ".join(found.messages)
    assert "consists mostly of markers, for which the method 'markers' is made" in said
    assert "enrichment_scores.csv says why" in said
    said = " ".join(annotate(made.adata, made.marker_map, copy=True).messages)
    assert "Enrichment" not in said


@pytest.mark.parametrize("method", [*METHODS, "both"])
def test_tables_follow_their_schemas(
    method: str, small_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    """The shared tables are there for every method, the others where they belong."""
    result = result_of(small_cells(), small_map, method)
    wanted = {*SHARED, "confidence"}
    if method == "both" or METHODS[method].family == "enrichment":
        wanted |= set(OWN)
    if method == "both":
        wanted |= {"method_comparison"}
    assert set(result.tables) == wanted
    for name, table in result.tables.items():
        pd.testing.assert_frame_equal(ALL_TABLES[name].conform(table), table)
        assert len(table)
    assert result.facts["method"] == method


def filled(table: pd.DataFrame) -> set[str]:
    return {c for c in table if any(v == v and str(v) not in ("", "None") for v in table[c])}


def test_what_does_not_belong_to_enrichment_is_empty(
    small_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    """Exactly the columns that the documentation names, and no others."""
    tables = result_of(small_cells(n_other=400), small_map, "enrichment").tables
    markers = result_of(small_cells(n_other=400), small_map, "markers").tables
    empty = {}
    for name in SHARED:
        empty[name] = filled(markers[name]) - filled(tables[name])
    assert empty == {
        "cluster_annotations": set(),
        "marker_scores": {"de_component", "anti_penalty", "coverage_penalty", "de_score", "marker_weights"},
        "decision_steps": {"child_anti_penalty"},
        "gating_details": {"anti_penalty", "min_coverage", "min_pos_frac", "min_frac_markers_on", "min_enrichment"},
        "marker_evidence": set(),
    }
    documented = (Path(__file__).parents[2] / "docs" / "explanation" / "enrichment.md").read_text(encoding="utf-8")
    for names in empty.values():
        assert all(f"`{n}`" in documented for n in names)


def test_reported_labels_reach_the_cells(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    """obs['annotation'] holds the reported label, obs['cell_type_auto'] the routed one."""
    cells = small_cells(n_other=400)
    del small_map["Epithelium"]["children"]
    annotate(cells, small_map, groupby="truth", method="enrichment", n_jobs=1,
             export={"unknown_min_score": 100.0, "unresolved_candidate_min_score": 200.0})
    assert set(cells.obs["annotation"]) == {"unknown"}
    assert "T Cells" in set(cells.obs["cell_type_auto"])


def test_a_run_directory_by_enrichment(tmp_path: Path, small_cells: Callable[..., AnnData], map_file: Path) -> None:
    """Tables, figures and manifest; annotated again from stored profiles without reading the matrix."""
    small_cells(n_other=300).write_h5ad(tmp_path / "cells.h5ad")
    run = tmp_path / "run"
    first = annotate_file(tmp_path / "cells.h5ad", run, hierarchy=map_file, method="both", dpi=40,
                          cluster_key="truth")
    assert first.read_matrix
    for name in (*SHARED, *OWN, "method_comparison"):
        ALL_TABLES[name].read_csv(run / f"{name}.csv")
    assert {"enrichment_confidence", "enrichment_support", "enrichment_heatmap"} <= {
        p.stem for p in (run / "figures").glob("*.png")}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["parameters"]["enrichment"]["scoring"]["scale_floor"] == 0.25
    again = annotate_file(run / "output.h5ad", tmp_path / "run2", hierarchy=map_file, annotation_only=True,
                          method="enrichment", figures=False, scoring={"scale_floor": 0.5})
    assert not again.read_matrix
    written = ad.read_h5ad(tmp_path / "run2" / "output.h5ad")
    assert set(written.obs["annotation"]) == {"T Cells", "B Cells", "Ciliated Epithelium", "Secretory Epithelium"}
    tables = [ALL_TABLES["cluster_annotations"].read_csv(tmp_path / r / "cluster_annotations.csv")
              for r in ("run", "run2")]
    assert set(compare_runs(*tables)["change"]) == {"same"}


def test_the_command_line_knows_methods(tmp_path: Path, small_cells: Callable[..., AnnData], map_file: Path) -> None:
    """--method and --export-params work; a wrong name costs no time and suggests the right one."""
    small_cells(n_other=200).write_h5ad(tmp_path / "cells.h5ad")
    base = ["annotate", tmp_path / "cells.h5ad", "--marker-map", map_file, "--cluster-key", "truth", "--skip-figures",
            "--skip-cells"]
    done = run_command(*base, "-o", tmp_path / "r", "--method", "enrichment", "--export-params",
                       '{"mixed_label_prefix": "both"}')
    assert done.exit_code == 0, done.output
    explained = run_command("explain", tmp_path / "r", "--cluster", "T Cells")
    assert "enrichment  reports T Cells" in explained.output
    for options, hint in ((["--method", "enrichmnt"], "did you mean 'enrichment'"),
                          (["--method", "enrichment", "--scoring-params", '{"scale_flor": 1}'], "scale_floor"),
                          (["--export-params", '{"unknown_label": "x"}'], "belong to enrichment"),
                          (["--method", "both", "--scoring-params", '{"de_bonus": 1}'], "markers")):
        wrong = run_command(*base, "-o", tmp_path / "w", *options)
        assert wrong.exit_code == 2
        assert hint in wrong.output
        assert not (tmp_path / "w").exists()


def test_parameters_by_method() -> None:
    """One method takes its own settings, both take them by name; released rules stay unless replaced."""
    assert plan_methods("enrichment", scoring={"scale_floor": 1}).enrichment_scoring.scale_floor == 1
    both = plan_methods("both", scoring={"markers": {"de_bonus": 2}, "enrichment": {"raw_weight": 0.5}})
    assert (both.marker_scoring.de_bonus, both.enrichment_scoring.raw_weight) == (2, 0.5)
    released = plan_methods("hierannot-0.7", scoring={"negative_weight": 0.1})
    assert released.enrichment_scoring == EnrichmentScoring.released(negative_weight=0.1)
    assert released.export.mixed_between == "nodes"
    assert plan_methods("refinery-legacy").marker_scoring == METHODS["refinery-legacy"].defaults
    with pytest.raises(ParameterError, match="takes MarkerScoring"):
        get_method("markers").parameters(EnrichmentScoring())
    assert methods_table()["name"].tolist() == list(METHODS)


def test_fit_is_bounded_and_finds_the_right_hierarchy(
    small_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    """The true tree fits beyond chance; markers of other genes do not; half a tree leaves clusters unresolved."""
    result = result_of(small_cells(n_other=400), small_map, "enrichment")
    means = means_from_profiles(result.annotation.profiles)
    true = result.annotation.key.hierarchy
    wrong = Hierarchy.from_dict({f"W{i}": {"markers": [f"GENE{j}" for j in range(9 * i, 9 * i + 4)]} for i in range(6)})
    half = Hierarchy.from_dict({"Immune Cells": small_map["Immune Cells"]})
    table = rank_hierarchies(means, {"true": true, "wrong": wrong, "half": half}).set_index("name")
    assert table["fit"].between(0, 1).all()
    assert table.loc["true", "rank"] == 1
    assert table.loc["true", "fit"] > 2 * table.loc["half", "fit"] > 0
    assert table.loc["wrong", "p_value"] > 0.05 >= table.loc["true", "p_value"]
    assert table.loc["half", "fraction_unresolved"] >= 0.5
    assert table.loc["true", "fraction_unresolved"] == 0
    assert hierarchy_fit(means, true) == hierarchy_fit(means, true)


def test_a_panel_of_markers_is_told_apart(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    """Without genes to compare with, a sentence says so; with them, none does."""
    poor = result_of(small_cells(n_other=8), small_map, "enrichment", assume="counts")
    assert any("consists mostly of markers" in m for m in poor.messages)
    rich = result_of(small_cells(n_other=600), small_map, "enrichment", assume="counts")
    assert not any("Enrichment" in m for m in rich.messages)


def test_robust_and_canonical_markers(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    """Own genes first, limits hold, broad types before fine ones."""
    result = result_of(small_cells(), small_map, "markers")
    profiles = result.annotation.profiles
    table = robust_markers(profiles)
    assert {"CD3D", "CD3E", "TRAC"} <= set(table.loc[table["group"] == "T Cells", "names"].head(4))
    assert (table["pvals_adj"] <= 0.05).all()
    assert (table["logfoldchanges"] >= 0.25).all()
    assert (table["pct_nz_group"] >= 0.10).all()
    assert table.groupby("group")["robust_rank_within_group"].min().eq(1).all()
    assert len(robust_markers(profiles, n_genes=2)) == 8
    assert robust_markers(profiles, min_cells_per_group=41).empty
    names = canonical_markers(result.annotation.key.hierarchy, profiles.var_names)
    assert names[:6] == ("PTPRC", "CD74", "CD52", "EPCAM", "KRT8", "KRT18")
    assert len(names) == len(set(names)) == 18
