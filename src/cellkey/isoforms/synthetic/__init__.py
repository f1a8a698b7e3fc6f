"""Synthetic isoform data sets with known modules, the same to the bit for one seed.

``catalogue`` names the fixtures, ``designs`` holds their parameters, ``generators`` makes them.
"""

from __future__ import annotations

from cellkey.isoforms.synthetic.catalogue import (
    FIXTURES,
    SUITES,
    Fixture,
    fingerprint,
    fixture_names,
    pure_noise,
    simulate,
)

__all__ = ["FIXTURES", "SUITES", "Fixture", "fingerprint", "fixture_names", "pure_noise", "simulate"]
