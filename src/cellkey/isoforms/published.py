"""Recoveries that other implementations published on the fixtures.

Switch features and settings tuned per fixture on the first seven fixtures and the scale suite, two channels on the
multiplex suite, one suite seed. ``factor_gpu`` is a factor analysis by gradient descent that was withdrawn later.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PUBLISHED", "published_recovery"]

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "baseline": {"toy_v1": 1.0, "medium_v1": 0.875},
    "latent": {
        "toy_v1": 1.0, "medium_v1": 1.0, "realistic_v1": 1.0, "realistic_unequal_v1": 1.0, "toy_multiplex_v1": 0.444,
        "medium_multiplex_v1": 0.771, "noisy_multiplex_v1": 0.815, "large_multiplex_v1": 0.773,
    },
    "graph": {
        "toy_v1": 1.0, "medium_v1": 1.0, "realistic_v1": 1.0, "realistic_unequal_v1": 0.974, "noisy_v1": 0.824,
        "large_v1": 0.855, "nonlinear_v1": 0.543, "toy_multiplex_v1": 0.444, "medium_multiplex_v1": 0.802,
        "noisy_multiplex_v1": 0.815, "large_multiplex_v1": 0.675,
    },
    "vae": {
        "toy_v1": 1.0, "medium_v1": 1.0, "realistic_v1": 1.0, "realistic_unequal_v1": 0.985, "noisy_v1": 0.862,
        "large_v1": 0.795, "nonlinear_v1": 0.958, "toy_multiplex_v1": 0.5, "medium_multiplex_v1": 1.0,
        "noisy_multiplex_v1": 0.989, "large_multiplex_v1": 0.998, "xlarge_v1": 1.0, "xxlarge_v1": 1.0,
        "xxlarge_stress_v1": 1.0, "xxlarge_multiplex_v1": 0.927,
    },
    "wgcna": {
        "toy_v1": 0.371, "medium_v1": 0.638, "realistic_v1": 0.099, "realistic_unequal_v1": 0.865, "noisy_v1": 0.783,
        "large_v1": 0.874, "nonlinear_v1": 0.877, "toy_multiplex_v1": 0.810, "medium_multiplex_v1": 0.786,
        "noisy_multiplex_v1": 0.905, "large_multiplex_v1": 0.543, "xlarge_v1": 0.829, "xxlarge_v1": 0.823,
        "xxlarge_stress_v1": 0.822, "xxlarge_multiplex_v1": 0.919,
    },
    "factor_gpu": {
        "toy_v1": 1.0, "medium_v1": 1.0, "realistic_v1": 1.0, "realistic_unequal_v1": 1.0, "noisy_v1": 0.445,
        "large_v1": 0.463, "nonlinear_v1": 0.588, "xlarge_v1": 0.037, "xxlarge_v1": 0.418, "xxlarge_stress_v1": 0.019,
    },
})  # fmt: skip


def published_recovery(backend: str, fixture: str) -> float | None:
    """Return the recovery that was published of a backend on a fixture, or None."""
    return PUBLISHED.get(backend, {}).get(fixture)
