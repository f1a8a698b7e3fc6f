"""isoforms_cellkey.py {realistic,simple} GENES SAMPLES [FEATURES.csv]: a fit with default settings.

The data are synthetic; in the simple ones modules are plain enough for every program. With a fourth argument
the feature matrix is written (features x samples), for programs that take it from there.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from _clock import Clock

from cellkey.isoforms import build_features, fit
from cellkey.isoforms.synthetic.catalogue import FIXTURES
from cellkey.isoforms.synthetic.designs import SimpleDesign
from cellkey.isoforms.synthetic.generators import generate

n_genes, n_samples = int(sys.argv[2]), int(sys.argv[3])
if sys.argv[1] == "simple":
    design = SimpleDesign(n_genes, n_samples, max(2, n_genes // 100))
else:
    large = FIXTURES["xxlarge_v1"].design
    sizes = tuple(max(8, size * n_genes // large.n_genes) for size in large.module_sizes)
    design = replace(large, n_genes=n_genes, n_samples=n_samples, module_sizes=sizes)
bundle = generate(design, name="bench", suite="bench", seed=1)
if len(sys.argv) > 4:
    np.savetxt(sys.argv[4], build_features(bundle).matrix.values, delimiter=",", fmt="%.9g")
with Clock() as clock:
    found = fit(bundle)
clock.report(modules=len(found.modules))
