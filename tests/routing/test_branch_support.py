"""The walk by branch support: gates in order, stop reasons, ties, rivals, and what carries a lineage."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cellkey.hierarchy import CellType, Hierarchy
from cellkey.records.vocabulary import BranchStop, FailReason, ScoreStatus, StopDetail, StopReason
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import route_branches
from cellkey.routing.lineages import ancestor_or_self, best_nodes, lineage_of, related_nodes
from cellkey.scoring.evidence import Evidence
from cellkey.scoring.key import measure_key

PATHS = (("A",), ("A", "A1"), ("A", "A2"), ("B",), ("B", "B1"))
TREE = Hierarchy(tuple(CellType(p, (f"M{i}", f"N{i}")) for i, p in enumerate(PATHS)))
NAN = float("nan")


def evidence_of(score: list[float], *, raw: list[float] | None = None, tree: Hierarchy = TREE,
                **parts: list[float]) -> Evidence:
    """One group with the scores of A, A1, A2, B, B1; raw enrichment as the scores unless given."""
    values = np.array([score], dtype=float)
    raw_values = np.array([raw if raw is not None else score], dtype=float)
    components = {
        "raw": raw_values, "routing_raw": raw_values, "detection": np.ones_like(values), "branch_support": values,
        "branch_raw": raw_values, "best_child": np.full_like(values, NAN), "best_child_raw": np.full_like(values, NAN),
        "coverage": np.ones_like(values), "decision": values, "sure_support": values, "error": np.zeros_like(values),
        **{k: np.array([v], dtype=float) for k, v in parts.items()},
    }
    status = [ScoreStatus.OK if s == s else ScoreStatus.NO_MARKERS for s in score]
    key = measure_key(tree, sorted(tree.all_markers()))
    return Evidence(("g",), np.array([10]), key, "enrichment", values, components, SimpleNamespace(status=status))


def path_and_stop(evidence: Evidence, **gating: object) -> tuple[tuple[str, ...], BranchStop]:
    routes = route_branches(evidence, BranchGating(**gating))  # type: ignore[arg-type]
    nodes = evidence.key.hierarchy.nodes
    return tuple(nodes[k].name for k in routes.walks[0].path), routes.stop[0]


def test_the_best_sibling_is_followed_to_a_leaf() -> None:
    assert path_and_stop(evidence_of([1, 2, 0.5, 0.3, 3])) == (("A", "A1"), BranchStop.LEAF_REACHED)


def test_gates_are_asked_in_order_and_equality_passes() -> None:
    """Score before raw enrichment before margin; a value at its threshold is good enough."""
    assert path_and_stop(evidence_of([NAN] * 5)) == ((), BranchStop.NO_VALID_SCORE)
    low = evidence_of([0.04, 1, 1, 0.03, 1], raw=[-1, 1, 1, -1, 1])
    assert path_and_stop(low) == ((), BranchStop.BELOW_SCORE_THRESHOLD)
    against = evidence_of([0.06, 1, 1, 0.05, 1], raw=[-0.1, 1, 1, 0, 1])
    assert path_and_stop(against) == ((), BranchStop.BELOW_ABSOLUTE_SUPPORT)
    close = evidence_of([0.06, 1, 0, 0.05, 1], raw=[0.1, 1, 0, 0, 1])
    assert path_and_stop(close) == ((), BranchStop.AMBIGUOUS_SIBLING_MARGIN)
    exact = evidence_of([0.05, 0.07, 0.05, 0.03, 1], raw=[0, 0, 0, 0, 1])
    assert path_and_stop(exact) == (("A", "A1"), BranchStop.LEAF_REACHED)


def test_own_raw_enrichment_has_a_limit_of_its_own() -> None:
    """Blended raw enrichment may pass while the candidate's own is too low."""
    evidence = evidence_of([1, 1, 0, 0, 0], raw=[-0.21, 1, 0, 0, 0], routing_raw=[0.2, 1, 0, 0, 0])
    assert path_and_stop(evidence) == ((), BranchStop.BELOW_ABSOLUTE_SUPPORT)
    assert path_and_stop(evidence, min_leaf_raw_score=-0.3) == (("A", "A1"), BranchStop.LEAF_REACHED)


def test_a_strong_subtype_carries_a_lineage_that_cannot_be_enriched_over_itself() -> None:
    """Both limits must be met by the subtype; None switches it off."""
    def carried(child: float, raw: float) -> Evidence:
        return evidence_of([0.5, child, 0, 0, 0], raw=[-0.6, raw, 0, 0, 0], routing_raw=[-0.3, raw, 0, 0, 0],
                           best_child=[child, NAN, NAN, NAN, NAN], best_child_raw=[raw, NAN, NAN, NAN, NAN])

    assert path_and_stop(carried(0.35, 0.2)) == (("A", "A1"), BranchStop.LEAF_REACHED)
    assert path_and_stop(carried(0.34, 0.2))[0] == ()
    assert path_and_stop(carried(0.35, 0.19))[0] == ()
    assert path_and_stop(carried(0.9, 0.9), carrying_score=None)[0] == ()


