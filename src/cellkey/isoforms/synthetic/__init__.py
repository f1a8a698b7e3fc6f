"""Synthetic isoform data sets with known modules, the same to the bit for one seed.

``catalogue`` names the fixtures, ``designs`` holds their parameters, ``generators`` makes them; ``cells`` makes single
cells whose types have modules of their own.
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
from cellkey.isoforms.synthetic.cells import simulate_cells

__all__ = ["FIXTURES", "SUITES", "Fixture", "fingerprint", "fixture_names", "pure_noise", "simulate", "simulate_cells"]
