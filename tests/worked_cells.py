"""Twelve cells, six markers and a map of four types: every number small enough to check by hand."""

from __future__ import annotations

import numpy as np

from cellkey.hierarchy import CellType, Hierarchy

NAMES = ["PTPRC", "CD3D", "CD79A", "EPCAM", "KRT8", "VIM"]
VALUES = np.array([
    [3, 4, 0, 0, 0, 2], [2, 3, 0, 0, 0, 1], [3, 2, 0, 0, 1, 0], [2, 3, 1, 0, 0, 2],
    [2, 0, 3, 0, 0, 1], [3, 1, 4, 0, 0, 0], [2, 0, 3, 0, 0, 2], [3, 0, 2, 0, 1, 1],
    [0, 0, 0, 4, 3, 0], [0, 0, 0, 3, 2, 1], [1, 0, 0, 3, 4, 0], [0, 0, 0, 4, 3, 0],
], dtype=np.float64)
KEY = Hierarchy((
    CellType(("Immune Cells",), ("PTPRC",), ("EPCAM", "KRT8")),
    CellType(("Immune Cells", "T Cells"), ("CD3D", "CD4"), ("CD79A",)),
    CellType(("Immune Cells", "B Cells"), ("CD79A",), ("CD3D",)),
    CellType(("Epithelium",), ("EPCAM", "KRT8"), ("PTPRC",)),
))
