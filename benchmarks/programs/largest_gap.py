"""largest_gap.py OURS.npy THEIRS.npy: largest difference, relative to our absolute value and at least to 1."""

from __future__ import annotations

import json
import sys

import numpy as np

ours, theirs = map(np.load, sys.argv[1:3])
gap = np.abs(ours - theirs) / np.maximum(np.abs(ours), 1.0)
print(json.dumps({"gap": float(gap.max())}))
