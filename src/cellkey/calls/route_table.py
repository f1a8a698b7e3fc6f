"""One row per group of what routing found: labels, scores, competitors and flags, before export decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey.records.vocabulary import BranchStop, ConfidenceTier, RouteStatus
from cellkey.routing.lineages import best_nodes, lineage_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.routing.branch_support import Routes

__all__ = ["PATH_JOIN", "ROUTE_COLUMNS", "UNRESOLVED", "CandidateBy", "joined_label", "route_table"]

UNRESOLVED = "Unresolved"
PATH_JOIN = " > "
_PARENT_MIXING_SCORE, _PARENT_MIXING_GAP = 0.2, 0.15

CandidateBy = Literal["branch", "decision"]

ROUTE_COLUMNS = (
    "cluster_id", "annot_label", "annot_label_with_cluster", "annot_path", "annot_level", "annot_status",
    "annot_stop_reason", "annot_confidence", "annot_score", "annot_raw_score", "annot_branch_supported_raw_score",
    "annot_margin", "annot_best_any_level_label", "annot_best_any_level_score", "annot_low_evidence",
    "annot_low_absolute_support", "annot_deeper_level_unresolved", "annot_branch_conflict", "annot_decision_label",
    "annot_decision_path", "annot_decision_level", "annot_decision_score", "annot_decision_raw_score",
    "annot_decision_branch_supported_raw_score", "annot_backoff_applied", "annot_backoff_steps",
    "annot_backoff_reason", "annot_best_any_level_raw_score", "annot_primary_compartment",
    "annot_secondary_compartment", "annot_primary_compartment_score", "annot_secondary_compartment_score",
    "annot_top_level_gap", "annot_mixed_compartment", "annot_parent_mixing", "annot_mixed_primary",
    "annot_mixed_secondary", "annot_best_any_level_top_branch", "annot_final_top_branch", "annot_second_best_call",
    "annot_second_best_call_score", "annot_final_call_margin", "annot_path_margin",
)
"""Columns of the route table in written order."""


def joined_label(label: str, cluster: str) -> str:
    """Return a label with the cluster's name, blanks, slashes and hyphens as underscores."""
    for sign in " /-":
        label = label.replace(sign, "_")
    return f"{label}_{cluster}"


def route_table(routes: Routes, *, candidate_by: CandidateBy = "branch") -> pd.DataFrame:
    """Return what routing found as one table, in the order of the evidence.

    Parameters
    ----------
    routes
        The walks.
    candidate_by
        What the best type at any level and the two best lineages are chosen by: ``branch`` (branch support;
        the best type is a terminal one) or ``decision`` (sibling specificity at any level, as published).

    Returns
    -------
    The columns of :data:`ROUTE_COLUMNS`. Scores of unresolved groups are NaN.
    """
    import pandas as pd

    e, key = routes.evidence, routes.evidence.key
    nodes = key.hierarchy.nodes
    names = np.array([*(n.name for n in nodes), UNRESOLVED], dtype=object)
    paths = [n.path_text for n in nodes]
    lineage = lineage_of(key.parents)
    node = routes.node
    label = names[node]
    level = np.array([len(w.path) for w in routes.walks])
    best, best_score, best_raw = _best_any_level(routes, candidate_by, paths)
    first, second, scores = _compartments(routes, candidate_by, paths)
    gap = scores[0] - scores[1]
    limit = routes.gating.margin_threshold
    strong = _mixing(routes, candidate_by, scores, gap)
    tops = np.append(lineage, -1)
    final_top, best_top = names[tops[node]], names[tops[best]]
    # What the walk itself decided, before levels were given up again.
    decided = np.array([_deepest(w) for w in routes.walks], dtype=np.int64)
    table = {
        "cluster_id": np.array(e.groups, dtype=object),
        "annot_label": label,
        "annot_label_with_cluster": [joined_label(str(n), g) for n, g in zip(label, e.groups, strict=True)],
        "annot_path": [_path(names, w.path) for w in routes.walks],
        "annot_level": level,
        "annot_status": [str(_status(routes, i)) for i in range(len(node))],
        "annot_stop_reason": [str(s) for s in routes.stop],
        "annot_confidence": [str(t) for t in routes.tier],
        "annot_score": routes.score,
        "annot_raw_score": routes.at_node(e["raw"]),
        "annot_branch_supported_raw_score": routes.at_node(e["routing_raw"]),
        "annot_margin": routes.margin,
        "annot_best_any_level_label": names[best],
        "annot_best_any_level_score": best_score,
        "annot_low_evidence": np.isin([str(t) for t in routes.tier], [ConfidenceTier.LOW, ConfidenceTier.NONE])
        | ~np.isfinite(routes.score) | (level == 0),
        "annot_low_absolute_support": _low_support(routes, candidate_by),
        "annot_deeper_level_unresolved": np.isin(
            [str(s) for s in routes.stop], [BranchStop.BELOW_SCORE_THRESHOLD, BranchStop.AMBIGUOUS_SIBLING_MARGIN]
        ) & (level > 0),
        "annot_branch_conflict": (best_top != final_top) & (node >= 0) & (best >= 0)
        & _greater(best_score, routes.score),
        **_decisions(routes, decided, names),
        "annot_backoff_applied": routes.steps_back > 0,
        "annot_backoff_steps": routes.steps_back,
        "annot_backoff_reason": np.where(routes.steps_back > 0, "own_support_below_floor", ""),
        "annot_best_any_level_raw_score": best_raw,
        "annot_primary_compartment": np.where(first >= 0, names[first], ""),
        "annot_secondary_compartment": np.where(second >= 0, names[second], ""),
        "annot_primary_compartment_score": scores[0],
        "annot_secondary_compartment_score": scores[1],
        "annot_top_level_gap": gap,
        "annot_mixed_compartment": np.isfinite(gap) & (np.nan_to_num(gap, nan=np.inf) < limit),
        "annot_parent_mixing": strong,
        "annot_mixed_primary": np.where(strong, names[first], ""),
        "annot_mixed_secondary": np.where(strong, names[second], ""),
        "annot_best_any_level_top_branch": best_top,
        "annot_final_top_branch": final_top,
        "annot_second_best_call": np.where(routes.runner_up >= 0, names[routes.runner_up], ""),
        "annot_second_best_call_score": routes.runner_up_score,
        "annot_final_call_margin": routes.margin,
        "annot_path_margin": np.full(len(node), np.nan) if candidate_by == "decision" else _path_margin(routes),
    }
    return pd.DataFrame({name: table[name] for name in ROUTE_COLUMNS})


