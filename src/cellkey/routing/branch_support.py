"""Routing by branch support: go on with the best sibling while it is strong enough and well separated.

Only the sibling with the greatest support is asked: could it be scored, is its support above the threshold,
is its raw enrichment not against it and more than sampling error, is it far enough ahead? The first "no" ends the walk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters
from cellkey.records.vocabulary import BranchStop, ConfidenceTier, FailReason, StopDetail, StopReason
from cellkey.routing.gates import Gate, judge
from cellkey.routing.walk import Candidate, Choice, Walk, walk_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.scoring.evidence import Evidence

__all__ = ["BRANCH_GATES", "BranchGating", "BranchRule", "Routes",
           "best_nodes", "confidence_tier", "lineage_of", "related_nodes", "route_branches"]

_DECIMALS = 10


class BranchGating(Parameters):
    """Thresholds of the walk by branch support; a value equal to its threshold passes.

    Attributes
    ----------
    score_threshold
        Least branch support of the best candidate.
    margin_threshold
        Least lead over the runner-up.
    min_branch_supported_raw_score
        Least raw enrichment, blended with that of the best child.
    min_leaf_raw_score
        Least raw enrichment of the candidate itself.
    carrying_score, carrying_raw_score
        Support and blended raw enrichment of a subtype from which it carries a candidate past the two limits
        of raw enrichment. A lineage that makes up most of the data cannot be enriched over itself; its
        subtypes can. None carries nothing, as published.
    max_depth
        Deepest level that may be assigned (0 = top-level types only); None for no limit.
    back_off
        Whether a label whose own raw enrichment is below ``min_branch_supported_raw_score`` is given up for
        its parent when none of its children was good enough to carry it.
    rival_must_pass
        Whether the runner-up of a final call is sought in other lineages among types whose whole path would
        pass the gates on its own markers, or, as published, among all types outside the call's own line.
    """

    score_threshold: float = 0.05
    margin_threshold: Annotated[float, Field(ge=0.0)] = 0.02
    min_branch_supported_raw_score: float = 0.0
    min_leaf_raw_score: float = -0.2
    carrying_score: float | None = 0.35
    carrying_raw_score: float = 0.20
    max_depth: Annotated[int, Field(ge=0)] | None = None
    back_off: bool = True
    rival_must_pass: bool = True


@dataclass(frozen=True, slots=True)
class _Material:
    evidence: Evidence
    gating: BranchGating


def _not_below(values: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Missing values pass: what is not known cannot speak against a type."""
    return ~(np.isfinite(values) & (values < limit))


def _absolute(m: _Material) -> NDArray[np.bool_]:
    passes = _not_below(m.evidence["routing_raw"], m.gating.min_branch_supported_raw_score) & _not_below(
        m.evidence["raw"], m.gating.min_leaf_raw_score
    )
    if m.gating.carrying_score is None:
        return passes
    with np.errstate(invalid="ignore"):
        carried = (m.evidence["best_child"] >= m.gating.carrying_score) & (
            m.evidence["best_child_raw"] >= m.gating.carrying_raw_score
        )
    return passes | carried


def _absolute_detail(m: _Material, group: int, node: int) -> str:
    blended, own = m.evidence["routing_raw"][group, node], m.evidence["raw"][group, node]
    if blended < m.gating.min_branch_supported_raw_score:
        return f"branch_raw<{m.gating.min_branch_supported_raw_score:.2f}"
    return f"raw<{m.gating.min_leaf_raw_score:.2f} ({own:.3f})"


def _within_error(m: _Material, group: int, node: int) -> str:
    return f"raw {m.evidence['raw'][group, node]:.3f} within its sampling error {m.evidence['error'][group, node]:.3f}"


