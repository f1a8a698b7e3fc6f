"""The published figures, each in a figure of its own, returned with its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError
from cellkey.plots import enrichment
from cellkey.plots._style import figure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_backoff_diagnostics",
    "plot_cluster_annotation_heatmap",
    "plot_cluster_confidence",
    "plot_cluster_support_scatter",
    "plot_compare_hierarchy_fit",
    "plot_hierarchy_fit_summary",
    "plot_top_level_compartment_scores",
]


def _table(result: Any, name: str) -> pd.DataFrame:
    found: pd.DataFrame | None
    if hasattr(result, "columns"):
        found = result
    else:
        found = result.get(name) if isinstance(result, dict) else getattr(result, name, None)
    if found is None:
        msg = f"the result holds no table {name}"
        raise InputError(msg)
    return found


def plot_cluster_annotation_heatmap(
    result: Any, value: str = "score", level: int | None = None, top_n_labels: int | None = None
) -> tuple[Figure, Axes]:
    """Draw programs x clusters; see :func:`~cellkey.plots.enrichment.annotation_heatmap`."""
    axes = enrichment.annotation_heatmap(_table(result, "all_scores"), value=value, level=level, top_n=top_n_labels)
    return figure_of(axes), axes


def plot_cluster_confidence(result: Any) -> tuple[Figure, Axes]:
    """Draw score and margin of each cluster; see :func:`~cellkey.plots.enrichment.confidence_scatter`."""
    axes = enrichment.confidence_scatter(_table(result, "cluster_annotations"))
    return figure_of(axes), axes


def plot_cluster_support_scatter(result: Any, label_points: bool = True) -> tuple[Figure, Axes]:
    """Draw score and raw score of each cluster; see :func:`~cellkey.plots.enrichment.support_scatter`."""
    axes = enrichment.support_scatter(_table(result, "cluster_annotations"), label_points=label_points)
    return figure_of(axes), axes


def plot_top_level_compartment_scores(result: Any, clusters: Sequence[str] | None = None) -> tuple[Figure, Axes]:
    """Draw raw scores of all roots; see :func:`~cellkey.plots.enrichment.lineage_bars`."""
    axes = enrichment.lineage_bars(_table(result, "all_scores"), clusters=clusters)
    return figure_of(axes), axes


def plot_backoff_diagnostics(result: Any) -> tuple[Figure, Axes]:
    """Draw labels that were given up; see :func:`~cellkey.plots.enrichment.back_off_bars`."""
    axes = enrichment.back_off_bars(_table(result, "cluster_annotations"))
    return figure_of(axes), axes


def plot_hierarchy_fit_summary(result: Any) -> tuple[Figure, list[Axes]]:
    """Draw the metrics of fit; see :func:`~cellkey.plots.enrichment.fit_summary`."""
    axes = enrichment.fit_summary(_table(result, "diagnostics_summary"))
    return figure_of(axes[0]), axes


def plot_compare_hierarchy_fit(comparison: Any) -> tuple[Figure, list[Axes]]:
    """Draw a comparison of fits; see :func:`~cellkey.plots.enrichment.fit_comparison`."""
    if not hasattr(comparison, "columns"):
        from cellkey.compat.hierannot.fit import compare_hierarchy_fit

        comparison = compare_hierarchy_fit([comparison])
    axes = enrichment.fit_comparison(comparison)
    return figure_of(axes[0]), axes
