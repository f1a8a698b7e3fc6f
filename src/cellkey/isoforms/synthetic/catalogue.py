"""Named fixtures, the suites they belong to, and the harder grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import InputError, did_you_mean
from cellkey.isoforms.synthetic.designs import MultiplexDesign, NonlinearDesign, RealisticDesign, SimpleDesign
from cellkey.isoforms.synthetic.generators import Design, generate

if TYPE_CHECKING:
    from cellkey.isoforms.bundle import Bundle

__all__ = ["FIXTURES", "SUITES", "SUITE_SEED", "Fixture", "fingerprint", "fixture_names", "pure_noise", "simulate"]

SUITE_SEED = 7
"""Seed of a suite when none is given; every fixture adds its own offset."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """A named synthetic data set: its design and what is added to the seed of the suite."""

    name: str
    suite: str
    design: Design
    seed_offset: int


_LARGE_SIZES = (40, 32, 25, 20, 18, 16, 15, 13, 12, 9)
_LARGE = RealisticDesign(800, 120, _LARGE_SIZES, 7, 0.4, (0.4, 0.9), (0.15, 0.45), 20, 100)
_REALISTIC = RealisticDesign(200, 160, (20,) * 5, 5, 0.3, (0.5, 1.5), (0.2, 0.6), 20, 100)
_XLARGE_SIZES = (160, 130, 110, 95, 80, 70, 60, 55, 50, 45, 40, 35)
_XXLARGE_SIZES = (515, 412, 322, 258, 232, 206, 193, 167, 155, 116, 103, 90, 77, 64, 52, 38)
_STRESS_SIZES = (140, 96, 79, 70, 64, 58, 54, 51, 48, 46, 44, 42, 40, 39, 38, 36, 35, 34, 33, 32, 31, 30, 30, 30)

_CORE = (
    Fixture("toy_v1", "core_v1", SimpleDesign(24, 48, 2), 0),
    Fixture("medium_v1", "core_v1", SimpleDesign(400, 240, 8), 1),
    Fixture("realistic_v1", "core_v1", _REALISTIC, 2),
    Fixture("realistic_unequal_v1", "core_v1", replace(_REALISTIC, module_sizes=(38, 25, 17, 12, 8)), 3),
    Fixture(
        "noisy_v1",
        "core_v1",
        RealisticDesign(300, 100, (22, 18, 14, 11, 9, 8, 7, 6), 15, 0.6, (0.2, 0.6), (0.1, 0.25), 10, 80),
        4,
    ),
    Fixture("large_v1", "core_v1", _LARGE, 5),
    Fixture("nonlinear_v1", "core_v1", NonlinearDesign(200, 200, (30, 25, 25, 20)), 6),
)
_SCALE = (
    Fixture("xlarge_v1", "scale_v1", replace(_LARGE, n_genes=6000, n_samples=240, module_sizes=_XLARGE_SIZES), 8),
    Fixture("xxlarge_v1", "scale_v1", replace(_LARGE, n_genes=12000, n_samples=240, module_sizes=_XXLARGE_SIZES), 9),
    Fixture(
        "xxlarge_stress_v1",
        "scale_v1",
        RealisticDesign(12000, 240, _STRESS_SIZES, 15, 0.55, (0.3, 0.7), (0.1, 0.3), 15, 15),
        10,
    ),
)
_MULTIPLEX = (
    Fixture(
        "toy_multiplex_v1", "multiplex_v1", MultiplexDesign(40, 64, 2, (5, 5, 5, 5), 2.8, 0.9, 4, 0.10, 35, 120), 0
    ),
    Fixture(
        "medium_multiplex_v1",
        "multiplex_v1",
        MultiplexDesign(320, 180, 6, (8, 8, 8, 8), 2.4, 0.75, 6, 0.25, 35, 120),
        1,
    ),
    Fixture(
        "noisy_multiplex_v1",
        "multiplex_v1",
        MultiplexDesign(360, 110, 6, (7, 7, 7, 7), 1.8, 0.55, 14, 0.55, 18, 80, (0.20, 0.60), (0.08, 0.25)),
        2,
    ),
    Fixture(
        "large_multiplex_v1",
        "multiplex_v1",
        MultiplexDesign(900, 140, 10, (12, 10, 12, 10), 2.2, 0.65, 7, 0.35, 35, 120),
        3,
    ),
)
_ON_REQUEST = (
    Fixture(
        "xxlarge_multiplex_v1",
        "multiplex_v1",
        MultiplexDesign(
            12000, 240, 16, (20, 20, 20, 15), 2.2, 0.65, 7, 0.40, 35, 120, single_abundance=0.70, single_background=0.98
        ),
        9,
    ),
)


def _hard(n_samples: int, concentration: float, confounder: float) -> Fixture:
    name = f"hard_n{n_samples}_c{concentration:g}_f{confounder:g}"
    design = replace(_LARGE, n_samples=n_samples, switch_concentration=concentration, confounder_weight=confounder)
    return Fixture(name, "hard_v1", design, 5)


_HARD = tuple(
    _hard(*cell)
    for cell in (
        (120, 20, 0.4),
        (120, 5, 0.4),
        (120, 2, 0.4),
        (120, 1, 0.4),
        (60, 20, 0.4),
        (60, 5, 0.4),
        (60, 2, 0.4),
        (40, 5, 0.4),
        (120, 20, 1.0),
        (120, 20, 1.5),
    )
)

FIXTURES = MappingProxyType({f.name: f for f in (*_CORE, *_SCALE, *_MULTIPLEX, *_ON_REQUEST, *_HARD)})
"""All named fixtures."""

SUITES = MappingProxyType(
    {
        "core_v1": tuple(f.name for f in _CORE),
        "scale_v1": tuple(f.name for f in _SCALE),
        "multiplex_v1": tuple(f.name for f in _MULTIPLEX),
        "hard_v1": tuple(f.name for f in _HARD),
    }
)
"""Fixtures that a suite runs when none is named; the large multiplex fixture runs on request."""


def fixture_names(suite: str) -> tuple[str, ...]:
    """Return the fixtures of a suite.

    Raises
    ------
    InputError
        If there is no such suite.
    """
    if suite not in SUITES:
        msg = f"unknown suite {suite!r}{did_you_mean(suite, SUITES)}; suites are {', '.join(SUITES)}"
        raise InputError(msg)
    return SUITES[suite]


def simulate(name: str, *, seed: int = SUITE_SEED) -> Bundle:
    """Return a named synthetic data set with its truth tables.

    Parameters
    ----------
    name
        Name of a fixture (:data:`FIXTURES`).
    seed
        Seed of the suite; one seed gives the same counts on every machine up to the last bit of ``exp``.

    Raises
    ------
    InputError
        If there is no such fixture.
    """
    if name not in FIXTURES:
        msg = f"unknown fixture {name!r}{did_you_mean(name, FIXTURES)}; fixtures are {', '.join(FIXTURES)}"
        raise InputError(msg)
    fixture = FIXTURES[name]
    return generate(fixture.design, name=name, suite=fixture.suite, seed=seed + fixture.seed_offset)


def pure_noise(*, n_genes: int = 400, n_samples: int = 160, seed: int = SUITE_SEED) -> Bundle:
    """Return a data set of the realistic kind without any module: every gene is background."""
    design = replace(_LARGE, n_genes=n_genes, n_samples=n_samples, module_sizes=())
    return generate(design, name="pure_noise", suite="hard_v1", seed=seed)


def fingerprint(bundle: Bundle) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of the transcript counts (float64, row-major)."""
    raw = np.ascontiguousarray(bundle.transcript_counts, dtype="<f8").tobytes()
    return hashlib.sha256(raw).hexdigest()[:12]
