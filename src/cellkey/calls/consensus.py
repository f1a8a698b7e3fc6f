r"""Consensus of several calls on one hierarchy.

Every source gives its vote to a type and thereby to all types above it. From the root down, the votes that name a
type below the current one decide where to go on: the child with the most weight is taken if it has more than a given
share of theirs. Otherwise the walk ends, so that undecided votes meet in their lowest common ancestor.

- An abstention (no label, unknown, a label that could not be mapped) is not a vote.
- A broad vote does not speak against narrower ones below it: it simply has nothing to say there.
- A type that stands for too many terminal types can be refused (``max_breadth``): then there is no consensus.

With ``weights="confidence"`` a vote that is right with probability :math:`p` at a level weighs

.. math:: w = \log\frac{p}{1 - p}

there, at least that of :math:`p = 0.55`, which is the best weighting of independent voters (Nitzan & Paroush 1982).
A source that gives no probability gets one from how often it agrees with those that do (:func:`rate_sources`). Votes
that rest on the same cells are not independent; each has a part of a voice only (:attr:`Vote.voice`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters
from cellkey.records.vocabulary import CallStatus, ConsensusStop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["Consensus", "ConsensusRules", "Vote", "find_consensus", "rate_sources", "vote_weights"]

Path = tuple[str, ...]
_LEAST, _MOST = 0.55, 0.99


class ConsensusRules(Parameters):
    """Rules of a consensus.

    Attributes
    ----------
    min_share
        Share of the weight, among votes that speak at a level, that the winner must exceed; a half is a majority,
        and with a half a tie ends the walk.
    min_quorum
        Share of the weight of all votes that the winner must reach. It keeps one narrow vote among many broad ones
        from deciding alone: with a third, one of three may, one of four may not.
    max_breadth
        Most terminal types that a consensus may stand for; None for no limit.
    weights
        ``confidence``: votes weigh by their probability of being right, and those that rest on the same cells share
        their voice; ``equal``: all alike.
    unrated
        Probability to assume for a source that gives no confidence; None rates it by its agreement with the sources
        that give one (:func:`rate_sources`).
    """

    min_share: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.5
    min_quorum: Annotated[float, Field(ge=0.0, le=1.0)] = 1 / 3
    max_breadth: Annotated[int, Field(ge=1)] | None = None
    weights: Literal["confidence", "equal"] = "confidence"
    unrated: Annotated[float, Field(ge=0.0, le=1.0)] | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """What one source says about one group of cells.

    Attributes
    ----------
    source
        Name of the source.
    path
        Labels from the top-level type to the one that is named; empty for an abstention.
    confidence
        Probability (0 to 1) of being right at each level of the path; empty where the source gives none.
    share
        Share (0 to 1) of the source's vote, where its cells are divided between labels.
    voice
        Weight (0 to 1) beside that of confidence: 1 for a vote that rests on evidence of its own, less where other
        votes rest on the same.
    """

    source: str
    path: Path
    confidence: tuple[float, ...] = ()
    share: float = 1.0
    voice: float = 1.0


@dataclass(frozen=True, slots=True)
class Consensus:
    """Outcome for one group of cells.

    Attributes
    ----------
    path
        Labels from the top-level type to the consensus; empty if there is none.
    support
        Share (0 to 1) of the weight that speaks at each level for the path; one per level.
    stop
        Why the walk ended.
    status
        ``resolved``; ``mixed`` where votes meet in no type, ``unknown`` without a vote.
    n_sources, n_abstained
        Sources that voted, and that did not.
    agreeing
        Share (0 to 1) of the weight of all votes whose path lies on one line with the consensus.
    rival, rival_share
        What the walk refused where it ended undecided, else the strongest type that it left aside; and its share of
        the weight that speaks there. Empty and 0 without one.
    """

    path: Path
    support: tuple[float, ...]
    stop: ConsensusStop
    status: CallStatus
    n_sources: int
    n_abstained: int
    agreeing: float
    rival: Path = ()
    rival_share: float = 0.0


def rate_sources(votes: Mapping[str, Sequence[Vote]]) -> dict[str, list[Vote]]:
    """Return the votes with a confidence for those that have none, by agreement with the sources that give one.

    A vote of confidence :math:`p` for the same type says that another is right with probability :math:`p` at that
    level, a vote for another type that it is right with probability :math:`1 - p`. The mean of that over all other
    groups, with one success and one failure added (Laplace), is the confidence of a source at that level. The group
    itself is left out, so that a vote is not believed because it agrees.

    Parameters
    ----------
    votes
        Of all sources, by group. They stay as they are if none has a confidence.
    """
    heard: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for group, own in votes.items():
        rated = [v for v in own if v.path and _is_rated(v)]
        said: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        for vote in (v for v in own if v.path and not _is_rated(v)):
            for level in range(len(vote.path)):
                judged = [(j, r.share) for r in rated if (j := _judged(vote.path, level, r)) == j]
                if judged:
                    said[vote.source, level].append((_mean(judged), vote.share))
        for key, values in said.items():
            heard[key][group] = _mean(values)
    if not any(v.path and _is_rated(v) for own in votes.values() for v in own):
        return {group: list(own) for group, own in votes.items()}
    total = {key: (sum(by_group.values()), len(by_group)) for key, by_group in heard.items()}

    def rating(source: str, level: int, group: str) -> float:
        right, n = total.get((source, level), (0.0, 0))
        here = heard[source, level].get(group) if n else None
        return (1.0 + right - (here or 0.0)) / (2.0 + n - (here is not None))

    def with_rating(vote: Vote, group: str) -> Vote:
        if not vote.path or _is_rated(vote):
            return vote
        found = np.minimum.accumulate([rating(vote.source, level, group) for level in range(len(vote.path))])
        return replace(vote, confidence=tuple(map(float, found)))

    return {group: [with_rating(v, group) for v in own] for group, own in votes.items()}


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Mean of values with their weights."""
    return sum(x * w for x, w in weighted) / sum(w for _, w in weighted)


