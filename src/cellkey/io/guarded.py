"""HDF5 files whose writing can fail without taking the process along."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py

__all__ = ["new_hdf5"]


class _GuardedFile(io.FileIO):
    """A file that remembers the first failure and swallows what comes after it.

    When the disk is full, the HDF5 library cannot flush what it still holds, complains from its destructors
    and at last crashes the process. Here it is told that all is well, and the failure is raised once it is
    done.
    """

    def __init__(self, path: str | Path, mode: str) -> None:
        super().__init__(path, mode)
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.failure is None:
            try:
                done += super().write(view[done:])
            except OSError as error:
                self.failure = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        if self.failure is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.failure = error
        return size or 0

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        n = super().readinto(view) or 0
        if n < len(view) and self.failure is not None:
            view[n:] = bytes(len(view) - n)
            n = len(view)
        return n


@contextlib.contextmanager
def new_hdf5(path: str | Path, mode: str = "w") -> Iterator[h5py.File]:
    """Open an HDF5 file for writing (``"w"``) or changing (``"r+"``).

    Raises
    ------
    OSError
        The first failure of the file system, with its number, after the file was closed.
    """
    import h5py

    with _GuardedFile(path, "w+" if mode == "w" else "r+") as handle:
        try:
            with h5py.File(handle, mode) as file:
                yield file
        except Exception:
            if handle.failure is None:
                raise
    if handle.failure is not None:
        raise handle.failure
