"""Calls: the label of a group with its path, status and confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.records.vocabulary import CallStatus, StopDetail, StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cellkey.routing.walk import Step, Walk
    from cellkey.scoring.evidence import Evidence

__all__ = ["UNASSIGNED", "Call", "CallStatus", "calls_from_walks"]

UNASSIGNED = "Unassigned"


@dataclass(frozen=True, slots=True)
class Call:
    """The label of one group of cells.

    Attributes
    ----------
    group, n_cells
        The group and its size.
    label, path, level
        Label; labels from the root (empty when unassigned or undecided between roots); 0 for a root, -1
        when unassigned.
    status
        What the label stands for.
    score
        Score of the assigned node; 0 when unassigned.
    root_label
        Label of the root; ``A~B`` if undecided.
    confidence
        Least margin along the path, in score units; the score itself where no step had a sibling.
    stop_reason, stop_detail
        Why the walk ended.
    node
        Position of the assigned node; None when unassigned or undecided between roots.
    runner_up, runner_up_score
        Closest sibling at the tightest step, with its score.
    uncontested
        Whether no step had a competitor that qualified.
    tied
        Labels that were too close at the last step, best first.
    walk
        The decision trace.
    """

    group: str
    n_cells: int
    label: str
    path: tuple[str, ...]
    level: int
    status: CallStatus
    score: float
    root_label: str
    confidence: float
    stop_reason: StopReason
    stop_detail: StopDetail
    node: int | None
    runner_up: str
    runner_up_score: float | None
    uncontested: bool
    tied: tuple[str, ...]
    walk: Walk

    @property
    def is_ambiguous_root(self) -> bool:
        """Whether the roots were too close to choose between."""
        return self.stop_detail is StopDetail.AMBIGUOUS_ROOT


def calls_from_walks(
    walks: Sequence[Walk], evidence: Evidence, scores: NDArray[np.float64], max_ambiguity: Sequence[int]
) -> list[Call]:
    """Turn walks into calls.

    Parameters
    ----------
    walks
        One per group, in the order of the evidence.
    evidence
        For the hierarchy and the group sizes.
    scores
        The scores that competed, groups x nodes.
    max_ambiguity
        By level: with more near-tied roots than this, the group stays unassigned instead of being called
        after two of them.
    """
    return [
        _call(walk, int(evidence.n_cells[i]), evidence, scores[i], max_ambiguity) for i, walk in enumerate(walks)
    ]


def _call(
    walk: Walk, n_cells: int, evidence: Evidence, scores: NDArray[np.float64], max_ambiguity: Sequence[int]
) -> Call:
    nodes = evidence.key.hierarchy.nodes
    tied = walk.last.tied if walk.stop is StopReason.LOW_MARGIN else ()
    names = tuple(nodes[k].name for k in tied)
    tightest = _tightest(walk.steps)
    runner = None if tightest is None else tightest.choice.runner_up
    path: tuple[str, ...] = ()
    label, level, status, node, score = UNASSIGNED, -1, CallStatus.UNKNOWN, walk.node, 0.0
    if node is not None:
        label, path, level = nodes[node].name, nodes[node].path, nodes[node].level
        status, score = CallStatus.RESOLVED, float(scores[node])
    elif walk.detail is StopDetail.AMBIGUOUS_ROOT and len(tied) <= max_ambiguity[0]:
        label, level, status, score = "~".join(names[:2]), 0, CallStatus.MIXED, float(scores[tied[0]])
    root = path[0] if path else label
    confidence = 0.0 if label == UNASSIGNED else _confidence(walk, tightest, scores)
    return Call(
        group=walk.group, n_cells=n_cells, label=label, path=path, level=level, status=status, score=score,
        root_label=root, confidence=confidence, stop_reason=walk.stop, stop_detail=walk.detail, node=node,
        runner_up="" if runner is None else nodes[runner].name,
        runner_up_score=None if runner is None else float(scores[runner]),
        uncontested=not any(s.choice.contested for s in walk.steps), tied=names, walk=walk,
    )


def _tightest(steps: Sequence[Step]) -> Step | None:
    """The step with the least margin; the first of equal ones."""
    counted = [s for s in steps if s.choice.margin is not None]
    return min(counted, key=lambda s: (round(s.choice.margin or 0.0, 10), s.index), default=None)


def _confidence(walk: Walk, tightest: Step | None, scores: NDArray[np.float64]) -> float:
    if tightest is None:
        return float(scores[walk.path[-1]])
    return float(tightest.choice.margin or 0.0)
