"""Clusters that are pure by construction: one cell type each, with the bleed-through of spatial data.

A type's genes are those of its own path; every other gene has its own level in all types. A share of every
cluster's profile is that of the whole tissue, as when transcripts of neighbours fall into a cell's outline. How many
transcripts a cell shows decides how much of a mean is chance, so that results are given for several depths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cellkey.hierarchy import Hierarchy

__all__ = ["PureClusters", "pure_clusters", "types_of"]

_SILENT = 0.02


@dataclass(frozen=True)
class PureClusters:
    """Mean counts (genes x clusters), the path of the type that each cluster is made of, and its cells."""

    means: pd.DataFrame
    truth: tuple[tuple[str, ...], ...]
    n_cells: dict[str, int]


def types_of(tree: Hierarchy) -> list[tuple[str, ...]]:
    """Terminal types, and types with a single subtype (which also occur without being that subtype)."""
    return [n.path for n in tree.nodes if len(tree.children(n.path)) < 2]


def pure_clusters(
    tree: Hierarchy, *, n_genes: int, bleed: float, n_clusters: int | None = None, n_types: int | None = None,
    cells: tuple[int, int] = (200, 200), depth: float = 1000.0, seed: int = 0,
) -> PureClusters:
    """Return mean counts of pure clusters; one per type, or ``n_clusters`` of ``n_types`` types.

    ``depth`` is the mean number of transcripts per cell.
    """
    rng = np.random.default_rng(seed)
    types = types_of(tree)
    if n_types is not None:
        types = [types[i] for i in np.sort(rng.choice(len(types), n_types, replace=False))]
    drawn = np.arange(len(types)) if n_clusters is None else np.concatenate([
        np.arange(len(types)), rng.integers(0, len(types), n_clusters - len(types))])
    markers = sorted({m for n in tree.nodes for m in n.markers} | {m for n in tree.nodes for m in n.anti_markers})
    genes = [*markers, *(f"GENE{i:05d}" for i in range(n_genes - len(markers)))]
    column = {g: i for i, g in enumerate(genes)}
    abundance = rng.lognormal(-1.5, 1.6, len(genes))
    profiles = np.tile(abundance, (len(types), 1)) * rng.lognormal(0, 0.25, (len(types), len(genes)))
    own = rng.lognormal(1.0, 0.8, len(markers))
    profiles[:, : len(markers)] = _SILENT * rng.lognormal(0, 0.5, (len(types), len(markers)))
    for i, path in enumerate(types):
        for level in range(1, len(path) + 1):
            for marker in tree[path[:level]].markers:
                at = column[marker]
                profiles[i, at] = own[at] * rng.lognormal(0, 0.4)
    mixed = (1 - bleed) * profiles[drawn] + bleed * profiles[drawn].mean(axis=0)
    rate = mixed / mixed.sum(axis=1, keepdims=True) * depth
    size = rng.integers(cells[0], cells[1] + 1, len(drawn))
    counts = rng.poisson(rate * size[:, None]) / size[:, None]
    names = [f"c{i}" for i in range(len(drawn))]
    return PureClusters(pd.DataFrame(counts.T, index=genes, columns=names), tuple(types[i] for i in drawn),
                        dict(zip(names, size.tolist(), strict=True)))