def _deepest(walk: Any) -> int:
    accepted = [s.choice.selected for s in walk.steps if s.choice.selected is not None]
    return accepted[-1] if accepted else -1


def _path(names: NDArray[np.object_], path: tuple[int, ...]) -> str:
    return PATH_JOIN.join(names[list(path)]) if path else UNRESOLVED


def _status(routes: Routes, group: int) -> RouteStatus:
    stop = routes.stop[group]
    if stop is BranchStop.LEAF_REACHED:
        return RouteStatus.ASSIGNED
    return RouteStatus.UNRESOLVED if stop is BranchStop.NO_VALID_SCORE else RouteStatus.STOPPED


def _greater(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray(a > b)


def _best_any_level(
    routes: Routes, by: CandidateBy, paths: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    e = routes.evidence
    values = e["decision"]
    if by == "branch":
        is_leaf = ~np.isin(np.arange(e.key.n_nodes), e.key.parents)
        values = np.where(is_leaf, e["branch_support"], np.nan)
    best, score = best_nodes(values, paths)
    raw = e["raw"][np.arange(len(best)), np.maximum(best, 0)]
    return best, score, np.where(best >= 0, raw, np.nan)


def _compartments(
    routes: Routes, by: CandidateBy, paths: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The two best lineages of each group and their scores."""
    e = routes.evidence
    values = e["decision"] if by == "decision" else e.score
    values = np.where(e.key.parents < 0, values, np.nan)
    first, top = best_nodes(values, paths)
    rest = values.copy()
    rest[np.flatnonzero(first >= 0), first[first >= 0]] = np.nan
    second, next_best = best_nodes(rest, paths)
    return first, second, (top, next_best)


def _mixing(
    routes: Routes, by: CandidateBy, scores: tuple[NDArray[np.float64], NDArray[np.float64]], gap: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether two lineages are both strong and nearly tied, so that the walk could not choose between them."""
    least = max(routes.gating.score_threshold, _PARENT_MIXING_SCORE)
    widest = max(routes.gating.margin_threshold, _PARENT_MIXING_GAP)
    if by == "branch":
        widest = routes.gating.margin_threshold
    with np.errstate(invalid="ignore"):
        tied = (scores[0] >= least) & (scores[1] >= least) & (gap <= widest)
    if by == "branch":
        unresolved = np.array([s is BranchStop.AMBIGUOUS_SIBLING_MARGIN for s in routes.stop]) & (routes.node < 0)
        return np.asarray(tied & unresolved)
    return np.asarray(tied)


def _low_support(routes: Routes, by: CandidateBy) -> NDArray[np.bool_]:
    value = routes.at_node(routes.evidence["routing_raw"])
    with np.errstate(invalid="ignore"):
        low = value < routes.gating.min_branch_supported_raw_score
    return low if by == "decision" else low | ~np.isfinite(value)


def _decisions(routes: Routes, decided: NDArray[np.int64], names: NDArray[np.object_]) -> dict[str, Any]:
    e = routes.evidence
    rows, column = np.arange(len(decided)), np.maximum(decided, 0)

    def at(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(decided >= 0, values[rows, column], np.nan)

    full = [tuple(s.choice.selected for s in w.steps if s.choice.selected is not None) for w in routes.walks]
    return {
        "annot_decision_label": names[decided],
        "annot_decision_path": [_path(names, p) for p in full],
        "annot_decision_level": [len(p) for p in full],
        "annot_decision_score": at(e.score),
        "annot_decision_raw_score": at(e["raw"]),
        "annot_decision_branch_supported_raw_score": at(e["routing_raw"]),
    }


def _path_margin(routes: Routes) -> NDArray[np.float64]:
    """Least lead over a runner-up along each path; NaN where no accepted step had one."""
    margins = [[s.choice.margin for s in w.steps[: len(w.path)] if s.choice.margin is not None] for w in routes.walks]
    return np.array([min(m) if m else np.nan for m in margins])
