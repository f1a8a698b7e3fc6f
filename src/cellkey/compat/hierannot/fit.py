"""Diagnostics of a fit: how many programs and clusters could be scored, and how well the hierarchy suits them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellkey.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cellkey.compat.hierannot.result import HierAnnotResult

__all__ = ["compare_hierarchy_fit", "diagnostics_table", "fit_metrics", "summarize_hierarchy_fit"]

_SEVERE_AND_MODERATE: Final = (
    # metric, severe, moderate, whether high values are bad
    ("fraction_unknown", 0.50, 0.25, True),
    ("fraction_low_absolute_support", 0.50, 0.30, True),
    ("fraction_backoff_applied", 0.40, 0.20, True),
    ("median_branch_supported_raw_score", 0.10, 0.25, False),
    ("median_final_score", 0.25, 0.60, False),
    ("median_marker_detection_support_fraction", 0.40, 0.60, False),
    ("fraction_clusters_final_score_ge_1", 0.25, 0.50, False),
    ("fraction_clusters_branch_supported_raw_ge_0_25", 0.25, 0.50, False),
    ("fraction_l1_positive_branch_support", 0.25, 0.50, False),
)
_WARNINGS: Final = {
    "good": "Most clusters have strong support in this hierarchy.",
    "questionable": "Part of the clusters have weak support: compare with other hierarchies before trusting labels.",
    "poor": "Most clusters have weak support: this hierarchy probably does not suit the tissue.",
    "unknown": "There are no clusters to judge.",
}
_RANK_WEIGHTS: Final = {
    "median_branch_supported_raw_score": 1.4, "median_final_score": 1.0, "fraction_l1_positive_branch_support": 0.8,
    "median_marker_detection_support_fraction": 0.5, "fraction_unknown": -1.0,
    "fraction_low_absolute_support": -0.8, "fraction_backoff_applied": -0.6,
}
COMPARED: Final = (
    "name", "hierarchy_fit_status", "fit_rank_score", "median_branch_supported_raw_score", "median_final_score",
    "fraction_l1_positive_branch_support", "median_marker_detection_support_fraction", "fraction_unknown",
    "fraction_low_absolute_support", "fraction_backoff_applied", "median_branch_support_score",
)


def fit_metrics(annotations: pd.DataFrame, scores: pd.DataFrame, *, count_unresolved: bool) -> dict[str, Any]:
    """Return the metrics of fit, with status, warning and rank score first.

    Parameters
    ----------
    annotations, scores
        Tables of a fit.
    count_unresolved
        Whether clusters without a label, with low support or with levels given up count; the published
        program always reports zero for these shares.
    """
    n = len(annotations)

    def median(values: Any) -> float:
        known = np.asarray(values, dtype=np.float64)
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else float("nan")

    def share(mask: Any) -> float:
        return float(np.mean(np.asarray(mask, dtype=bool))) if n else float("nan")

    final, raw = annotations["annot_score"].astype(float), annotations["annot_branch_supported_raw_score"].astype(float)
    roots = scores[scores["level"] == 1]
    best_root = roots.groupby("cluster")["branch_support_score"].max()
    counted = {
        "fraction_unknown": annotations["annot_level"] == 0,
        "fraction_low_absolute_support": annotations["annot_low_absolute_support"],
        "fraction_backoff_applied": annotations["annot_backoff_applied"],
    }
    honest = {k: share(v) if count_unresolved else 0.0 for k, v in counted.items()}
    by_program = scores.groupby(["label", "level", scores["parent_label"].fillna("")])
    values: dict[str, Any] = {
        "n_clusters": n,
        "fraction_unknown": honest["fraction_unknown"],
        "fraction_low_evidence": share(annotations["annot_low_evidence"]),
        "fraction_low_absolute_support": honest["fraction_low_absolute_support"],
        "fraction_backoff_applied": honest["fraction_backoff_applied"],
        "fraction_parent_mixing": share(annotations["annot_parent_mixing"]),
        "fraction_branch_conflict": share(annotations["annot_branch_conflict"]),
        "median_final_score": median(final),
        "median_branch_supported_raw_score": median(raw),
        "median_marker_detection_support_fraction": median(scores["markers_detection_support_fraction"]),
        "fraction_l1_positive_branch_support": float((best_root > 0).sum() / n) if n else float("nan"),
        "median_branch_support_score": median(scores["branch_support_score"]),
        "median_local_node_score": median(scores["local_node_score"]),
        "fraction_clusters_final_score_ge_1": share(final >= 1),
        "fraction_clusters_branch_supported_raw_ge_0_25": share(raw >= 0.25),
        "fraction_clusters_branch_supported_raw_nonnegative": share(raw >= 0),
        "median_top_level_gap": median(annotations["annot_top_level_gap"]),
        "n_supported_top_level_branches": int(annotations["annot_final_top_branch"].nunique()),
        "n_programs_with_positive_raw_support": int((by_program["score"].max() > 0).sum()),
        "n_programs_with_positive_branch_supported_raw_support":
            int((by_program["branch_supported_raw_score"].max() > 0).sum()),
    }
    status = _status(values) if n else "unknown"
    rank = sum(w * np.nan_to_num(values[m], nan=0.0) for m, w in _RANK_WEIGHTS.items())
    return {"hierarchy_fit_status": status, "hierarchy_fit_warning": _WARNINGS[status],
            "fit_rank_score": float(rank) if n else float("nan"), **values}


def _status(values: Mapping[str, Any]) -> str:
    severe = moderate = 0
    for metric, hard, soft, high_is_bad in _SEVERE_AND_MODERATE:
        value = values[metric]
        hit_hard = value >= hard if high_is_bad else value < hard
        hit_soft = value >= soft if high_is_bad else value < soft
        severe += bool(hit_hard)
        moderate += bool(hit_soft and not hit_hard)
    if severe >= 2:
        return "poor"
    return "questionable" if severe == 1 or moderate >= 3 else "good"


def diagnostics_table(
    annotations: pd.DataFrame, scores: pd.DataFrame, config: Mapping[str, Any], *, count_unresolved: bool
) -> pd.DataFrame:
    """Return all metrics of a fit as one table of metric and value."""
    import pandas as pd

    valid = np.isfinite(scores["score"].to_numpy(dtype=np.float64))
    per_cluster = pd.Series(valid).groupby(scores["cluster"].to_numpy()).agg(["sum", "size"])
    unscorable = per_cluster["size"] - per_cluster["sum"]
    status = scores["score_status"]
    beta = config["branch_child_rescue_weight"]
    general = {
        "resolved_preset": config["resolved_preset"], "panel_gene_count": config["panel_gene_count"],
        "low_expr_fraction": config["low_expr_fraction"], "low_expr_threshold": config["low_expr_threshold"],
        "detection_floor": config["detection_floor"], "collapse_low_expr_tail": config["collapse_low_expr_tail"],
        "n_bins": config["n_bins"], "control_gene_exclusion_policy": config["control_gene_exclusion_policy"],
        "control_size_fallbacks": config["control_size_fallbacks"], "branch_support_parent_weight": 1.0 - beta,
        "branch_support_descendant_weight": beta, "branch_support_weights_sum_to_one": True,
        "n_scored_rows": len(scores), "n_valid_scores": int(valid.sum()), "n_unscorable_rows": int((~valid).sum()),
        "n_scored_clusters": int((per_cluster["sum"] > 0).sum()),
        "n_clusters_with_any_unscorable_program": int((unscorable > 0).sum()),
        "median_valid_programs_per_cluster": float(per_cluster["sum"].median()),
        "median_unscorable_programs_per_cluster": float(unscorable.median()),
        "n_control_fallback_rows": int(scores["control_fallback_used"].astype(bool).sum()),
        "n_no_controls_rows": int((status == "no_controls_available").sum()),
        "n_insufficient_markers_rows": int((status == "insufficient_markers_present").sum()),
        "median_positive_controls_per_marker": float(scores["median_controls_per_positive_marker"].median()),
        "median_marker_detection_support_fraction": float(scores["markers_detection_support_fraction"].median()),
    }
    fit = fit_metrics(annotations, scores, count_unresolved=count_unresolved)
    rows = [{"metric": k, "value": v} for part in (general, fit) for k, v in part.items()]
    return pd.DataFrame(rows, columns=["metric", "value"])


def summarize_hierarchy_fit(x: HierAnnotResult | pd.DataFrame) -> pd.DataFrame:
    """Return the metrics and values of a result, or of its table."""
    return _diagnostics(x).copy()


def compare_hierarchy_fit(
    results: Mapping[str, HierAnnotResult] | Sequence[HierAnnotResult], names: Sequence[str] | None = None,
    *, n_permutations: int = 20,
) -> pd.DataFrame:
    """Return one row per candidate hierarchy, best first by the published rank score.

    Beside the published metrics stand ``fit`` (0 to 1, beyond chance), its ``fit_p_value``, and
    ``fit_unresolved``, the share of clusters that the hierarchy cannot name; see
    :mod:`cellkey.annotation.hierarchy_fit`. They are missing for results that were read from a bundle.

    Parameters
    ----------
    results
        Name to result, or results in a list.
    names
        Names for a list; ``candidate_1`` and so on if None.
    n_permutations
        Permutations of gene labels behind ``fit``.
    """
    import pandas as pd

    named = dict(results) if hasattr(results, "keys") else dict(
        zip(names or [f"candidate_{i}" for i in range(1, len(results) + 1)], results, strict=True))
    rows = []
    for name, result in named.items():
        metrics = _diagnostics(result).drop_duplicates("metric", keep="last").set_index("metric")["value"]
        rows.append({"name": name, **{m: metrics.get(m) for m in COMPARED[1:]},
                     **_beyond_chance(result, n_permutations)})
    columns = [*COMPARED, "fit", "fit_p_value", "fit_unresolved"]
    table = pd.DataFrame(rows, columns=columns)
    numeric = [c for c in columns if c not in ("name", "hierarchy_fit_status")]
    table[numeric] = table[numeric].apply(pd.to_numeric)
    table = table.sort_values(["fit_rank_score", "name"], ascending=[False, True], na_position="last",
                              ignore_index=True)
    return table.assign(fit_rank=np.arange(1, len(table) + 1))


def _beyond_chance(result: HierAnnotResult, n_permutations: int) -> dict[str, float]:
    from cellkey.annotation.hierarchy_fit import hierarchy_fit
    from cellkey.compat.hierannot.programs import as_hierarchy
    from cellkey.profiles.means import means_from_table

    matrix = getattr(result, "normalized_matrix", None)
    if matrix is None or result.hierarchy is None:
        return {}
    uppercase = bool(result.resolved_config.get("uppercase_genes", True))
    means = means_from_table(matrix, input_type="normalized", uppercase=uppercase)
    found = hierarchy_fit(means, as_hierarchy(result.hierarchy, uppercase=uppercase), n_permutations=n_permutations)
    return {"fit": found.fit, "fit_p_value": found.p_value, "fit_unresolved": found.fraction_unresolved}


def _diagnostics(x: Any) -> pd.DataFrame:
    table = x if hasattr(x, "columns") else x["diagnostics_summary"] if isinstance(x, dict) else x.diagnostics_summary
    if "metric" not in table.columns or "value" not in table.columns:
        msg = "expected a result, or a table with the columns metric and value"
        raise InputError(msg)
    found: pd.DataFrame = table
    return found