BRANCH_GATES: tuple[Gate, ...] = (
    Gate(BranchStop.NO_VALID_SCORE, lambda m: np.isfinite(m.evidence.score), FailReason.LOW_COVERAGE,
         lambda m, _group, node: str(m.evidence.details.status[node])),
    Gate(BranchStop.BELOW_SCORE_THRESHOLD, lambda m: _not_below(m.evidence.score, m.gating.score_threshold),
         FailReason.BELOW_GATE, lambda m, *_: f"branch_support<{m.gating.score_threshold:.2f}"),
    Gate(BranchStop.BELOW_ABSOLUTE_SUPPORT, _absolute, FailReason.BELOW_GATE, _absolute_detail),
    Gate(BranchStop.WITHIN_SAMPLING_ERROR,
         lambda m: _not_below(m.evidence["sure_support"], min(m.gating.score_threshold, 0.0)),
         FailReason.BELOW_GATE, _within_error),
)
"""The checks of the best candidate, in the order in which they are asked; the margin comes last."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How siblings stand in every group.

    Attributes
    ----------
    ranked
        The siblings by their support, those without one last, groups x siblings.
    n_scored
        How many have one, shape (groups,).
    lead
        Support of the first minus that of each of ``ranked``, groups x siblings.
    selected
        The first if it passes and is far enough ahead, else -1; shape (groups,).
    """

    ranked: NDArray[np.int64]
    n_scored: NDArray[np.int64]
    lead: NDArray[np.float64]
    selected: NDArray[np.int64]


def _standing_of(
    nodes: NDArray[np.int64], scores: NDArray[np.float64], passed: NDArray[np.bool_], gap: float
) -> _Standing:
    """Rank siblings, given in the order of their names, by their support, groups x siblings."""
    finite = np.isfinite(scores)
    # Ties go to the path that sorts first, so that the order of siblings means nothing.
    order = np.argsort(np.where(finite, -np.round(scores, _DECIMALS), np.inf), axis=1, kind="stable")
    by_rank = np.take_along_axis(scores, order, axis=1)
    ranked, n_scored = nodes[order], finite.sum(axis=1)
    with np.errstate(invalid="ignore"):
        lead = by_rank[:, :1] - by_rank
    near = (n_scored > 1) & (np.round(lead[:, min(1, len(nodes) - 1)], _DECIMALS) < gap)
    passes = np.take_along_axis(passed, order, axis=1)[:, 0] & finite.any(axis=1)
    return _Standing(ranked, n_scored, lead, np.where(passes & ~near, ranked[:, 0], -1))


