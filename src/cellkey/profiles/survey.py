"""What one sweep over all values of a matrix finds: their range, totals of cells, and a digest of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.profiles import _tile_kernels
from cellkey.profiles.cell_blocks import as_float, cell_blocks

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["MatrixScan", "Survey", "Sweep", "matrix_digest", "survey_matrix"]


@dataclass(slots=True)
class MatrixScan:
    """Extremes and numbers of all values, zeros included; ``has_value`` tells of each cell whether any is not zero."""

    minimum: float
    maximum: float
    n_not_finite: int
    n_not_zero: int
    integer_valued: bool
    has_value: NDArray[np.bool_]


@dataclass(slots=True)
class Survey(MatrixScan):
    """What one sweep over all values found.

    Attributes
    ----------
    totals
        Sum of the values of each cell, float64.
    digest
        32 hex digits over all positions and values that are not zero: the same for every way to store or divide
        the matrix, different (but for a chance of 2^-128) if any value or position changed; empty where none was taken.
    """

    totals: NDArray[np.float64]
    digest: str


class Sweep:
    """Gathers a :class:`Survey` from blocks of cells, in any order and on any number of threads."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.has_value = np.zeros(shape[0], dtype=bool)
        self.totals = np.zeros(shape[0])
        self._found: list[tuple[Any, ...]] = []

    def add(self, start: int, block: sp.csr_matrix) -> tuple[Any, ...]:
        """Describe a block of cells, and return what was found."""
        stop = start + block.shape[0]
        data = as_float(block.data)
        bits = data.view(np.uint32 if data.dtype == np.float32 else np.uint64)
        found = _tile_kernels.survey_rows(
            data, bits, block.indices, block.indptr, start, self.shape[1], self.totals[start:stop],
            self.has_value[start:stop],
        )
        self.note(found)
        return found  # type: ignore[no-any-return]

    def note(self, found: tuple[Any, ...]) -> None:
        """Take in what :func:`~cellkey.profiles._tile_kernels.survey_rows` returns."""
        self._found.append(found)

    def survey(self) -> Survey:
        """Return what all blocks together hold."""
        low = min((f[0] for f in self._found), default=np.inf)
        high = max((f[1] for f in self._found), default=-np.inf)
        n_some = sum(f[3] for f in self._found)
        if n_some < self.shape[0] * self.shape[1]:
            low, high = min(low, 0.0), max(high, 0.0)
        sums = [sum(int(f[k]) for f in self._found) % 2**64 for k in (5, 6)]
        return Survey(
            float(low), float(high), int(sum(f[2] for f in self._found)), int(n_some),
            not any(f[4] for f in self._found), self.has_value, self.totals, f"{sums[0]:016x}{sums[1]:016x}",
        )


def survey_matrix(X: Any) -> Survey:
    """Sweep a matrix in memory or on disk once; see :class:`Survey`."""
    sweep = Sweep((int(X.shape[0]), int(X.shape[1])))
    for start, block in cell_blocks(X):
        sweep.add(start, block)
    return sweep.survey()


def matrix_digest(X: Any) -> str:
    """Return the digest of a matrix; see :class:`Survey`."""
    known: Survey | None = getattr(X, "survey", None)  # tiles were swept when they were made
    return (survey_matrix(X) if known is None else known).digest
