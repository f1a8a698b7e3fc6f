"""Top-down gating of marker evidence: all candidates of a level are gated, the best of those that pass wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.records.vocabulary import FailReason, StopDetail, StopReason
from cellkey.routing.gates import Detail, Gate, Judgement, judge
from cellkey.routing.standing import SiblingRule
from cellkey.routing.walk import Candidate, Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.routing.limits import Gating, LevelLimits, Requirement, Veto
    from cellkey.scoring.evidence import Evidence
    from cellkey.scoring.key import MeasuredKey
    from cellkey.scoring.marker_evidence import MarkerDetails

__all__ = ["MARKER_GATES", "GateMaterial", "MarkerRule", "gate_markers", "missing_requirements", "node_limits",
           "worst_veto"]

_ANTI_OFF_LIMIT = 0.2


@dataclass(frozen=True, slots=True)
class GateMaterial:
    """What the marker gates look at: the evidence, and the limits of each node."""

    evidence: Evidence
    limits: tuple[LevelLimits, ...]
    require_anti_off: NDArray[np.bool_]
    gating: Gating

    @property
    def details(self) -> MarkerDetails:
        """Per-marker statistics of the scorer."""
        details: MarkerDetails = self.evidence.details
        return details

    def limit(self, name: str) -> NDArray[np.float64]:
        """Limits of all nodes, shape (nodes,)."""
        return np.array([getattr(limit, name) for limit in self.limits], dtype=np.float64)

    def everywhere(self) -> NDArray[np.bool_]:
        """All true, groups x nodes."""
        return np.ones(self.evidence.score.shape, dtype=bool)

    def is_hidden(self, column: int) -> NDArray[np.bool_] | bool:
        """Where a column counts as not measured, shape (groups,)."""
        hidden = self.details.hidden
        return False if hidden is None else hidden == column


def node_limits(key: MeasuredKey, gating: Gating) -> tuple[LevelLimits, ...]:
    """Return the limits of each node: those of its level, replaced by its own overrides."""
    found = []
    for node in key.hierarchy.nodes:
        overrides = {k: v for k, v in node.gating_overrides.items() if k != "require_anti_markers_off"}
        limits = gating.at(node.level)
        found.append(limits.updated(**overrides) if overrides else limits)
    return tuple(found)


def gate_markers(
    evidence: Evidence, gating: Gating
) -> tuple[Judgement, NDArray[np.float64], NDArray[np.float64]]:
    """Judge every cell type in every group.

    Returns
    -------
    The judgement, and the scores that compete: those of the evidence, except that a node without listed
    markers takes the best score among its passing children and passes if one of them does, and that a node
    with ``child_support`` competes with the better of its own and its best passing child's score, and need
    only be detected, not enriched, if a child passes. Last the coverage, for a node without listed markers the
    mean of its children's.
    """
    key = evidence.key
    strict = [bool(n.gating_overrides.get("require_anti_markers_off", False)) for n in key.hierarchy.nodes]
    material = GateMaterial(evidence, node_limits(key, gating), np.array(strict), gating)
    judgement = judge(MARKER_GATES, material, evidence.score.shape)
    return _supported_by_children(judgement, material)


def _supported_by_children(
    judgement: Judgement, material: GateMaterial
) -> tuple[Judgement, NDArray[np.float64], NDArray[np.float64]]:
    """Let nodes without markers, and those with ``child_support``, pass on the strength of a child."""
    evidence = material.evidence
    key = evidence.key
    parents = key.parents
    scores, failed, coverage = evidence.score.copy(), judgement.failed.copy(), evidence["coverage"].copy()
    has_children = np.isin(np.arange(key.n_nodes), parents)
    grouping = (key.n_listed == 0) & has_children
    lifted = grouping | (has_children & np.array([limit.child_support for limit in material.limits]))
    is_weak = np.isin(failed, _WEAK)
    is_below = np.isin(failed, (_POSITION["expressed"], _POSITION["enriched"]))
    for node in np.flatnonzero(lifted)[::-1]:  # children come after their parents
        children = np.flatnonzero(parents == node)
        passing = failed[:, children] < 0
        any_passes = passing.any(axis=1)
        best = np.where(passing, scores[:, children], -np.inf).max(axis=1)
        weak = is_weak[:, node]
        if grouping[node]:
            coverage[:, node] = coverage[:, children].mean(axis=1)
            uncovered = (failed[:, children] == _POSITION["coverage"]).all(axis=1)
            reason = np.where(uncovered, _POSITION["coverage"], _POSITION["expressed"])
            failed[:, node] = np.where(weak | (failed[:, node] < 0), np.where(any_passes, -1, reason), failed[:, node])
            scores[:, node] = np.where(any_passes, best, scores[:, children].max(axis=1))
        else:
            present = evidence["detection"][:, node] >= material.limits[node].min_pos_frac
            failed[:, node] = np.where(is_below[:, node] & present & any_passes, -1, failed[:, node])
            passes = failed[:, node] < 0
            scores[:, node] = np.where(passes & any_passes, np.maximum(scores[:, node], best), scores[:, node])
    return replace(judgement, failed=failed), scores, coverage


# --- the gates, in the order in which they are asked ---


def _coverage(m: GateMaterial) -> NDArray[np.bool_]:
    return m.evidence["coverage"] >= m.limit("min_coverage")


def _positive(m: GateMaterial) -> NDArray[np.bool_]:
    return m.evidence["mean_positive_fraction"] >= m.limit("min_pos_frac")


def _markers_on(m: GateMaterial) -> NDArray[np.bool_]:
    return m.evidence["frac_markers_on"] >= m.limit("min_frac_markers_on")


def _enriched(m: GateMaterial) -> NDArray[np.bool_]:
    return m.evidence["mean_enrichment"] >= m.limit("min_enrichment")


def _anti_off(m: GateMaterial) -> NDArray[np.bool_]:
    return ~m.require_anti_off | (m.details.anti_positive <= _ANTI_OFF_LIMIT)


def _anti_penalty(m: GateMaterial) -> NDArray[np.bool_]:
    return m.evidence["anti_penalty"] <= m.gating.anti_penalty_hard_gate


def _requirements(key: MeasuredKey, gating: Gating, node: int) -> list[tuple[Requirement, int]]:
    """The node's requirements whose marker is measured, with its column."""
    cell_type = key.hierarchy.nodes[node]
    rules = gating.root_hard_requirements.get(cell_type.name, ()) if cell_type.level == 0 else ()
    return [(r, column) for r in rules if (column := key.column(r.marker)) is not None]


