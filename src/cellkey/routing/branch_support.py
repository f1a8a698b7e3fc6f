"""Routing by branch support: the walks of all groups, and what follows from them.

After the walk a label without support is given up for its parent, the accepted one gets a tier of confidence,
and its best competitor in the rest of the tree is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.records.vocabulary import BranchStop, ConfidenceTier, StopDetail, StopReason
from cellkey.routing.branch_rule import BRANCH_GATES, BranchGating, BranchMaterial, BranchRule
from cellkey.routing.gates import judge
from cellkey.routing.lineages import ancestor_or_self, best_nodes, lineage_of, related_nodes
from cellkey.routing.walk import Walk, walk_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.scoring.evidence import Evidence

__all__ = ["Routes", "confidence_tier", "route_branches"]


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
        return _at_node(self.node, values)

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
    margin = _at_node(node, evidence.score) - score
    return Routes(evidence, gating, rule, kept, node, stop, tier, back, runner_up, score, margin)


def _at_node(node: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(node >= 0, values[np.arange(len(node)), np.maximum(node, 0)], np.nan)


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
    passed = judge(BRANCH_GATES, BranchMaterial(evidence, strict), evidence.score.shape).passed
    line = ancestor_or_self(evidence.key.parents)
    return np.asarray((~passed).astype(np.int64) @ line.T.astype(np.int64) == 0)
