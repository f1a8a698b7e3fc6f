"""The walk: gates in order, stop reasons, what never changes a result, and what only ever makes it shallower."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.annotation.core import annotate_profiles, undecided
from cellkey.calls.call import CallStatus
from cellkey.hierarchy import CellType, Hierarchy
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.records.vocabulary import FailReason, StopDetail, StopReason
from cellkey.routing.gates import Gate, judge
from cellkey.scoring.marker_evidence import MarkerScoring


def node(path: str, markers: str = "", anti: str = "", **more: object) -> CellType:
    return CellType(tuple(path.split("/")), tuple(markers.split()), tuple(anti.split()), **more)  # type: ignore[arg-type]


TREE = (
    node("A", "a1 a2", "b1"), node("A/A1", "c1 c2", "d1"), node("A/A2", "d1 d2", "c1"), node("A/A1/X", "x1 x2"),
    node("B", "b1 b2", "a1"), node("B/B1", "e1 e2"),
)
GENES = ["a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2", "x1", "x2", "e1", "e2"]
TYPES = {"x": "a1 a2 c1 c2 x1 x2", "d": "a1 a2 d1 d2", "e": "b1 b2 e1 e2", "none": ""}


def cells(kinds: list[str], n: int = 30, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for i, kind in enumerate(kinds):
        rate = np.array([2.0 if g in TYPES[kind].split() else noise for g in GENES])
        rows.append(rng.poisson(rate, (n, len(GENES))))
        labels += [str(i)] * n
    return np.vstack(rows).astype(float), np.array(labels, dtype=object)


def run(X, labels, tree=TREE, genes=GENES, **options):
    profiles = profile_clusters(Expression(X), labels, genes)
    return annotate_profiles(profiles, Hierarchy(tree), **options)  # type: ignore[arg-type]


def outcome(annotation) -> list[tuple[object, ...]]:
    return [(c.group, c.label, c.path, c.stop_reason, round(c.confidence, 9), round(c.score, 9))
            for c in annotation.calls]


def test_pure_clusters_reach_their_leaves() -> None:
    annotation = run(*cells(["x", "d", "e"]))
    assert [c.path for c in annotation.calls] == [("A", "A1", "X"), ("A", "A2"), ("B", "B1")]
    assert {c.stop_reason for c in annotation.calls} == {StopReason.LEAF_REACHED}
    assert all(c.status is CallStatus.RESOLVED and np.isfinite(c.confidence) for c in annotation.calls)


def test_a_cluster_without_any_marker_stays_unassigned() -> None:
    annotation = run(*cells(["x", "e", "none"]))
    call = annotation.calls[2]
    assert (call.label, call.path, call.level, call.score, call.confidence) == ("Unassigned", (), -1, 0.0, 0.0)
    assert (call.stop_reason, call.status) == (StopReason.NO_ROOT_PASSED, CallStatus.UNKNOWN)
    assert {c.fail_reason for c in call.walk.steps[0].choice.candidates} == {FailReason.BELOW_GATE}


def test_max_depth_stops_the_walk_where_it_says() -> None:
    for depth, path in ((0, ("A",)), (1, ("A", "A1")), (2, ("A", "A1", "X"))):
        call = run(*cells(["x", "d", "e"]), gating={"max_depth": depth}).calls[0]
        assert call.path == path
        expected = StopReason.LEAF_REACHED if depth == 2 else StopReason.MAX_DEPTH
        assert call.stop_reason is expected


def test_two_roots_too_close_are_called_after_both() -> None:
    rng = np.random.default_rng(0)
    tree = (node("A", "a1 a2"), node("B", "b1 b2"))
    X = rng.poisson([2, 2, 2, 2], (40, 4)).astype(float)
    X = np.vstack([X, rng.poisson(0.1, (40, 4))])
    annotation = run(X, np.repeat(np.array(["0", "1"], object), 40), tree, GENES[:4], gating={"min_gap": {"0": 1.0}})
    call = annotation.calls[0]
    assert set(call.label.split("~")) == {"A", "B"}
    assert call.label == call.root_label == "~".join(call.tied)
    assert (call.level, call.stop_reason, call.stop_detail) == (0, StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_ROOT)
    assert call.is_ambiguous_root
    assert call.status is CallStatus.MIXED


def test_more_tied_roots_than_allowed_stay_unassigned() -> None:
    rng = np.random.default_rng(0)
    tree = tuple(node(c, f"{c}1 {c}2") for c in "abcd")
    genes = [f"{c}{i}" for c in "abcd" for i in (1, 2)]
    X = np.vstack([rng.poisson(2, (40, 8)), rng.poisson(0.1, (40, 8))]).astype(float)
    labels = np.repeat(np.array(["0", "1"], object), 40)
    annotation = run(X, labels, tree, genes, gating={"min_gap": {"0": 2.0}})
    assert undecided(annotation) == {}  # its cells do not vote
    call = annotation.calls[0]
    assert (call.label, call.level, call.stop_reason) == ("Unassigned", -1, StopReason.LOW_MARGIN)
    assert (call.score, call.confidence, call.root_label) == (0.0, 0.0, "Unassigned")
    assert call.is_ambiguous_root
    assert len(call.tied) == 4
    wider = run(X, labels, tree, genes, gating={"min_gap": {"0": 2.0}, "max_ambiguity": 4})
    assert wider.calls[0].level == 0
    assert len(undecided(wider)["0"]) == 4


def test_a_requirement_and_a_veto_remove_a_root() -> None:
    X, labels = cells(["x", "d", "e"])
    required = run(X, labels, gating={"root_hard_requirements": {"A": {"marker": "e1", "min_pos_frac": 0.5}}})
    candidate = required.calls[0].walk.steps[0].choice.candidates[0]
    assert (candidate.fail_reason, candidate.fail_detail) == (FailReason.BELOW_GATE, "required_pos_frac:e1")
    vetoed = run(X, labels, gating={"root_veto_markers": {"A": {"markers": ["c1"], "max_pos_frac": 0.2}}})
    candidate = vetoed.calls[0].walk.steps[0].choice.candidates[0]
    assert (candidate.fail_reason, candidate.fail_detail) == (FailReason.ANTI_MARKERS, "veto:c1")
    assert vetoed.calls[1].path == ("A", "A2")  # c1 is silent there


def test_a_requirement_that_is_not_measured_is_skipped_and_noted() -> None:
    rule = {"A": {"marker": "NOPE", "min_pos_frac": 1}}
    annotation = run(*cells(["x", "e"]), gating={"root_hard_requirements": rule})
    assert annotation.calls[0].path[0] == "A"
    assert "requirement_not_measured:NOPE" in annotation.calls[0].walk.steps[0].choice.candidates[0].fail_detail


def test_insufficient_coverage_is_told_from_no_child_passing() -> None:
    X, labels = cells(["x", "e"])
    blind = (*TREE[:1], node("A/A1", "q1 q2 q3 c1"), node("A/A2", "q4 q5"), *TREE[4:])
    assert run(X, labels, blind).calls[0].stop_reason is StopReason.INSUFFICIENT_COVERAGE
    silent = (*TREE[:1], node("A/A1", "e1 e2"), node("A/A2", "q4 q5"), *TREE[4:])
    assert run(X, labels, silent).calls[0].stop_reason is StopReason.NO_CHILDREN_PASS


def test_a_node_without_markers_passes_through_its_children() -> None:
    grouped = (node("G"), *(replace(n, path=("G", *n.path)) for n in TREE))
    annotation = run(*cells(["x", "d", "e", "none"]), grouped)
    assert [c.path for c in annotation.calls] == [("G", "A", "A1", "X"), ("G", "A", "A2"), ("G", "B", "B1"), ()]


def test_child_support_carries_a_lineage_that_fills_the_data() -> None:
    """Nothing is enriched over itself: where all cells are A, the root passes through its children."""
    X, labels = cells(["x", "d", "x", "d"])
    alone = run(X, labels)
    carried = run(X, labels, gating={"level_defaults": {"0": {"child_support": True}}})
    assert [c.path for c in alone.calls] != [c.path for c in carried.calls]
    assert [c.path for c in carried.calls] == [("A", "A1", "X"), ("A", "A2")] * 2


def test_a_marker_that_no_cell_expresses_vetoes_nothing_and_meets_no_requirement() -> None:
    """As in a subset of cells, where genes of absent types are silent."""
    X, labels = cells(["x", "d", "x"])
    X[:, GENES.index("e1")] = 0
    veto = {"root_veto_markers": {"A": {"markers": ["e1"], "max_pos_frac": 0.7}}}
    assert [c.path for c in run(X, labels, gating=veto).calls] == [c.path for c in run(X, labels).calls]
    required = {"root_hard_requirements": {"A": {"marker": "e1", "min_pos_frac": 0.3}}}
    assert all(c.path[:1] != ("A",) for c in run(X, labels, gating=required).calls)


def test_child_support_does_not_lift_a_veto() -> None:
    gating = {"level_defaults": {"0": {"child_support": True}},
              "root_veto_markers": {"A": {"markers": ["c1"], "max_pos_frac": 0.2}}}
    assert run(*cells(["x", "d"]), gating=gating).calls[0].path[:1] != ("A",)


def test_gating_overrides_of_a_node_replace_the_limits_of_its_level() -> None:
    X, labels = cells(["x", "e"])
    strict = tuple(replace(n, gating_overrides={"min_enrichment": 50.0}) if n.path == ("A", "A1") else n for n in TREE)
    assert run(X, labels, strict).calls[0].path == ("A",)
    off = tuple(replace(n, anti_markers=("x1",), gating_overrides={"require_anti_markers_off": True})
                if n.path == ("A", "A1") else n for n in TREE)
    candidates = run(X, labels, off, scoring=MarkerScoring(anti_weight=0.0)).calls[0].walk.steps[1].choice.candidates
    assert next(c for c in candidates if c.fail_detail == "anti_not_off").fail_reason is FailReason.ANTI_MARKERS


def test_gates_combine_and_keep_their_reasons() -> None:
    low = Gate("low", lambda m: m > 1, FailReason.BELOW_GATE, lambda *_: "low")
    high = Gate("high", lambda m: m < 5, FailReason.ANTI_MARKERS, lambda *_: "high")
    m = np.array([[0.0, 2.0, 9.0]])
    assert (low & high).passes(m).tolist() == [[False, True, False]]
    assert (low | high).passes(m).tolist() == [[True, True, True]]
    assert (~low).passes(m).tolist() == [[True, False, False]]
    judgement = judge([low & high, high], m, (1, 3))
    assert judgement.failed.tolist() == [[0, -1, 0]]
    assert [judgement.detail(0, k) for k in range(3)] == ["low", "", "high"]


# --- properties ---

MIXTURES = st.lists(st.sampled_from(["x", "d", "e", "none"]), min_size=2, max_size=5)


@settings(max_examples=30, deadline=None)
@given(MIXTURES, st.integers(0, 1000))
def test_order_never_matters(kinds: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, labels = cells(kinds, n=12, seed=seed, noise=0.4)
    genes = rng.permutation(len(GENES))
    rows = rng.permutation(len(X))
    tree = list(TREE)
    rng.shuffle(tree)
    shuffled = tuple(replace(n, markers=tuple(rng.permutation(n.markers))) for n in tree)
    base = run(X, labels)
    other = run(X[rows][:, genes], labels[rows], shuffled, [GENES[i] for i in genes])
    assert outcome(base) == outcome(other)


@settings(max_examples=30, deadline=None)
@given(MIXTURES, st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_gap_never_deepens_a_path(kinds: list[str], seed: int, a: float, b: float) -> None:
    X, labels = cells(kinds, n=12, seed=seed, noise=0.6)
    small, large = sorted((a, b))
    loose, strict = (run(X, labels, gating={"min_gap": g, "max_ambiguity": 9}) for g in (small, large))
    for first, second in zip(loose.calls, strict.calls, strict=True):
        assert second.path == first.path[: len(second.path)]


@settings(max_examples=40, deadline=None)
@given(MIXTURES, st.integers(0, 1000), st.sampled_from(["min_coverage", "min_pos_frac", "min_enrichment"]),
       st.floats(0, 1), st.floats(0, 1))
def test_raising_a_gate_never_deepens_a_path_unless_it_removes_a_rival(
    kinds: list[str], seed: int, name: str, a: float, b: float
) -> None:
    X, labels = cells(kinds, n=12, seed=seed, noise=0.6)
    low, high = sorted((a, b))
    loose, strict = (run(X, labels, gating={name: v, "max_ambiguity": 9}) for v in (low, high))
    assert (strict.rule.judgement.passed <= loose.rule.judgement.passed).all()
    for first, second in zip(loose.calls, strict.calls, strict=True):
        if first.stop_reason is not StopReason.LOW_MARGIN:
            assert len(second.path) <= len(first.path) or second.path[: len(first.path)] != first.path


@settings(max_examples=20, deadline=None)
@given(MIXTURES, st.integers(0, 1000))
def test_a_path_is_a_chain_and_an_unrelated_branch_changes_nothing_else(kinds: list[str], seed: int) -> None:
    X, labels = cells(kinds, n=12, seed=seed)
    base = run(X, labels)
    parents = base.key.parents
    for call in base.calls:
        chain = call.walk.path
        assert all(parents[child] == parent for parent, child in pairwise(chain))
    more = run(X, labels, (*TREE, node("Z", "q1 q2"), node("Z/Z1", "q3")))
    assert [c.path for c in base.calls] == [c.path for c in more.calls]


@settings(max_examples=20, deadline=None)
@given(MIXTURES, st.integers(0, 1000))
def test_directions_of_the_scoring_parameters(kinds: list[str], seed: int) -> None:
    """More anti weight: more penalty; a higher quantile: fewer positive cells; less coverage weight: more score."""
    X, labels = cells(kinds, n=12, seed=seed, noise=0.5)
    partial = (*TREE, node("Z", "a1 q1"))
    base = run(X, labels, partial).evidence
    assert (run(X, labels, partial, scoring=MarkerScoring(anti_weight=0.9)).evidence["anti_penalty"]
            >= base["anti_penalty"] - 1e-12).all()
    assert (run(X, labels, partial, scoring=MarkerScoring(anti_agg="max")).evidence["anti_penalty"]
            >= base["anti_penalty"] - 1e-12).all()
    assert (run(X, labels, partial, scoring=MarkerScoring(positive_quantile=0.9)).evidence["mean_positive_fraction"]
            <= base["mean_positive_fraction"] + 1e-12).all()
    assert (run(X, labels, partial, scoring=MarkerScoring(coverage_weight=0.1)).evidence.score
            >= base.score - 1e-12).all()


def test_no_marker_measured_gives_rows_and_no_call() -> None:
    X, labels = cells(["x", "e"])
    annotation = run(X, labels, (node("Q", "q1 q2"),))
    assert annotation.evidence["coverage"].tolist() == [[0.0], [0.0]]
    assert {c.walk.steps[0].choice.candidates[0].fail_reason for c in annotation.calls} == {FailReason.LOW_COVERAGE}


def test_constant_markers_are_unusable_and_said_so() -> None:
    X, labels = cells(["x", "e"])
    X[:, GENES.index("a2")] = 0.0
    key = run(X, labels).key
    assert key.missing_markers[0] == ("a2 (constant)",)


@pytest.mark.parametrize("n_clusters", [1, 2])
def test_one_cluster_works(n_clusters: int) -> None:
    X, labels = cells(["x", "e"][:n_clusters])
    assert len(run(X, labels).calls) == n_clusters
