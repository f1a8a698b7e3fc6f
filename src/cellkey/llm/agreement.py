"""How far repeated runs agree: the vote on the label, and the share of runs in which every type above it holds.

Votes are counted on ontology terms where the labels have them; no model is asked. The table of shares is the
``confidence`` table of the scorers: there cells are drawn again, here the model is asked again, with other genes in
another order. What a model's answers have not is left empty: markers that are left out one by one, and a probability
that is calibrated on labelled data.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cellkey.llm.terms import CellTypeTerms, NoTerms, match_term, normalised_label
from cellkey.records.confidence_tables import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from cellkey.llm.answers import AnnotationAnswer
    from cellkey.llm.results import ClusterResult

__all__ = ["METHOD", "Agreement", "Verdict", "agreement_of", "majority", "repeat_shares"]


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


METHOD = "llm"

_SHARED_BY_ALL = 2
"""Terms with fewer terms above them (cell, and the like) hold for every cell and say nothing."""


def repeat_shares(clusters: Iterable[ClusterResult], terms: CellTypeTerms | None = None) -> pd.DataFrame:
    """Return the shares of every cluster that was run more than once, as a ``confidence`` table.

    ``share_held`` is the share of all runs, abstentions included, that named the type or a kind of it. A cluster
    without a label has one row of level -1, with the share of runs that named nothing.

    Where a label is a term of the ontology, the path leads through the terms above it (of several parents, the one
    with most terms above itself, ties by identifier). Elsewhere it is the general and the detailed type as named.

    Parameters
    ----------
    clusters
        Results.
    terms
        Ontology.
    """
    lookup = terms or NoTerms()
    return CONFIDENCE.frame([row for r in clusters if r.repeats for row in _rows(r, lookup)])


def _rows(result: ClusterResult, terms: CellTypeTerms) -> list[dict[str, Any]]:
    answers = [c.proposal for c in (result.case, *result.repeats)]
    held = [_held_names(a, terms) for a in answers]
    if not result.is_labelled:
        return [_row(result, -1, [], sum(not names for names in held) / len(held))]
    chain = _chain(result, terms)
    labels = [label for _, label in chain]
    shares = [sum(key in names for names in held) / len(held) for key, _ in chain]
    return [_row(result, level, labels, share) for level, share in enumerate(shares)]


def _row(result: ClusterResult, level: int, labels: list[str], share: float) -> dict[str, Any]:
    return {
        "cluster_id": result.cluster,
        "method": METHOD,
        "level": level,
        "label": labels[level] if labels else "",
        "path": " / ".join(labels[: level + 1]),
        "is_call": level == len(labels) - 1,
        "share_held": share,
        "share_held_without_marker": float("nan"),
        "fragile_marker": "",
        "n_resamples": 1 + len(result.repeats),
        "confidence": float("nan"),
    }


def _chain(result: ClusterResult, terms: CellTypeTerms) -> list[tuple[str, str]]:
    """Key and name of every type on the way to the label, broadest first."""
    found = match_term(result.label, terms)
    if found is None:
        names = dict.fromkeys([result.general_label, result.label])
        return [(_nearest_key(n, terms), n) for n in names]
    upward = _upward(found.id, terms)
    chain = [(t, terms.label(t)) for t in reversed(upward)]
    return chain if found.exact else [*chain, (normalised_label(result.label), result.label)]


def _upward(term: str, terms: CellTypeTerms) -> list[str]:
    """Terms from ``term`` up, one per step."""
    way = [term]
    while True:
        above = terms.ancestors(way[-1])
        parents = [a for a in above if not any(a in terms.ancestors(b) for b in above)]
        useful = [p for p in parents if len(terms.ancestors(p)) >= _SHARED_BY_ALL]
        if not useful:
            return way
        way.append(min(useful, key=lambda t: (-len(terms.ancestors(t)), t)))


def _held_names(answer: AnnotationAnswer | None, terms: CellTypeTerms) -> set[str]:
    """Keys of all types that hold if ``answer`` is right."""
    if answer is None or answer.unknown:
        return set()
    return _with_ancestors([answer.general_cell_type, answer.detailed_cell_type], terms)


def _with_ancestors(names: Sequence[str], terms: CellTypeTerms) -> set[str]:
    held: set[str] = set()
    for name in names:
        held.add(normalised_label(name))
        found = match_term(name, terms)
        if found is not None:
            held |= {found.id, *terms.ancestors(found.id)}
    return held


def _nearest_key(name: str, terms: CellTypeTerms) -> str:
    found = match_term(name, terms)
    return found.id if found is not None else normalised_label(name)
