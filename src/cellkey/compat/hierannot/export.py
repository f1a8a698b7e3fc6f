"""The export table: annotations, details per level, and labels to report; and labels per cell."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.registry import METHODS
from cellkey.calls.expand import expand_to_cells
from cellkey.calls.export import ExportRules, export_labels
from cellkey.calls.route_table import CandidateBy, route_table
from cellkey.compat.hierannot.pipeline import exact_key
from cellkey.compat.hierannot.programs import as_hierarchy
from cellkey.errors import CellkeyWarning, InputError
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import confidence_tier, route_branches
from cellkey.scoring.branch_support import branch_support
from cellkey.scoring.enrichment import support_gate
from cellkey.scoring.enrichment_settings import RELEASED
from cellkey.scoring.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.compat.hierannot.result import HierAnnotResult
    from cellkey.routing.branch_support import Routes

__all__ = ["LEVEL_COLUMNS", "expand_cluster_annotation_to_cells", "make_cluster_annotation_export_summary"]

LEVEL_COLUMNS = {
    "label": "label", "score": "decision_score", "parent_label": "parent_label", "positive_score": "positive_score",
    "negative_score": "negative_score", "marker_source": "marker_source", "score_status": "score_status",
    "branch_supported_raw_score": "branch_supported_raw_score", "markers_present": "markers_present",
    "markers_total": "markers_total", "markers_present_fraction": "markers_present_fraction",
    "markers_detection_support_fraction": "markers_detection_support_fraction",
    "negative_markers_present": "negative_markers_present", "negative_markers_total": "negative_markers_total",
    "negative_markers_present_fraction": "negative_markers_present_fraction",
    "used_fallback_marker_set": "used_fallback_marker_set", "control_fallback_used": "control_fallback_used",
    "median_controls_per_positive_marker": "median_controls_per_positive_marker",
    "median_controls_per_negative_marker": "median_controls_per_negative_marker",
    "sibling_specificity_score": "sibling_specificity_score", "program_robust_zscore": "program_robust_zscore",
    "raw_score": "score",
}
"""Columns per level of the export table (without ``annot_l1_``), and those of ``all_scores`` they come from."""

_THRESHOLDS = {
    "score_threshold": 0.05, "branch_child_rescue_weight": 0.35, "level1_branch_child_rescue_weight": 0.40,
    "branch_routing_raw_weight": 0.60, "weak_raw_score_threshold": 0.10, "min_branch_supported_raw_score": 0.0,
    "min_leaf_raw_score": -0.2,
}


def make_cluster_annotation_export_summary(
    result: HierAnnotResult,
    label_with_cluster: bool = True,
    unknown_on_low_confidence: bool = True,
    unknown_confidence_levels: Sequence[str] = ("low", "none"),
    unknown_on_branch_conflict: bool = False,
    unknown_on_low_absolute_support: bool = False,
    unknown_branch_raw_threshold: float | None = None,
    mixed_on_parent_mixing: bool = True,
    mixed_label_prefix: str = "mixed",
    mixed_branch_separator: str = ".",
    mixed_min_score: float = 0.35,
    unresolved_candidate_min_score: float = 1.0,
    unresolved_candidate_min_raw_score: float = 0.2,
    unresolved_candidate_label_prefix: str = "candidate",
    unknown_label: str = "unknown",
    unknown_min_score: float | None = None,
    unknown_max_margin: float | None = None,
    unknown_score_column: str = "annot_score",
    unknown_margin_column: str = "annot_final_call_margin",
    rescue_unknown_with_blocked_candidates: bool = True,
    rerun_decision: bool = False,
    score_threshold: float = 0.05,
    margin_threshold: float = 0.02,
    branch_child_rescue_weight: float = 0.35,
    level1_branch_child_rescue_weight: float = 0.40,
    branch_routing_raw_weight: float = 0.60,
    weak_raw_score_threshold: float = 0.10,
    min_branch_supported_raw_score: float = 0.0,
    min_leaf_raw_score: float = -0.2,
) -> pd.DataFrame:
    """Return the annotations with details per level and labels to report.

    Details of a level describe the program with the greatest decision score at that level, and are joined by
    cluster. With ``rerun_decision`` clusters are routed again from the stored scores with the thresholds and
    weights given, and the details describe the route; otherwise these arguments have no effect, except that
    ``margin_threshold`` is also the greatest margin of a mixed label.

    Parameters
    ----------
    result
        Of a fit, or read from a bundle.
    label_with_cluster, unknown_on_low_confidence, unknown_confidence_levels, unknown_on_branch_conflict,
    unknown_on_low_absolute_support, unknown_branch_raw_threshold, mixed_on_parent_mixing, mixed_label_prefix,
    mixed_branch_separator, mixed_min_score, unresolved_candidate_min_score, unresolved_candidate_min_raw_score,
    unresolved_candidate_label_prefix, unknown_label, unknown_min_score, unknown_max_margin,
    unknown_score_column, unknown_margin_column, rescue_unknown_with_blocked_candidates
        See :class:`~cellkey.calls.export.ExportRules`.
    rerun_decision
        Route again.
    score_threshold, margin_threshold, min_branch_supported_raw_score, min_leaf_raw_score
        Gates, see :class:`~cellkey.routing.branch_rule.BranchGating`.
    branch_child_rescue_weight, level1_branch_child_rescue_weight, branch_routing_raw_weight,
    weak_raw_score_threshold
        Weights, see :class:`~cellkey.scoring.enrichment_settings.EnrichmentScoring`.

    Raises
    ------
    InputError
        If the decision is to be run again on a result without its programs.
    """
    given = locals()
    method = METHODS[str(_config(result).get("method", RELEASED))]
    names = [n for n in ExportRules.model_fields if n in given]
    rules = ExportRules.parse({
        **method.export, **{n: given[n] for n in names}, "mixed_max_margin": margin_threshold,
    })
    if not rerun_decision:
        changed = [n for n, usual in _THRESHOLDS.items() if given[n] != usual]
        if changed:
            msg = f"{', '.join(changed)} only take effect with rerun_decision=True"
            warnings.warn(msg, CellkeyWarning, stacklevel=2)
        table, details = _table(result, "cluster_annotations"), _level_details(_table(result, "all_scores"))
    else:
        gating = BranchGating.parse({
            **method.routing, "score_threshold": score_threshold, "margin_threshold": margin_threshold,
            "min_branch_supported_raw_score": min_branch_supported_raw_score,
            "min_leaf_raw_score": min_leaf_raw_score,
        })
        weights = (branch_routing_raw_weight, weak_raw_score_threshold, branch_child_rescue_weight,
                   level1_branch_child_rescue_weight)
        routes = route_branches(_reweighted(result, weights, method.defaults), gating)
        by: CandidateBy = "decision" if method.name == RELEASED else "branch"
        table, details = route_table(routes, candidate_by=by), _route_details(routes)
    exported = export_labels(table, rules)
    added = exported[[c for c in exported.columns if c not in table.columns]]
    return _plain_text(table.merge(details, on="cluster_id", how="left", validate="one_to_one").join(added))


def _plain_text(table: pd.DataFrame) -> pd.DataFrame:
    """Text as plain strings: R receives members of an enumeration as environments it cannot merge."""
    names = table.select_dtypes(object).columns
    texts = {str(c): table[c].map(lambda v: str(v) if isinstance(v, str) else v) for c in names}
    return table.assign(**texts)


def _table(result: Any, name: str) -> pd.DataFrame:
    table: pd.DataFrame | None = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
    if table is None:
        msg = f"the result holds no table {name}"
        raise InputError(msg)
    return table.assign(cluster_id=table["cluster_id"].astype(str)) if "cluster_id" in table else table


def _config(result: Any) -> dict[str, Any]:
    found = result.get("resolved_config") if isinstance(result, dict) else getattr(result, "resolved_config", None)
    return found or {}


def _level_details(scores: pd.DataFrame) -> pd.DataFrame:
    """The program with the greatest decision score of each level, one row per cluster."""
    import pandas as pd

    known = scores[np.isfinite(scores["decision_score"].astype(float))]
    order = known.assign(_rank=-known["decision_score"].astype(float).round(10), _path=known["label"].astype(str))
    order = order.sort_values(["_rank", "_path"], kind="stable").drop_duplicates(["cluster", "level"])
    clusters = scores["cluster"].astype(str).drop_duplicates()
    found = pd.DataFrame({"cluster_id": clusters.to_numpy(dtype=object)})
    for level in sorted(scores["level"].unique()):
        rows = order[order["level"] == level]
        part = pd.DataFrame({f"annot_l{level}_{new}": rows[old].to_numpy() for new, old in LEVEL_COLUMNS.items()})
        part["cluster_id"] = rows["cluster"].astype(str).to_numpy(dtype=object)
        found = found.merge(part, on="cluster_id", how="left")
    return found


def _route_details(routes: Routes) -> pd.DataFrame:
    """What the walk saw at each level, one row per cluster."""
    import pandas as pd

    e, nodes = routes.evidence, routes.evidence.key.hierarchy.nodes
    depth = e.key.hierarchy.depth
    names = ("label", "score", "raw_score", "branch_supported_raw_score", "margin", "confidence")
    rows = []
    for group, walk in enumerate(routes.walks):
        row: dict[str, Any] = {"cluster_id": walk.group}
        for level in range(1, depth + 1):
            choice = walk.steps[level - 1].choice if level <= len(walk.steps) else None
            best = None if choice is None else choice.best
            values: tuple[Any, ...] = (None, np.nan, np.nan, np.nan, np.nan, None)
            if choice is not None and best is not None:
                margin = np.nan if choice.margin is None else choice.margin
                tier = confidence_tier(e.score[group, best], margin, e["detection"][group, best],
                                       routes.gating.score_threshold, routes.gating.margin_threshold)
                values = (nodes[best].name, e.score[group, best], e["raw"][group, best],
                          e["routing_raw"][group, best], margin, str(tier))
            row.update({f"annot_l{level}_{n}": v for n, v in zip(names, values, strict=True)})
        rows.append(row)
    return pd.DataFrame(rows)


def _reweighted(result: Any, weights: tuple[float, float, float, float], defaults: Any) -> Evidence:
    """Evidence rebuilt from the table of scores, with other weights."""
    programs = result.get("hierarchy") if isinstance(result, dict) else getattr(result, "hierarchy", None)
    if not programs:
        msg = "routing again needs the programs: save the bundle with its hierarchy, or fit again"
        raise InputError(msg)
    uppercase = bool(_config(result).get("uppercase_genes", True))
    key = exact_key(as_hierarchy(programs, uppercase=uppercase))
    groups = tuple(_table(result, "cluster_annotations")["cluster_id"])
    scores = _table(result, "all_scores")
    column = _columns(scores, key, groups)
    alpha, ramp, child, root = weights
    raw, decision, f = column("score"), column("decision_score"), column("markers_detection_support_fraction")
    gate, factor = support_gate(raw, ramp), column("support_scale")
    with np.errstate(invalid="ignore"):
        parts = np.where(np.isfinite(raw), alpha * raw, 0.0) + np.where(
            np.isfinite(decision), (1 - alpha) * gate * np.nan_to_num(decision), 0.0)
    local = np.where(np.isfinite(raw) | np.isfinite(decision), parts, np.nan) * factor
    is_root, n = key.parents < 0, key.n_nodes
    stored = np.where(is_root, root, child) if defaults.rescue_by_level else np.full(n, child)

    def supported(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        table, best = branch_support(values, key.parents, key.levels, stored)
        routed = branch_support(values, key.parents, key.levels, np.full(n, root))[0]
        return table, best, table if defaults.rescue_by_level else np.where(is_root, routed, table)

    support, best, routing = supported(local)
    raw_support, best_raw, raw_routing = supported(raw)
    status = scores.drop_duplicates(["label", "level", "parent_label"])["score_status"].astype(str).tolist()
    return Evidence(
        groups, np.zeros(len(groups), dtype=np.int64), key, "enrichment", routing,
        {"raw": raw, "decision": decision, "detection": np.nan_to_num(f), "local": local, "gate": gate,
         "branch_support": support, "branch_raw": raw_support, "routing_raw": raw_routing, "best_child": best,
         "best_child_raw": best_raw, "sure_support": routing, "error": np.zeros_like(raw)},
        details=SimpleNamespace(status=status),
    )


def _columns(scores: pd.DataFrame, key: Any, groups: tuple[str, ...]) -> Any:
    """Return a function from a column of the scores to a groups x nodes array."""
    import pandas as pd

    # A program is told by its level, its parent and its name, in the order of the table.
    place = {g: i for i, g in enumerate(groups)}
    row = scores["cluster"].astype(str).map(place).to_numpy()
    node = (np.arange(len(scores)) // max(len(groups), 1)).astype(np.intp)

    def column(name: str) -> NDArray[np.float64]:
        values = np.full((len(groups), key.n_nodes), np.nan)
        values[row, node] = pd.to_numeric(scores[name], errors="coerce").to_numpy(dtype=np.float64)
        return values

    return column


def expand_cluster_annotation_to_cells(
    cluster_assignments: pd.Series,
    cluster_summary: pd.DataFrame,
    cluster_key: str = "cluster",
    include_columns: Sequence[str] | None = None,
    prefix: str | None = None,
    label_with_cluster: bool = True,
    fill_unassigned: bool = True,
    unassigned_label: str = "unassigned",
    unassigned_status: str = "not_analyzed",
) -> pd.DataFrame:
    """Return one row per cell with its cluster and the columns of that cluster.

    See :func:`~cellkey.calls.expand.expand_to_cells`.
    """
    return expand_to_cells(
        cluster_assignments, cluster_summary, cluster_key=cluster_key, columns=include_columns, prefix=prefix,
        with_cluster=label_with_cluster, fill_unassigned=fill_unassigned, unassigned_label=unassigned_label,
        unassigned_status=unassigned_status,
    )
