"""Figures from tables: the six of every run, a marker dot plot and the decision path of one cluster."""

from __future__ import annotations

from cellkey.plots.colours import lineage_colours, path_colour
from cellkey.plots.coverage_heatmap import marker_coverage_heatmap
from cellkey.plots.decision_path import decision_path
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

__all__ = [
    "FIGURES",
    "cluster_size_distribution",
    "confidence_distribution",
    "decision_path",
    "depth_distribution",
    "draw_run_figures",
    "lineage_colours",
    "marker_coverage_heatmap",
    "marker_dots",
    "path_colour",
    "root_composition",
    "stop_reason_summary",
]
