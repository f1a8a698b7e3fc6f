"""enrichment_speed.py CLUSTERS GENES LOOPED: scoring and routing as arrays, and as loops over some clusters."""

from __future__ import annotations

import sys
from pathlib import Path

from _clock import Clock

sys.path.insert(0, str(Path(__file__).parents[1]))
from enrichment import speed

with Clock() as clock:
    row = speed(*map(int, sys.argv[1:4])).iloc[0].to_dict()
clock.report(**{name: float(value) for name, value in row.items()})
