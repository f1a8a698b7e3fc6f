"""isoforms_pywgcna.py FEATURES.csv: modules by PyWGCNA, preprocessing left out; the clock starts after reading."""

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
    network = PyWGCNA.WGCNA(name="bench", geneExp=table, outputPath=f"{folder}/", save=False, networkType="signed")
    with Clock() as clock:
        network.findModules()
clock.report(modules=int(network.datExpr.var["moduleColors"].nunique()))
