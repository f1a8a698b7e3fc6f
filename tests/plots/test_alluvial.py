"""The alluvial figure: what flows where, in which order, and that it can be drawn for odd labels."""

from __future__ import annotations

from pathlib import Path

from cellkey.plots.alluvial import Flow, alluvial, draw_alluvial, label_flows


def test_flows_count_cells_and_follow_the_paths() -> None:
    before = ["B", "A / x", "A / x", "Unassigned", "A~B", "A / x"]
    after = ["B", "A / y", "A / x", "B", "B", "A / y"]
    assert label_flows(before, after) == [
        Flow("A / x", "A / x", 1), Flow("A / x", "A / y", 2), Flow("B", "B", 1), Flow("A~B", "B", 1),
        Flow("Unassigned", "B", 1),
    ]


def test_the_figure_names_labels_and_says_how_much_changed() -> None:
    ax = alluvial(label_flows(["A / x"] * 9 + ["B"], ["A / y"] * 3 + ["A / x"] * 6 + ["B"]))
    texts = [t.get_text() for t in ax.texts]
    assert {"x", "y", "B", "30 % of 10 cells have another label than before"} <= set(texts)
    assert len(ax.patches) == 3 + 2 + 3


def test_any_label_can_be_drawn(tmp_path: Path) -> None:
    labels = ["$x_1$", "", "a" * 200, "A~B", "Ünïcode / <b>", "Unassigned"]
    draw_alluvial(labels, labels[::-1], tmp_path / "f.png", dpi=40)
    assert (tmp_path / "f.png").stat().st_size > 1000
    draw_alluvial([], [], tmp_path / "empty.png", dpi=40)
