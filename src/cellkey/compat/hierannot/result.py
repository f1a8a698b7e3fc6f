"""What a fit returns, and its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.compat.hierannot.programs import CompiledMarkerProgram, MarkerProgram
    from cellkey.scoring.evidence import Evidence

__all__ = ["ALL_SCORE_COLUMNS", "LEVEL_SCORE_COLUMNS", "ClusterAnnotation", "ControlGeneExclusionPolicy",
           "HierAnnotResult", "PresetName", "ScoreRecord", "all_scores_table", "cluster_annotation",
           "compilation_report", "control_genes", "level_scores_table", "score_records"]

PresetName = Literal["auto", "small_panel", "medium_panel", "large_panel"]
ControlGeneExclusionPolicy = Literal["all_pipeline_markers", "current_program_only", "current_branch"]

_RECORD_COLUMNS = (
    "cluster", "label", "level", "parent_label", "score", "positive_score", "negative_score",
    "positive_marker_mean", "positive_control_mean", "negative_marker_mean", "negative_control_mean",
    "negative_weight", "markers_present", "markers_total", "markers_present_fraction",
    "markers_above_detection_floor", "markers_detection_support_fraction", "negative_markers_present",
    "negative_markers_total", "negative_markers_present_fraction", "negative_markers_above_detection_floor",
    "negative_markers_detection_support_fraction", "missing_markers", "missing_negative_markers", "marker_source",
    "score_status", "effective_markers_total", "effective_markers_present", "canonical_markers_total",
    "used_fallback_marker_set", "positive_controls_total", "negative_controls_total", "control_fallback_used",
    "median_controls_per_positive_marker", "median_controls_per_negative_marker",
)
ALL_SCORE_COLUMNS = (
    *_RECORD_COLUMNS, "program_robust_zscore", "sibling_specificity_score", "decision_score", "local_node_score",
    "best_child_branch_support_score", "best_child_branch_supported_raw_score", "branch_support_score",
    "branch_supported_raw_score", "raw_support_gate", "support_scale", "child_rescue_weight_used",
    "parent_weight_used", "raw_weight_used",
)
_NOT_BY_LEVEL = frozenset({
    "negative_weight", "missing_markers", "missing_negative_markers", "effective_markers_total",
    "effective_markers_present", "canonical_markers_total", "positive_controls_total", "negative_controls_total",
    "support_scale",
})
_FIRST = ("score", "decision_score", "program_robust_zscore", "sibling_specificity_score")
_HEAD = ("cluster", "label", "level", "parent_label")
LEVEL_SCORE_COLUMNS = (
    *_HEAD, *_FIRST,
    *(c for c in ALL_SCORE_COLUMNS if c not in _NOT_BY_LEVEL and c not in _FIRST and c not in _HEAD),
)


@dataclass(frozen=True)
class ScoreRecord:
    """One program in one cluster; the fields are the first 35 columns of ``all_scores``."""

    cluster: str
    label: str
    level: int
    parent_label: str | None
    score: float
    positive_score: float
    negative_score: float
    positive_marker_mean: float
    positive_control_mean: float
    negative_marker_mean: float
    negative_control_mean: float
    negative_weight: float
    markers_present: int
    markers_total: int
    markers_present_fraction: float
    markers_above_detection_floor: int
    markers_detection_support_fraction: float
    negative_markers_present: int
    negative_markers_total: int
    negative_markers_present_fraction: float
    negative_markers_above_detection_floor: int
    negative_markers_detection_support_fraction: float
    missing_markers: list[str]
    missing_negative_markers: list[str]
    marker_source: str
    score_status: str
    effective_markers_total: int
    effective_markers_present: int
    canonical_markers_total: int
    used_fallback_marker_set: bool
    positive_controls_total: int
    negative_controls_total: int
    control_fallback_used: bool
    median_controls_per_positive_marker: float
    median_controls_per_negative_marker: float


@dataclass
class ClusterAnnotation:
    """One cluster's route, with what was seen at each level (keys ``level_1``, ``level_2``, ...)."""

    cluster: str
    final_label: str
    final_path: str
    final_level: int
    status: str
    stop_reason: str
    ambiguity_flag: bool
    confidence: str
    best_score_any_level: float
    best_label_any_level: str
    final_score: float
    final_raw_score: float
    final_branch_supported_raw_score: float
    final_margin: float
    decision_label: str
    decision_path: str
    decision_level: int
    decision_score: float
    decision_raw_score: float
    decision_branch_supported_raw_score: float
    backoff_applied: bool = False
    backoff_steps: int = 0
    backoff_reason: str = ""
    level_labels: dict[str, str] = field(default_factory=dict)
    level_scores: dict[str, float] = field(default_factory=dict)
    level_raw_scores: dict[str, float] = field(default_factory=dict)
    level_branch_supported_raw_scores: dict[str, float] = field(default_factory=dict)
    level_margins: dict[str, float] = field(default_factory=dict)
    level_confidence: dict[str, str] = field(default_factory=dict)


