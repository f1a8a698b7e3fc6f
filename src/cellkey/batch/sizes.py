"""Sizes of ``.h5ad`` files from their metadata: no matrix is read, and nothing but h5py is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileSize", "file_size", "memory_needed"]

_BASE = 700 * 2**20
"""Memory of a worker before it reads anything."""


@dataclass(frozen=True, slots=True)
class FileSize:
    """What a file holds, by its metadata; ``n_clusters`` counts the categories of a column, if there is one."""

    n_cells: int
    n_genes: int
    n_values: int
    n_clusters: int | None = None


def file_size(path: Path, cluster_key: str | None = None) -> FileSize:
    """Return the size of an ``.h5ad`` file.

    Raises
    ------
    OSError
        If the file is no readable ``.h5ad`` file.
    """
    import h5py

    with h5py.File(path, "r") as file:
        shape, n_values = _matrix(file)
        return FileSize(*shape, n_values, _n_categories(file, cluster_key))


def _matrix(file: Any) -> tuple[tuple[int, int], int]:
    X = file.get("X")
    if X is None:
        return (_length(file, "obs"), _length(file, "var")), 0
    if hasattr(X, "keys"):
        shape = X.attrs.get("shape", X.attrs.get("h5sparse_shape"))
        if shape is None:
            msg = "X has no shape"
            raise OSError(msg)
        return (int(shape[0]), int(shape[1])), int(X["data"].shape[0])
    return (int(X.shape[0]), int(X.shape[1])), int(X.size)


def _length(file: Any, group: str) -> int:
    frame = file[group]
    name = frame.attrs.get("_index", "index")
    return int(frame[name].shape[0])


def _n_categories(file: Any, key: str | None) -> int | None:
    column = file["obs"].get(key) if key is not None and "obs" in file else None
    if column is None or not hasattr(column, "keys") or "categories" not in column:
        return None
    return int(column["categories"].shape[0])


def memory_needed(path: Path) -> int:
    """Return bytes that annotating a file takes at most, roughly: a few copies of its values.

    A file that cannot be read needs next to nothing: it will fail soon.
    """
    try:
        size = file_size(path)
    except (OSError, KeyError, ValueError, IndexError):
        return _BASE
    return _BASE + 12 * size.n_values * 5 + size.n_cells * (200 * 4 + 16 * 30)
