"""Diagnosis: how heterogeneous each cluster is, what to do with it, and why. Arrays and votes only, no cells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.profiles.profile import natural_key
from cellkey.records.vocabulary import ConfidenceLevel, Criterion, Recommendation, StopDetail
from cellkey.refinement import criteria

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.refinement.judging import Verdict
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.routing.votes import Vote

__all__ = [
    "Diagnosis", "competitors", "diagnose", "diagnostic_report", "marker_heterogeneity", "minority_share", "rivals",
    "votes_needed",
]

_MIXED_FROM, _MIXED_TO = 0.2, 0.8


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one cluster and what follows from it.

    ``components`` holds the value of each criterion that applies; ``target`` is the node that a RELABEL takes;
    ``ideal`` is the recommendation if size and earlier attempts did not matter.
    """

    facts: criteria.Facts
    components: Mapping[Criterion, float]
    criterion: Criterion
    heterogeneity: float
    recommendation: Recommendation
    ideal: Recommendation
    reason: str
    marker_heterogeneity: float
    mixed_marker_rate: float
    target: int | None = None
    priority: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """Identifier of the cluster."""
        return self.facts.cluster


def marker_heterogeneity(positive: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over markers of p (1 - p), clusters x markers to clusters; from 0 to 0.25."""
    if positive.shape[1] == 0:
        return np.zeros(len(positive))
    return np.asarray((positive * (1.0 - positive)).mean(axis=1))


def minority_share(ballot: Vote, best: int) -> float:
    """Return the share of the deciding cells that vote for another candidate than ``best``.

    0 with fewer than two candidates, 1 if no cell decides.
    """
    if len(ballot.candidates) < 2:
        return 0.0
    decided = ballot.winners[ballot.winners >= 0]
    if not len(decided):
        return 1.0
    return 1.0 - float((decided == ballot.candidates.index(best)).mean())


def competitors(verdict: Verdict, call: Call) -> tuple[int, ...]:
    """Return the types between which the cells of a cluster may be divided.

    The subtypes with a score above 0 if there are two, else the label and its :func:`rivals`, else the lineages
    that were too close to choose between; empty if there are no two.
    """
    row = verdict.position(call.group)
    positive = [k for k in verdict.ranked_children(row, call.node) if verdict.scores[row, k] > 0]
    if len(positive) > 1:
        return tuple(positive)
    return rivals(verdict, {call.group: call}).get(call.group, call.walk.last.tied)


def votes_needed(verdict: Verdict, calls: Mapping[str, Call]) -> dict[str, tuple[int, ...]]:
    """Return the clusters whose cells should vote, with the subtypes to choose from (those with a score > 0)."""
    found = {}
    for cluster, call in calls.items():
        row = verdict.position(cluster)
        positive = [k for k in verdict.ranked_children(row, call.node) if verdict.scores[row, k] > 0]
        if len(positive) > 1:
            found[cluster] = tuple(positive)
    return found


def rivals(verdict: Verdict, calls: Mapping[str, Call]) -> dict[str, tuple[int, ...]]:
    """Return the clusters where the evidence also speaks for a type beside the label.

    Returns
    -------
    By cluster, the type on the label's path and its rivals, best first: siblings with a score above 0. Of several
    levels the one with the best rival counts.
    """
    tree = verdict.key.hierarchy
    parents = verdict.key.parents
    found = {}
    for cluster, call in calls.items():
        if call.node is None:
            continue
        row = verdict.position(cluster)
        best: tuple[float, int, tuple[int, ...]] | None = None
        for depth in range(1, len(call.path) + 1):
            own = tree.index(call.path[:depth])
            siblings = [k for k in np.flatnonzero(parents == parents[own]).tolist() if k != own]
            clear = [k for k in siblings if verdict.scores[row, k] > 0]
            clear.sort(key=lambda k: (-round(float(verdict.scores[row, k]), 10), tree.nodes[k].path_text))
            top = float(verdict.scores[row, clear[0]]) if clear else 0.0
            if clear and (best is None or top > best[0]):
                best = top, own, tuple(clear)
        if best is not None:
            found[cluster] = (best[1], *best[2])
    return found


def diagnose(
    verdict: Verdict,
    calls: Mapping[str, Call],
    parameters: RefinementParameters,
    votes: Mapping[str, Vote] | None = None,
    *,
    rival_votes: Mapping[str, Vote] | None = None,
    exhausted: Mapping[str, str] | None = None,
    pinned: Collection[str] = (),
) -> list[Diagnosis]:
    """Diagnose every cluster.

    Parameters
    ----------
    verdict
        Scores and gates of the clusters.
    calls
        The label that each cluster has now; it may differ from that of the verdict.
    parameters
        Thresholds and policy.
    votes
        Votes of the cells of the clusters that :func:`votes_needed` names.
    rival_votes
        Votes between the label and its :func:`rivals`.
    exhausted
        Clusters that were tried before with these parameters, with the outcome; they are left alone.
    pinned
        Clusters whose label a person has set; they are left alone.

    Returns
    -------
    In natural order of the clusters, with priorities: splits first, then relabelling, each by heterogeneity
    times cells.
    """
    heterogeneity = marker_heterogeneity(verdict.positive)
    within = (verdict.positive >= _MIXED_FROM) & (verdict.positive <= _MIXED_TO)
    mixed = within.mean(axis=1) if verdict.positive.shape[1] else np.zeros(len(within))
    found = []
    for cluster in sorted(calls, key=natural_key):
        row = verdict.position(cluster)
        facts = _facts(verdict, calls[cluster], row, (votes or {}).get(cluster), float(heterogeneity[row]))
        facts = _with_rival(facts, verdict, row, (rival_votes or {}).get(cluster))
        outcome = criteria.decide(facts, parameters)
        found.append(_diagnosis(facts, outcome, parameters, float(mixed[row]), exhausted or {}, pinned))
    return _with_priorities(found)


def _facts(verdict: Verdict, call: Call, row: int, ballot: Vote | None, heterogeneity: float) -> criteria.Facts:
    ranked = verdict.ranked_children(row, call.node)
    score = verdict.scores[row] / verdict.unit
    best = ranked[0] if ranked else None
    second = ranked[1] if len(ranked) > 1 else None
    last = call.walk.last
    siblings_tie = call.stop_detail is StopDetail.AMBIGUOUS_SIBLINGS
    names = [n.name for n in verdict.key.hierarchy.nodes]
    share = 0.0 if best is None else float("nan")
    if best is not None and ballot is not None:
        share = minority_share(ballot, best)
    elif best is not None and sum(score[k] > 0 for k in ranked) < 2:
        share = 0.0
    return criteria.Facts(
        cluster=call.group,
        label=call.label,
        n_cells=call.n_cells,
        score=call.score / verdict.unit,
        confidence=call.confidence,
        is_leaf=call.node is not None and not ranked,
        has_children=bool(ranked),
        best=best,
        best_name="" if best is None else names[best],
        best_score=float("nan") if best is None else float(score[best]),
        best_passes=best is not None and bool(verdict.passed[row, best]),
        second_name="" if second is None else names[second],
        second_score=float("nan") if second is None else float(score[second]),
        ambiguous_root=call.is_ambiguous_root,
        root_gap_share=_gap_share(last.margin, verdict.gaps, last.best) if call.is_ambiguous_root else None,
        sibling_gap_share=_gap_share(last.margin, verdict.gaps, last.best) if siblings_tie else None,
        minority_share=share,
        marker_heterogeneity=heterogeneity,
    )


def _with_rival(facts: criteria.Facts, verdict: Verdict, row: int, ballot: Vote | None) -> criteria.Facts:
    if ballot is None:
        return facts
    own, best = ballot.candidates[:2]
    return replace(
        facts, rival_name=verdict.key.hierarchy.nodes[best].name,
        rival_score=float(verdict.scores[row, best]) / verdict.unit, rival_share=minority_share(ballot, own),
    )


def _gap_share(margin: float | None, gaps: NDArray[np.float64], best: int | None) -> float:
    """The margin of an undecided step as a share of the gap it should have had."""
    needed = 0.0 if best is None else float(gaps[best])
    return 0.0 if margin is None or needed <= 0 else max(float(margin), 0.0) / needed


def _diagnosis(
    facts: criteria.Facts,
    outcome: criteria.Outcome,
    parameters: RefinementParameters,
    mixed: float,
    exhausted: Mapping[str, str],
    pinned: Collection[str],
) -> Diagnosis:
    recommendation, reason = outcome.recommendation, outcome.reason
    skip = Recommendation.SKIP
    if facts.cluster in pinned:
        recommendation, reason = skip, f"the label {facts.label!r} was set by hand"
    elif recommendation is not skip and facts.n_cells < parameters.min_cells:
        recommendation = skip
        reason = f"too few cells ({facts.n_cells} < {parameters.min_cells}); otherwise: {reason}"
    elif recommendation is Recommendation.SUBCLUSTER and facts.cluster in exhausted:
        recommendation, reason = skip, f"a split was tried: {exhausted[facts.cluster]}; {reason}"
    return Diagnosis(
        facts=facts,
        components=outcome.components,
        criterion=outcome.criterion,
        heterogeneity=outcome.heterogeneity,
        recommendation=recommendation,
        ideal=outcome.recommendation,
        reason=reason,
        marker_heterogeneity=facts.marker_heterogeneity,
        mixed_marker_rate=mixed,
        target=facts.best if recommendation is Recommendation.RELABEL else None,
    )


_RANK = {Recommendation.SUBCLUSTER: 0, Recommendation.RELABEL: 1, Recommendation.SKIP: 2}


def _with_priorities(found: list[Diagnosis]) -> list[Diagnosis]:
    def urgency(i: int) -> tuple[int, float, tuple[tuple[int, int, str], ...]]:
        d = found[i]
        return _RANK[d.recommendation], -round(d.heterogeneity * d.facts.n_cells, 6), natural_key(d.cluster)

    order = sorted(range(len(found)), key=urgency)
    place = {i: n for n, i in enumerate(order, start=1)}
    return [replace(d, priority=place[i]) for i, d in enumerate(found)]


def diagnostic_report(diagnoses: list[Diagnosis], *, iteration: int = 1) -> pd.DataFrame:
    """Return the table ``diagnostic_report``: one row per cluster, in natural order."""
    from cellkey.records.tables import DIAGNOSTIC_REPORT

    return DIAGNOSTIC_REPORT.frame([_report_row(d, iteration) for d in diagnoses])


def _report_row(d: Diagnosis, iteration: int) -> dict[str, object]:
    facts, none = d.facts, float("nan")
    parents = (Criterion.HETEROGENEOUS_PARENT, Criterion.HOMOGENEOUS_PARENT)
    parent = next((c for c in parents if c in d.components), None)
    return {
        "cluster_id": facts.cluster,
        "current_label": facts.label,
        "recommendation": d.recommendation,
        "reason": d.reason,
        "criterion": d.criterion,
        "best_child": facts.best_name,
        "child_score": facts.best_score,
        "heterogeneity_score": d.heterogeneity,
        "n_cells": facts.n_cells,
        "priority": d.priority,
        "iteration": iteration,
        "assigned_score": facts.score,
        "confidence": facts.confidence,
        "second_child": facts.second_name,
        "second_child_score": facts.second_score,
        "minority_share": facts.minority_share,
        "marker_heterogeneity": d.marker_heterogeneity,
        "mixed_marker_rate": d.mixed_marker_rate,
        "criterion_low_confidence": d.components.get(Criterion.LOW_CONFIDENCE, none),
        "criterion_ambiguous_root": d.components.get(Criterion.AMBIGUOUS_ROOT, none),
        "criterion_parent": none if parent is None else d.components[parent],
        "criterion_mixed_population": d.components.get(Criterion.MIXED_POPULATION, none),
        "criterion_weak_leaf": d.components.get(Criterion.WEAK_LEAF, none),
        "criterion_rival_type": d.components.get(Criterion.RIVAL_TYPE, none),
        "rival_label": facts.rival_name,
        "rival_share": facts.rival_share,
        "ideal_recommendation": d.ideal,
        "confidence_band": ConfidenceLevel.of(facts.score),
        "origin_cluster": facts.cluster.split(":")[0],
        "target_label": facts.best_name if d.recommendation is Recommendation.RELABEL else "",
    }
