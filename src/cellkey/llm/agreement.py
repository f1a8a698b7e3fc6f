"""Agreement of repeated runs, counted on ontology terms where the labels have them; no model is asked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cellkey.llm.terms import CellTypeTerms, NoTerms, match_term, normalised_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellkey.llm.answers import AnnotationAnswer

__all__ = ["Agreement", "Verdict", "agreement_of", "majority"]

_GENERAL_WEIGHT = 0.5
_MAJORITY = 2 / 3


class Verdict(StrEnum):
    """What the votes amount to."""

    CONSENSUS = "consensus"
    PARTIAL = "partial_consensus"
    CONFLICT = "conflict"
    SINGLE = "single_vote"
    NONE = "no_votes"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Result of a vote.

    Parameters
    ----------
    verdict
        ``consensus``: two thirds agree on both levels; ``partial_consensus``: on the general type.
    winner
        Index of the first run that holds the winning labels; None without votes.
    general, detailed
        Shares of the votes for the winning general type and, among all votes, the winning detailed type; 0
        to 1.
    similarity
        Half of each; above 0.9 is robust, below 0.75 is weak.
    entropy
        Shannon entropy of the detailed votes, in bits.
    n_votes, n_abstentions
        Runs that named a type, and that did not.
    common
        For a conflict: the closest type above all general votes, if the ontology has one; else empty.
    """

    verdict: Verdict
    winner: int | None
    general: float
    detailed: float
    similarity: float
    entropy: float
    n_votes: int
    n_abstentions: int
    common: str = ""


def agreement_of(
    answers: Sequence[AnnotationAnswer | None],
    terms: CellTypeTerms | None = None,
    *,
    min_depth: int = 3,
) -> Agreement:
    """Return the vote of repeated runs; ``None`` and ``unknown`` are abstentions, which are no votes.

    Parameters
    ----------
    answers
        Final annotations, by run.
    terms
        Ontology that makes spellings of one type equal.
    min_depth
        Number of types above the common type at least, for it to say anything.
    """
    lookup = terms or NoTerms()
    given = [(i, a) for i, a in enumerate(answers) if a is not None and not a.unknown]
    votes = [(i, *_keys(a, lookup)) for i, a in given]
    abstained = len(answers) - len(votes)
    if not votes:
        return Agreement(Verdict.NONE, None, 0.0, 0.0, 0.0, 0.0, 0, abstained)
    general_counts = Counter(general for _, general, _ in votes)
    general, n_general = _first_of_most(general_counts)
    detailed_counts = Counter(detailed for _, g, detailed in votes if g == general)
    detailed, n_detailed = _first_of_most(detailed_counts)
    winner = next(i for i, g, d in votes if g == general and d == detailed)
    shares = n_general / len(votes), n_detailed / len(votes)
    verdict = _verdict(len(votes), *shares)
    general_names = [a.general_cell_type for _, a in given]
    common = _common_type(general_names, lookup, min_depth) if verdict is Verdict.CONFLICT else ""
    similarity = _GENERAL_WEIGHT * shares[0] + (1 - _GENERAL_WEIGHT) * shares[1]
    entropy = _entropy(Counter(d for _, _, d in votes))
    return Agreement(verdict, winner, *shares, similarity, entropy, len(votes), abstained, common)


def majority(labels: Sequence[tuple[str, ...]]) -> tuple[int, float]:
    """Return the index of the first run with the label that most runs gave, and their share; ties by name."""
    keys = ["\0".join(map(normalised_label, label)) for label in labels]
    winner, count = _first_of_most(Counter(keys))
    return keys.index(winner), count / len(keys)


def _keys(answer: AnnotationAnswer, terms: CellTypeTerms) -> tuple[str, str]:
    return _key(answer.general_cell_type, terms), _key(answer.detailed_cell_type, terms)


def _key(label: str, terms: CellTypeTerms) -> str:
    found = match_term(label, terms)
    return found.id if found is not None and found.exact else normalised_label(label)


def _first_of_most(counts: Counter[str]) -> tuple[str, int]:
    """The value with the most votes, ties by name, so that the order of runs decides nothing."""
    return min(counts.items(), key=lambda item: (-item[1], item[0]))


def _verdict(n_votes: int, general: float, detailed: float) -> Verdict:
    if n_votes == 1:
        return Verdict.SINGLE
    if detailed >= _MAJORITY:
        return Verdict.CONSENSUS
    return Verdict.PARTIAL if general >= _MAJORITY else Verdict.CONFLICT


def _entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return abs(-sum(n / total * math.log2(n / total) for n in counts.values()))


def _common_type(labels: list[str], terms: CellTypeTerms, min_depth: int) -> str:
    """The closest type above all labels; empty where one of them has no place in the ontology."""
    found = [match_term(label, terms) for label in sorted(set(labels))]
    lines = [terms.ancestors(term.id) | {term.id} for term in found if term is not None and term.exact]
    if len(lines) < len(found):
        return ""
    shared = frozenset.intersection(*map(frozenset, lines))
    ranked = sorted(shared, key=lambda t: (-len(terms.ancestors(t)), t))
    return terms.label(ranked[0]) if ranked and len(terms.ancestors(ranked[0])) >= min_depth else ""
