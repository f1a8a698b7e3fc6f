"""A matrix on disk as a small value: tasks carry it, open the file themselves and read their own slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError
from cellkey.io.on_disk import open_matrix, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["DiskMatrix", "spans"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DiskMatrix:
    """Where a cells x genes matrix lies and how it is stored.

    Parameters
    ----------
    path
        Absolute, seen alike by all workers.
    key
        ``X`` or ``layers/NAME``.
    shape
        Cells and genes.
    storage
        ``csr``, ``csc`` or ``dense``.
    n_values
        Values stored.
    """

    path: str
    key: str
    shape: tuple[int, int]
    storage: str
    n_values: int

    @classmethod
    def of(cls, path: str | Path, layer: str, X: Any) -> DiskMatrix:
        """Return the matrix ``X`` that lies in layer ``layer`` of the file or store at ``path``."""
        from pathlib import Path

        shape = (int(X.shape[0]), int(X.shape[1]))
        group = getattr(X, "group", None)
        n_values = shape[0] * shape[1] if group is None else int(group["data"].shape[0])
        key = layer if layer == "X" else f"layers/{layer}"
        return cls(str(Path(path).resolve()), key, shape, getattr(X, "format", "dense"), n_values)

    @property
    def axis(self) -> int:
        """Axis along which slices are read: 0 for cells, 1 for genes (CSC)."""
        return 1 if self.storage == "csc" else 0

    def parts(self, n_values: int, at_least: int = 1) -> list[Span]:
        """Return spans along :attr:`axis` that hold about ``n_values`` stored values each."""
        length = self.shape[self.axis]
        per_line = max(self.n_values / length, 1.0)
        step = max(1, min(int(n_values / per_line), -(-length // at_least)))
        return spans(length, step)

    def read(self, span: Span) -> Any:
        """Return cells (CSR, dense) or genes (CSC) ``start..stop`` of the file, in memory.

        Raises
        ------
        InputError
            If the file is not there on the machine that reads, or holds another matrix.
        """
        root = open_store(self.path)
        try:
            stored = open_matrix(root, self.key)
            if tuple(stored.shape) != self.shape:
                msg = f"{self.path} changed while it was read: {stored.shape} instead of {self.shape}"
                raise InputError(msg)
            start, stop = span
            return stored[:, start:stop] if self.axis else stored[start:stop]
        finally:
            if hasattr(root, "close"):
                root.close()


def spans(length: int, step: int) -> list[Span]:
    """Return ``(start, stop)`` that cover ``range(length)``."""
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def sizes(of: Sequence[Span]) -> list[int]:
    """Return the lengths of spans."""
    return [stop - start for start, stop in of]
