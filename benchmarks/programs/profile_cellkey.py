"""profile_cellkey.py CELLS [MIB]: all statistics of groups straight from the file.

With MIB at most so much of the matrix is held in memory, the rest is streamed from a temporary file.
"""

from __future__ import annotations

import sys

from _clock import Clock, load

from cellkey.annotation.passes import InThisProcess
from cellkey.io.opened import open_cells
from cellkey.profiles.tiles import TiledExpression, TileStore

load("anndata", "anndata.io", "pandas", "cellkey.clustering.inspect", "cellkey.clustering.normalise")
budget = int(sys.argv[2]) * 2**20 if len(sys.argv) > 2 else None
passes = InThisProcess()
with Clock() as clock:
    cells = open_cells(sys.argv[1])
    names, labels = list(cells.var_names), cells.column("true_type")
    store = TileStore.of(cells.X, budget=budget)
    scale = passes.scale(store, passes.inspect(store, var_names=names))
    found = passes.profiles(TiledExpression(store, scale=scale), labels, names, n_jobs=2)
clock.report(checksum=float(found.mean.sum()), streamed_mb=round(store.in_file / 2**20, 1))
