r"""From how firmly a call was made to the probability that it is right.

One map per family of methods turns a few measurements :math:`x` of a call into

.. math::
    p = \frac{1}{1 + e^{-(a + b \cdot x)}}, \qquad b \ge 0

(Platt 1999 with several inputs). The coefficients cannot be negative, so that more stability, more markers or more
lead never make a call less likely. The maps are fitted on labelled data by ``benchmarks/calibration.py`` and shipped
as a file with what they were fitted on; they are never fitted to the data that are being annotated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Calibration", "CalibrationMap", "bundled_calibration", "expected_calibration_error", "fit_map",
           "read_calibration"]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """Logistic map of a family of methods.

    Attributes
    ----------
    inputs
        Names of the measurements.
    weights
        One per input, none negative.
    intercept
        Log odds when all inputs are zero.
    """

    inputs: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float

    def probability(self, measured: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the probabilities (0 to 1) of calls; NaN where a measurement is missing."""
        odds = np.asarray(self.intercept, dtype=np.float64)
        for name, weight in zip(self.inputs, self.weights, strict=True):
            odds = odds + weight * np.asarray(measured[name], dtype=np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-odds)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps by family of methods, and what they were fitted on."""

    maps: Mapping[str, CalibrationMap]
    provenance: Mapping[str, Any]

    def to_text(self) -> str:
        """Return the calibration as JSON text, as :func:`read_calibration` reads it."""
        maps = {
            name: {"inputs": m.inputs, "weights": [round(w, 6) for w in m.weights], "intercept": round(m.intercept, 6)}
            for name, m in self.maps.items()
        }
        content = {"cellkey_calibration": FORMAT_VERSION, "provenance": dict(self.provenance), "maps": maps}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@cache
def bundled_calibration() -> Calibration:
    """Return the calibration that is shipped with the package."""
    text = (resources.files("cellkey.calls") / "data" / "calibration.json").read_text(encoding="utf-8")
    return _parsed(text, "the bundled calibration")


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration file, such as one fitted on labelled data of your own.

    Raises
    ------
    InputError
        If it cannot be read or is not a calibration.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the calibration {path}: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from error
    return _parsed(text, str(path))


def _parsed(text: str, name: str) -> Calibration:
    try:
        content = json.loads(text)
        if content["cellkey_calibration"] != FORMAT_VERSION:
            msg = f"{name} is of format {content['cellkey_calibration']}, this version reads {FORMAT_VERSION}"
            raise InputError(msg)
        maps = {
            family: CalibrationMap(tuple(m["inputs"]), tuple(map(float, m["weights"])), float(m["intercept"]))
            for family, m in content["maps"].items()
        }
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{name} is not a calibration: {error!r}; benchmarks/calibration.py writes one"
        raise InputError(msg) from error
    wrong = [family for family, m in maps.items() if len(m.inputs) != len(m.weights) or min(m.weights, default=0) < 0]
    if wrong:
        msg = f"{name}: the maps of {', '.join(wrong)} need one weight per input, none below zero"
        raise InputError(msg)
    return Calibration(maps, content.get("provenance", {}))


def fit_map(
    inputs: Sequence[str],
    measured: Mapping[str, NDArray[np.float64]],
    right: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    ridge: float = 1.0,
) -> CalibrationMap:
    """Fit a map by penalised maximum likelihood with weights that are not negative.

    Parameters
    ----------
    inputs
        Names of the measurements to use.
    measured
        Measurements of the calls by name, each of shape (calls,).
    right
        Share (0 to 1) of each call's cells for which it is right.
    weights
        Weight of each call; all alike if None.
    ridge
        Penalty of half the squared weights (not of the intercept), in units of one call: with few calls it keeps
        the map from being certain.
    """
    from scipy.optimize import minimize

    x = np.column_stack([np.asarray(measured[name], dtype=np.float64) for name in inputs])
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = beta[0] + x @ beta[1:]
        value = w @ (np.logaddexp(0.0, odds) - right * odds) + 0.5 * ridge * beta[1:] @ beta[1:]
        error = w * (1.0 / (1.0 + np.exp(-odds)) - right)
        return float(value), np.concatenate([[error.sum()], x.T @ error + ridge * beta[1:]])

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B",
                     bounds=[(None, None), *[(0.0, None)] * x.shape[1]])
    return CalibrationMap(tuple(inputs), tuple(map(float, found.x[1:])), float(found.x[0]))


def expected_calibration_error(
    probability: NDArray[np.float64],
    right: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    n_bins: int = 10,
) -> float:
    """Return the mean distance between probability and truth over bins of equal width, weighted by their calls.

    Parameters
    ----------
    probability, right
        Of each call, 0 to 1.
    weights
        Weight of each call; all alike if None.
    n_bins
        Bins between 0 and 1 (Guo et al. 2017 use 15 for tens of thousands of samples; 10 suit hundreds).
    """
    w = np.ones(len(probability)) if weights is None else weights
    place = np.minimum((probability * n_bins).astype(np.intp), n_bins - 1)
    said = np.bincount(place, w * probability, minlength=n_bins)
    true = np.bincount(place, w * right, minlength=n_bins)
    return float(np.abs(said - true).sum() / w.sum())