class BranchRule:
    """Chooses the sibling with the greatest branch support if it passes all gates.

    Parameters
    ----------
    evidence
        Of enrichment scoring.
    gating
        Thresholds.
    """

    def __init__(self, evidence: Evidence, gating: BranchGating) -> None:
        self.evidence = evidence
        self.gating = gating
        self.scores = evidence.score
        self.judgement = judge(BRANCH_GATES, _Material(evidence, gating), evidence.score.shape)
        self._names = [n.path_text for n in evidence.key.hierarchy.nodes]
        self._standings: dict[tuple[int, ...], _Standing] = {}

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share of each type's listed markers that are measured, groups x nodes."""
        return self.evidence["coverage"]

    def selected(self, candidates: Sequence[int], level: int) -> NDArray[np.int64]:
        """Return the candidate that each group goes on with, -1 where it stops; shape (groups,)."""
        del level  # the same thresholds hold at every level
        return self._standing(candidates).selected

    def choose(self, group: int, parent: int | None, candidates: Sequence[int], level: int) -> Choice:
        """Judge the candidates of one step."""
        del level
        found = self._standing(candidates)
        n_scored, failed = int(found.n_scored[group]), self.judgement.failed[group]
        if not n_scored:
            return self._stopped(group, parent, candidates, Choice(()), BranchStop.NO_VALID_SCORE)
        ranked = found.ranked[group, :n_scored].tolist()
        best, runner_up = ranked[0], ranked[1] if n_scored > 1 else None
        margin = None if runner_up is None else float(found.lead[group, 1])
        contested = runner_up is not None and bool(failed[runner_up] < 0)
        seen = Choice((), None, best, runner_up, margin, contested)
        if failed[best] >= 0:
            return self._stopped(group, parent, candidates, seen, BRANCH_GATES[failed[best]].name)
        if found.selected[group] < 0:
            limit = self.gating.margin_threshold
            near = np.round(found.lead[group, :n_scored], _DECIMALS) < limit
            seen = replace(seen, tied=tuple(k for k, is_near in zip(ranked, near, strict=True) if is_near))
            return self._stopped(group, parent, candidates, seen, BranchStop.AMBIGUOUS_SIBLING_MARGIN)
        return replace(seen, candidates=self._rows(group, candidates, best), selected=best)

    def _standing(self, candidates: Sequence[int]) -> _Standing:
        asked = tuple(candidates)
        if asked not in self._standings:
            nodes = np.array(sorted(asked, key=lambda k: self._names[k]))
            self._standings[asked] = _standing_of(
                nodes, self.scores[:, nodes], self.judgement.failed[:, nodes] < 0, self.gating.margin_threshold
            )
        return self._standings[asked]

    def stop_of(self, group: int, walk: Walk) -> BranchStop:
        """Return why a walk ended, in the words of this rule."""
        if walk.stop is StopReason.LEAF_REACHED:
            return BranchStop.LEAF_REACHED
        if walk.stop is StopReason.MAX_DEPTH:
            return BranchStop.MAX_DEPTH
        choice = walk.last
        if choice.best is None:
            return BranchStop.NO_VALID_SCORE
        at = int(self.judgement.failed[group, choice.best])
        return BranchStop.AMBIGUOUS_SIBLING_MARGIN if at < 0 else BranchStop(BRANCH_GATES[at].name)

    def _stopped(
        self, group: int, parent: int | None, candidates: Sequence[int], seen: Choice, why: str
    ) -> Choice:
        stop, detail = _SHARED_WORDS[parent is None, BranchStop(why)]
        return replace(seen, candidates=self._rows(group, candidates, None), stop=stop, detail=detail)

    def _rows(self, group: int, candidates: Sequence[int], selected: int | None) -> tuple[Candidate, ...]:
        return tuple(self._row(group, k, selected) for k in candidates)

    def _row(self, group: int, node: int, selected: int | None) -> Candidate:
        reason, score = self.judgement.reason(group, node), float(self.scores[group, node])
        if reason is None:
            return Candidate(node, True, score, None if node == selected else FailReason.OUTSCORED)
        return Candidate(node, False, score, reason, self.judgement.detail(group, node))


_NONE_PASSED = (StopReason.NO_ROOT_PASSED, StopDetail.NO_ROOT_PASSED)
_NO_CHILD = (StopReason.NO_CHILDREN_PASS, StopDetail.NO_CHILD_PASSED)
_SHARED_WORDS = {
    (True, BranchStop.NO_VALID_SCORE): _NONE_PASSED,
    (False, BranchStop.NO_VALID_SCORE): (StopReason.INSUFFICIENT_COVERAGE, StopDetail.INSUFFICIENT_COVERAGE),
    (True, BranchStop.BELOW_SCORE_THRESHOLD): _NONE_PASSED,
    (False, BranchStop.BELOW_SCORE_THRESHOLD): _NO_CHILD,
    (True, BranchStop.BELOW_ABSOLUTE_SUPPORT): _NONE_PASSED,
    (False, BranchStop.BELOW_ABSOLUTE_SUPPORT): _NO_CHILD,
    (True, BranchStop.WITHIN_SAMPLING_ERROR): _NONE_PASSED,
    (False, BranchStop.WITHIN_SAMPLING_ERROR): _NO_CHILD,
    (True, BranchStop.AMBIGUOUS_SIBLING_MARGIN): (StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_ROOT),
    (False, BranchStop.AMBIGUOUS_SIBLING_MARGIN): (StopReason.LOW_MARGIN, StopDetail.AMBIGUOUS_SIBLINGS),
}


