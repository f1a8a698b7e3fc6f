r"""When a cluster deserves work, and which: two sets of rules over the same facts.

The ``guide`` rules give each criterion a value that exceeds 1 exactly where the cluster would be doubted at the
default settings; the heterogeneity score is the largest of them,

.. math::
    H = \min(3, \max(2 - s,\; 2 - \mathrm{gap}_{root},\; \max(s_1, 2 - \mathrm{gap}),\; 2 - s_1,\;
        h / 0.12,\; 1 + r))

with :math:`s` the score of the label, :math:`s_1` that of its best subtype, gaps as shares of the gap needed,
:math:`h` the marker heterogeneity and :math:`r` the share of cells that agree with a type beside the label, where
that is more than ``heterogeneity_gap``. A higher ``score_threshold`` can therefore only flag fewer
clusters. The ``legacy`` rules compare the scores themselves with the thresholds, as CellType-Refinery does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.records.vocabulary import Criterion, Recommendation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.refinement.parameters import RefinementParameters

__all__ = ["Facts", "Outcome", "decide"]

_MOST = 3.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one cluster.

    Scores are in units of a clear signal. ``root_gap_share`` and ``sibling_gap_share`` are the margin of an
    undecided step as a share of the gap needed, None where the step was decided. ``best`` is the position of the
    subtype with the highest score, ``minority_share`` the share of deciding cells that vote against it. A rival is a
    sibling of a type on the label's path with a score above 0.
    """

    cluster: str
    label: str
    n_cells: int
    score: float
    confidence: float
    is_leaf: bool
    has_children: bool
    best: int | None
    best_name: str
    best_score: float
    best_passes: bool
    second_name: str
    second_score: float
    ambiguous_root: bool
    root_gap_share: float | None
    sibling_gap_share: float | None
    minority_share: float
    marker_heterogeneity: float
    rival_name: str = ""
    rival_score: float = math.nan
    rival_share: float = math.nan


@dataclass(frozen=True, slots=True)
class Outcome:
    """Criteria with their values, the one that decided, and what follows."""

    components: Mapping[Criterion, float]
    criterion: Criterion
    heterogeneity: float
    recommendation: Recommendation
    reason: str


def decide(facts: Facts, parameters: RefinementParameters) -> Outcome:
    """Apply the rules of ``parameters.policy``, leaving size and earlier attempts out of account."""
    components = _components(facts, parameters)
    criterion = max(components, key=lambda c: components[c], default=Criterion.NONE)  # ties: first in order
    heterogeneity = components.get(criterion, 0.0)
    rule = _legacy if parameters.policy == "legacy" else _guide
    criterion, recommendation, reason = rule(facts, parameters, criterion, heterogeneity)
    if criterion is Criterion.HOMOGENEOUS_PARENT and Criterion.HETEROGENEOUS_PARENT in components:
        components[criterion] = components.pop(Criterion.HETEROGENEOUS_PARENT)
    return Outcome(components, criterion, heterogeneity, recommendation, reason)


def _components(f: Facts, p: RefinementParameters) -> dict[Criterion, float]:
    """Value of each criterion that applies, in the order that breaks ties."""
    values: dict[Criterion, float] = {Criterion.LOW_CONFIDENCE: 2.0 - f.score}
    if f.root_gap_share is not None:
        values[Criterion.AMBIGUOUS_ROOT] = 2.0 - f.root_gap_share
    if f.has_children and f.best_score > 0:
        tie = 0.0 if f.sibling_gap_share is None else 2.0 - f.sibling_gap_share
        values[Criterion.HETEROGENEOUS_PARENT] = max(f.best_score / p.subtype_signal_threshold, tie)
    if f.has_children and f.score >= p.mixed_parent_threshold:
        values[Criterion.MIXED_POPULATION] = 2.0 - f.best_score / p.mixed_child_threshold
    if f.is_leaf and f.score < p.weak_leaf_score:
        values[Criterion.WEAK_LEAF] = f.marker_heterogeneity / p.weak_leaf_heterogeneity
    if f.rival_share > p.heterogeneity_gap:
        values[Criterion.RIVAL_TYPE] = 1.0 + f.rival_share
    return {name: min(max(value, 0.0), _MOST) for name, value in values.items()}


