"""Tables of a refinement; the columns are declared in ``cellkey.records.tables``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.tables import annotation_tables
from cellkey.records import tables as schemas
from cellkey.records.vocabulary import LogSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cellkey.refinement.confidence import Confidence
    from cellkey.refinement.iteration import Iteration
    from cellkey.refinement.state import State

__all__ = ["log_table", "refined_tables", "with_final_labels"]


def log_table(iterations: Sequence[Iteration], earlier: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table ``refinement_log``; rows of earlier commands come first."""
    import pandas as pd

    rows = [
        {
            "iteration": done.number,
            "cluster_id": e.cluster,
            "action": e.action,
            "old_label": e.old_label,
            "new_label": e.new_label,
            "new_clusters": e.new_clusters,
            "confidence_before": e.confidence_before,
            "confidence_after": e.confidence_after,
            "timestamp": done.timestamp,
            "n_cells": e.n_cells,
            "reason": e.reason,
            "source": e.source,
            "seconds": e.seconds,
            "status": e.status,
            "split_stability": e.stability,
            "reviewer": done.plan.reviewer if e.source == LogSource.MANUAL else "",
        }
        for done in iterations for e in done.log
    ]
    own = schemas.REFINEMENT_LOG.frame(rows)
    if earlier is None or earlier.empty:
        return own
    return schemas.REFINEMENT_LOG.conform(pd.concat([earlier, own], ignore_index=True)) if rows else earlier


def refined_tables(state: State, confidence: Confidence) -> dict[str, pd.DataFrame]:
    """Return ``refined_annotations``, the tables behind it, and ``refined_confidence`` where it was measured."""
    calls = tuple(state.calls[c] for c in state.clusters)
    shown = annotation_tables(replace(state.verdict.annotation, calls=calls))
    annotations = shown["cluster_annotations"]
    clusters = annotations["cluster_id"].tolist()
    held = [confidence.stability.get(c) for c in clusters]
    annotations = annotations.assign(
        split_stability=[state.stability.get(c, math.nan) for c in clusters],
        label_stability=[s.held[-1] if s else math.nan for s in held],
        marker_stability=[s.without_marker[-1] if s and s.path else math.nan for s in held],
        fragile_markers=[s.fragile[-1] if s and s.path else "" for s in held],
    )
    tables = {
        "refined_annotations": schemas.REFINED_ANNOTATIONS.conform(annotations),
        "refined_marker_scores": schemas.REFINED_MARKER_SCORES.conform(shown["marker_scores"]),
        "refined_decision_steps": schemas.REFINED_DECISION_STEPS.conform(shown["decision_steps"]),
        "refined_marker_evidence": schemas.REFINED_MARKER_EVIDENCE.conform(shown["marker_evidence"]),
    }
    return tables if confidence.table is None else {**tables, "refined_confidence": confidence.table}


def with_final_labels(annotations: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return ``cluster_annotations`` with the label of most cells after refinement, its share and their number."""
    final: dict[str, Any] = {}
    for cluster in annotations["cluster_id"]:
        ids, counts = np.unique(state.ids[state.origin == cluster].astype(str), return_counts=True)
        cells: dict[str, int] = {}
        for name, n in zip(ids, counts, strict=True):
            label = state.calls[str(name)].label
            cells[label] = cells.get(label, 0) + int(n)
        best = min(cells, key=lambda label: (-cells[label], label))
        final[cluster] = (best, len(cells), cells[best] / sum(cells.values()))
    rows = [final[c] for c in annotations["cluster_id"]]
    return annotations.assign(
        final_annotation=[r[0] for r in rows], n_final_labels=[r[1] for r in rows], final_purity=[r[2] for r in rows]
    )
