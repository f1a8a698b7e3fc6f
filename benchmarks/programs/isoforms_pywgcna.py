"""isoforms_pywgcna.py FEATURES.csv: modules by PyWGCNA, preprocessing left out; the clock starts after reading.

It ends early, after the overlap and the tree, when it finds one module only; that counts as done."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from _clock import Clock

mpl.use("Agg")
import PyWGCNA

values = np.loadtxt(sys.argv[1], delimiter=",").T
names = [f"F{i}" for i in range(values.shape[1])]
table = pd.DataFrame(values, index=[f"S{i}" for i in range(len(values))], columns=names)
quiet = contextlib.redirect_stdout(Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the process
with tempfile.TemporaryDirectory() as folder, quiet:
    network = PyWGCNA.WGCNA(name="bench", geneExp=table, outputPath=f"{folder}/", save=False)
    with Clock() as clock, contextlib.suppress(SystemExit):  # how it ends when all features fall into one module
        network.findModules()
found = network.datExpr.var.get("moduleColors")
clock.report(modules=1 if found is None else int(found.nunique()))
