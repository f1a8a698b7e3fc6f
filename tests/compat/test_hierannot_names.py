"""HierAnnot's names, arguments, columns and numbers."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cellkey.compat.hierannot as hierannot
from cellkey.compat.hierannot import (
    HierAnnotPipeline,
    MarkerProgram,
    compare_hierarchy_fit,
    describe_hierarchy,
    format_hierarchy_tree,
    hierarchy_from_dict,
    hierarchy_to_dict,
    load_hierarchy,
    load_result_bundle,
    make_cluster_annotation_export_summary,
    save_hierarchy,
    save_result_bundle,
    score_records,
    summarize_hierarchy_fit,
)
from cellkey.compat.hierannot.programs import as_hierarchy, as_programs
from cellkey.compat.hierannot.result import ALL_SCORE_COLUMNS, LEVEL_SCORE_COLUMNS, cluster_annotation
from cellkey.errors import CellkeyWarning, HierarchyError, InputError, ParameterError, RunError
from enrichment_example import TREE, raw_means

PUBLISHED_ARGUMENTS = [
    "root_programs", "input_type", "scale_factor", "preset", "n_bins", "ctrl_size", "control_size_fallbacks",
    "min_bulk_expr_for_control", "control_gene_exclusion_policy", "min_markers_present", "min_marker_fraction",
    "score_threshold", "margin_threshold", "branch_child_rescue_weight", "level1_branch_child_rescue_weight",
    "negative_weight", "uppercase_genes", "exclude_all_marker_genes_from_controls", "random_state",
    "child_marker_strategy", "root_marker_strategy", "fallback_to_canonical_if_sparse",
    "collapse_low_expr_tail", "low_expr_threshold", "detection_floor", "delta_clip_quantile",
    "branch_routing_raw_weight", "weak_raw_score_threshold", "min_branch_supported_raw_score",
    "min_leaf_raw_score",
]
EXPORT_ARGUMENTS = [
    "result", "label_with_cluster", "unknown_on_low_confidence", "unknown_confidence_levels",
    "unknown_on_branch_conflict", "unknown_on_low_absolute_support", "unknown_branch_raw_threshold",
    "mixed_on_parent_mixing", "mixed_label_prefix", "mixed_branch_separator", "mixed_min_score",
    "unresolved_candidate_min_score", "unresolved_candidate_min_raw_score", "unresolved_candidate_label_prefix",
    "unknown_label", "unknown_min_score", "unknown_max_margin", "unknown_score_column", "unknown_margin_column",
    "rescue_unknown_with_blocked_candidates", "rerun_decision", "score_threshold", "margin_threshold",
    "branch_child_rescue_weight", "level1_branch_child_rescue_weight", "branch_routing_raw_weight",
    "weak_raw_score_threshold", "min_branch_supported_raw_score", "min_leaf_raw_score",
]


def test_every_name_can_be_imported() -> None:
    """All names of the package, and an error with the name for any other."""
    for name in hierannot.__all__:
        assert getattr(hierannot, name) is not None
    assert set(hierannot.__all__) <= set(dir(hierannot))
    with pytest.raises(AttributeError, match="no_such"):
        hierannot.no_such  # noqa: B018


def test_arguments_are_the_published_ones() -> None:
    """In the published order, with what cellkey adds by keyword only."""
    names = list(inspect.signature(HierAnnotPipeline.__init__).parameters)[1:]
    assert names == [*PUBLISHED_ARGUMENTS, "method"]
    assert inspect.signature(HierAnnotPipeline.__init__).parameters["method"].kind is inspect.Parameter.KEYWORD_ONLY
    assert list(inspect.signature(make_cluster_annotation_export_summary).parameters) == EXPORT_ARGUMENTS


def test_columns_are_the_published_ones(example: tuple[Any, Any]) -> None:
    """43 annotations, 48 and 39 scores, 22 columns per level and 7 of export, rows in the order of the input."""
    _, result = example
    assert result.cluster_annotations.shape == (5, 43)
    assert tuple(result.all_scores.columns) == ALL_SCORE_COLUMNS
    assert tuple(result.level_scores.columns) == LEVEL_SCORE_COLUMNS
    assert result.level_scores.columns[:8].tolist() == [
        "cluster", "label", "level", "parent_label", "score", "decision_score", "program_robust_zscore",
        "sibling_specificity_score"]
    assert result.all_scores["label"].tolist() == [n.name for n in TREE.nodes for _ in range(5)]
    export = make_cluster_annotation_export_summary(result)
    assert len(export.columns) == 43 + 2 * 22 + 7
    assert export["cluster_id"].tolist() == ["k0", "k1", "k2", "k3", "k4"]
    assert len(score_records(result)) == 40


def test_the_numbers_of_the_example(example: tuple[Any, Any]) -> None:
    """Labels, fit and two scores to their printed digits."""
    _, result = example
    export = make_cluster_annotation_export_summary(result, unknown_branch_raw_threshold=0.1)
    assert export["annot_export_label_with_cluster"].tolist() == [
        "T_cell_k0", "mixed_basal.macrophage_k1", "Mural_k2", "Luminal_k3", "candidate_pericyte_k4"]
    metrics = summarize_hierarchy_fit(result).drop_duplicates("metric").set_index("metric")["value"]
    expected = {
        "fit_rank_score": 5.315373, "median_branch_supported_raw_score": 1.476148, "median_final_score": 1.948765,
        "fraction_l1_positive_branch_support": 1.0, "median_marker_detection_support_fraction": 1.0,
        "fraction_clusters_final_score_ge_1": 0.6, "fraction_clusters_branch_supported_raw_ge_0_25": 0.8,
    }
    for metric, value in expected.items():
        assert metrics[metric] == pytest.approx(value, abs=1e-6), metric
    assert metrics["hierarchy_fit_status"] == "good"
    score = result.all_scores.set_index(["label", "cluster"])
    assert score.loc[("T cell", "k0"), "score"] == pytest.approx(2.222661, abs=1e-6)
    assert score.loc[("Pericyte", "k4"), "branch_support_score"] == pytest.approx(4.996160, abs=1e-6)
    record = cluster_annotation(result, "k0")
    assert (record.final_path, record.final_level, record.confidence) == ("Immune > T cell", 2, "high")


def test_details_per_level_are_joined_by_cluster() -> None:
    """Clusters that do not arrive in sorted order keep their own rows."""
    pipeline = HierAnnotPipeline(as_programs(TREE), control_size_fallbacks=[1_000_000])
    table = raw_means().set_axis(["10", "9", "2", "b", "a"], axis=1)
    export = make_cluster_annotation_export_summary(pipeline.fit_score(table)).set_index("cluster_id")
    turned = make_cluster_annotation_export_summary(pipeline.fit_score(table[["a", "2", "b", "10", "9"]]))
    pd.testing.assert_frame_equal(turned.set_index("cluster_id").loc[export.index], export)
    scores = pipeline.fit_score(table).all_scores
    for cluster in table.columns:
        own = scores[(scores["cluster"] == cluster) & (scores["level"] == 2)]
        best = own.loc[own["decision_score"].idxmax()]
        assert export.loc[cluster, "annot_l2_label"] == best["label"]
        assert export.loc[cluster, "annot_l2_raw_score"] == pytest.approx(best["score"])


def test_a_decision_can_be_run_again_with_other_thresholds(example: tuple[Any, Any]) -> None:
    """With the same ones nothing changes; stricter ones stop earlier; without asking they are named in a warning."""
    _, result = example
    again = make_cluster_annotation_export_summary(result, rerun_decision=True)
    first = make_cluster_annotation_export_summary(result)
    shared = [*result.cluster_annotations.columns, "annot_export_label", "annot_export_status"]
    pd.testing.assert_frame_equal(again[shared], first[shared], check_exact=False, rtol=1e-12)
    assert again["annot_l1_label"].tolist() == ["Immune", "Epithelial", "Mural", "Epithelial", "Mural"]
    strict = make_cluster_annotation_export_summary(result, rerun_decision=True, score_threshold=1.0)
    assert strict["annot_path"].tolist() == ["Immune > T cell", "Unresolved", "Mural", "Epithelial > Luminal",
                                             "Unresolved"]
    with pytest.warns(CellkeyWarning, match="score_threshold only take effect with rerun_decision"):
        make_cluster_annotation_export_summary(result, score_threshold=1.0)


@pytest.mark.parametrize("table_format", ["csv", "parquet"])
@pytest.mark.parametrize("rerun", [False, True])
def test_a_bundle_exports_what_the_result_in_memory_exports(
    example: tuple[Any, Any], tmp_path: Path, table_format: str, rerun: bool
) -> None:
    """Programs are kept, so that nothing depends on the fit; numbers survive to the last bit."""
    if table_format == "parquet":
        pytest.importorskip("pyarrow")
    _, result = example
    result.cluster_annotations.loc[0, "cluster_id"] = "NA"  # a name that readers like to turn into nothing
    result.all_scores["cluster"] = result.all_scores["cluster"].replace("k0", "NA")
    save_result_bundle(result, tmp_path / "bundle", table_format=table_format, metadata={"who": "me"})  # type: ignore[arg-type]
    loaded = load_result_bundle(tmp_path / "bundle")
    pd.testing.assert_frame_equal(
        make_cluster_annotation_export_summary(loaded, rerun_decision=rerun),
        make_cluster_annotation_export_summary(result, rerun_decision=rerun), check_dtype=False, check_exact=True,
    )
    assert loaded.metadata == {"who": "me"}
    as_dict = load_result_bundle(tmp_path / "bundle", as_dict=True)
    assert as_dict["manifest"]["has_hierarchy"]
    assert json.loads((tmp_path / "bundle" / "resolved_config.json").read_text())["random_state"] == 0
    pd.testing.assert_frame_equal(make_cluster_annotation_export_summary(as_dict),
                                  make_cluster_annotation_export_summary(loaded))


def test_bundles_that_cannot_be_used(example: tuple[Any, Any], tmp_path: Path) -> None:
    """No directory, no bundle, another format, no programs to route with."""
    _, result = example
    with pytest.raises(FileNotFoundError):
        load_result_bundle(tmp_path / "none")
    with pytest.raises(RunError, match="no readable result bundle"):
        load_result_bundle(tmp_path)
    with pytest.raises(ParameterError, match="csv"):
        save_result_bundle(result, tmp_path / "x", table_format="xlsx")  # type: ignore[arg-type]
    result.hierarchy = None
    with pytest.raises(InputError, match="needs the programs"):
        make_cluster_annotation_export_summary(result, rerun_decision=True)


def test_fits_are_compared_by_both_criteria(example: tuple[Any, Any]) -> None:
    """The published rank orders the rows; the bounded fit and the unresolved share stand beside it."""
    pipeline, result = example
    other = HierAnnotPipeline(as_programs(TREE)[:1]).fit_score(raw_means())
    table = compare_hierarchy_fit({"all": result, "immune": other}, n_permutations=5)
    assert table.columns[:3].tolist() == ["name", "hierarchy_fit_status", "fit_rank_score"]
    assert table["fit_rank"].tolist() == [1, 2]
    assert table["fit"].between(0, 1).all()
    immune = table.set_index("name").loc["immune"]
    assert immune["fit_unresolved"] > 0
    assert compare_hierarchy_fit([result, other], n_permutations=1)["name"].tolist()[0].startswith("candidate_")
    del pipeline


def test_the_default_rules_are_one_argument_away() -> None:
    """The same pipeline with cellkey's own rules, and settings that both understand."""
    pipeline = HierAnnotPipeline(as_programs(TREE), method="enrichment", preset="small_panel", n_bins=3,
                                 control_gene_exclusion_policy="all_pipeline_markers", detection_floor=3.5)
    export = make_cluster_annotation_export_summary(pipeline.fit_score(raw_means()))
    assert export.loc[1, ["annot_export_label", "annot_export_status"]].tolist() == ["Basal", "resolved"]
    assert pipeline.scoring.floor_negative
    metrics = summarize_hierarchy_fit(pipeline.fit_score(raw_means())).set_index("metric")["value"]
    assert "fraction_unknown" in metrics


