"""Worked vectors: twelve cells, six markers, every number small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.calls.call import calls_from_walks
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.records.vocabulary import FailReason, StopDetail, StopReason
from cellkey.routing.limits import merge_gating
from cellkey.routing.marker_gates import MarkerRule
from cellkey.routing.votes import cell_support, vote
from cellkey.routing.walk import walk_key
from cellkey.scoring.key import measure_key
from cellkey.scoring.marker_evidence import MarkerScoring, score_markers
from worked_cells import KEY, NAMES, VALUES

THREE = np.repeat(["0", "1", "2"], 4)
TWO = np.repeat(["0", "1"], [8, 4])


def evidence_of(labels: np.ndarray, parameters: MarkerScoring | None = None):
    parameters = parameters or MarkerScoring()
    profiles = profile_clusters(Expression(VALUES), labels, NAMES, basis=parameters.positive_basis)
    key = measure_key(KEY, NAMES, usable=profiles.overall_std > 0)
    return profiles, score_markers(profiles, key, parameters)


def calls_of(labels: np.ndarray):
    profiles, evidence = evidence_of(labels)
    gating = merge_gating()
    rule = MarkerRule(evidence, gating)
    walks = walk_key(evidence.key, evidence.groups, rule)
    return profiles, evidence, rule, calls_from_walks(walks, evidence, rule.scores, [3])


def test_global_statistics_follow_the_sparse_and_the_dense_rule() -> None:
    """Half zeros or more: mean and 'expresses it'; fewer: median and quantile of the non-zero values."""
    profiles, evidence = evidence_of(THREE)
    statistics = evidence.details.statistics
    np.testing.assert_allclose(profiles.zero_share, [0.25, 7 / 12, 7 / 12, 8 / 12, 0.5, 5 / 12])
    np.testing.assert_allclose(statistics.overall, [2, 13 / 12, 13 / 12, 14 / 12, 14 / 12, 1], atol=1e-4)
    np.testing.assert_allclose(statistics.std, [1.1637, 1.4410, 1.4410, 1.6750, 1.4044, 0.7993], atol=1e-4)
    np.testing.assert_allclose(statistics.threshold, [3, 2.25, 2.25, 3, 2.25, 2])
    np.testing.assert_allclose(statistics.positive, [
        [0.5, 0.75, 0, 0, 0, 0.5], [0.5, 0, 0.75, 0, 0, 0.25], [0, 0, 0, 1, 0.75, 0]])
    np.testing.assert_allclose(statistics.enrichment, [
        [0.4297, 1.3301, -0.5783, -0.6965, -0.6527, 0.6255],
        [0.4297, -0.5783, 1.3301, -0.6965, -0.6527, 0],
        [-1.7187, -0.7518, -0.7518, 1.3931, 1.3055, -1.2511]], atol=1e-4)


def test_rank_sum_z_with_ties() -> None:
    profiles, _ = evidence_of(THREE)
    np.testing.assert_allclose(profiles.rank_z, [
        [1.4196, 3.0369, -1.1388, -1.6248, -1.4562, 1.1761],
        [1.4196, -1.1388, 3.0369, -1.6248, -1.4562, 0.5428],
        [-2.8392, -1.8981, -1.8981, 3.2496, 2.9124, -1.7189]], atol=1e-4)


def test_scores_and_their_parts() -> None:
    """Columns: Immune Cells, T Cells, B Cells, Epithelium."""
    _, evidence = evidence_of(THREE)
    np.testing.assert_allclose(evidence["coverage"][0], [1, 0.5, 1, 1])
    np.testing.assert_allclose(evidence.score, [
        [1.2630, 2.4301, -1.6184, -1.1395],
        [1.2630, -1.7684, 2.5801, -1.1395],
        [-2.8308, -0.9018, -0.7518, 2.5993]], atol=1e-4)
    np.testing.assert_allclose(evidence["de_component"], [
        [0.3333, 0.5, 0, 0], [0.3333, 0, 0.5, 0], [0, 0, 0, 0.375]], atol=1e-4)
    np.testing.assert_allclose(evidence["anti_penalty"], [
        [0, 0, 1.0401, 0.4648], [0, 1.0401, 0, 0.4648], [1.1121, 0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(evidence["frac_markers_on"], [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]])


def test_lists_of_differential_markers() -> None:
    """At most three, of those that are higher in the cluster: weights 1, 2/3, 1/3, or 1, 1/2."""
    _, evidence = evidence_of(THREE)
    details = evidence.details
    assert details.de_k.tolist() == [3, 3, 2]
    np.testing.assert_allclose(details.de_weight, [
        [2 / 3, 1, 0, 0, 0, 1 / 3], [2 / 3, 0, 1, 0, 0, 1 / 3], [0, 0, 0, 1, 1 / 2, 0]])


def test_legacy_parameters_give_the_scores_of_the_original() -> None:
    _, evidence = evidence_of(THREE, MarkerScoring.legacy())
    statistics = evidence.details.statistics
    np.testing.assert_allclose(statistics.overall, [2, 0, 0, 0, 0.5, 1])
    np.testing.assert_allclose(statistics.threshold, [3, 2.25, 2.25, 3, 2.25, 1.25])
    np.testing.assert_allclose(evidence.score, [
        [1.2630, 3.3319, -1.4160, -0.6429],
        [1.2630, -1.4160, 3.3319, -0.6429],
        [-3.1236, 0, 0, 3.1849]], atol=1e-4)


def test_decisions_of_three_pure_clusters() -> None:
    _, _, _, calls = calls_of(THREE)
    assert [c.label for c in calls] == ["T Cells", "B Cells", "Epithelium"]
    assert [c.path for c in calls] == [("Immune Cells", "T Cells"), ("Immune Cells", "B Cells"), ("Epithelium",)]
    assert [c.level for c in calls] == [1, 1, 0]
    assert {c.stop_reason for c in calls} == {StopReason.LEAF_REACHED}
    np.testing.assert_allclose([c.score for c in calls], [2.4301, 2.5801, 2.5993], atol=1e-4)
    np.testing.assert_allclose([c.confidence for c in calls], [2.4025, 2.4025, 5.4301], atol=1e-4)
    np.testing.assert_allclose(
        [calls[0].walk.steps[1].choice.margin, calls[1].walk.steps[1].choice.margin], [4.0485, 4.3485], atol=1e-4)
    assert all(c.uncontested for c in calls)
    rejected = {r.node: r.fail_reason for step in calls[0].walk.steps for r in step.choice.candidates}
    assert rejected == {0: None, 3: FailReason.BELOW_GATE, 1: None, 2: FailReason.BELOW_GATE}
    epithelial = {r.node: r.fail_reason for r in calls[2].walk.steps[0].choice.candidates}
    assert epithelial == {0: FailReason.BELOW_GATE, 3: None}


def test_a_merged_cluster_stops_at_the_parent_and_its_cells_vote() -> None:
    profiles, evidence, rule, calls = calls_of(TWO)
    np.testing.assert_allclose(profiles.rank_z[0, :3], [2.8392, 1.8981, 1.8981], atol=1e-4)
    np.testing.assert_allclose(evidence["mean_enrichment"][0], [0.4297, 0.3759, 0.3759, -0.6746], atol=1e-4)
    np.testing.assert_allclose(evidence["mean_positive_fraction"][0], [0.5, 0.375, 0.375, 0])
    np.testing.assert_allclose(evidence["anti_penalty"][0], [0, 0.3755, 0.3755, 0.4648], atol=1e-4)
    np.testing.assert_allclose(evidence.score[0], [1.4297, 0.5588, 0.5421, -1.1395], atol=1e-4)
    np.testing.assert_allclose(evidence["de_component"][0], [0.5, 0.3333, 0.1667, 0], atol=1e-4)
    call = calls[0]
    assert (call.label, call.level, call.stop_reason, call.stop_detail) == (
        "Immune Cells", 0, StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_SIBLINGS)
    assert call.confidence == pytest.approx(0.0167, abs=1e-4)
    assert call.tied == ("T Cells", "B Cells")
    support = cell_support(Expression(VALUES), np.arange(4), call.walk.last.tied, evidence, profiles.overall_mean,
                           profiles.overall_std)
    np.testing.assert_allclose(
        support, [[2.024, -0.752], [1.330, -0.752], [0.636, -0.752], [1.330, -0.058]], atol=1e-3)
    ballot = vote(Expression(VALUES), np.arange(8), call.walk.last.tied, evidence,
                  profiles.overall_mean, profiles.overall_std)
    assert ballot.winners.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    composition = ballot.composition(rule.scores[0])
    assert (composition["T Cells"], composition["B Cells"]) == (0.5, 0.5)
    assert "Uncertain" not in composition
    assert ballot.minority_share() == 0.5
    strict = vote(Expression(VALUES), np.arange(8), call.walk.last.tied, evidence,
                  profiles.overall_mean, profiles.overall_std, threshold=1.5)
    assert strict.winners.tolist() == [0, 0, -1, -1, 1, 1, 1, -1]  # three cells lead by 1.388 only
    assert strict.composition(rule.scores[0])["Uncertain"] == 0.375
    assert strict.minority_share() == pytest.approx(0.4)
