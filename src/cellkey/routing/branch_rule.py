"""Choosing by branch support: the thresholds, the gates they make, and the rule that picks the best sibling.

Only the sibling with the greatest support is asked: could it be scored, is its support above the threshold,
is its raw enrichment not against it and more than sampling error, is it far enough ahead? The first "no" ends the walk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cellkey.parameters import Parameters
from cellkey.records.vocabulary import BranchStop, FailReason, StopDetail, StopReason
from cellkey.routing.gates import Gate, judge
from cellkey.routing.standing import SiblingRule
from cellkey.routing.walk import Candidate, Choice, Walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.scoring.evidence import Evidence

__all__ = ["BRANCH_GATES", "BranchGating", "BranchMaterial", "BranchRule"]


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
class BranchMaterial:
    """What the gates look at: the evidence, and the thresholds."""

    evidence: Evidence
    gating: BranchGating


def _not_below(values: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Missing values pass: what is not known cannot speak against a type."""
    return ~(np.isfinite(values) & (values < limit))


def _absolute(m: BranchMaterial) -> NDArray[np.bool_]:
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


def _absolute_detail(m: BranchMaterial, group: int, node: int) -> str:
    blended, own = m.evidence["routing_raw"][group, node], m.evidence["raw"][group, node]
    if blended < m.gating.min_branch_supported_raw_score:
        return f"branch_raw<{m.gating.min_branch_supported_raw_score:.2f}"
    return f"raw<{m.gating.min_leaf_raw_score:.2f} ({own:.3f})"


def _within_error(m: BranchMaterial, group: int, node: int) -> str:
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


class BranchRule(SiblingRule):
    """Chooses the sibling with the greatest branch support if it passes all gates.

    Parameters
    ----------
    evidence
        Of enrichment scoring.
    gating
        Thresholds.
    """

    def __init__(self, evidence: Evidence, gating: BranchGating) -> None:
        self.gating = gating
        judgement = judge(BRANCH_GATES, BranchMaterial(evidence, gating), evidence.score.shape)
        super().__init__(evidence, judgement, evidence.score, np.isfinite(evidence.score))

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share of each type's listed markers that are measured, groups x nodes."""
        return self.evidence["coverage"]

    def gap(self, level: int) -> float:
        """Return the least lead over the runner-up; the same at every level."""
        del level
        return self.gating.margin_threshold

    def choose(self, group: int, parent: int | None, candidates: Sequence[int], level: int) -> Choice:
        """Judge the candidates of one step."""
        found = self._standing(candidates, level)
        n_scored, failed = int(found.n_competing[group]), self.judgement.failed[group]
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
            seen = replace(seen, tied=tuple(found.ranked[group, found.near[group]].tolist()))
            return self._stopped(group, parent, candidates, seen, BranchStop.AMBIGUOUS_SIBLING_MARGIN)
        return replace(seen, candidates=self._rows(group, candidates, best), selected=best)

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
