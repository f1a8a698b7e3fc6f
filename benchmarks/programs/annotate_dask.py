"""annotate_dask.py CELLS OUTPUT MAP WORKERS: the same as annotate_cellkey.py, its passes on local Dask workers."""

from __future__ import annotations

import sys

from _clock import Clock

from cellkey.annotation.run import annotate_file
from cellkey.workers.connection import WorkerPlan

if __name__ == "__main__":  # workers import this file
    with Clock() as clock:
        run = annotate_file(
            sys.argv[1], sys.argv[2], hierarchy=sys.argv[3], figures=False, workers=WorkerPlan(local=int(sys.argv[4]))
        )
    clock.report(clusters=run.result.facts["n_clusters"], steps=run.result.facts["seconds"])
