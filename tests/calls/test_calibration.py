"""Calibration maps are monotone, recover what made the data, and survive their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellkey.calls.calibration import (
    Calibration,
    CalibrationMap,
    bundled_calibration,
    expected_calibration_error,
    fit_map,
    read_calibration,
)
from cellkey.errors import InputError


def test_a_map_is_the_logistic_of_its_weighted_sum() -> None:
    measured = {"a": np.array([0.5, 1.0]), "b": np.array([0.0, np.nan])}
    found = CalibrationMap(("a", "b"), (2.0, 1.0), -1.0).probability(measured)
    np.testing.assert_allclose(found[0], 0.5)
    assert np.isnan(found[1])


def test_fitting_recovers_the_odds_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(20_000), rng.random(20_000)
    right = (rng.random(20_000) < 1 / (1 + np.exp(-(-1 + 3 * a)))).astype(float)
    found = fit_map(("a", "b"), {"a": a, "b": b}, right)
    np.testing.assert_allclose([found.intercept, *found.weights], [-1, 3, 0], atol=0.15)
    assert expected_calibration_error(found.probability({"a": a, "b": b}), right) < 0.02


def test_more_of_anything_never_makes_a_call_less_likely() -> None:
    a = np.linspace(0, 1, 200)
    found = fit_map(("a",), {"a": a}, 1.0 - a)  # the data say the opposite
    assert found.weights == (0.0,)
    assert all(w >= 0 for m in bundled_calibration().maps.values() for w in m.weights)


def test_weights_count_as_repetitions() -> None:
    a, right = np.array([0.1, 0.9, 0.5]), np.array([0.0, 1.0, 1.0])
    weighted = fit_map(("a",), {"a": a}, right, np.array([2.0, 1.0, 3.0]))
    rows = [0, 0, 1, 2, 2, 2]
    repeated = fit_map(("a",), {"a": a[rows]}, right[rows])
    expected = [repeated.intercept, *repeated.weights]
    np.testing.assert_allclose([weighted.intercept, *weighted.weights], expected, atol=1e-4)


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    p, right = np.array([0.05, 0.05, 0.95, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(expected_calibration_error(p, right), (0.9 + 0.05) / 4)
    np.testing.assert_allclose(expected_calibration_error(p, right, np.array([1.0, 0, 0, 0])), 0.05)


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    made = Calibration({"markers": CalibrationMap(("held",), (1.25,), -0.5)}, {"data_sets": ["mine"]})
    (tmp_path / "c.json").write_text(made.to_text(), encoding="utf-8")
    assert read_calibration(tmp_path / "c.json") == made
    assert set(bundled_calibration().maps) == {"markers", "enrichment", "consensus"}
    assert len(bundled_calibration().provenance["data_sets"]) == 11


@pytest.mark.parametrize(("text", "match"), [
    ("{}", "is not a calibration"),
    ('{"cellkey_calibration": 9, "maps": {}}', "of format 9"),
    ('{"cellkey_calibration": 1, "maps": {"m": {"inputs": ["a"], "weights": [-1], "intercept": 0}}}', "below zero"),
])
def test_what_is_no_calibration_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=match):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(InputError, match="cannot read"):
        read_calibration(tmp_path / "none.json")
