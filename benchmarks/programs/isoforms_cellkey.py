"""isoforms_cellkey.py GENES SAMPLES [FEATURES.csv]: a fit with default settings on a synthetic bundle.

With a third argument the feature matrix is written (features x samples), for programs that take it from there.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from _clock import Clock

from cellkey.isoforms import build_features, fit
from cellkey.isoforms.synthetic.catalogue import FIXTURES
from cellkey.isoforms.synthetic.generators import generate

design = FIXTURES["xxlarge_v1"].design
n_genes, n_samples = int(sys.argv[1]), int(sys.argv[2])
sizes = tuple(max(8, size * n_genes // design.n_genes) for size in design.module_sizes)
bundle = generate(
    replace(design, n_genes=n_genes, n_samples=n_samples, module_sizes=sizes), name="bench", suite="bench", seed=1
)
if len(sys.argv) > 3:
    np.savetxt(sys.argv[3], build_features(bundle).matrix.values, delimiter=",", fmt="%.9g")
with Clock() as clock:
    found = fit(bundle)
clock.report(modules=len(found.modules.names))
