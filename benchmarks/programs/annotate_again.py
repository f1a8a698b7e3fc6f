"""annotate_again.py RUN OUTPUT: the annotation again with another gate, five times, from the stored profiles."""

from __future__ import annotations

import statistics
import sys
import time

from _clock import Clock

from cellkey.annotation.run import annotate_file

seconds = []
with Clock() as clock:
    for gap in (0.2, 0.3, 0.25, 0.35, 0.15):
        begun = time.perf_counter()
        run = annotate_file(
            f"{sys.argv[1]}/output.h5ad", sys.argv[2], annotation_only=True, figures=False, cells=False,
            gating={"min_gap": {"0": gap}},
        )
        seconds.append(time.perf_counter() - begun)
        assert not run.read_matrix
clock.report(first=round(seconds[0], 4), again=round(statistics.median(seconds[1:]), 4))