def test_programs_as_text_dictionaries_and_files(tmp_path: Path) -> None:
    """What is written is read back; only a name is required; the tree has one line per program."""
    roots = as_programs(TREE)
    assert format_hierarchy_tree(roots).splitlines()[:2] == [
        "- Immune (+2, -1, children=2)", "  - T cell (+3, -1, children=0)"]
    save_hierarchy(roots, tmp_path / "tree.json")
    assert load_hierarchy(tmp_path / "tree.json") == roots
    assert hierarchy_from_dict(hierarchy_to_dict(roots)) == roots
    assert MarkerProgram.from_dict({"name": "x"}) == MarkerProgram("x", [])
    assert describe_hierarchy([]).columns.tolist() == [
        "name", "level", "parent", "n_positive_markers", "n_negative_markers", "n_children", "metadata"]
    assert describe_hierarchy(roots)["parent"].tolist()[:2] == [None, "Immune"]
    assert as_hierarchy(roots) == TREE
    child = MarkerProgram("c", ["A"])
    parent = MarkerProgram("p", ["B"])
    parent.add_child(child)
    copied = parent.clone()
    copied.children[0].name = "other"
    assert child.name == "c"
    (tmp_path / "no.json").write_text('{"name": "x"}')
    with pytest.raises(HierarchyError, match="must hold a list"):
        load_hierarchy(tmp_path / "no.json")


