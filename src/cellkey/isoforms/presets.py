"""Settings and thresholds per fixture: those of published numbers for backends that need them, none for the others."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIXTURE_SETTINGS", "RECOVERY_THRESHOLDS", "fixture_settings", "recovery_threshold"]

_BASELINE_ALPHAS = {
    "toy_v1": 0.05,
    "medium_v1": 0.02,
    "noisy_v1": 0.05,
    "nonlinear_v1": 0.05,
    "large_v1": 0.03,
    "realistic_v1": 0.05,
    "realistic_unequal_v1": 0.05,
}

FIXTURE_SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "baseline": {
            name: {"channels": "switch", "baseline": {"alpha": alpha, "min_module_size": 2}}
            for name, alpha in _BASELINE_ALPHAS.items()
        },
    }
)
"""Nested fit settings by backend and fixture. ``spectral`` and ``correlation`` run every fixture with one setting."""

RECOVERY_THRESHOLDS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "spectral": dict.fromkeys(
            (
                "toy_v1",
                "medium_v1",
                "realistic_v1",
                "realistic_unequal_v1",
                "noisy_v1",
                "large_v1",
                "nonlinear_v1",
                "xlarge_v1",
                "xxlarge_v1",
                "xxlarge_stress_v1",
                "toy_multiplex_v1",
                "medium_multiplex_v1",
                "noisy_multiplex_v1",
                "large_multiplex_v1",
                "xxlarge_multiplex_v1",
            ),
            0.95,
        ),
        "baseline": {"toy_v1": 0.95, "medium_v1": 0.825},
    }
)
"""Least recovery over suite seeds; below it a benchmark fails."""


def fixture_settings(backend: str, fixture: str) -> Mapping[str, Any]:
    """Return the nested settings of a backend on a fixture; empty where it needs none."""
    return FIXTURE_SETTINGS.get(backend, {}).get(fixture, {})


def recovery_threshold(backend: str, fixture: str) -> float | None:
    """Return the recovery that a fixture must reach, or None where none is set."""
    return RECOVERY_THRESHOLDS.get(backend, {}).get(fixture)