def test_support_that_may_be_chance_stops_the_walk() -> None:
    """The gate looks at support with raw enrichment at its lower limit, and says how large the error is."""
    evidence = evidence_of([1.0, 0.8, 0.2, -1.0, -1.0], sure_support=[0.4, -0.1, 0.1, -2.0, -2.0],
                           error=[0.1, 0.4, 0.1, 0.1, 0.1])
    assert path_and_stop(evidence) == (("A",), BranchStop.WITHIN_SAMPLING_ERROR)
    stopped = route_branches(evidence).walks[0].steps[1].choice.candidates
    assert {c.fail_detail for c in stopped if c.node == 1} == {"raw 0.800 within its sampling error 0.400"}
    assert path_and_stop(evidence_of([-0.1, 0.8, 0.2, -1.0, -1.0], raw=[0.1] * 5), score_threshold=-0.5) == (
        ("A", "A1"), BranchStop.LEAF_REACHED)


def test_missing_values_do_not_speak_against_a_type() -> None:
    """A parent without own score passes on its child's support; an only child needs no margin."""
    evidence = evidence_of([NAN, NAN, NAN, 1, 1], raw=[NAN, NAN, NAN, NAN, 1], routing_raw=[NAN, NAN, NAN, 1, 1])
    assert path_and_stop(evidence) == (("B", "B1"), BranchStop.LEAF_REACHED)


def test_ties_go_to_the_path_that_sorts_first_and_stop_the_walk() -> None:
    """With a margin of zero asked for, the name decides."""
    evidence = evidence_of([1, 1, 1, 0, 0])
    assert path_and_stop(evidence) == (("A",), BranchStop.AMBIGUOUS_SIBLING_MARGIN)
    assert path_and_stop(evidence, margin_threshold=0) == (("A", "A1"), BranchStop.LEAF_REACHED)


def test_a_limit_on_depth_stops_the_walk() -> None:
    assert path_and_stop(evidence_of([1, 2, 0, 0, 0]), max_depth=0) == (("A",), BranchStop.MAX_DEPTH)


def test_the_trace_says_why_each_candidate_was_not_chosen() -> None:
    """In the words that all methods share, with the limit that was missed."""
    routes = route_branches(evidence_of([1, 0.5, NAN, 0.02, 1]))
    first, second = (s.choice for s in routes.walks[0].steps)
    by_node = {c.node: c for c in (*first.candidates, *second.candidates)}
    assert first.selected == 0
    assert first.margin == pytest.approx(0.98)
    assert by_node[3].fail_reason is FailReason.BELOW_GATE
    assert by_node[3].fail_detail == "branch_support<0.05"
    assert by_node[2].fail_reason is FailReason.LOW_COVERAGE
    assert by_node[2].fail_detail == "no_markers_present"


@pytest.mark.parametrize(("score", "stop", "detail"), [
    ([0, 0, 0, 0, 0], StopReason.NO_ROOT_PASSED, StopDetail.NO_ROOT_PASSED),
    ([1, 0, 0, 0, 0], StopReason.NO_CHILDREN_PASS, StopDetail.NO_CHILD_PASSED),
    ([1, NAN, NAN, 0, 0], StopReason.INSUFFICIENT_COVERAGE, StopDetail.INSUFFICIENT_COVERAGE),
    ([1, 1, 1, 0, 0], StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_SIBLINGS),
    ([1, 1, 0, 1, 0], StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_ROOT),
])
def test_stop_reasons_in_shared_words(score: list[float], stop: StopReason, detail: StopDetail) -> None:
    walk = route_branches(evidence_of(score)).walks[0]
    assert (walk.stop, walk.detail) == (stop, detail)


def test_rivals_stand_in_another_lineage_and_could_have_been_called() -> None:
    """B1 competes only if B itself passes; as published, any type outside the call's own line does."""
    strong = evidence_of([2, 3, 1, 1, 2.5])
    routes = route_branches(strong)
    assert (routes.runner_up[0], routes.margin[0]) == (4, pytest.approx(0.5))
    blocked = evidence_of([2, 3, 1, 0.01, 2.5])
    assert route_branches(blocked).runner_up[0] == -1
    assert np.isnan(route_branches(blocked).margin[0])
    published = route_branches(blocked, BranchGating(rival_must_pass=False))
    assert published.runner_up[0] == 4
    inside = route_branches(evidence_of([2, 3, 2.9, 0, 0]), BranchGating(rival_must_pass=False))
    assert inside.runner_up[0] == 2


def test_relations_between_nodes() -> None:
    """Ancestors, lineages and whole lines from parents alone."""
    parents = np.array([-1, 0, 1, 0, -1])
    assert ancestor_or_self(parents)[2].tolist() == [True, True, True, False, False]
    assert related_nodes(parents)[0].tolist() == [True, True, True, True, False]
    assert lineage_of(parents).tolist() == [0, 0, 0, 0, 4]


def test_the_best_node_of_a_row() -> None:
    """Ties by name, differences below 1e-10 are ties, no finite value gives -1."""
    found, values = best_nodes(np.array([[1.0, 1.0 + 1e-13, 0], [NAN, NAN, NAN], [NAN, -2, -3]]), ["b", "a", "c"])
    assert found.tolist() == [1, -1, 1]
    np.testing.assert_allclose(values, [1, NAN, -2])