def test_pipelines_that_cannot_be_made() -> None:
    """One program instead of a list, unknown presets and policies, weights out of range, repeated names."""
    one = MarkerProgram("x", ["A", "B"])
    with pytest.raises(TypeError, match="list of roots"):
        HierAnnotPipeline(one)  # type: ignore[arg-type]
    for wrong in ({"preset": "tiny_panel"}, {"control_gene_exclusion_policy": "none"},
                  {"branch_child_rescue_weight": 1.2}, {"level1_branch_child_rescue_weight": -0.1},
                  {"child_marker_strategy": "subtract"}, {"random_state": "x"}):
        with pytest.raises(ParameterError):
            HierAnnotPipeline([one], **wrong)  # type: ignore[arg-type]
    with pytest.raises(HierarchyError, match="more than once"):
        HierAnnotPipeline([one, one])


def test_mouse_names_without_upper_case_are_found() -> None:
    """Markers are used as written when gene names are."""
    table = raw_means().rename(index=str.capitalize)
    roots = as_programs(TREE)
    lower = hierarchy_from_dict(json.loads(json.dumps(hierarchy_to_dict(roots)), object_hook=_capitalised))
    same = HierAnnotPipeline(lower, uppercase_genes=False).fit_score(table)
    assert np.isfinite(same.all_scores["score"]).all()


