"""Votes meet on the tree: majority below, ties and broad votes above, abstentions nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.calls.consensus import ConsensusRules, Vote, find_consensus, vote_weights
from cellkey.errors import ParameterError
from cellkey.hierarchy import Hierarchy, read_hierarchy

EQUAL = ConsensusRules(weights="equal")
T, B = ("Immune", "T"), ("Immune", "B")
CD4, CD8 = (*T, "CD4"), (*T, "CD8")


@pytest.fixture
def tree() -> Hierarchy:
    return read_hierarchy({
        "Immune": {"markers": ["PTPRC"], "subtypes": {
            "T": {"markers": ["CD3E"], "subtypes": {"CD4": {"markers": ["CD4"]}, "CD8": {"markers": ["CD8A"]}}},
            "B": {"markers": ["MS4A1"]},
        }},
        "Epithelium": {"markers": ["EPCAM"]},
    })


def votes(*paths: tuple[str, ...], confidence: tuple[float, ...] | None = None) -> list[Vote]:
    return [
        Vote(f"s{i}", p, () if confidence is None or np.isnan(confidence[i]) else (confidence[i],) * len(p))
        for i, p in enumerate(paths)
    ]


@pytest.mark.parametrize(("paths", "expected", "stop"), [
    ([CD4, CD4, CD8], CD4, "leaf_reached"),
    ([CD4, CD8], T, "disagreement"),  # a tie ends in the lowest common ancestor
    ([CD4, B], ("Immune",), "disagreement"),
    ([T, CD4, CD4], CD4, "leaf_reached"),  # a broad vote does not speak against a narrow one
    ([T, T, T, CD4], T, "no_quorum"),  # but one narrow vote among four does not decide alone
    ([T, T, CD4], CD4, "leaf_reached"),
    ([T, T, ()], T, "no_votes_below"),
    ([CD4, (), (), ()], CD4, "leaf_reached"),  # abstentions are no votes
    ([CD4, ("Epithelium",)], (), "disagreement"),
    ([], (), "no_votes_below"),
    ([(), ()], (), "no_votes_below"),
])
def test_where_votes_meet(tree: Hierarchy, paths: list, expected: tuple[str, ...], stop: str) -> None:
    found = find_consensus(votes(*paths), tree, EQUAL)
    assert found.path == expected
    assert found.stop == stop
    assert found.n_sources == sum(bool(p) for p in paths)
    assert found.n_abstained == sum(not p for p in paths)


def test_status_tells_disagreement_from_silence(tree: Hierarchy) -> None:
    assert find_consensus(votes(CD4, CD8), tree, EQUAL).status == "resolved"
    assert find_consensus(votes(CD4, ("Epithelium",)), tree, EQUAL).status == "mixed"
    assert find_consensus(votes((), ()), tree, EQUAL).status == "unknown"


def test_breadth_refuses_what_stands_for_too_much(tree: Hierarchy) -> None:
    broad = find_consensus(votes(CD4, B), tree, ConsensusRules(weights="equal", max_breadth=2))
    assert (broad.path, broad.stop) == ((), "too_broad")
    assert find_consensus(votes(CD4, CD8), tree, ConsensusRules(weights="equal", max_breadth=2)).path == T


def test_support_rival_and_agreement(tree: Hierarchy) -> None:
    found = find_consensus(votes(CD4, CD4, CD8, B), tree, EQUAL)
    assert found.path == CD4
    np.testing.assert_allclose(found.support, [1.0, 0.75, 2 / 3])
    assert found.rival == CD8
    np.testing.assert_allclose([found.rival_share, found.agreeing], [1 / 3, 0.5])
    tie = find_consensus(votes(CD4, CD8, T), tree, EQUAL)
    assert tie.rival == CD4  # of two equal ones the one that sorts first
    assert tie.agreeing == 1.0  # all lie on one line with T


def test_confidence_weighs_by_log_odds(tree: Hierarchy) -> None:
    one, two = votes(CD4, CD8, confidence=(0.9, 0.6))
    weights = vote_weights([one, two], ConsensusRules())
    np.testing.assert_allclose(weights[0], np.log(9))
    np.testing.assert_allclose(weights[1], np.log(1.5))
    assert find_consensus([one, two], tree).path == CD4
    assert find_consensus([one, two], tree, EQUAL).path == T
    # Two of 0.7 together outweigh one of 0.8: 2 log(7/3) > log(4).
    assert find_consensus(votes(CD4, CD4, CD8, confidence=(0.7, 0.7, 0.8)), tree).path == CD4
    assert find_consensus(votes(CD4, CD4, CD8, confidence=(0.6, 0.6, 0.9)), tree).path == CD8


def test_a_source_without_confidence_weighs_like_the_median(tree: Hierarchy) -> None:
    weights = vote_weights(votes(CD4, CD4, CD8, CD8, confidence=(0.9, 0.8, 0.7, np.nan)), ConsensusRules())
    np.testing.assert_allclose(weights[3], np.log(4))
    assert vote_weights(votes(CD4, B), ConsensusRules()) == [(1.0, 1.0, 1.0), (1.0, 1.0)]


def test_what_is_assumed_of_a_source_without_confidence_can_be_said(tree: Hierarchy) -> None:
    weights = vote_weights(votes(CD4, CD8, confidence=(0.9, np.nan)), ConsensusRules(unrated=0.6))
    np.testing.assert_allclose(weights[1], np.log(1.5))


def test_order_of_votes_means_nothing(tree: Hierarchy) -> None:
    rng = np.random.default_rng(0)
    paths = [CD4, CD8, B, T, (), ("Epithelium",), CD4]
    base = find_consensus(votes(*paths, confidence=tuple(np.linspace(0.6, 0.9, 7))), tree)
    every = votes(*paths, confidence=tuple(np.linspace(0.6, 0.9, 7)))
    for _ in range(10):
        other = find_consensus([every[i] for i in rng.permutation(7)], tree)
        assert (other.path, other.stop, other.rival) == (base.path, base.stop, base.rival)
        np.testing.assert_allclose([*other.support, other.agreeing], [*base.support, base.agreeing])


def test_rules_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="min_share"):
        ConsensusRules.parse({"min_share": 0.4})