@dataclass
class HierAnnotResult:
    """Annotations, scores and settings of one fit.

    Attributes
    ----------
    cluster_annotations
        One row per cluster, in the order of the input.
    level_scores, all_scores
        One row per program and cluster.
    normalized_matrix
        Genes x clusters, as scored; None after reading a bundle.
    control_gene_map
        Program to its control genes.
    compiled_programs, compilation_report
        Programs as scored.
    diagnostics_summary
        Metrics and values.
    resolved_config
        Settings in effect.
    metadata, hierarchy
        What a bundle adds; the hierarchy is kept by every fit.
    """

    cluster_annotations: pd.DataFrame
    level_scores: pd.DataFrame
    all_scores: pd.DataFrame
    normalized_matrix: pd.DataFrame | None
    control_gene_map: dict[str, Any]
    compiled_programs: list[CompiledMarkerProgram]
    compilation_report: pd.DataFrame | None
    diagnostics_summary: pd.DataFrame
    resolved_config: dict[str, Any]
    metadata: dict[str, Any] | None = None
    hierarchy: list[MarkerProgram] | None = None


def all_scores_table(evidence: Evidence) -> pd.DataFrame:
    """Return one row per program and cluster, program by program, parents before subtypes."""
    import pandas as pd

    details, key = evidence.details, evidence.key
    nodes, sets, p = key.hierarchy.nodes, details.sets, details.parameters
    n_groups, n_nodes = evidence.score.shape

    def each(values: Sequence[Any]) -> NDArray[Any]:
        listed = np.empty(n_nodes, dtype=object)
        listed[:] = list(values)
        return np.repeat(listed, n_groups)

    def grid(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(values).T.ravel()

    def share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)

    positive, negative = details.positive, details.negative
    n_negative = np.array([len(n.anti_markers) for n in nodes])
    f = np.nan_to_num(positive.detection, nan=0.0)
    finite_child, finite_own = np.isfinite(evidence["best_child"]), np.isfinite(evidence["local"])
    weight = np.where(finite_child, np.where(finite_own, p.child_rescue, 1.0), 0.0)
    fell_back = positive.fell_back | negative.fell_back
    columns = {
        "cluster": np.tile(np.array(evidence.groups, dtype=object), n_nodes),
        "label": each([n.name for n in nodes]),
        "level": each([n.level + 1 for n in nodes]),
        "parent_label": each([n.path[-2] if n.level else None for n in nodes]),
        "score": grid(evidence["raw"]), "positive_score": grid(evidence["positive"]),
        "negative_score": grid(evidence["negative"]),
        "positive_marker_mean": grid(positive.marker_mean), "positive_control_mean": grid(positive.control_mean),
        "negative_marker_mean": grid(negative.marker_mean), "negative_control_mean": grid(negative.control_mean),
        "negative_weight": p.negative_weight,
        "markers_present": each(positive.n_present.tolist()), "markers_total": each(sets.n_scored_set.tolist()),
        "markers_present_fraction": each(share(positive.n_present, sets.n_scored_set).tolist()),
        "markers_above_detection_floor": grid(positive.n_detected), "markers_detection_support_fraction": grid(f),
        "negative_markers_present": each(negative.n_present.tolist()),
        "negative_markers_total": each(n_negative.tolist()),
        "negative_markers_present_fraction": each(share(negative.n_present, n_negative).tolist()),
        "negative_markers_above_detection_floor": grid(negative.n_detected),
        "negative_markers_detection_support_fraction": grid(np.nan_to_num(negative.detection, nan=0.0)),
        "missing_markers": each([list(m) for m in sets.missing]),
        "missing_negative_markers": each([list(m) for m in sets.missing_negative]),
        "marker_source": each(["canonical_fallback" if u else "effective" for u in sets.used_listed]),
        "score_status": each([str(s) for s in details.status]),
        "effective_markers_total": each([len(e) for e in sets.effective]),
        "effective_markers_present": each(sets.n_effective_found.tolist()),
        "canonical_markers_total": each([len(n.markers) for n in nodes]),
        "used_fallback_marker_set": each(sets.used_listed.tolist()),
        "positive_controls_total": each(positive.n_controls.tolist()),
        "negative_controls_total": each(negative.n_controls.tolist()),
        "control_fallback_used": each(fell_back.tolist()),
        "median_controls_per_positive_marker": each(positive.median_controls.tolist()),
        "median_controls_per_negative_marker": each(negative.median_controls.tolist()),
        "program_robust_zscore": grid(evidence["z"]), "sibling_specificity_score": grid(evidence["specificity"]),
        "decision_score": grid(evidence["decision"]), "local_node_score": grid(evidence["local"]),
        "best_child_branch_support_score": grid(evidence["best_child"]),
        "best_child_branch_supported_raw_score": grid(evidence["best_child_raw"]),
        "branch_support_score": grid(evidence["branch_support"]),
        "branch_supported_raw_score": grid(evidence["branch_raw"]), "raw_support_gate": grid(evidence["gate"]),
        "support_scale": grid(evidence["factor"]), "child_rescue_weight_used": grid(weight),
        "parent_weight_used": grid(np.where(finite_own, 1.0 - weight, 0.0)), "raw_weight_used": p.raw_weight,
    }
    return pd.DataFrame({name: columns[name] for name in ALL_SCORE_COLUMNS}).infer_objects()