def _capitalised(values: dict[str, Any]) -> dict[str, Any]:
    return {k: [m.capitalize() for m in v] if k.endswith("_markers") else v for k, v in values.items()}


def test_figures_of_the_package(example: tuple[Any, Any], tmp_path: Path) -> None:
    """Each returns a figure that can be saved, and its axes."""
    _, result = example
    comparison = compare_hierarchy_fit({"a": result}, n_permutations=1)
    for name in (n for n in hierannot.__all__ if n.startswith("plot_")):
        figure, axes = getattr(hierannot, name)(comparison if "compare" in name else result)
        figure.savefig(tmp_path / f"{name}.png", dpi=40, bbox_inches="tight")
        assert axes is not None
    with pytest.raises(KeyError, match="scor"):
        hierannot.plot_cluster_annotation_heatmap(result, value="scor")
    with pytest.raises(InputError, match="diagnostics_summary"):
        hierannot.plot_hierarchy_fit_summary({})


def test_the_constructor_tells_of_its_settings() -> None:
    """``help(HierAnnotPipeline.__init__)``, which the article sends users to, names every argument."""
    import inspect

    from cellkey.compat.hierannot import HierAnnotPipeline

    told = inspect.getdoc(HierAnnotPipeline.__init__) or ""
    assert [p for p in inspect.signature(HierAnnotPipeline).parameters if p not in told] == []
