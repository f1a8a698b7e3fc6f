"""Enrichment against a worked example, unit vectors and a reference made of plain loops."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cellkey.calls.export import ExportRules, export_labels
from cellkey.calls.route_table import ROUTE_COLUMNS, route_table
from cellkey.profiles.means import ClusterMeans, means_from_table
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import Routes, confidence_tier, route_branches
from cellkey.scoring.branch_support import branch_support
from cellkey.scoring.controls import expression_bins
from cellkey.scoring.enrichment import score_enrichment, support_gate
from cellkey.scoring.enrichment_settings import EnrichmentScoring
from cellkey.scoring.evidence import Evidence
from cellkey.scoring.key import measure_key
from cellkey.scoring.marker_sets import effective_markers
from cellkey.scoring.specificity import robust_scale, robust_z
from enrichment_example import CLUSTERS, SCORE_NAMES, SCORES, TREE, raw_means

NAMES = [n.name for n in TREE.nodes]
PART = {"P": "positive", "N": "negative", "R": "raw", "Z": "z", "spec": "specificity", "f": "detection",
        "D": "decision", "g": "gate", "L": "local", "B": "branch_support", "BR": "branch_raw", "BR1": "routing_raw"}
EXAMPLE = {"preset": "small", "n_bins": 3, "controls": "all", "control_exclusion": "all_markers",
           "detection_floor": 3.5}
AS_RELEASED = BranchGating(back_off=False, rival_must_pass=False, carrying_score=None)


def _load_reference() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "enrichment_reference.py"
    spec = importlib.util.spec_from_file_location("enrichment_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["enrichment_reference"] = module
    spec.loader.exec_module(module)
    return module


reference = _load_reference()


def example() -> tuple[ClusterMeans, Evidence, Routes]:
    means = means_from_table(raw_means())
    evidence = score_enrichment(means, measure_key(TREE, means.genes), EnrichmentScoring.released(**EXAMPLE))
    return means, evidence, route_branches(evidence, AS_RELEASED)


def loops(means: ClusterMeans, evidence: Evidence, *, released: bool) -> tuple[dict[str, list[list[float]]], list]:
    details, key = evidence.details, evidence.key
    bulk = means.bulk
    panel = details.panel
    bins = expression_bins(bulk, panel.n_bins, low_limit=panel.low_limit if panel.collapse_low_tail else None)
    nodes = [
        reference.Node(n.path_text, [str(means.genes[c]) for c in details.sets.scored[k]],
                       [str(means.genes[c]) for c in details.sets.negative[k]], int(key.parents[k]))
        for k, n in enumerate(key.hierarchy.nodes)
    ]
    for k, node in enumerate(nodes):
        if node.parent >= 0:
            nodes[node.parent].children.append(k)
    settings = reference.Settings(released, panel.clip_quantile, panel.detection_floor)
    return reference.score(means.values.tolist(), [str(g) for g in means.genes], bins.tolist(), nodes, settings), nodes


def test_published_numbers_of_the_example_hold_to_their_last_digit() -> None:
    """Every score of every node in every cluster, rounded to four decimals as printed."""
    _, evidence, _ = example()
    for (node, cluster), values in SCORES.items():
        at = CLUSTERS.index(cluster), NAMES.index(node)
        for name, value in zip(SCORE_NAMES, values, strict=True):
            if value is not None:
                got = evidence.score[at] if name == "B1" else evidence[PART[name]][at]
                assert got == pytest.approx(value, abs=5.1e-5), (node, cluster, name)


def test_one_cell_of_the_example_step_by_step() -> None:
    """T cell in k0, to six decimals; median and scale of two nodes."""
    means, evidence, _ = example()
    at = 0, NAMES.index("T cell")
    assert means.values[0, list(means.genes).index("CD3D")] == pytest.approx(6.5065, abs=1e-4)
    got = [evidence[n][at] for n in ("positive", "negative", "raw", "z", "decision", "local")]
    np.testing.assert_allclose(got, [2.381465, 0.317607, 2.222661, 9.673786, 20.394115, 9.491243], rtol=0, atol=1e-6)
    centre, scale = robust_scale(evidence["raw"])
    np.testing.assert_allclose([centre[at[1]], scale[at[1]]], [-0.580170, 0.289735], atol=1e-6)
    np.testing.assert_allclose([centre[-1], scale[-1]], [-0.334827, 0.676311], atol=1e-6)


@pytest.mark.parametrize("released", [True, False], ids=["released", "default"])
def test_array_code_equals_plain_loops(released: bool) -> None:
    """Scores to 1e-9 and the same paths, on the example and on random panels of three sizes."""
    means = means_from_table(raw_means())
    model = EnrichmentScoring.released if released else EnrichmentScoring
    cases = [(means, TREE, model(**EXAMPLE))]
    for n_genes in (400, 3000, 11000):
        rng = np.random.default_rng(n_genes)
        table = rng.gamma(0.4, 1.0, (n_genes, 12)) * rng.lognormal(0, 1.5, (n_genes, 1))
        listed = sorted(TREE.all_markers())
        genes = np.array([*listed, *(f"G{i}" for i in range(n_genes - len(listed)))], dtype=object)
        values = np.log1p(1e4 * table / table.sum(axis=0)).T
        cases.append((ClusterMeans(tuple(map(str, range(12))), genes, values, np.zeros(12, dtype=np.int64)), TREE,
                      model(controls="all", control_exclusion="all_markers")))
    for case, tree, parameters in cases:
        evidence = score_enrichment(case, measure_key(tree, case.genes), parameters)
        expected, nodes = loops(case, evidence, released=released)
        for name, part in {"R": "raw", "Z": "z", "D": "decision", "f": "detection", "L": "local",
                           "B": "branch_support", "BR": "branch_raw", "route_raw": "routing_raw"}.items():
            np.testing.assert_allclose(evidence[part], np.array(expected[name]), rtol=1e-9, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(evidence.score, np.array(expected["route"]), rtol=1e-9, atol=1e-9)
        routes = route_branches(evidence, AS_RELEASED)
        for c, walk in enumerate(routes.walks):
            assert list(walk.path) == reference.route(expected, nodes, c)


def test_routes_and_export_of_the_example() -> None:
    """The whole annotation table of the published program."""
    _, _, routes = example()
    table = route_table(routes, candidate_by="decision")
    assert tuple(table.columns) == ROUTE_COLUMNS
    assert len(ROUTE_COLUMNS) == 43
    expected = {
        "annot_path": ["Immune > T cell", "Epithelial > Basal", "Mural", "Epithelial > Luminal", "Unresolved"],
        "annot_level": [2, 2, 1, 2, 0],
        "annot_status": ["assigned", "assigned", "stopped_at_parent", "assigned", "stopped_at_parent"],
        "annot_stop_reason": ["leaf_reached", "leaf_reached", "below_score_threshold", "leaf_reached",
                              "below_absolute_support"],
        "annot_confidence": ["high", "high", "high", "high", "none"],
        "annot_best_any_level_label": ["T cell", "Epithelial", "Mural", "Luminal", "Pericyte"],
        "annot_second_best_call": ["Basal", "Macrophage", "Macrophage", "Macrophage", "Pericyte"],
        "annot_primary_compartment": ["Immune", "Epithelial", "Mural", "Epithelial", "Immune"],
        "annot_branch_conflict": [False] * 5,
        "annot_low_evidence": [False, False, False, False, True],
    }
    for name, values in expected.items():
        assert table[name].tolist() == values, name
    numbers = {
        "annot_score": [9.491243, 0.436433, 1.306953, 2.590578, np.nan],
        "annot_raw_score": [2.222661, 1.251602, 2.834490, 0.275064, np.nan],
        "annot_branch_supported_raw_score": [2.222661, 1.251602, 1.700694, 0.275064, np.nan],
        "annot_best_any_level_score": [20.394115, 1.809698, 1.193903, 6.063849, 6.449667],
        "annot_best_any_level_raw_score": [2.222661, 0.960602, 2.834490, 0.275064, 4.027155],
        "annot_second_best_call_score": [0.149005, 0.678017, 0.165045, 0.452562, 4.996160],
        "annot_final_call_margin": [9.342237, -0.241584, 1.141908, 2.138016, np.nan],
        "annot_top_level_gap": [3.797441, 3.317779, 2.387806, 1.008720, 0.925074],
    }
    for name, values in numbers.items():
        np.testing.assert_allclose(table[name].astype(float), values, rtol=0, atol=1e-6, err_msg=name)
    for threshold in (None, 0.1):
        export = export_labels(table, ExportRules.released(unknown_branch_raw_threshold=threshold))
        assert export["annot_export_label"].tolist() == [
            "T cell", "mixed_basal.macrophage", "Mural", "Luminal", "candidate_pericyte"]
        assert export["annot_export_label_with_cluster"].tolist() == [
            "T_cell_k0", "mixed_basal.macrophage_k1", "Mural_k2", "Luminal_k3", "candidate_pericyte_k4"]
        assert export["annot_export_status"].tolist() == ["resolved", "mixed", "resolved", "resolved", "unknown"]
        assert export["annot_export_reason"].tolist() == [
            "resolved", "final_call_competition", "resolved", "resolved", "blocked_strong_candidate"]
    later = export_labels(table, ExportRules.released(candidate_status="candidate"))
    assert later["annot_export_status"].tolist()[-1] == "candidate"


def test_a_pure_cluster_is_not_mixed_by_default() -> None:
    """k1 expresses epithelial genes only; absence of T-cell genes is no evidence for macrophages."""
    means = means_from_table(raw_means())
    parameters = EnrichmentScoring(**EXAMPLE)
    evidence = score_enrichment(means, measure_key(TREE, means.genes), parameters)
    export = export_labels(route_table(route_branches(evidence)))
    assert export.loc[1, ["annot_export_label", "annot_export_status"]].tolist() == ["Basal", "resolved"]


def test_effective_markers_of_the_example() -> None:
    """Markers of the direct parent are taken away, unless nothing would be left."""
    found = dict(zip(NAMES, effective_markers(TREE), strict=True))
    assert found["Luminal"] == ("KRT19", "MUC1")
    assert found["Pericyte"] == ("PDGFRB", "DES")
    assert found["Basal"] == ("KRT5", "KRT14", "TP63")


def test_gate_vector() -> None:
    """Zero below zero and for missing values, a ramp to one."""
    np.testing.assert_allclose(support_gate(np.array([-0.01, 0, 0.05, 0.10, np.nan]), 0.10), [0, 0, 0.5, 1, 0])
    np.testing.assert_allclose(support_gate(np.array([-0.01, 0, 0.05]), 0.0), [0, 1, 1])


def test_robust_z_vectors() -> None:
    """Worked columns: two values, three, one outlier with zero MAD, equal values, a single finite value."""
    def z(*values: float) -> list[float]:
        return robust_z(np.array(values)[:, None])[:, 0].tolist()

    assert z(0, 0.001) == pytest.approx([-0.6745, 0.6745], abs=1e-4)
    assert z(1, 2, 3) == pytest.approx([-0.6745, 0, 0.6745], abs=1e-4)
    assert z(1, 1, 1, 5) == pytest.approx([0, 0, 0, 2.3094], abs=1e-4)
    assert z(2, 2) == [0, 0]
    assert z(3, np.nan) == pytest.approx([0, np.nan], nan_ok=True)
    assert robust_z(np.array([[0.0], [0.001]]), 0.25)[:, 0] == pytest.approx([-0.002, 0.002])


def test_confidence_vectors() -> None:
    """Worked tiers at thresholds 0.05 and 0.02."""
    nan = float("nan")
    cases = {(0.10, 0.07, 0.5): "high", (0.10, 0.06, 0.5): "medium", (0.09, nan, 1.0): "medium",
             (0.10, nan, 0.49): "medium", (0.10, 0.01, 0.49): "low", (5.0, 5.0, 0.19): "low", (0.04, 1.0, 1.0): "low",
             (nan, nan, nan): "none"}
    for (support, margin, detection), tier in cases.items():
        assert confidence_tier(support, margin, detection, 0.05, 0.02) == tier


def test_branch_vectors() -> None:
    """Worked blends of own and best child's support, with missing values."""
    parents, levels, weight = np.array([-1, 0, 0]), np.array([0, 1, 1]), np.full(3, 0.35)

    def support(*values: float) -> float:
        return float(branch_support(np.array([values]), parents, levels, weight)[0][0, 0])

    nan = float("nan")
    assert support(1.0, -2.0, -1.0) == pytest.approx(0.65)
    assert support(nan, 0.4, nan) == pytest.approx(0.4)
    assert support(-1.0, 2.0, nan) == pytest.approx(0.05)
    assert support(-0.3, nan, nan) == pytest.approx(-0.3)


def test_bins_follow_rank_quantiles_with_closed_upper_edges() -> None:
    """The bins of pandas.qcut on average ranks, also with ties; a gene on an edge belongs below it."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    for n, bins in ((35, 3), (98, 12), (998, 24), (37, 5)):
        values = np.round(rng.gamma(0.7, 1.0, n), 1 if n == 998 else 3)
        ranks = pd.Series(values).rank(method="average")
        expected = pd.qcut(ranks, min(bins, len(set(values))), labels=False, duplicates="drop")
        np.testing.assert_array_equal(expression_bins(values, bins), expected)
    np.testing.assert_array_equal(expression_bins(np.arange(5.0), 2), [0, 0, 0, 1, 1])
    tail = expression_bins(np.array([0.0, 0.1, 1, 2, 3, 4]), 3, low_limit=0.1)
    np.testing.assert_array_equal(tail, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(expression_bins(np.ones(4), 3), [0, 0, 0, 0])
