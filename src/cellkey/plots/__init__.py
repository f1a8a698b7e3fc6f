"""Figures from tables: those that every run writes, and more of markers, decisions, composition and agreement.

Every function prepares its data from tables, takes ``ax`` and returns the axes it drew on.
"""

from __future__ import annotations

from cellkey.plots.cells import composition, composition_table, spatial_map
from cellkey.plots.colours import hierarchy_colours, lineage_colours, path_colour
from cellkey.plots.confusion import confusion, confusion_table
from cellkey.plots.coverage_heatmap import marker_coverage_heatmap
from cellkey.plots.decision_path import decision_path
from cellkey.plots.depth_confidence import confidence_by_depth
from cellkey.plots.marker_dots import marker_dots
from cellkey.plots.run_figures import (
    FIGURES,
    cluster_size_distribution,
    confidence_distribution,
    depth_distribution,
    draw_run_figures,
    root_composition,
    stop_reason_summary,
)
from cellkey.plots.score_heatmap import score_heatmap, score_matrix
from cellkey.plots.tree_counts import tree_counts, tree_with_counts

__all__ = [
    "FIGURES",
    "cluster_size_distribution",
    "composition",
    "composition_table",
    "confidence_by_depth",
    "confidence_distribution",
    "confusion",
    "confusion_table",
    "decision_path",
    "depth_distribution",
    "draw_run_figures",
    "hierarchy_colours",
    "lineage_colours",
    "marker_coverage_heatmap",
    "marker_dots",
    "path_colour",
    "root_composition",
    "score_heatmap",
    "score_matrix",
    "spatial_map",
    "stop_reason_summary",
    "tree_counts",
    "tree_with_counts",
]
