"""profile_cellkey.py CELLS: all statistics of groups straight from the file, which stays on disk."""

from __future__ import annotations

import sys

from _clock import Clock

from cellkey.annotation.passes import InThisProcess
from cellkey.io.on_disk import open_on_disk
from cellkey.profiles.expression import Expression

adata = open_on_disk(sys.argv[1])
passes = InThisProcess()
with Clock() as clock:
    scale = passes.scale(adata.X, passes.inspect(adata.X, var_names=list(adata.var_names)))
    labels = adata.obs["true_type"].astype(object).to_numpy()
    found = passes.profiles(Expression(adata.X, scale=scale), labels, list(adata.var_names), n_jobs=2)
clock.report(checksum=float(found.mean.sum()))
