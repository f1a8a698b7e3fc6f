"""Worked vector: eight immune cells, half T and half B, in one cluster; every number small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.records.vocabulary import Criterion, Recommendation
from cellkey.refinement.cell_access import Cells
from cellkey.refinement.diagnosis import diagnose, diagnostic_report, marker_heterogeneity, votes_needed
from cellkey.refinement.iteration import RefinementStop, refine_state
from cellkey.refinement.judging import MarkerJudge
from cellkey.refinement.operations import Workshop
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.state import State, start
from worked_cells import KEY, NAMES, VALUES

CELLS = Cells(VALUES, np.array(NAMES, dtype=object))


def begin() -> State:
    ids = np.repeat(np.array(["0", "1"], dtype=object), [8, 4])
    return start(ids, profile_clusters(Expression(VALUES), ids, NAMES), MarkerJudge(KEY))


def diagnosed(**changes: object):
    state = begin()
    parameters = RefinementParameters(**{"min_cells": 8, **changes})
    candidates = votes_needed(state.verdict, state.calls)
    votes = CELLS.hold_votes(state.verdict, candidates, {c: state.rows(c) for c in candidates})
    return diagnose(state.verdict, state.calls, parameters, votes)


def test_components_of_the_merged_cluster() -> None:
    found = diagnosed()[0]
    assert found.components[Criterion.LOW_CONFIDENCE] == pytest.approx(0.5703, abs=1e-4)
    assert found.components[Criterion.HETEROGENEOUS_PARENT] == pytest.approx(1.944, abs=1e-3)
    assert found.components[Criterion.MIXED_POPULATION] == pytest.approx(1.4412, abs=1e-4)
    assert found.heterogeneity == pytest.approx(1.944, abs=1e-3)
    assert found.criterion is Criterion.HETEROGENEOUS_PARENT
    assert found.facts.minority_share == 0.5
    assert found.recommendation is Recommendation.SUBCLUSTER


def test_a_wider_gap_relabels_instead() -> None:
    found = diagnosed(heterogeneity_gap=0.5)[0]
    assert (found.recommendation, found.criterion) == (Recommendation.RELABEL, Criterion.HOMOGENEOUS_PARENT)
    assert KEY.nodes[found.target].name == "T Cells"


def test_a_higher_threshold_skips() -> None:
    assert diagnosed(score_threshold=2.0)[0].recommendation is Recommendation.SKIP


def test_no_criterion_exceeds_three() -> None:
    found = diagnosed(subtype_signal_threshold=0.1)[0]  # the best subtype scores 5.6 times as much
    assert found.components[Criterion.HETEROGENEOUS_PARENT] == found.heterogeneity == 3.0


def test_too_few_cells_keep_what_would_have_been() -> None:
    found = diagnosed(min_cells=9)[0]
    assert (found.recommendation, found.ideal) == (Recommendation.SKIP, Recommendation.SUBCLUSTER)
    assert found.reason.startswith("too few cells (8 < 9)")


def test_marker_heterogeneity_counts_the_markers_of_the_map() -> None:
    state = begin()
    assert marker_heterogeneity(state.verdict.positive)[0] == pytest.approx(0.14375)
    assert state.verdict.positive.shape[1] == 5


def test_the_report_follows_its_schema_with_sentences() -> None:
    report = diagnostic_report(diagnosed())
    row = report.iloc[0]
    assert (row["cluster_id"], row["recommendation"], row["best_child"]) == ("0", "SUBCLUSTER", "T Cells")
    assert row["priority"] == 1
    assert "50 %" in row["reason"]
    assert "30 %" in row["reason"]


def test_relabelling_takes_the_subtype_and_stops_when_nothing_is_left() -> None:
    shop = Workshop(CELLS, MarkerJudge(KEY), RefinementParameters(min_cells=8, heterogeneity_gap=0.5))
    done = refine_state(begin(), shop)
    assert done.last.calls["0"].path == ("Immune Cells", "T Cells")
    assert done.last.calls["1"].label == "Epithelium"
    assert done.iterations[0].log[0].action == "RELABEL"
    assert done.stop in set(RefinementStop)
