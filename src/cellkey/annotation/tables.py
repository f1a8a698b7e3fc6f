"""Tables of an annotation, built from its records; the columns are declared in ``cellkey.records.tables``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.enrichment_tables import enrichment_tables, in_shared_tables, method_comparison
from cellkey.records import tables as schemas
from cellkey.records.vocabulary import ConfidenceLevel, MarkerRole, StopReason
from cellkey.routing.marker_gates import GateMaterial, MarkerRule, node_limits, worst_veto

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.annotation.core import Annotation
    from cellkey.calls.call import Call
    from cellkey.routing.walk import Candidate, Choice
    from cellkey.scoring.marker_evidence import MarkerDetails

__all__ = ["annotation_tables"]


def annotation_tables(annotation: Annotation, *, with_evidence: bool = True) -> dict[str, pd.DataFrame]:
    """Return all tables of an annotation by name.

    Parameters
    ----------
    annotation
        The decided groups.
    with_evidence
        Include ``marker_evidence``, the longest table (clusters x types x markers).
    """
    found = {
        "cluster_annotations": schemas.CLUSTER_ANNOTATIONS.frame(_annotation_rows(annotation)),
        "marker_scores": schemas.MARKER_SCORES.frame(_score_rows(annotation)),
        "decision_steps": schemas.DECISION_STEPS.frame(_step_rows(annotation)),
        "gating_details": schemas.GATING_DETAILS.frame(_gating_rows(annotation)),
    }
    if with_evidence:
        found["marker_evidence"] = schemas.MARKER_EVIDENCE.frame(_evidence_rows(annotation))
    if annotation.enrichment is None:
        return found
    if annotation.method == annotation.enrichment.method:
        found = in_shared_tables(found, annotation.enrichment)
    else:
        found["method_comparison"] = method_comparison(annotation, annotation.enrichment)
    return {**found, **enrichment_tables(annotation.enrichment)}


def _annotation_rows(a: Annotation) -> list[dict[str, Any]]:
    total = max(int(a.profiles.n_cells.sum()), 1)
    position = {name: i for i, name in enumerate(a.evidence.groups)}
    return [_annotation_row(a, call, position[call.group], total) for call in a.calls]


def _annotation_row(a: Annotation, call: Call, group: int, total: int) -> dict[str, Any]:
    nodes = a.key.hierarchy.nodes
    node = call.node
    scores = a.rule.scores[group]
    trace = [[nodes[k].name, round(float(scores[k]), 6) if np.isfinite(scores[k]) else None] for k in call.walk.path]
    failed = [c for c in call.walk.steps[0].choice.candidates if c.fail_detail and not c.passed]
    return {
        "cluster_id": call.group,
        "assigned_label": call.label,
        "assigned_path": " / ".join(call.path) if call.path else (call.label if call.is_ambiguous_root
                                                                  and call.level == 0 else ""),
        "assigned_level": call.level,
        "assigned_score": call.score,
        "root_label": call.root_label,
        "confidence": call.confidence,
        "stop_reason": call.stop_reason,
        "n_cells": call.n_cells,
        "coverage": np.nan if node is None else a.rule.coverage[group, node],
        "resolved_markers": () if node is None else a.key.names(a.key.markers[node]),
        "is_ambiguous_root": call.is_ambiguous_root,
        "composition": a.compositions.get(call.group),
        "cluster": call.group,
        "final_annotation": call.label,
        "stop_detail": call.stop_detail,
        "min_margin_along_path": call.confidence,
        "margin_is_infinite": call.uncontested and bool(call.path),
        "stopped_before_leaf": call.stop_reason is not StopReason.LEAF_REACHED,
        "runner_up_label": call.runner_up,
        "runner_up_score": np.nan if call.runner_up_score is None else call.runner_up_score,
        "ambiguous_root_candidates": ";".join(call.tied) if call.is_ambiguous_root else "",
        "root_fail_reasons": ";".join(f"{nodes[c.node].name}:{c.fail_detail}" for c in failed) if not call.path else "",
        "decision_trace": trace,
        "proportion": call.n_cells / total,
        "confidence_level": ConfidenceLevel.of(call.score),
        "n_final_labels": 1,
        "final_purity": 1.0,
    }


def _score_rows(a: Annotation) -> dict[str, Any]:
    """Columns of the score table; one row per group and node, groups first."""
    e, key = a.evidence, a.key
    details: MarkerDetails = e.details
    nodes = key.hierarchy.nodes
    n_groups, n_nodes = e.score.shape
    statistics = details.statistics

    def by_node(values: Any) -> Any:
        return np.tile(np.asarray(values, dtype=object), n_groups)

    def by_group(values: Any) -> Any:
        return np.repeat(np.asarray(values), n_nodes)

    def mean_over(values: Any, sets: Any) -> Any:
        means = [values[:, list(s)].mean(axis=1) if s else np.full(n_groups, np.nan) for s in sets]
        return np.stack(means, axis=1).ravel()

    hits = np.stack([(details.de_weight[:, list(s)] > 0).sum(axis=1) for s in key.markers], axis=1)
    found = np.array([len(s) for s in key.markers])
    bonus = a.scoring.de_bonus
    de_score = e["de_component"] / bonus if bonus > 0 else np.zeros_like(e.score)
    weights = [
        ";".join(f"{name}:{details.idf[c]:.6g}" for name, c in zip(key.names(s), s, strict=True)) for s in key.markers
    ]
    return {
        "cluster_id": by_group(np.array(e.groups, dtype=object)),
        "label": by_node([n.name for n in nodes]),
        "path": by_node([n.path_text for n in nodes]),
        "level": by_node(key.levels),
        "score": e.score.ravel(),
        **{name: e[name].ravel() for name in (
            "coverage", "mean_enrichment", "mean_positive_fraction", "frac_markers_on", "de_component", "anti_penalty",
        )},
        "resolved_markers": by_node([",".join(key.names(s)) for s in key.markers]),
        "missing_markers": by_node([",".join(m) for m in key.missing_markers]),
        "n_cells": by_group(e.n_cells),
        "markers_expected": by_node(key.n_listed),
        "markers_found": by_node(found),
        "mean_median": mean_over(statistics.center, key.markers),
        "n_markers_on": np.rint(e["frac_markers_on"] * found).astype(int).ravel(),
        "de_hits": hits.ravel(),
        "de_score": de_score.ravel(),
        "de_K": by_group(details.de_k),
        "de_n_pos": by_group(details.de_n_positive),
        "anti_markers_expected": by_node([len(n.anti_markers) for n in nodes]),
        "anti_markers_found": by_node([len(s) for s in key.anti_markers]),
        "mean_anti_enrichment": mean_over(statistics.enrichment, key.anti_markers),
        "mean_anti_positive": mean_over(statistics.positive, key.anti_markers),
        "coverage_penalty": e["coverage_penalty"].ravel(),
        "idf_weighted": by_node([a.scoring.use_idf] * n_nodes),
        "marker_weights": by_node(weights),
        "resolved_anti_markers": by_node([",".join(key.names(s)) for s in key.anti_markers]),
        "missing_anti_markers": by_node([",".join(m) for m in key.missing_anti_markers]),
    }


def _step_rows(a: Annotation) -> list[dict[str, Any]]:
    position = {name: i for i, name in enumerate(a.evidence.groups)}
    return [
        _step_row(a, call.group, position[call.group], step.index, step.parent, step.choice, candidate)
        for call in a.calls
        for step in call.walk.steps
        for candidate in step.choice.candidates
    ]


def _step_row(
    a: Annotation, name: str, group: int, index: int, parent: int | None, choice: Choice, c: Candidate
) -> dict[str, Any]:
    nodes = a.key.hierarchy.nodes
    margin = choice.margin if c.node == choice.best and choice.margin is not None else np.nan
    return {
        "cluster_id": name,
        "step_idx": index,
        "parent_label": "ROOT" if parent is None else nodes[parent].name,
        "child_label": nodes[c.node].name,
        "child_passed_gate": c.passed,
        "child_score": c.score,
        "child_coverage": a.rule.coverage[group, c.node],
        "child_pos_frac": a.evidence["mean_positive_fraction"][group, c.node],
        "child_enrichment": a.evidence["mean_enrichment"][group, c.node],
        "child_anti_penalty": a.evidence["anti_penalty"][group, c.node],
        "selected": c.node == choice.selected,
        "margin_to_runner_up": margin,
        "fail_reason": c.fail_reason or "",
        "fail_detail": c.fail_detail,
        "child_path": nodes[c.node].path_text,
        "child_frac_markers_on": a.evidence["frac_markers_on"][group, c.node],
    }


def _gating_rows(a: Annotation) -> list[dict[str, Any]]:
    limits = node_limits(a.key, a.gating)
    material = a.rule.judgement.material if isinstance(a.rule, MarkerRule) else None
    position = {name: i for i, name in enumerate(a.evidence.groups)}
    rows = []
    for call in a.calls:
        group = position[call.group]
        choice = call.walk.steps[0].choice
        rows += [
            _gating_row(a, material, call.group, group, choice, c) | {
                name: getattr(limits[c.node], name)
                for name in ("min_coverage", "min_pos_frac", "min_frac_markers_on", "min_enrichment")
            }
            for c in choice.candidates
        ]
    return rows


def _gating_row(
    a: Annotation, material: GateMaterial | None, name: str, group: int, choice: Choice, c: Candidate
) -> dict[str, Any]:
    node = a.key.hierarchy.nodes[c.node]
    statistics = a.evidence.details.statistics
    required = a.gating.root_hard_requirements.get(node.name, ())
    column = a.key.column(required[0].marker) if required else None
    veto = None if material is None else worst_veto(material, group, c.node)
    return {
        "cluster": name,
        "root_type": node.name,
        "coverage": a.rule.coverage[group, c.node],
        "pos_frac": a.evidence["mean_positive_fraction"][group, c.node],
        "score": c.score,
        "passed": c.passed,
        "cluster_id": name,
        "enrichment": a.evidence["mean_enrichment"][group, c.node],
        "frac_markers_on": a.evidence["frac_markers_on"][group, c.node],
        "anti_penalty": a.evidence["anti_penalty"][group, c.node],
        "required_marker": required[0].marker if required else "",
        "required_pos_frac": np.nan if column is None else statistics.positive[group, column],
        "required_enrichment": np.nan if column is None else statistics.enrichment[group, column],
        "veto_marker": veto[0] if veto else "",
        "veto_pos_frac": veto[1] if veto else np.nan,
        "fail_reason": c.fail_reason or "",
        "fail_detail": c.fail_detail,
        "selected": c.node == choice.selected,
    }


def _evidence_rows(a: Annotation) -> dict[str, Any]:
    """Columns of the evidence table: every group with every (node, marker) pair."""
    key, e = a.key, a.evidence
    nodes = key.hierarchy.nodes
    statistics = e.details.statistics
    pairs = [
        (k, c, role)
        for k in range(key.n_nodes)
        for role, sets in ((MarkerRole.POSITIVE, key.markers), (MarkerRole.ANTI, key.anti_markers))
        for c in sets[k]
    ]
    node = np.array([p[0] for p in pairs], dtype=np.intp)
    column = np.array([p[1] for p in pairs], dtype=np.intp)
    n_groups = len(e.groups)

    def by_pair(values: Any) -> Any:
        return np.tile(np.asarray(values, dtype=object), n_groups)

    def by_group(values: Any) -> Any:
        return np.repeat(np.asarray(values), len(pairs))

    levels = key.levels
    on = e.details.on[levels[node], :, column].T if len(pairs) else np.zeros((n_groups, 0), dtype=bool)
    return {
        "cluster_id": by_group(np.array(e.groups, dtype=object)),
        "cell_type": by_pair([nodes[k].name for k in node]),
        "path": by_pair([nodes[k].path_text for k in node]),
        "level": by_pair(levels[node]),
        "marker": by_pair(key.names(column)),
        "role": by_pair([p[2] for p in pairs]),
        "enrichment": statistics.enrichment[:, column].ravel(),
        "pos_frac": statistics.positive[:, column].ravel(),
        "median_val": statistics.center[:, column].ravel(),
        "threshold_used": by_pair(statistics.threshold[column]),
        "global_median": by_pair(statistics.overall[column]),
        "global_std": by_pair(statistics.std[column]),
        "is_de_hit": (e.details.de_weight[:, column] > 0).ravel(),
        "idf_weight": by_pair(e.details.idf[column]),
        "is_on": on.ravel(),
        "n_cells": by_group(e.n_cells),
    }
