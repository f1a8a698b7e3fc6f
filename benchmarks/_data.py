"""Generated inputs of the benchmarks, made once and shared by all rows."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from _pairs import Contestant, measure

__all__ = ["Setting", "csr_mb"]


@dataclass(frozen=True, slots=True)
class Setting:
    """How large the runs are and where their files lie.

    Parameters
    ----------
    full
        The sizes of the goals; otherwise small ones that show that everything runs.
    pairs
        Runs of each contestant.
    folder
        For generated data and outputs.
    """

    full: bool
    pairs: int
    folder: Path

    def pick(self, full: int, quick: int) -> int:
        """Return the size for this setting."""
        return full if self.full else quick

    def counts(self, n_cells: int, n_genes: int) -> Path:
        """Return an ``.h5ad`` file of generated counts, uncompressed CSR; ``map.json`` lies beside it.

        It is made by a process of its own: the peak memory that Linux reports for a process begins with that of
        the process that started it, so this one stays small.
        """
        folder = self.folder / f"counts_{n_cells}_{n_genes}"
        path = folder / "cells.h5ad"
        if not (path.is_file() and (folder / "size.json").is_file()):
            measure(Contestant("counts", "make_counts.py", (folder, n_cells, n_genes)))
        return path

    def new(self, name: str) -> Path:
        """Return a path for an output, inside a folder that exists."""
        folder = self.folder / "outputs" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def csr_mb(path: Path) -> float:
    """Return what the matrix of a file takes in memory: float32 values, int32 indices."""
    size = json.loads((path.parent / "size.json").read_text())
    return float(size["values"] * 8 + size["cells"] * 8) / 2**20
