"""Labels of new clusters: pure parts stay in their lineage, and stability says what a label hangs on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cellkey.annotation.cells import annotate
from cellkey.datasets import synthetic_protein, synthetic_rna
from cellkey.hierarchy import CellType, Hierarchy
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.refinement import refine
from cellkey.refinement.confidence import measure_confidence
from cellkey.refinement.judging import EnrichmentJudge, MarkerJudge
from cellkey.refinement.lineage import agree, part_call, with_label, with_node
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.profiling import profile_parts, with_groups
from cellkey.refinement.source import open_source

SETTINGS = {"min_cells": 60, "call_resamples": 0, "split_resamples": 5}


def annotated(made, **options: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate(made.adata, made.marker_map, groupby="true_cluster", **options)
    return made.adata


def test_the_ciliated_half_of_an_epithelial_cluster_stays_epithelial() -> None:
    """Inside the cluster no epithelial marker is enriched; against all cells it is."""
    adata = annotated(synthetic_protein(1500, seed=0))
    refine(adata, parameters=SETTINGS)
    half = (adata.obs["epithelial_half"] == "ciliated").to_numpy()
    paths = adata.obs["cell_type_lvl1_path"].astype(str)
    assert (adata.obs.loc[half, "true_label"] == "Ciliated Epithelium").mean() > 0.96
    assert paths[half].str.startswith("Epithelium").mean() > 0.95
    assert (adata.obs["cell_type_lvl1"].astype(str)[half] == "Ciliated Epithelium").mean() > 0.95


@pytest.mark.parametrize("protein", [False, True])
def test_parts_of_a_pure_cluster_never_change_their_root(protein: bool) -> None:
    """Cut at random, by depth, and by the first component of each cluster."""
    made = synthetic_protein(1200, seed=1) if protein else synthetic_rna(1300, 300, thin=0.5, seed=2)
    made.adata.obs["true_cluster"] = made.adata.obs["true_label"]
    adata = annotated(made)
    source = open_source(adata, RefinementParameters())
    state = source.first
    rng = np.random.default_rng(0)
    moved = 0
    for cluster in state.clusters:
        rows = state.rows(cluster)
        expression = source.cells.expression(rows)
        values = expression.columns(np.arange(expression.n_vars)).toarray()
        first = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[0][:, 0]
        for order in (rng.random(len(rows)), values.sum(axis=1), first):
            labels = np.where(order > np.median(order), f"{cluster}:0", f"{cluster}:1").astype(object)
            parts = profile_parts(expression, labels, state.profiles)
            verdict = source.judge(with_groups(state.profiles, parts, removed=[cluster]))
            for part in parts.groups:
                moved += part_call(verdict, part, state.calls[cluster])[0].root_label != state.calls[cluster].root_label
    assert moved == 0


def test_a_column_of_the_user_changes_nothing() -> None:
    """Labels come from the annotation, never from a column that happens to be called cell_type."""
    made = synthetic_rna(700, 200, merged=[("B Cells", "Monocytes")], seed=4)
    other = synthetic_rna(700, 200, merged=[("B Cells", "Monocytes")], seed=4)
    other.adata.obs["cell_type"] = "nonsense"
    other.adata.obs["cluster_lvl1"] = "mine"
    for one in (made, other):
        annotated(one)
        refine(one.adata, parameters=SETTINGS)
    for column in ("cluster_lvl1", "cell_type_lvl1", "cell_type_lvl0", "refinement_action"):
        assert made.adata.obs[column].astype(str).equals(other.adata.obs[column].astype(str))
    assert set(other.adata.obs["cell_type"]) == {"nonsense"}
    assert set(other.adata.obs["cluster_lvl1_input"]) == {"mine"}


def test_mixed_clusters_come_apart_and_pure_ones_stay_whole() -> None:
    from sklearn.metrics import adjusted_rand_score

    merged = [("CD4 T Cells", "CD8 T Cells"), ("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
    adata = annotated(synthetic_rna(1500, 400, merged=merged, seed=6))
    refine(adata, parameters=SETTINGS)
    truth, now = adata.obs["true_label"].astype(str), adata.obs["cluster_lvl1"].astype(str)
    for cluster, cells in adata.obs.groupby("true_cluster", observed=True):
        if truth[cells.index].nunique() > 1:
            assert adjusted_rand_score(truth[cells.index], now[cells.index]) >= 0.9, cluster
        else:
            assert now[cells.index].nunique() == 1, cluster
    assert adjusted_rand_score(truth, now) >= 0.9


def test_the_order_of_cells_changes_nothing() -> None:
    made = synthetic_rna(700, 200, merged=[("B Cells", "Monocytes")], seed=4)
    adata = annotated(made)
    turned = adata[::-1].copy()
    for one in (adata, turned):
        refine(one, parameters={**SETTINGS, "call_resamples": 5})
    same = turned.obs.loc[adata.obs_names]
    for column in ("cluster_lvl1", "cell_type_lvl1"):
        assert adata.obs[column].astype(str).equals(same[column].astype(str))
    np.testing.assert_allclose(adata.obs["cell_type_lvl1_stability"], same["cell_type_lvl1_stability"])


TREE = Hierarchy((
    CellType(("A",), ("a",)), CellType(("A", "A1"), ("a1",)), CellType(("A", "A2"), ("a2",)),
    CellType(("B",), ("b",)), CellType(("B", "B1"), ("b1",)),
))
GENES = ["a", "a1", "a2", "b", "b1"]


def verdict_of(levels: dict[str, list[float]]):
    """Groups of thirty cells with given levels of the five markers."""
    rng = np.random.default_rng(0)
    X = np.vstack([np.maximum(rng.normal(v, 0.4, (30, 5)), 0) for v in levels.values()])
    labels = np.repeat(np.array(list(levels), dtype=object), 30)
    return MarkerJudge(TREE)(profile_clusters(Expression(X), labels, GENES))


def test_parts_are_judged_from_the_lineage_of_their_parent() -> None:
    verdict = verdict_of({
        "0:0": [3, 3, 0, 0, 0], "0:1": [0.3, 0.2, 0.2, 0.2, 0.1], "0:2": [0, 0, 0, 4, 4], "0:3": [3, 0.2, 3, 0, 0],
        "1": [0, 0, 0, 0, 0], "2": [0, 0, 0, 3, 0],
    })
    parent = with_label(verdict, verdict.calls["0:0"], "A / A1")
    assert part_call(verdict, "0:0", parent)[0].path == ("A", "A1")
    moved, why = part_call(verdict, "0:2", parent)
    assert moved.path[0] == "B"
    assert "leads" in why
    kept, why = part_call(verdict, "0:1", parent)
    assert kept.path == ("A", "A1")
    assert "no other type clearly wins" in why
    assert part_call(verdict, "0:3", parent)[0].path == ("A", "A2")
    assert kept.group == "0:1"
    assert kept.n_cells == 30


def test_a_label_that_the_hierarchy_does_not_hold_is_not_kept_by_a_part() -> None:
    verdict = verdict_of({"0:0": [3, 0.2, 0.2, 0, 0], "1": [0, 0, 0, 0, 0], "2": [0, 0, 0, 3, 0]})
    parent = with_label(verdict, verdict.calls["0:0"], "A / a label of my own")
    assert part_call(verdict, "0:0", parent)[0].path == ("A",)


def test_labels_that_do_not_contradict_each_other() -> None:
    verdict = verdict_of({"x": [3, 3, 0, 0, 0], "y": [0, 0, 0, 3, 3]})
    call = verdict.calls["x"]
    deep, shallow, other = (with_label(verdict, call, name) for name in ("A1", "A", "B"))
    assert agree(deep, shallow)
    assert agree(shallow, shallow)
    assert not agree(deep, other)
    assert not agree(deep, with_label(verdict, call, "A2"))
    assert not agree(deep, with_label(verdict, call, "Unassigned"))


def test_labels_set_by_hand_stand_as_written() -> None:
    verdict = verdict_of({"x": [3, 3, 0, 0, 0], "y": [0, 0, 0, 3, 3]})
    free = with_label(verdict, verdict.calls["x"], "Ghost / Pale")
    assert (free.label, free.path, free.level, free.node) == ("Pale", ("Ghost", "Pale"), 1, None)
    known = with_node(verdict, verdict.calls["x"], TREE.index(("B", "B1")))
    assert (known.path, known.runner_up) == (("B", "B1"), "")


def test_stability_names_the_marker_that_a_call_hangs_on() -> None:
    made = synthetic_rna(500, 150, seed=1)
    made.marker_map["Immune Cells"]["children"]["B Cells"]["markers"] = ["MS4A1"]
    adata = annotated(made)
    source = open_source(adata, RefinementParameters())
    few = RefinementParameters(call_resamples=10)
    found = measure_confidence(source.current, source.cells, source.index, few, None)
    b_cells = next(c for c, call in source.current.calls.items() if call.label == "B Cells")
    assert found.stability[b_cells].fragile[-1] == "MS4A1"
    assert 0 < found.stability[b_cells].without_marker[-1] < 1
    assert all(s.held[-1] >= 0.9 for s in found.stability.values())
    none = RefinementParameters(call_resamples=0)
    assert measure_confidence(source.current, source.cells, source.index, none, None).table is None


@pytest.mark.parametrize("method", ["enrichment", "both"])
def test_other_methods_take_part(method: str) -> None:
    merged = [("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
    adata = annotated(synthetic_rna(900, 400, merged=merged, seed=6), method=method)
    source = open_source(adata, RefinementParameters())
    assert isinstance(source.judge, EnrichmentJudge if method == "enrichment" else MarkerJudge)
    labels = adata.obs["cell_type_auto"].astype(str)
    for cluster, call in source.first.calls.items():
        assert set(labels[source.first.ids == cluster]) == {call.label}
    result = refine(adata, parameters={**SETTINGS, "call_resamples": 2})
    right = (adata.obs["cell_type_lvl1"].astype(str) == adata.obs["true_label"].astype(str)).mean()
    assert right > (labels == adata.obs["true_label"].astype(str)).mean() + 0.05
    assert len(result.tables["refined_annotations"]) == adata.obs["cluster_lvl1"].nunique()