def _guide(
    f: Facts, p: RefinementParameters, criterion: Criterion, heterogeneity: float
) -> tuple[Criterion, Recommendation, str]:
    said = _saying(f, p, criterion)
    limit = f"heterogeneity {heterogeneity:.2f}"
    if heterogeneity <= p.score_threshold:
        return criterion, Recommendation.SKIP, f"{said}; {limit} does not exceed {p.score_threshold:.2f}"
    flagged = f"{said}; {limit} exceeds {p.score_threshold:.2f}"
    if criterion is not Criterion.HETEROGENEOUS_PARENT:
        return criterion, Recommendation.SUBCLUSTER, flagged
    minority = f.minority_share
    votes = f"{100 * minority:.0f} % of the deciding cells vote against it" if math.isfinite(minority) else "no vote"
    if minority <= p.heterogeneity_gap and f.best_passes:
        reason = f"{flagged}; {votes} (at most {100 * p.heterogeneity_gap:.0f} %), so the whole cluster takes the label"
        return Criterion.HOMOGENEOUS_PARENT, Recommendation.RELABEL, reason
    why = f"{votes} (more than {100 * p.heterogeneity_gap:.0f} %)"
    if minority <= p.heterogeneity_gap:
        why = f"{votes}, but the subtype does not pass its gate"
    return criterion, Recommendation.SUBCLUSTER, f"{flagged}; {why}"


def _saying(f: Facts, p: RefinementParameters, criterion: Criterion) -> str:
    """The finding behind a criterion, with its numbers."""
    if criterion is Criterion.LOW_CONFIDENCE:
        return f"{f.label!r} scores {f.score:.2f}"
    if criterion is Criterion.AMBIGUOUS_ROOT:
        return f"the lineage is undecided ({f.label!r}, {100 * (f.root_gap_share or 0.0):.0f} % of the gap needed)"
    if criterion is Criterion.HETEROGENEOUS_PARENT:
        rival = ""
        if f.sibling_gap_share is not None:
            rival = f", only {f.best_score - f.second_score:.2f} above {f.second_name!r}"
        return f"the subtype {f.best_name!r} scores {f.best_score:.2f}{rival}"
    if criterion is Criterion.MIXED_POPULATION:
        return f"{f.label!r} scores {f.score:.2f}, but its best subtype {f.best_name!r} only {f.best_score:.2f}"
    if criterion is Criterion.WEAK_LEAF:
        return f"{f.label!r} scores {f.score:.2f} with marker heterogeneity {f.marker_heterogeneity:.3f}"
    if criterion is Criterion.RIVAL_TYPE:
        share = f"{100 * f.rival_share:.0f} % of the deciding cells"
        return f"{share} agree with a type beside {f.label!r}, first of all {f.rival_name!r} ({f.rival_score:.2f})"
    return "no criterion applies"


def _legacy(
    f: Facts, p: RefinementParameters, criterion: Criterion, heterogeneity: float
) -> tuple[Criterion, Recommendation, str]:
    split, parent = Recommendation.SUBCLUSTER, f.has_children
    second = f.second_score if f.second_score > 0 else -math.inf
    signal = parent and f.best_score > p.subtype_signal_threshold
    divided = parent and f.best_score > 0 and second > 0 and (
        second >= p.subtype_signal_threshold or f.best_score - second < p.heterogeneity_gap
    )
    weak = f.is_leaf and f.score < p.weak_leaf_score and f.marker_heterogeneity > p.weak_leaf_heterogeneity
    if f.score < p.score_threshold:
        return Criterion.LOW_CONFIDENCE, split, f"{f.label!r} scores {f.score:.2f} < {p.score_threshold:.2f}"
    if f.ambiguous_root:
        return Criterion.AMBIGUOUS_ROOT, split, f"the lineage is undecided ({f.label!r})"
    if divided:
        pair = f"{f.best_name!r} {f.best_score:.2f} and {f.second_name!r} {f.second_score:.2f}"
        return Criterion.HETEROGENEOUS_PARENT, split, f"two subtypes score well: {pair}"
    if parent and f.score >= p.mixed_parent_threshold and f.best_score < p.mixed_child_threshold:
        return Criterion.MIXED_POPULATION, split, _saying(f, p, Criterion.MIXED_POPULATION)
    if weak:
        return Criterion.WEAK_LEAF, split, _saying(f, p, Criterion.WEAK_LEAF)
    if signal:
        reason = f"the subtype {f.best_name!r} alone scores {f.best_score:.2f} > {p.subtype_signal_threshold:.2f}"
        return Criterion.HOMOGENEOUS_PARENT, Recommendation.RELABEL, reason
    return Criterion.NONE, Recommendation.SKIP, f"no rule applies to {f.label!r} (score {f.score:.2f})"