def level_scores_table(all_scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores without bookkeeping, the main ones first."""
    return all_scores[list(LEVEL_SCORE_COLUMNS)].copy()


def score_records(result: HierAnnotResult) -> list[ScoreRecord]:
    """Return ``all_scores`` as records."""
    rows = result.all_scores[list(_RECORD_COLUMNS)].to_dict("records")
    return [ScoreRecord(**{str(name): value for name, value in row.items()}) for row in rows]


def cluster_annotation(result: HierAnnotResult, cluster: str) -> ClusterAnnotation:
    """Return one cluster's annotation as a record.

    Raises
    ------
    KeyError
        If there is no such cluster.
    """
    table = result.cluster_annotations
    rows = table[table["cluster_id"].astype(str) == str(cluster)].to_dict("records")
    if not rows:
        raise KeyError(cluster)
    row = rows[0]
    names = ("label", "path", "level", "score", "raw_score", "branch_supported_raw_score")
    return ClusterAnnotation(
        cluster=str(cluster), status=row["annot_status"], stop_reason=row["annot_stop_reason"],
        ambiguity_flag=row["annot_stop_reason"] == "ambiguous_sibling_margin", confidence=row["annot_confidence"],
        best_score_any_level=row["annot_best_any_level_score"],
        best_label_any_level=row["annot_best_any_level_label"], final_margin=row["annot_final_call_margin"],
        backoff_applied=bool(row["annot_backoff_applied"]), backoff_steps=int(row["annot_backoff_steps"]),
        backoff_reason=row["annot_backoff_reason"],
        **{f"final_{n}": row[f"annot_{n}"] for n in names},
        **{f"decision_{n}": row[f"annot_decision_{n}"] for n in names},
    )


def compilation_report(evidence: Evidence) -> pd.DataFrame:
    """Return one row per program: listed, effective and negative markers."""
    import pandas as pd

    key, sets, p = evidence.key, evidence.details.sets, evidence.details.parameters
    rows = [
        {
            "label": n.name, "level": n.level + 1, "parent_label": n.path[-2] if n.level else None,
            "cleanup_strategy": p.root_marker_strategy if n.level == 0 else p.child_marker_strategy,
            "canonical_markers_total": len(n.markers), "effective_markers_total": len(effective),
            "negative_markers_total": len(n.anti_markers), "effective_marker_loss": len(n.markers) - len(effective),
        }
        for n, effective in zip(key.hierarchy.nodes, sets.effective, strict=True)
    ]
    return pd.DataFrame(rows)


def control_genes(evidence: Evidence) -> dict[str, Any]:
    """Return per program the controls of its markers and anti-markers, and how many there were.

    Where all genes of a bin are controls, their names are not repeated for every marker.
    """
    details, key = evidence.details, evidence.key
    genes = details.means.genes.astype(str)
    found: dict[str, Any] = {
        n.name: {"positive": {}, "negative": {}, "metadata": {"status": str(s)}}
        for n, s in zip(key.hierarchy.nodes, details.status, strict=True)
    }
    for side, pairs, controls in zip(("positive", "negative"), details.pairs, details.controls, strict=True):
        for i, (node, gene) in enumerate(zip(pairs.node.tolist(), pairs.gene.tolist(), strict=True)):
            entry = found[key.hierarchy.nodes[node].name]
            if controls.chosen is not None:
                entry[side][str(genes[gene])] = [str(g) for g in genes[controls.chosen[i]]]
            counts = entry["metadata"].setdefault(f"{side}_controls_per_marker", {})
            counts[str(genes[gene])] = int(controls.count[i])
    return found
