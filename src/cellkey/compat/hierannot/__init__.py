"""The Python names of HierAnnot 0.7, so that its scripts run with only the import line changed.

::

    from cellkey.compat.hierannot import HierAnnotPipeline, get_builtin_hierarchy

Numbers are those of the release where it is deterministic. Known defects are mended: details per level are joined
by cluster, bundles keep their programs, missing clusters are left out instead of being called "nan". From R:
``reticulate::import("cellkey.compat.hierannot")``.
"""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "ClusterAnnotation": "result",
    "CompiledMarkerProgram": "programs",
    "ControlGeneExclusionPolicy": "result",
    "HierAnnotPipeline": "pipeline",
    "HierAnnotResult": "result",
    "MarkerProgram": "programs",
    "PresetName": "result",
    "ScoreRecord": "result",
    "aggregate_anndata_to_cluster_means": "cells",
    "aggregate_expression_to_cluster_means": "cells",
    "cluster_and_aggregate_anndata": "cells",
    "cluster_anndata_on_representation": "cells",
    "cluster_annotation": "result",
    "compare_hierarchy_fit": "fit",
    "compile_builtin_hierarchy_for_panel": "panel",
    "compose_hierarchy": "hierarchies",
    "describe_builtin_hierarchy": "hierarchies",
    "describe_hierarchy": "hierarchies",
    "expand_cluster_annotation_to_cells": "export",
    "format_hierarchy_tree": "hierarchies",
    "get_builtin_hierarchy": "hierarchies",
    "get_builtin_programs": "hierarchies",
    "hierarchy_from_dict": "hierarchies",
    "hierarchy_to_dict": "hierarchies",
    "list_builtin_hierarchies": "hierarchies",
    "list_builtin_programs": "hierarchies",
    "load_hierarchy": "hierarchies",
    "load_result_bundle": "bundles",
    "make_cluster_annotation_export_summary": "export",
    "match_builtin_hierarchy": "hierarchies",
    "plot_backoff_diagnostics": "plots",
    "plot_cluster_annotation_heatmap": "plots",
    "plot_cluster_confidence": "plots",
    "plot_cluster_support_scatter": "plots",
    "plot_compare_hierarchy_fit": "plots",
    "plot_hierarchy_fit_summary": "plots",
    "plot_top_level_compartment_scores": "plots",
    "print_hierarchy_tree": "hierarchies",
    "save_hierarchy": "hierarchies",
    "save_result_bundle": "bundles",
    "score_records": "result",
    "suggest_builtin_hierarchies": "hierarchies",
    "summarize_hierarchy_fit": "fit",
})