def missing_requirements(key: MeasuredKey, gating: Gating, node: int) -> tuple[str, ...]:
    """Markers that a top-level type requires but the data do not measure; such rules are skipped."""
    cell_type = key.hierarchy.nodes[node]
    rules = gating.root_hard_requirements.get(cell_type.name, ()) if cell_type.level == 0 else ()
    return tuple(r.marker for r in rules if key.column(r.marker) is None)


def _required(m: GateMaterial, values: NDArray[np.float64], limit: str) -> NDArray[np.bool_]:
    passes = m.everywhere()
    for node in range(m.evidence.key.n_nodes):
        for rule, column in _requirements(m.evidence.key, m.gating, node):
            passes[:, node] &= (values[:, column] >= getattr(rule, limit)) | m.is_hidden(column)
    return passes


def _required_detail(kind: str, limit: str) -> Detail:
    def detail(m: GateMaterial, group: int, node: int) -> str:
        statistics = m.details.statistics
        values = statistics.positive if limit == "min_pos_frac" else statistics.enrichment
        for rule, column in _requirements(m.evidence.key, m.gating, node):
            if values[group, column] < getattr(rule, limit):
                return f"required_{kind}:{rule.marker}"
        return f"required_{kind}"

    return detail


def _veto_columns(key: MeasuredKey, gating: Gating, node: int) -> tuple[Veto | None, list[tuple[str, int]]]:
    cell_type = key.hierarchy.nodes[node]
    veto = gating.root_veto_markers.get(cell_type.name) if cell_type.level == 0 else None
    if veto is None:
        return None, []
    return veto, [(name, column) for name in veto.markers if (column := key.column(name)) is not None]


def worst_veto(m: GateMaterial, group: int, node: int) -> tuple[str, float] | None:
    """The veto marker with the highest positive fraction and that fraction; None without a measured one."""
    _, columns = _veto_columns(m.evidence.key, m.gating, node)
    found = [(float(m.details.statistics.positive[group, c]), name) for name, c in columns]
    if not found:
        return None
    share, name = max(found, key=lambda pair: (pair[0], [-ord(ch) for ch in pair[1]]))
    return name, share


def _no_veto(m: GateMaterial) -> NDArray[np.bool_]:
    passes = m.everywhere()
    for node in range(m.evidence.key.n_nodes):
        veto, columns = _veto_columns(m.evidence.key, m.gating, node)
        if veto is not None:
            for _, column in columns:
                quiet = m.details.statistics.positive[:, column] <= veto.max_pos_frac
                passes[:, node] &= quiet | m.is_hidden(column)
    return passes