def _is_rated(vote: Vote) -> bool:
    return any(p == p for p in vote.confidence)


def _judged(path: Path, level: int, by: Vote) -> float:
    """Probability that ``path`` is right at a level if one trusts another vote; NaN if that vote says nothing of it."""
    shared = next((i for i, (a, b) in enumerate(zip(path, by.path, strict=False)) if a != b), len(path))
    if shared > level:
        return by.confidence[level] if len(by.path) > level and len(by.confidence) > level else float("nan")
    return 1.0 - by.confidence[shared] if len(by.path) > shared and len(by.confidence) > shared else float("nan")


def vote_weights(votes: Sequence[Vote], rules: ConsensusRules) -> list[tuple[float, ...]]:
    """Return the weight of each vote at each level of its path.

    A vote without confidence weighs, at each level, as ``unrated`` says, else like the median of the votes that
    have one; if none has, all weigh alike.
    """
    if rules.weights == "equal":
        return [tuple(v.share for _ in v.path) for v in votes]
    known: dict[int, list[float]] = defaultdict(list)
    for vote in votes:
        for level, p in enumerate(vote.confidence):
            if p == p:
                known[level].append(_log_odds(p))
    usual = {level: float(np.median(values)) for level, values in known.items()}

    def weight(vote: Vote, level: int) -> float:
        p = vote.confidence[level] if level < len(vote.confidence) else float("nan")
        if p != p and rules.unrated is not None:
            p = rules.unrated
        return vote.share * vote.voice * (_log_odds(p) if p == p else usual.get(level, 1.0))

    return [tuple(weight(v, level) for level in range(len(v.path))) for v in votes]


def _log_odds(p: float) -> float:
    p = min(max(p, _LEAST), _MOST)
    return float(np.log(p / (1.0 - p)))


