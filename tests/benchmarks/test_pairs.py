"""The benchmark harness: pairs, failures as rows, exponents, and a page from whatever results are there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in a checkout")


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_pairs")


def test_contestants_alternate_and_one_that_fails_is_a_reason(
    pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing program is left out with what it said; the others are measured, and its ratios are None."""
    monkeypatch.setattr(pairs, "PROGRAMS", tmp_path)
    log = tmp_path / "log"
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(
            f"import json\nopen({str(log)!r}, 'a').write({name!r})\nprint(json.dumps(dict(work_wall=2.0)))\n"
        )
    (tmp_path / "bad.py").write_text("raise SystemExit('no such peer')\n")
    contestants = [pairs.Contestant(n, f"{n}.py") for n in ("a", "b", "bad")]
    found = pairs.paired(contestants, 3)
    assert log.read_text()[2:] == "ab" + "ba" + "ab"
    assert [len(r) for r in found["runs"].values()] == [3, 3]
    assert "no such peer" in found["failed"]["bad"]
    assert pairs.ratios(found, "a", "b", "work_wall")["median"] == 1.0
    assert pairs.ratios(found, "bad", "b") is None
    assert all(r["cpu"] > 0 and r["peak_mb"] > 5 for r in found["runs"]["a"])


def test_a_program_that_hangs_is_ended(pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "PROGRAMS", tmp_path)
    (tmp_path / "hang.py").write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(pairs.MeasurementError, match="not done after"):
        pairs.measure(pairs.Contestant("hang", "hang.py", timeout=0.3))


def test_exponents_and_goals(pairs: Any) -> None:
    sizes = [10.0, 100.0, 1000.0]
    assert pairs.slope(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    measured = pairs.spread([4.0, 6.0, 5.0])
    assert measured == {"median": 5.0, "min": 4.0, "max": 6.0, "n": 3}
    assert pairs.goal("x", measured, 5)["reached"] is True
    assert pairs.goal("x", measured, 4, at_least=False, reason="why")["reason"] == "why"
    assert pairs.goal("x", None, 5)["reached"] is None
    assert pairs.goal("x", measured, None)["reached"] is None


def test_the_page_holds_goals_failures_and_steps(pairs: Any, tmp_path: Path) -> None:
    page = importlib.import_module("_page")
    run = {"wall": 2.0, "cpu": 1.5, "peak_mb": 100.0, "work_cpu": 1.0, "steps": {"clustering": 3.0, "profiles": 1.0}}
    row = {
        "key": "P1", "title": "a row", "when": "2026-01-01T00:00:00", "machine": pairs.machine(),
        "versions": pairs.versions(), "full": False, "pairs": 1, "sizes": {"cells": 4000}, "runs": {"ours": [run]},
        "failed": {"peer": "not | installed"}, "notes": ["a note"],
        "curves": {"cells": {"sizes": [1, 10], "seconds": [1.0, 9.0], "exponent": 0.95}},
        "goals": [pairs.goal("at least 5 times", pairs.spread([4.0]), 5, reason="small"),
                  pairs.goal("never measured", None, 5)],
    }
    page.write_page({"P1": row}, tmp_path / "speed.md", tmp_path / "_static")
    text = (tmp_path / "speed.md").read_text()
    for part in ("**4x**", "(quick size)", "not measured", "peer failed: not / installed", "| clustering | 3 | 75 % |",
                 "- a note", "quick size"):
        assert part in text
    assert {p.name for p in (tmp_path / "_static").iterdir()} == {
        "speed_goals.png", "speed_scaling.png", "speed_memory.png"}


def test_every_row_has_a_program_that_is_there(pairs: Any) -> None:
    """What rows name exists, and every program is named by a row."""
    text = "".join((FOLDER / f"{name}.py").read_text() for name in ("rows_cells", "rows_gpu", "rows_other", "_data"))
    programs = {p.name for p in (FOLDER / "programs").iterdir() if p.suffix in (".py", ".R")} - {"_clock.py"}
    assert {p for p in programs if p not in text} == set()


def test_a_row_that_needs_a_gpu_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without one nothing is written, so that what a machine with a GPU measured stays."""
    from cellkey.device import why_no_gpu

    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setitem(sys.modules, "cupy", None)
    why_no_gpu.cache_clear()
    run, data = importlib.import_module("run"), importlib.import_module("_data")
    row = next(row for row in run.ROWS if row.key == "gpu")
    assert row.measure(data.Setting(False, 1, tmp_path)) == {"skipped": "cupy is not installed"}
    run._run(row, data.Setting(False, 1, tmp_path), tmp_path)
    why_no_gpu.cache_clear()
    assert not list(tmp_path.iterdir())
