"""make_counts.py FOLDER CELLS GENES: generated counts as cells.h5ad (uncompressed CSR), map.json and size.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py

from cellkey.datasets import write_large_counts

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "map.json").write_text(json.dumps(write_large_counts(folder / "part", *map(int, sys.argv[2:4]))))
with h5py.File(folder / "part") as file:
    values, cells = int(file["X/data"].shape[0]), int(file["X/indptr"].shape[0]) - 1
(folder / "size.json").write_text(json.dumps({"values": values, "cells": cells}))
(folder / "part").rename(folder / "cells.h5ad")