def find_consensus(votes: Iterable[Vote], hierarchy: Hierarchy, rules: ConsensusRules | None = None) -> Consensus:
    """Return the consensus of the votes on one group.

    Parameters
    ----------
    votes
        Of all sources, abstentions included; paths must be of the hierarchy.
    hierarchy
        The tree that all were mapped to.
    rules
        The defaults if None.
    """
    rules = rules or ConsensusRules()
    everything = list(votes)
    cast = [v for v in everything if v.path]
    n_voting = len({v.source for v in cast})
    n_abstained = len({v.source for v in everything}) - n_voting
    weights = vote_weights(cast, rules)
    path: Path = ()
    support: list[float] = []
    rival: Path = ()
    rival_share = 0.0
    while True:
        shares, total = _shares_below(path, cast, weights)
        ranked = sorted(shares, key=lambda child: (-round(shares[child], 10), child))
        stop = _stop(ranked, shares, total, rules, is_leaf=bool(path) and not hierarchy.children(path))
        # The rival: what the walk refused where it ended undecided, else the strongest type it left aside.
        aside = ranked[0] if ranked and stop is not None else ranked[1] if len(ranked) > 1 else ()
        if aside and (stop is not None or shares[aside] > rival_share):
            rival, rival_share = aside, shares[aside]
        if stop is not None:
            break
        path = ranked[0]
        support.append(shares[path])
    if path and rules.max_breadth is not None and _breadth(path, hierarchy) > rules.max_breadth:
        path, support, stop = (), [], ConsensusStop.TOO_BROAD
    status = CallStatus.RESOLVED if path else CallStatus.MIXED if cast else CallStatus.UNKNOWN
    return Consensus(
        path, tuple(support), stop, status, n_voting, n_abstained, _agreeing(path, cast, weights), rival,
        rival_share,
    )


def _shares_below(
    path: Path, votes: Sequence[Vote], weights: Sequence[tuple[float, ...]]
) -> tuple[Mapping[Path, float], float]:
    """Share of each child among the votes that speak below ``path``, and what share of all votes they are.

    How much of all votes speak is counted in their weights at the level of ``path``, where broad and narrow votes
    still say the same: a vote that stops there is no surer than one that goes on.
    """
    level = len(path)
    found: dict[Path, float] = defaultdict(float)
    speaking = everything = 0.0
    for vote, weight in zip(votes, weights, strict=True):
        voice = weight[min(max(level - 1, 0), len(weight) - 1)]
        everything += voice
        if len(vote.path) > level and vote.path[:level] == path:
            found[vote.path[: level + 1]] += weight[level]
            speaking += voice
    total = sum(found.values())
    return {k: v / total for k, v in found.items()}, speaking / everything if everything else 0.0


def _stop(
    ranked: Sequence[Path], shares: Mapping[Path, float], speaking: float, rules: ConsensusRules, *, is_leaf: bool
) -> ConsensusStop | None:
    if is_leaf:
        return ConsensusStop.LEAF_REACHED
    if not ranked:
        return ConsensusStop.NO_VOTES_BELOW
    best = shares[ranked[0]]
    if round(best, 10) <= rules.min_share:
        return ConsensusStop.DISAGREEMENT
    return ConsensusStop.NO_QUORUM if round(best * speaking, 10) < round(rules.min_quorum, 10) else None


def _breadth(path: Path, hierarchy: Hierarchy) -> int:
    """Number of terminal types that a type stands for."""
    below = hierarchy.descendants(path)
    return max(sum(not hierarchy.children(n.path) for n in below), 1)


def _agreeing(path: Path, votes: Sequence[Vote], weights: Sequence[tuple[float, ...]]) -> float:
    total = sum(w[-1] for w in weights)
    on_line = sum(
        w[-1] for v, w in zip(votes, weights, strict=True)
        if path and (v.path[: len(path)] == path or path[: len(v.path)] == v.path)
    )
    return on_line / total if total else 0.0
