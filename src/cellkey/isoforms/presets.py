"""Settings and thresholds per fixture: those of published numbers for backends that need them, none for the others."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIXTURE_SETTINGS", "RECOVERY_THRESHOLDS", "fixture_settings", "recovery_threshold"]

_LATENT_ALPHAS = {
    "toy_v1": 0.05, "medium_v1": 0.01, "realistic_v1": 0.02, "realistic_unequal_v1": 0.02, "noisy_v1": 0.05,
    "large_v1": 0.03, "nonlinear_v1": 0.05,
}  # fmt: skip
_BASELINE_ALPHAS = dict.fromkeys(_LATENT_ALPHAS, 0.05) | {"medium_v1": 0.02, "large_v1": 0.03}
_GAMMAS = {"toy_v1": 0.5, "medium_v1": 0.5}

_MULTIPLEX = ("toy_multiplex_v1", "medium_multiplex_v1", "noisy_multiplex_v1", "large_multiplex_v1")
_SCALE = ("xlarge_v1", "xxlarge_v1", "xxlarge_stress_v1", "xxlarge_multiplex_v1")
_MULTIPLEX_EDGES = {
    "alpha": 0.02,
    "alpha_switch": 0.02,
    "alpha_abundance_grid": [0.05, 0.10, 0.15, 0.20, 0.25, 0.30],
}

_VAE = {
    "toy_v1": {"latent_dim": 4, "hidden_dim": 64},
    "medium_v1": {"latent_dim": 12},
    "realistic_v1": {"hidden_dim": 64},
    "realistic_unequal_v1": {"hidden_dim": 64},
    "noisy_v1": {"alpha": 0.65},
    "large_v1": {"latent_dim": 10},
    "nonlinear_v1": {"latent_dim": 4, "alpha": 0.80, "n_epochs": 800},
}
_VAE_MULTIPLEX = {
    "toy_multiplex_v1": {"latent_dim": 4, "hidden_dim": 64},
    "medium_multiplex_v1": {"latent_dim": 12},
    "noisy_multiplex_v1": {},
    "large_multiplex_v1": {"latent_dim": 10},
}
_VAE_MULTIPLEX_EDGES = {
    "alpha": 0.70,
    "alpha_switch": 0.70,
    "alpha_abundance_grid": [0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90],
}

FIXTURE_SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "baseline": {
            name: {"channels": "switch", "baseline": {"alpha": alpha, "min_module_size": 2}}
            for name, alpha in _BASELINE_ALPHAS.items()
        },
        "latent": {name: {"channels": "switch", "latent": {"alpha": alpha}} for name, alpha in _LATENT_ALPHAS.items()}
        | {name: {"latent": _MULTIPLEX_EDGES} for name in _MULTIPLEX},
        "graph": {
            name: {"channels": "switch", "graph": {"alpha": alpha, "gamma": _GAMMAS.get(name, 0.3)}}
            for name, alpha in _LATENT_ALPHAS.items()
        }
        | {name: {"graph": _MULTIPLEX_EDGES | {"gamma": 0.3}} for name in _MULTIPLEX},
        "vae": {name: {"channels": "switch", "vae": own} for name, own in _VAE.items()}
        | {name: {"vae": {**_VAE_MULTIPLEX_EDGES, **own}} for name, own in _VAE_MULTIPLEX.items()},
        "wgcna": {name: {"wgcna": {"min_module_size": 5}} for name in (*_LATENT_ALPHAS, *_MULTIPLEX, *_SCALE)},
    }
)
"""Nested fit settings by backend and fixture. ``spectral`` and ``correlation`` run every fixture with one setting."""

RECOVERY_THRESHOLDS: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "spectral": dict.fromkeys((*_LATENT_ALPHAS, *_SCALE, *_MULTIPLEX), 0.95),
    "baseline": {"toy_v1": 0.95, "medium_v1": 0.825},
    "latent": {"toy_v1": 0.95, "realistic_v1": 0.95},
    "graph": {"toy_v1": 0.95, "realistic_v1": 0.95},
    "vae": {"toy_v1": 0.95, "realistic_v1": 0.95},
    "wgcna": {"toy_v1": 0.95, "medium_v1": 0.95},
})  # fmt: skip
"""Least recovery over suite seeds; below it a benchmark fails."""


def fixture_settings(backend: str, fixture: str) -> Mapping[str, Any]:
    """Return the nested settings of a backend on a fixture; empty where it needs none."""
    return FIXTURE_SETTINGS.get(backend, {}).get(fixture, {})


def recovery_threshold(backend: str, fixture: str) -> float | None:
    """Return the recovery that a fixture must reach, or None where none is set."""
    return RECOVERY_THRESHOLDS.get(backend, {}).get(fixture)
