"""Tables of enrichment, and what the shared tables hold when enrichment decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.hierarchy.cell_type import common_path
from cellkey.records.enrichment_tables import ENRICHMENT_CALLS, ENRICHMENT_SCORES, METHOD_COMPARISON
from cellkey.records.vocabulary import MethodAgreement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cellkey.annotation.core import Annotation
    from cellkey.annotation.enrichment import EnrichmentCalls

__all__ = ["enrichment_tables", "in_shared_tables", "method_comparison"]

_PARTS = ("local", "best_child", "raw", "branch_raw", "positive", "negative", "z", "specificity", "decision",
          "detection", "gate", "factor", "error", "sure_support")
_NO_LIMITS = ("min_coverage", "min_pos_frac", "min_frac_markers_on", "min_enrichment", "required_pos_frac",
              "required_enrichment", "veto_pos_frac")
_NO_NAMES = ("required_marker", "veto_marker")


def enrichment_tables(calls: EnrichmentCalls) -> dict[str, pd.DataFrame]:
    """Return the tables that enrichment adds to a run."""
    table = calls.table.copy()
    if "annot_export_label_with_cluster" not in table:
        table["annot_export_label_with_cluster"] = ""
    return {
        "enrichment_calls": ENRICHMENT_CALLS.conform(table),
        "enrichment_scores": ENRICHMENT_SCORES.frame(_score_columns(calls)),
    }


def _score_columns(calls: EnrichmentCalls) -> dict[str, Any]:
    e = calls.evidence
    details, nodes = e.details, e.key.hierarchy.nodes
    genes = details.means.genes
    n_groups, n_nodes = e.score.shape

    def by_node(values: Sequence[Any]) -> Any:
        return np.tile(np.asarray(values, dtype=object), n_groups)

    def listed(sets: Sequence[Sequence[int]]) -> list[str]:
        return [",".join(str(genes[c]) for c in s) for s in sets]

    return {
        "cluster_id": np.repeat(np.array(e.groups, dtype=object), n_nodes),
        "label": by_node([n.name for n in nodes]),
        "path": by_node([n.path_text for n in nodes]),
        "level": by_node(e.key.levels.tolist()),
        "status": by_node(details.status),
        "support": e.score.ravel(),
        **{name: e[name].ravel() for name in _PARTS},
        "scored_markers": by_node(listed(details.sets.scored)),
        "missing_markers": by_node([",".join(m) for m in details.sets.missing]),
        "scored_anti_markers": by_node(listed(details.sets.negative)),
        "used_listed": by_node(details.sets.used_listed.tolist()),
        "n_controls": by_node(details.positive.n_controls.tolist()),
        "n_cells": np.repeat(e.n_cells, n_nodes),
    }


def in_shared_tables(tables: Mapping[str, pd.DataFrame], calls: EnrichmentCalls) -> dict[str, pd.DataFrame]:
    """Return the shared tables with reported labels, and without what belongs to the marker score only."""
    found = dict(tables)
    labels = calls.table.set_index("cluster_id")["annot_export_label"]
    annotations = found["cluster_annotations"].copy()
    annotations["final_annotation"] = annotations["cluster_id"].map(labels).astype(str)
    found["cluster_annotations"] = annotations
    found["marker_scores"] = found["marker_scores"].assign(marker_weights="", de_score=np.nan)
    if "gating_details" in found:
        blank: dict[str, Any] = dict.fromkeys(_NO_LIMITS, np.nan) | dict.fromkeys(_NO_NAMES, "")
        found["gating_details"] = found["gating_details"].assign(**blank)
    return found


def method_comparison(markers: Annotation, calls: EnrichmentCalls) -> pd.DataFrame:
    """Return what two methods call each cluster, and how their paths relate."""
    table = calls.table.set_index("cluster_id")
    nodes = calls.evidence.key.hierarchy.nodes
    final = zip(calls.evidence.groups, calls.routes.node.tolist(), strict=True)
    paths = {g: nodes[k].path if k >= 0 else () for g, k in final}
    rows = []
    for call in markers.calls:
        other, path = table.loc[call.group], paths[call.group]
        agreement, shared = _agreement(call.path, path)
        rows.append({
            "cluster_id": call.group, "n_cells": call.n_cells, "markers_label": call.label,
            "enrichment_label": other["annot_export_label"], "agreement": agreement,
            "shared_path": " / ".join(shared), "markers_path": " / ".join(call.path),
            "enrichment_path": " / ".join(path), "markers_confidence": call.confidence,
            "enrichment_confidence": other["annot_path_margin"], "markers_status": call.status,
            "enrichment_status": other["annot_export_status"], "enrichment_tier": other["annot_confidence"],
        })
    return METHOD_COMPARISON.frame(rows)


def _agreement(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[MethodAgreement, tuple[str, ...]]:
    if first == second:
        return MethodAgreement.SAME, first
    if not first or not second:
        return (MethodAgreement.ONLY_MARKERS if first else MethodAgreement.ONLY_ENRICHMENT), first or second
    shared = common_path((first, second))
    if shared == first:
        return MethodAgreement.DEEPER, first
    return (MethodAgreement.SHALLOWER if shared == second else MethodAgreement.DIFFERENT), shared