def _veto_detail(m: GateMaterial, group: int, node: int) -> str:
    worst = worst_veto(m, group, node)
    return f"veto:{worst[0]}" if worst else "veto"


def _below(name: str, limit: str) -> Detail:
    return lambda m, _group, node: f"{name}<{getattr(m.limits[node], limit):.2f}"


_BELOW, _ANTI = FailReason.BELOW_GATE, FailReason.ANTI_MARKERS
_positive_gate = Gate("expressed", _positive, _BELOW, _below("pos_frac", "min_pos_frac"))
_on_gate = Gate("markers_on", _markers_on, _BELOW, _below("frac_markers_on", "min_frac_markers_on"))

MARKER_GATES: tuple[Gate, ...] = (
    Gate("required_pos_frac", lambda m: _required(m, m.details.statistics.positive, "min_pos_frac"), _BELOW,
         _required_detail("pos_frac", "min_pos_frac")),
    Gate("required_enrichment", lambda m: _required(m, m.details.statistics.enrichment, "min_enrichment"), _BELOW,
         _required_detail("enrichment", "min_enrichment")),
    Gate("veto", _no_veto, _ANTI, _veto_detail),
    Gate("coverage", _coverage, FailReason.LOW_COVERAGE, _below("coverage", "min_coverage")),
    _positive_gate | _on_gate,
    Gate("enriched", _enriched, _BELOW, _below("enrichment", "min_enrichment")),
    Gate("anti_off", _anti_off, _ANTI, lambda *_: "anti_not_off"),
    Gate("anti_penalty", _anti_penalty, _ANTI, lambda m, *_: f"anti_penalty>{m.gating.anti_penalty_hard_gate:.2f}"),
)
"""The checks of a candidate; the first that fails decides."""

_POSITION = {"coverage": 3, "expressed": 4, "enriched": 5}
_WEAK = tuple(_POSITION.values())  # failures of its empty marker list that do not count against a grouping


class MarkerRule(SiblingRule):
    """Chooses the passing sibling with the highest score, unless another one is too close.

    Parameters
    ----------
    evidence, gating
        Scores and limits.
    """

    def __init__(self, evidence: Evidence, gating: Gating) -> None:
        self.gating = gating
        judgement, scores, self.coverage = gate_markers(evidence, gating)
        super().__init__(evidence, judgement, scores, judgement.passed)

    def gap(self, level: int) -> float:
        """Return the least lead over the runner-up at a level."""
        return self.gating.at(level).min_gap

    def choose(self, group: int, parent: int | None, candidates: Sequence[int], level: int) -> Choice:
        """Judge the candidates of one step."""
        found = self._standing(candidates, level)
        n_passing = int(found.n_competing[group])
        if not n_passing:
            stop, detail = self._nothing_passes(group, parent, candidates)
            return Choice(self._rows(group, candidates, None), stop=stop, detail=detail)
        ranked = found.ranked[group].tolist()
        best, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
        margin = None if runner_up is None else float(found.lead[group, 1])
        if found.selected[group] < 0:
            near = tuple(found.ranked[group, found.near[group]].tolist())
            detail = StopDetail.AMBIGUOUS_ROOT if parent is None else StopDetail.AMBIGUOUS_SIBLINGS
            return Choice(self._rows(group, candidates, None), None, best, runner_up, margin, n_passing > 1,
                          near, StopReason.LOW_MARGIN, detail)
        return Choice(self._rows(group, candidates, best), best, best, runner_up, margin, n_passing > 1)

    def _nothing_passes(
        self, group: int, parent: int | None, candidates: Sequence[int]
    ) -> tuple[StopReason, StopDetail]:
        if parent is None:
            return StopReason.NO_ROOT_PASSED, StopDetail.NO_ROOT_PASSED
        if {self.judgement.reason(group, k) for k in candidates} == {FailReason.LOW_COVERAGE}:
            return StopReason.INSUFFICIENT_COVERAGE, StopDetail.INSUFFICIENT_COVERAGE
        return StopReason.NO_CHILDREN_PASS, StopDetail.NO_CHILD_PASSED

    def _row(self, group: int, node: int, selected: int | None) -> Candidate:
        reason = self.judgement.reason(group, node)
        passed = reason is None
        if passed and node != selected:
            reason = FailReason.OUTSCORED
        detail = self.judgement.detail(group, node)
        skipped = missing_requirements(self.evidence.key, self.gating, node)
        if skipped:
            note = f"requirement_not_measured:{','.join(skipped)}"
            detail = f"{detail};{note}" if detail else note
        return Candidate(node, passed, float(self.scores[group, node]), reason, detail)

