"""annotate_cellkey.py CELLS OUTPUT MAP [DEVICE]: from a file to a run directory, without figures and refinement."""

from __future__ import annotations

import sys

from _clock import Clock, load

from cellkey.annotation.run import annotate_file

load("anndata", "anndata.io", "igraph", "pandas", "cellkey.clustering.pipeline", "cellkey.clustering.inspect",
     "cellkey.io.write")
with Clock() as clock:
    run = annotate_file(
        sys.argv[1], sys.argv[2], hierarchy=sys.argv[3], figures=False, clustering={"device": (*sys.argv, "cpu")[4]}
    )
clock.report(clusters=run.result.facts["n_clusters"], steps=run.result.facts["seconds"])
