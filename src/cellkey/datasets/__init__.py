"""Data with known truth: generators of cells and counts, and real data that ship inside packages."""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "SyntheticCells": "synthetic",
    "large_counts": "large",
    "marker_map": "known_tree",
    "pbmc68k_reduced": "bundled",
    "synthetic_protein": "synthetic",
    "synthetic_rna": "synthetic",
    "write_large_counts": "large",
})
