"""Votes meet on the tree: majority below, ties and broad votes above, abstentions nowhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cellkey.calls.consensus import ConsensusRules, Vote, find_consensus, rate_sources, vote_weights
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


def test_a_broad_vote_is_no_surer_than_a_narrow_one_for_being_broad(tree: Hierarchy) -> None:
    broad = Vote("broad", T, (0.9, 0.85))
    narrow = Vote("narrow", CD4, (0.9, 0.85, 0.6))
    three = [replace(broad, source="a"), replace(broad, source="b"), narrow]
    assert find_consensus(three, tree).path == CD4  # one of three, as with equal weights
    four = [*three, replace(broad, source="c")]
    assert find_consensus(four, tree).stop == "no_quorum"
    doubtful = replace(narrow, confidence=(0.9, 0.6, 0.6))  # already at the level that all of them name
    assert find_consensus([*three[:2], doubtful], tree).stop == "no_quorum"


def test_a_source_without_confidence_is_rated_by_its_agreement_with_the_others_elsewhere() -> None:
    rated = Vote("scorer", T, (0.9, 0.8))
    said = {"a": T, "b": B, "c": CD4, "d": ()}
    found = rate_sources({g: [rated, Vote("tool", path)] for g, path in said.items()})
    confidence = {g: own[1].confidence for g, own in found.items()}
    # Laplace's rule over the other groups; at the second level b speaks against it with 1 - 0.8.
    np.testing.assert_allclose(confidence["a"], [(1 + 0.9 + 0.9) / 4, (1 + 0.2 + 0.8) / 4])
    np.testing.assert_allclose(confidence["b"], [(1 + 0.9 + 0.9) / 4, (1 + 0.8 + 0.8) / 4])
    np.testing.assert_allclose(confidence["c"], [0.7, 0.5, 0.5])  # nobody judges its third level: one half
    assert confidence["d"] == ()
    assert all(own[0] == rated for own in found.values())


def test_a_tool_that_gives_every_group_the_same_label_is_not_believed(tree: Hierarchy) -> None:
    truth = [T, B, ("Epithelium",), B, T, ("Epithelium",)]
    polls = {str(i): [Vote("scorer", p, (0.8,) * len(p)), Vote("one", CD8), Vote("two", CD8)]
             for i, p in enumerate(truth)}
    found = {g: find_consensus(own, tree).path for g, own in rate_sources(polls).items()}
    assert [found[str(i)] for i in (1, 2, 3, 5)] == [B, ("Epithelium",), B, ("Epithelium",)]
    assert find_consensus(polls["2"], tree).path[:1] == ("Immune",)  # as long as it weighs like the scorer


def test_without_any_confidence_nobody_is_rated() -> None:
    polls = {"a": votes(CD4, B), "b": votes(T, T)}
    assert rate_sources(polls) == polls


def test_order_of_votes_means_nothing(tree: Hierarchy) -> None:
    rng = np.random.default_rng(0)
    paths = [CD4, CD8, B, T, (), ("Epithelium",), CD4]
    base = find_consensus(votes(*paths, confidence=tuple(np.linspace(0.6, 0.9, 7))), tree)
    every = votes(*paths, confidence=tuple(np.linspace(0.6, 0.9, 7)))
    for _ in range(10):
        other = find_consensus([every[i] for i in rng.permutation(7)], tree)
        assert (other.path, other.stop, other.rival) == (base.path, base.stop, base.rival)
        np.testing.assert_allclose([*other.support, other.agreeing], [*base.support, base.agreeing])


def random_votes(rng: np.random.Generator) -> list[Vote]:
    paths = [(), ("Immune",), T, B, CD4, CD8, ("Epithelium",)]
    chosen = [paths[i] for i in rng.integers(len(paths), size=rng.integers(2, 7))]
    return [
        Vote(f"s{i}", p, tuple(np.sort(rng.uniform(0.3, 1.0, len(p)))[::-1]), voice=float(rng.uniform(0.2, 1.0)))
        for i, p in enumerate(chosen)
    ]


def test_an_agreeing_vote_never_lowers_and_an_abstention_changes_nothing(tree: Hierarchy) -> None:
    """Whoever says what was agreed on leaves the consensus where it is, and its support no lower at any level."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        own = random_votes(rng)
        before = find_consensus(own, tree)
        silent = find_consensus([*own, Vote("silent", ())], tree)
        assert replace(silent, n_abstained=before.n_abstained) == before
        if before.path:
            after = find_consensus([*own, Vote("more", before.path, (0.7,) * len(before.path))], tree)
            assert after.path == before.path
            assert (np.array(after.support) >= np.array(before.support) - 1e-12).all()


def test_a_vote_weighs_by_its_voice_unless_all_are_to_weigh_alike(tree: Hierarchy) -> None:
    """Half a voice is half the weight: two halves for CD8 do not outvote one surer whole for CD4."""
    own = [Vote("a", CD4, (0.9, 0.9, 0.8)), *(Vote(n, CD8, (0.9, 0.9, 0.7), voice=0.5) for n in "bc")]
    weights = vote_weights(own, ConsensusRules())
    np.testing.assert_allclose(weights[1][2], 0.5 * np.log(0.7 / 0.3))
    assert find_consensus(own, tree).path == CD4
    assert find_consensus([replace(v, voice=1.0) for v in own], tree).path == CD8
    assert find_consensus(own, tree, EQUAL).path == CD8


def test_rules_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="min_share"):
        ConsensusRules.parse({"min_share": 0.4})
