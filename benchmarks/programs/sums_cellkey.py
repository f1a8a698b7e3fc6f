"""sums_cellkey.py CELLS: sums, means and detection of groups straight from the file, as ``cellkey pseudobulk`` does."""

from __future__ import annotations

import sys

from _clock import Clock, load

import cellkey

load("anndata", "anndata.io", "pandas", "cellkey.annotation.pseudobulk", "cellkey.clustering.inspect")
with Clock() as clock:
    found = cellkey.pseudobulk(sys.argv[1], "true_type", n_jobs=2)
clock.report(checksum=float(found.layers["mean"].sum()))
