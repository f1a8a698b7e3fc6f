"""The one place that names the AnnData fields cellkey reads and writes."""

from __future__ import annotations

from typing import Final

CLUSTER: Final = "cluster_lvl0"
LABEL: Final = "cell_type_auto"
ROOT: Final = "cell_type_auto_root"
CONFIDENCE: Final = "cell_type_auto_conf"
PROBABILITY: Final = "cell_type_auto_confidence"
PATH: Final = "cell_type_auto_path"
SCORE: Final = "cell_type_auto_score"
ONTOLOGY: Final = "cell_type_auto_ontology_term_id"
FINAL: Final = "annotation"
"""Label after the last step that ran."""

REFINED_CLUSTER: Final = "cluster_lvl1"
REFINED_LABEL: Final = "cell_type_lvl1"
REFINED_PROBABILITY: Final = "cell_type_lvl1_confidence"

PARAMS: Final = "stage_h_params"
GATING: Final = "stage_h_gating_params"
MARKER_MAP: Final = "stage_h_marker_map"
TIMESTAMP: Final = "stage_h_timestamp"

UNASSIGNED: Final = "Unassigned"


def differential(layer: str) -> str:
    """Key of the differential expression results of a layer."""
    return f"de_wilcoxon_{layer}"


def level(prefix: str, number: int | str) -> str:
    """Column of the labels at one level of the hierarchy, beside the label column ``prefix``."""
    return f"{prefix}_level_{number}"


def colours(column: str) -> str:
    """Key of the colours of a column, one per category in the order of the categories."""
    return f"{column}_colors"
