"""The figures of a run show what the tables say, for few and for many clusters, without a display."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_run import KEY, simulate

from cellkey import plots
from cellkey.errors import CellkeyWarning, InputError
from cellkey.plots._run_data import (
    coverage_matrix,
    depth_counts,
    log_bins,
    natural_key,
    root_cells,
    stop_reason_counts,
)
from cellkey.plots._style import share, shorten
from cellkey.records.vocabulary import StopReason

HERE = Path(__file__).parent
TABLES = {n: simulate(n) for n in (3, 24)}


@pytest.fixture(params=TABLES, ids=lambda n: f"{n} clusters")
def tables(request: pytest.FixtureRequest) -> dict[str, pd.DataFrame]:
    return TABLES[request.param]


def test_every_cluster_is_in_the_size_histogram(tables: dict[str, pd.DataFrame]) -> None:
    """Bar heights add up to the number of clusters, the smallest and largest included."""
    ax = plots.cluster_size_distribution(tables["cluster_annotations"])
    assert sum(p.get_height() for p in ax.patches) == len(tables["cluster_annotations"])
    assert ax.get_xscale() == "log"
    assert "Cells per cluster" in ax.get_xlabel()


@pytest.mark.parametrize("sizes", [[1], [5, 5, 5], [25, 4765], [3, 10**7], list(range(1, 300))])
def test_log_bins_cover_all_sizes(sizes: list[int]) -> None:
    """No cluster falls outside the bins, whatever the range."""
    values = np.array(sizes)
    assert np.histogram(values, log_bins(values))[0].sum() == len(sizes)


def test_confidence_leaves_out_unassigned_clusters(tables: dict[str, pd.DataFrame]) -> None:
    """Clusters without a label have no confidence; their number is said instead."""
    notes = tables["cluster_annotations"]
    ax = plots.confidence_distribution(notes)
    n_unassigned = (notes["stop_reason"] == "no_root_passed").sum()
    assert sum(p.get_height() for c in ax.containers for p in c) == len(notes) - n_unassigned
    assert any(f"{n_unassigned} unassigned not shown" in t.get_text() for t in ax.texts)


def test_confidence_that_is_not_finite_is_left_out() -> None:
    """Infinity and missing values do not break the histogram."""
    notes = TABLES[3]["cluster_annotations"].assign(
        confidence=[np.inf, np.nan, 1.0], stop_reason="leaf_reached"
    )
    ax = plots.confidence_distribution(notes)
    assert sum(p.get_height() for c in ax.containers for p in c) == 1


def test_depths_run_without_gaps(tables: dict[str, pd.DataFrame]) -> None:
    """Every level up to the deepest has a bar, and bars add up to the clusters."""
    notes = tables["cluster_annotations"]
    counts = depth_counts(notes)
    assert list(counts.index) == list(range(counts.index[0], notes["assigned_level"].max() + 1))
    ax = plots.depth_distribution(notes)
    assert [p.get_height() for p in ax.patches] == counts["n_clusters"].tolist()
    assert ax.get_xticklabels()[0].get_text() == "Unassigned"


def test_all_stop_reasons_have_a_place(tables: dict[str, pd.DataFrame]) -> None:
    """Reasons that did not occur are shown as none, in the order of the vocabulary."""
    notes = tables["cluster_annotations"]
    ax = plots.stop_reason_summary(notes)
    assert [t.get_text() for t in ax.get_yticklabels()] == [r.replace("_", " ") for r in StopReason]
    assert [p.get_width() for p in ax.patches] == stop_reason_counts(notes)["n_clusters"].tolist()
    assert all(t.get_bbox_patch() is not None for t in ax.texts if "cluster" in t.get_text() and "%" in t.get_text())


def test_grey_columns_are_explained_where_there_are_any(tables: dict[str, pd.DataFrame]) -> None:
    scores, notes = tables["marker_scores"], tables["cluster_annotations"]
    lost = scores["path"] == scores["path"].iloc[0]
    for table, expected in ((scores.assign(markers_found=scores["markers_expected"]), False),
                            (scores.assign(markers_found=scores["markers_expected"].mask(lost, 0)), True)):
        ax = plots.marker_coverage_heatmap(table, notes)
        assert any("grey: no marker measured" in t.get_text() for t in ax.texts) is expected


def test_composition_counts_cells(tables: dict[str, pd.DataFrame]) -> None:
    """One slice per top-level label; cells add up; unassigned cells come last."""
    notes = tables["cluster_annotations"]
    cells = root_cells(notes)
    ax = plots.root_composition(notes)
    assert len(ax.patches) == len(cells) == notes["root_label"].nunique()
    assert sum(cells.values()) == notes["n_cells"].sum()
    assert list(cells)[-1] == "Unassigned"


def test_composition_joins_small_slices() -> None:
    """Beyond eight slices the smallest types become Other, unassigned cells stay apart."""
    notes = pd.DataFrame({"root_label": [*"abcdefghijk", "Unassigned"], "n_cells": range(12, 0, -1)})
    cells = root_cells(notes)
    assert list(cells) == [*"abcdef", "Other (5 types)", "Unassigned"]
    assert sum(cells.values()) == notes["n_cells"].sum()


def test_colours_agree_between_samples() -> None:
    """A lineage has the same colour in the compositions of different samples of one hierarchy."""
    seen: dict[str, set[object]] = {}
    for n in TABLES:
        notes = TABLES[n]["cluster_annotations"]
        ax = plots.root_composition(notes, lineages=KEY)
        for name, wedge in zip(root_cells(notes), ax.patches, strict=True):
            seen.setdefault(name, set()).add(wedge.get_facecolor())
    assert all(len(colours) == 1 for colours in seen.values())


def test_heatmap_values_are_shares_of_listed_markers(tables: dict[str, pd.DataFrame]) -> None:
    """Each field is markers on over markers listed; types without a measured marker are missing values."""
    scores = tables["marker_scores"]
    matrix = coverage_matrix(scores, tables["cluster_annotations"])
    for row, cluster in enumerate(matrix.clusters):
        for column, path in enumerate(matrix.paths):
            one = scores[(scores["cluster_id"] == cluster) & (scores["path"] == " / ".join(path))].iloc[0]
            expected = one["n_markers_on"] / one["markers_expected"] if one["markers_found"] else np.nan
            np.testing.assert_equal(matrix.values[row, column], expected)
    assigned = [matrix.paths[a][-1] for a in matrix.assigned if a >= 0]
    assert assigned == [
        label for label, a in zip(matrix.cluster_labels, matrix.assigned, strict=True) if a >= 0
    ]


def test_heatmap_does_not_depend_on_row_order() -> None:
    """Shuffled tables give the same picture."""
    tables = TABLES[24]
    one = coverage_matrix(tables["marker_scores"], tables["cluster_annotations"])
    two = coverage_matrix(
        tables["marker_scores"].sample(frac=1, random_state=1),
        tables["cluster_annotations"].sample(frac=1, random_state=2),
    )
    assert one.clusters == two.clusters
    assert one.paths == two.paths
    np.testing.assert_equal(one.values, two.values)


def test_figures_draw_on_given_axes_and_return_them() -> None:
    """Every function takes axes and hands the same axes back."""
    from matplotlib.figure import Figure

    tables = TABLES[24]
    for name in plots.FIGURES:
        ax = Figure().add_subplot()
        arguments = [tables["marker_scores"]] if name == "marker_coverage_heatmap" else []
        assert getattr(plots, name)(*arguments, tables["cluster_annotations"], ax=ax) is ax
        assert ax.get_title(loc="left")


def test_all_six_files_are_written(tmp_path: Path) -> None:
    """The folder is made, files are named after the figures, and nothing temporary stays."""
    written = plots.draw_run_figures(TABLES[24], tmp_path / "figures", dpi=40)
    assert [p.name for p in written] == [f"{n}.png" for n in plots.FIGURES]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == sorted(p.name for p in written)
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in written)


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    """Files hold no time stamp."""
    one = plots.draw_run_figures(TABLES[3], tmp_path / "a", dpi=40)
    two = plots.draw_run_figures(TABLES[3], tmp_path / "b", dpi=40)
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_a_failing_figure_is_a_warning_and_the_others_are_written(tmp_path: Path) -> None:
    """A missing table costs its own figure only."""
    tables = {k: v for k, v in TABLES[3].items() if k != "marker_scores"}
    with pytest.warns(CellkeyWarning, match=r"marker_coverage_heatmap\.png was not written.*marker_scores"):
        written = plots.draw_run_figures(tables, tmp_path, dpi=40)
    assert len(written) == 5


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    """A file in the way does not end the run."""
    (tmp_path / "figures").write_text("in the way")
    with pytest.warns(CellkeyWarning, match="was not written"):
        assert plots.draw_run_figures(TABLES[3], tmp_path / "figures", dpi=40) == []


def test_a_missing_column_is_named() -> None:
    """The message says which column of which table is needed."""
    with pytest.raises(InputError, match="n_cells"):
        plots.cluster_size_distribution(pd.DataFrame({"n_cell": [1]}))


@pytest.mark.parametrize("label", ["$x_1$ cells", "细胞 Ω", "a" * 200, "<b>&\n", "A~B"])
def test_any_label_can_be_drawn(label: str, tmp_path: Path) -> None:
    """Labels are text: no formulas, no missing-glyph warnings, no overlong lines."""
    tables = dict(TABLES[3])
    tables["cluster_annotations"] = tables["cluster_annotations"].assign(
        root_label=label, assigned_label=label
    )
    assert len(plots.draw_run_figures(tables, tmp_path, dpi=40)) == 6


def test_an_empty_run_still_has_figures(tmp_path: Path) -> None:
    """Tables without rows give empty figures rather than errors."""
    tables = {name: frame.iloc[:0] for name, frame in TABLES[3].items()}
    assert len(plots.draw_run_figures(tables, tmp_path, dpi=40)) == 6


def test_pyplot_is_never_imported() -> None:
    """Figures for files touch no global state and need no display."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r});"
        "from simulated_run import simulate; from cellkey import plots;"
        "t = simulate(3); plots.root_composition(t['cluster_annotations']);"
        "plots.marker_dots(t['marker_evidence'], t['cluster_annotations']);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_plots_loads_no_matplotlib() -> None:
    """The drawing library is loaded when something is drawn."""
    code = "import sys, cellkey.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_identifiers_sort_by_number() -> None:
    """Parts of clusters stand behind their cluster, ten behind nine."""
    ids = ["10", "2:1", "2", "b", "2:0", "1"]
    assert sorted(ids, key=natural_key) == ["1", "2", "2:0", "2:1", "10", "b"]
    assert sorted(["donor 10", "donor", "donor 2"], key=natural_key) == ["donor", "donor 2", "donor 10"]


def test_the_bar_of_colours_can_be_read_beside_one_row() -> None:
    """It is as tall beside one cluster as beside many."""
    heights = []
    for n in (1, 30):
        tables = simulate(n)
        ax = plots.score_heatmap(tables["marker_scores"], tables["cluster_annotations"])
        ax.figure.draw_without_rendering()
        (bar,) = ax.child_axes
        heights.append(bar.get_window_extent().height / ax.figure.dpi)
    assert heights[0] == pytest.approx(heights[1])
    assert heights[0] > 1


def test_small_words() -> None:
    """Shares keep small values visible; long labels keep both ends."""
    assert [share(a, 1000) for a in (0, 0.5, 12, 340)] == ["0 %", "<0.1 %", "1.2 %", "34 %"]
    assert shorten("x" * 50, 20).count("…") == 1
    assert len(shorten("x" * 50, 20)) == 20
