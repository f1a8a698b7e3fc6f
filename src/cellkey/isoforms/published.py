"""Published results of other implementations on the fixtures: recovery, modules found, seconds.

Switch features and settings tuned per fixture on the first seven fixtures and the scale suite, two channels on the
multiplex suite, one suite seed. ``factor_gpu`` is a factor analysis by gradient descent that was withdrawn later.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PUBLISHED", "PublishedResult", "published_results"]


class PublishedResult(NamedTuple):
    """One published run."""

    recovery: float
    n_modules: int
    seconds: float


def _rows(**values: tuple[float, int, float]) -> Mapping[str, PublishedResult]:
    return MappingProxyType({name: PublishedResult(*v) for name, v in values.items()})


PUBLISHED: Mapping[str, Mapping[str, PublishedResult]] = MappingProxyType(
    {
        "baseline": _rows(toy_v1=(1.0, 2, 0.04), medium_v1=(0.875, 7, 2.1)),
        "latent": _rows(
            toy_v1=(1.0, 2, 57.6),
            medium_v1=(1.0, 8, 29.6),
            realistic_v1=(1.0, 5, 6.8),
            realistic_unequal_v1=(1.0, 5, 6.3),
            toy_multiplex_v1=(0.444, 1, 4),
            medium_multiplex_v1=(0.771, 6, 80),
            noisy_multiplex_v1=(0.815, 6, 90),
            large_multiplex_v1=(0.773, 10, 413),
        ),
        "graph": _rows(
            toy_v1=(1.0, 2, 56.4),
            medium_v1=(1.0, 8, 31.1),
            realistic_v1=(1.0, 5, 7.7),
            realistic_unequal_v1=(0.974, 5, 6.8),
            noisy_v1=(0.824, 7, 9.5),
            large_v1=(0.855, 9, 48.2),
            nonlinear_v1=(0.543, 4, 6.0),
            toy_multiplex_v1=(0.444, 1, 4),
            medium_multiplex_v1=(0.802, 6, 82),
            noisy_multiplex_v1=(0.815, 6, 90),
            large_multiplex_v1=(0.675, 10, 430),
        ),
        "vae": _rows(
            toy_v1=(1.0, 2, 7.2),
            medium_v1=(1.0, 8, 5.0),
            realistic_v1=(1.0, 5, 2.0),
            realistic_unequal_v1=(0.985, 6, 2.0),
            noisy_v1=(0.862, 7, 2.2),
            large_v1=(0.795, 8, 7.1),
            nonlinear_v1=(0.958, 6, 2.3),
            toy_multiplex_v1=(0.5, 1, 24),
            medium_multiplex_v1=(1.0, 6, 121),
            noisy_multiplex_v1=(0.989, 6, 127),
            large_multiplex_v1=(0.998, 10, 588),
            xlarge_v1=(1.0, 12, 228),
            xxlarge_v1=(1.0, 16, 739),
            xxlarge_stress_v1=(1.0, 24, 935),
            xxlarge_multiplex_v1=(0.927, 16, 7555),
        ),
        "wgcna": _rows(
            toy_v1=(0.371, 2, 2.4),
            medium_v1=(0.638, 16, 6.2),
            realistic_v1=(0.099, 1, 8.3),
            realistic_unequal_v1=(0.865, 7, 3.0),
            noisy_v1=(0.783, 13, 2.8),
            large_v1=(0.874, 17, 4.5),
            nonlinear_v1=(0.877, 7, 3.0),
            toy_multiplex_v1=(0.810, 4, 3),
            medium_multiplex_v1=(0.786, 10, 21),
            noisy_multiplex_v1=(0.905, 12, 5),
            large_multiplex_v1=(0.543, 20, 12),
            xlarge_v1=(0.829, 24, 39),
            xxlarge_v1=(0.823, 32, 155),
            xxlarge_stress_v1=(0.822, 32, 159),
            xxlarge_multiplex_v1=(0.919, 1898, 877),
        ),
        "factor_gpu": _rows(
            toy_v1=(1.0, 2, 27.0),
            medium_v1=(1.0, 8, 40.3),
            realistic_v1=(1.0, 5, 17.9),
            realistic_unequal_v1=(1.0, 5, 13.3),
            noisy_v1=(0.445, 4, 21.0),
            large_v1=(0.463, 5, 39.3),
            nonlinear_v1=(0.588, 4, 21.4),
            xlarge_v1=(0.037, 1, 60),
            xxlarge_v1=(0.418, 8, 53),
            xxlarge_stress_v1=(0.019, 1, 53),
        ),
    }
)


def published_results(fixture: str) -> dict[str, PublishedResult]:
    """Return the published results on a fixture, by backend."""
    return {backend: rows[fixture] for backend, rows in PUBLISHED.items() if fixture in rows}
