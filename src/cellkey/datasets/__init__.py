"""Data with known truth: generators of cells and counts, and real data that ship inside packages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "SyntheticCells": "synthetic",
    "large_counts": "large",
    "marker_map": "known_tree",
    "pbmc68k_reduced": "bundled",
    "synthetic_protein": "synthetic",
    "synthetic_rna": "synthetic",
    "write_large_counts": "large",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"cellkey.datasets.{_WHERE[name]}"), name)
    msg = f"module 'cellkey.datasets' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
