"""profile_scanpy.py CELLS: read, normalise, log1p, then sum, mean and detection of groups; no ranks, no medians."""

from __future__ import annotations

import sys

import scanpy as sc
from _clock import Clock

with Clock() as clock:
    adata = sc.read_h5ad(sys.argv[1])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    found = sc.get.aggregate(adata, "true_type", ["sum", "mean", "count_nonzero"])
clock.report(checksum=float(found.layers["mean"].sum()))
