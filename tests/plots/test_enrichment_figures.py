"""Figures of enrichment: what they show for the worked example, and what they do with missing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cellkey.errors import MissingFieldError
from cellkey.plots.dotplots import expression_dots, expression_matrix
from cellkey.plots.enrichment import (
    annotation_heatmap,
    back_off_bars,
    confidence_scatter,
    draw_enrichment_figures,
    fit_comparison,
    fit_summary,
    lineage_bars,
    support_scatter,
)
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters

CALLS = pd.DataFrame({
    "cluster_id": ["0", "1", "2", "3"], "annot_score": [1.0, 0.4, np.nan, 0.8],
    "annot_branch_supported_raw_score": [1.0, 0.2, np.nan, 0.5], "annot_confidence": ["high", "medium", "none", "high"],
    "annot_final_call_margin": [0.5, np.nan, np.nan, np.nan], "annot_path_margin": [0.4, 0.1, np.nan, np.nan],
    "annot_export_status": ["resolved", "mixed", "unknown", "resolved"], "annot_backoff_applied": [False] * 4,
    "annot_decision_raw_score": [1.0, 0.2, -0.3, 0.5], "annot_raw_score": [1.0, 0.2, np.nan, 0.5],
})
SCORES = pd.DataFrame({
    "cluster_id": ["0", "1"] * 3, "label": ["A", "A", "A1", "A1", "B", "B"], "level": [0, 0, 1, 1, 0, 0],
    "path": ["A", "A", "A / A1", "A / A1", "B", "B"], "raw": [1.0, -1, 2, -0.5, np.nan, np.nan],
})


def texts(axes: object) -> list[str]:
    return [t.get_text() for t in axes.texts]  # type: ignore[attr-defined]


def test_the_heat_map_follows_the_tables_order() -> None:
    """Types as listed, centred colours, a note about hatched cells; levels and top types on request."""
    axes = annotation_heatmap(SCORES, value="raw")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A", "A1", "B"]
    image = axes.get_images()[0]
    assert image.norm.vmin == -image.norm.vmax
    assert np.isnan(np.asarray(image.get_array().filled(np.nan))[2]).all()
    assert any("could not be scored" in t for t in texts(axes))
    assert len(annotation_heatmap(SCORES, value="raw", level=1).get_yticklabels()) == 1
    assert [t.get_text() for t in annotation_heatmap(SCORES, value="raw", top_n=1).get_yticklabels()] == ["A1"]
    with pytest.raises(MissingFieldError, match="did you mean 'raw'"):
        annotation_heatmap(SCORES, value="raws")


def test_clusters_without_a_point_are_named() -> None:
    """A missing lead is replaced by that along the path; what cannot be placed is told."""
    axes = confidence_scatter(CALLS)
    assert {"0", "1"} <= set(texts(axes))
    assert any("without a call or a competitor: 2, 3" in t for t in texts(axes))
    points = np.concatenate([c.get_offsets() for c in axes.collections])
    assert sorted(map(tuple, points.round(3).tolist())) == [(0.4, 0.1), (1.0, 0.5)]
    support = support_scatter(CALLS, label_points=False)
    assert [t.get_text() for t in support.get_legend().get_texts()] == ["resolved", "mixed"]
    assert any("1 without a call" in t for t in texts(support))


def test_bars_of_lineages_and_of_labels_given_up() -> None:
    """One bar per root and cluster; a sentence instead of an empty figure."""
    axes = lineage_bars(SCORES, value="raw")
    assert len(axes.containers) == 2
    assert [t.get_text() for t in lineage_bars(SCORES, value="raw", clusters=["1"]).get_xticklabels()] == ["1"]
    assert any("no label was given up" in t for t in texts(back_off_bars(CALLS)))
    given_up = CALLS.assign(annot_backoff_applied=[False, False, True, False])
    assert len(back_off_bars(given_up).containers) == 2


def test_fit_of_one_and_of_several_hierarchies() -> None:
    """Status in the title, three panels at most, the bounded fit first where it is known."""
    metrics = pd.DataFrame([("hierarchy_fit_status", "good"), ("hierarchy_fit_warning", "Fine."),
                            ("fraction_unknown", 0.2), ("median_final_score", 1.5)], columns=["metric", "value"])
    left, right = fit_summary(metrics)
    assert left.get_title(loc="left") == "Hierarchy fit: good"
    assert len(right.containers[0]) == 1
    table = pd.DataFrame({"name": ["a", "b"], "fit": [0.5, np.nan], "median_final_score": [2.0, 1.0],
                          "fit_rank_score": [3.0, 2.0]})
    panels = fit_comparison(table)
    titles = [p.get_title(loc="left") for p in panels]
    assert titles == ["fit beyond chance (0 to 1)", "median final score", "rank score"]
    assert len(fit_comparison(table.drop(columns="fit"))) == 2
    with pytest.raises(MissingFieldError):
        fit_comparison(table[["name"]])
    own = Figure().subplots(1, 2)
    assert fit_summary(metrics, axes=own)[0] is own[0]


def test_figures_of_a_run(tmp_path: Path) -> None:
    """Three files, or none without the tables."""
    drawn = draw_enrichment_figures({"enrichment_calls": CALLS, "enrichment_scores": SCORES}, tmp_path, dpi=30)
    assert [p.name for p in drawn] == ["enrichment_confidence.png", "enrichment_support.png", "enrichment_heatmap.png"]
    assert all(p.stat().st_size > 1000 for p in drawn)
    assert draw_enrichment_figures({}, tmp_path) == []


def test_dots_of_expression() -> None:
    """Groups by label, genes in order, levels scaled per gene from 0 to 1."""
    values = np.array([[0, 2, 1], [0, 2, 1], [3, 0, 1], [0, 0, 1]], dtype=float)
    profiles = profile_clusters(Expression(values), ["x", "x", "y", "y"], ["G1", "G2", "G3"])
    dots = expression_matrix(profiles, {"one": ["G2"], "two": ["G1", "G3"]}, labels={"x": "Zeta", "y": "Alpha"})
    assert dots.labels == ("Alpha", "Zeta")
    assert dots.genes == ("G2", "G1", "G3")
    np.testing.assert_allclose(dots.fraction, [[0, 0.5, 1], [1, 0, 1]])
    np.testing.assert_allclose(dots.level, [[0, 1, 0], [1, 0, 0]])
    axes = expression_dots(dots)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["G2", "G1", "G3"]
    assert {"one", "two"} <= set(texts(axes))
    with pytest.raises(MissingFieldError, match="no gene 'G9'"):
        expression_matrix(profiles, ["G9"])