@dataclass(frozen=True, slots=True)
class Routes:
    """The walks of all groups and what follows from them; arrays have one entry per group.

    Attributes
    ----------
    evidence, gating, rule
        What was walked on.
    walks
        The decision traces; a label given up by backing off is no longer in their path.
    node
        Final node, -1 if none.
    stop
        Why each walk ended.
    tier
        Confidence tier at the last accepted level.
    steps_back
        Number of levels given up after the walk.
    runner_up, runner_up_score
        Best competitor of the final call (-1 and NaN if none).
    margin
        Score of the final call minus that of the competitor; NaN without either.
    """

    evidence: Evidence
    gating: BranchGating
    rule: BranchRule
    walks: tuple[Walk, ...]
    node: NDArray[np.int64]
    stop: tuple[BranchStop, ...]
    tier: tuple[ConfidenceTier, ...]
    steps_back: NDArray[np.int64]
    runner_up: NDArray[np.int64]
    runner_up_score: NDArray[np.float64]
    margin: NDArray[np.float64]

    def at_node(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value of each group's final node, NaN where there is none."""
        taken = values[np.arange(len(self.node)), np.maximum(self.node, 0)]
        return np.where(self.node >= 0, taken, np.nan)

    @property
    def score(self) -> NDArray[np.float64]:
        """Branch support of the final call."""
        return self.at_node(self.evidence.score)


def route_branches(evidence: Evidence, gating: BranchGating | None = None) -> Routes:
    """Walk every group down the key by branch support.

    Parameters
    ----------
    evidence
        Of enrichment scoring.
    gating
        Thresholds; the defaults if None.
    """
    gating = gating or BranchGating()
    rule = BranchRule(evidence, gating)
    walks = walk_key(evidence.key, evidence.groups, rule, max_depth=gating.max_depth)
    stop = tuple(rule.stop_of(i, w) for i, w in enumerate(walks))
    back = np.array([_unsupported(w, i, s, evidence, gating) for i, (w, s) in enumerate(zip(walks, stop, strict=True))],
                    dtype=np.int64)
    kept = tuple(_given_up(w, int(n)) if n else w for w, n in zip(walks, back, strict=True))
    node = np.array([-1 if w.node is None else w.node for w in kept], dtype=np.int64)
    tier = tuple(_tier_of(w, i, evidence, gating) for i, w in enumerate(kept))
    runner_up, score = _competitors(node, evidence, gating)
    final = np.where(node >= 0, evidence.score[np.arange(len(node)), np.maximum(node, 0)], np.nan)
    return Routes(evidence, gating, rule, kept, node, stop, tier, back, runner_up, score, final - score)


def confidence_tier(support: float, margin: float, detection: float, score_limit: float, margin_limit: float
                    ) -> ConfidenceTier:
    """Return the tier of an accepted candidate; a missing margin (no sibling) counts as wide enough."""
    if support != support:
        return ConfidenceTier.NONE
    if support < score_limit or not detection >= 0.2:
        return ConfidenceTier.LOW
    separated = margin != margin or margin >= margin_limit
    if detection < 0.5:
        return ConfidenceTier.MEDIUM if separated else ConfidenceTier.LOW
    strong = support >= score_limit + max(abs(score_limit), 0.05)
    wide = margin != margin or margin >= margin_limit + max(abs(margin_limit), 0.05)
    if strong and wide:
        return ConfidenceTier.HIGH
    return ConfidenceTier.MEDIUM if separated else ConfidenceTier.LOW


def _tier_of(walk: Walk, group: int, evidence: Evidence, gating: BranchGating) -> ConfidenceTier:
    if walk.node is None:
        return ConfidenceTier.NONE
    margin = walk.steps[len(walk.path) - 1].choice.margin
    return confidence_tier(
        float(evidence.score[group, walk.node]), float("nan") if margin is None else margin,
        float(evidence["detection"][group, walk.node]), gating.score_threshold, gating.margin_threshold,
    )


_NOT_ENOUGH = (
    BranchStop.BELOW_SCORE_THRESHOLD, BranchStop.BELOW_ABSOLUTE_SUPPORT, BranchStop.WITHIN_SAMPLING_ERROR)


def _unsupported(walk: Walk, group: int, stop: BranchStop, evidence: Evidence, gating: BranchGating) -> int:
    """Number of levels at the end of a path that neither their own markers nor an accepted child support."""
    if not gating.back_off or stop not in _NOT_ENOUGH:
        return 0
    own = [evidence["raw"][group, k] for k in walk.path]
    count = 0
    while count < len(own) and own[-1 - count] < gating.min_branch_supported_raw_score:
        count += 1
    return count


def _given_up(walk: Walk, n: int) -> Walk:
    path = walk.path[: len(walk.path) - n]
    if path:
        return replace(walk, path=path)
    return replace(walk, path=path, stop=StopReason.NO_ROOT_PASSED, detail=StopDetail.NO_ROOT_PASSED)


def _competitors(
    node: NDArray[np.int64], evidence: Evidence, gating: BranchGating
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Best competitor of each final call, by tabulated branch support."""
    support = evidence["branch_support"]
    if gating.rival_must_pass:
        lineage = lineage_of(evidence.key.parents)
        own = np.where(node >= 0, lineage[np.maximum(node, 0)], -1)
        allowed = _reachable(evidence, gating) & (lineage[None] != own[:, None])
    else:
        line = related_nodes(evidence.key.parents)
        allowed = np.where((node >= 0)[:, None], ~line[np.maximum(node, 0)], True)
    return best_nodes(np.where(allowed, support, np.nan), [n.path_text for n in evidence.key.hierarchy.nodes])


def _reachable(evidence: Evidence, gating: BranchGating) -> NDArray[np.bool_]:
    """Which nodes pass the gates with all their ancestors, groups x nodes.

    A subtype carries nobody here: many markers are shared between subtypes of two lineages, and a lineage whose
    own markers are absent is no second population.
    """
    strict = gating.updated(carrying_score=None)
    passed = judge(BRANCH_GATES, _Material(evidence, strict), evidence.score.shape).passed
    line = ancestor_or_self(evidence.key.parents)
    return np.asarray((~passed).astype(np.int64) @ line.T.astype(np.int64) == 0)


def ancestor_or_self(parents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each node (row) which nodes (columns) are itself or its ancestors."""
    line = np.eye(len(parents), dtype=bool)
    current = parents.copy()
    while (current >= 0).any():
        rows = np.flatnonzero(current >= 0)
        line[rows, current[rows]] = True
        current = np.where(current >= 0, parents[np.maximum(current, 0)], -1)
    return line


def related_nodes(parents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each node (row) which nodes (columns) are itself, its ancestors or its descendants."""
    line = ancestor_or_self(parents)
    return line | line.T


def lineage_of(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root above (or at) each node."""
    root = np.arange(len(parents))
    while (parents[root] >= 0).any():
        root = np.where(parents[root] >= 0, parents[root], root)
    return root


def best_nodes(values: NDArray[np.float64], names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the node with the greatest finite value per row (-1 if none) and the value; ties by name."""
    order = np.argsort(np.asarray(names, dtype=str), kind="stable")
    ranked = np.where(np.isfinite(values[:, order]), np.round(values[:, order], _DECIMALS), -np.inf)
    found = order[ranked.argmax(axis=1)].astype(np.int64)
    chosen = values[np.arange(len(values)), found]
    return np.where(np.isfinite(chosen), found, -1), np.where(np.isfinite(chosen), chosen, np.nan)
