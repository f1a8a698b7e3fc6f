"""Labels of clusters from either source, in one form that files are written from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cellkey.llm.identifiers import natural_key
from cellkey.records.vocabulary import CallStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.annotation.result import AnnotationResult as CellResult
    from cellkey.llm.results import AnnotationResult as ModelResult

__all__ = ["UNKNOWN", "ClusterLabel", "as_columns", "labels_by_both", "labels_by_markers", "labels_by_model"]

UNKNOWN = "Unknown"

_STATUS = {CallStatus.RESOLVED: "ok", CallStatus.MIXED: "conflict"}


@dataclass(frozen=True, slots=True)
class ClusterLabel:
    """The label of one cluster.

    ``status`` is ``ok``, ``boosted``, ``low_confidence``, ``conflict`` or ``unlabelled``; ``score`` is on the scale
    of its source (0 to 100 for a model, unbounded for markers). ``by_markers`` and ``by_model`` are the labels of
    the sources where both were asked.
    """

    cluster: str
    n_cells: int
    detailed: str = UNKNOWN
    general: str = UNKNOWN
    ontology_id: str = ""
    score: float | None = None
    status: str = "unlabelled"
    reason: str = ""
    by_markers: str = ""
    by_model: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether the cluster has a name."""
        return self.detailed != UNKNOWN

    def at(self, level: str) -> str:
        """Return the detailed or the general label."""
        return self.general if level == "general" else self.detailed


def labels_by_markers(result: CellResult) -> dict[str, ClusterLabel]:
    """Return the calls of the marker hierarchy, clusters in natural order."""
    ontology = _ontology_ids(result)
    labels = {}
    for call in sorted(result.annotation.calls, key=lambda c: natural_key(c.group)):
        status = _STATUS.get(call.status, "unlabelled")
        named = status != "unlabelled"
        labels[call.group] = ClusterLabel(
            call.group,
            call.n_cells,
            call.label if named else UNKNOWN,
            call.root_label if named else UNKNOWN,
            ontology.get(call.group, ""),
            float(call.score) if named else None,
            status,
            str(call.stop_detail),
        )
    return labels


def _ontology_ids(result: CellResult) -> dict[str, str]:
    """Cell Ontology identifiers of the calls: of the node, or of the nearest above that has one."""
    from cellkey import _keys

    ids = result.obs.get(_keys.ONTOLOGY)
    if ids is None:
        return {}
    found: dict[str, str] = {}
    for cluster, term in zip(result.labels, ids, strict=True):
        if cluster is not None:
            found.setdefault(str(cluster), str(term))
    return found


def labels_by_model(result: ModelResult, sizes: Mapping[str, int]) -> dict[str, ClusterLabel]:
    """Return the labels of a language model; clusters it was not asked about are unlabelled."""
    asked = {r.cluster: r for r in result.clusters}
    labels = {}
    for cluster in sorted(sizes, key=natural_key):
        row = asked.get(cluster)
        if row is None:
            labels[cluster] = ClusterLabel(cluster, sizes[cluster], reason="too few cells to be asked about")
            continue
        score = row.case.score.score if row.case.score is not None else None
        labels[cluster] = ClusterLabel(
            cluster,
            sizes[cluster],
            row.label,
            row.general_label,
            row.term.id if row.term else "",
            score,
            row.status,
            row.case.error,
        )
    return labels


def labels_by_both(markers: Mapping[str, ClusterLabel], model: Mapping[str, ClusterLabel]) -> dict[str, ClusterLabel]:
    """Return the model's labels, the markers' where the model has none, and both beside them."""
    labels: dict[str, ClusterLabel] = {}
    for cluster, by_markers in markers.items():
        by_model = model[cluster]
        chosen = (
            by_model
            if by_model.is_labelled or not by_markers.is_labelled
            else replace(
                by_markers,
                status="low_confidence",
                score=None,
                reason=f"label of the marker hierarchy; the model has none ({by_model.reason})",
            )
        )
        labels[cluster] = replace(chosen, by_markers=by_markers.detailed, by_model=by_model.detailed)
    return labels


def as_columns(labels: Mapping[str, ClusterLabel], level: str) -> dict[str, list[Any]]:
    """Return the labels as columns, one entry per cluster."""
    rows = list(labels.values())
    return {
        "cluster": [r.cluster for r in rows],
        "n_cells": [r.n_cells for r in rows],
        "cell_type": [r.at(level) for r in rows],
        "cell_type_general": [r.general for r in rows],
        "cell_type_detailed": [r.detailed for r in rows],
        "cell_type_ontology_term_id": [r.ontology_id for r in rows],
        "cell_type_score": [float("nan") if r.score is None else float(r.score) for r in rows],
        "cell_type_status": [r.status for r in rows],
        "cell_type_by_markers": [r.by_markers for r in rows],
        "cell_type_by_model": [r.by_model for r in rows],
    }
