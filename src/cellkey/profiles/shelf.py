"""Arrays in memory as far as a budget reaches, the rest in a temporary file."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Extent", "Shelf"]


@dataclass(frozen=True, slots=True)
class Extent:
    """An array in the temporary file."""

    offset: int
    n: int
    dtype: np.dtype[Any]


class Shelf:
    """Arrays in memory as far as the budget reaches, the rest in an unnamed temporary file."""

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self.in_memory = 0
        self.in_file = 0
        self._file: Any = None

    def put(self, array: NDArray[Any]) -> NDArray[Any] | Extent:
        """Keep a copy."""
        if self.budget is None or self.in_memory + array.nbytes <= self.budget:
            self.in_memory += array.nbytes
            return array.copy()
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="cellkey-")  # noqa: SIM115 - lives as long as the store
            weakref.finalize(self, self._file.close)
        place = Extent(self.in_file, len(array), array.dtype)
        try:
            self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            folder = tempfile.gettempdir()
            free = shutil.disk_usage(folder).free / 2**30
            msg = (f"cannot write the temporary file of the matrix in {folder} ({error.strerror}; {free:.1f} GiB "
                   "free): set TMPDIR to a larger disk, or raise --memory-limit")
            raise RunError(msg) from error
        self.in_file += array.nbytes
        return place

    def get(self, place: NDArray[Any] | Extent, low: int = 0, high: int | None = None) -> NDArray[Any]:
        if not isinstance(place, Extent):
            return place[low:high]
        n = (place.n if high is None else high) - low
        out = np.empty(n, dtype=place.dtype)
        view = out.view(np.uint8).data
        at, done = place.offset + low * place.dtype.itemsize, 0
        while done < len(view):
            got = os.preadv(self._file.fileno(), [view[done:]], at + done)
            if not got:
                msg = "the temporary file of the matrix ended early"
                raise RunError(msg)
            done += got
        return out
