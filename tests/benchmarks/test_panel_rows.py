"""Panels for calibration are drawn as panels are designed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in a checkout")


def test_a_panel_has_three_markers_for_each_type_broad_types_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from cellkey.hierarchy import read_hierarchy

    tree = read_hierarchy({
        "A": {"markers": ["A1", "A2", "A3", "A4", "A5"], "children": {"C": {"markers": ["C1", "C2", "X"]}}},
        "B": {"markers": ["B1", "A2", "B2"]},
    })
    panel_of = importlib.import_module("_panels").panel_of
    measured = ["A1", "A2", "A3", "A4", "A5", "B1", "B2", "C1", "C2", "OTHER"]
    assert panel_of(tree, measured, 100) == ["A1", "A2", "A3", "B1", "B2", "C1", "C2", "A4", "A5"]
    assert panel_of(tree, measured, 4) == ["A1", "A2", "A3", "B1"]
