"""Large count matrices made quickly, for benchmarks: drawn molecule by molecule, written in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkey.datasets import _kernels
from cellkey.datasets.known_tree import leaves, marker_map

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["large_counts", "write_large_counts"]

_BLOCK_CELLS = 16_384
_DEPTH_PER_GENE = 0.22


def large_counts(
    n_cells: int = 50_000,
    n_genes: int = 20_000,
    *,
    depth: float | None = None,
    n_types: int = 20,
    seed: int = 0,
) -> tuple[sp.csr_matrix, NDArray[np.int64], dict[str, Any]]:
    """Return counts (float32 CSR), the type of each cell, and the marker map, in memory.

    See :func:`write_large_counts`.
    """
    blocks, types = [], []
    for block, kind in _blocks(n_cells, n_genes, depth, n_types, seed):
        blocks.append(block)
        types.append(kind)
    return sp.vstack(blocks, format="csr"), np.concatenate(types), marker_map()


def write_large_counts(
    path: str | Path,
    n_cells: int = 50_000,
    n_genes: int = 20_000,
    *,
    depth: float | None = None,
    n_types: int = 20,
    compression: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write counts of many cells to an ``.h5ad`` file, block by block, and return the marker map.

    Parameters
    ----------
    path
        Of the file; ``obs["true_type"]`` holds the type of each cell.
    n_cells, n_genes
        Size. Memory does not grow with the cells.
    depth
        Mean molecules per cell; None takes what gives a tenth of all counts that are not zero, roughly
        (50,000 cells x 20,000 genes then hold about 110 million values).
    n_types
        Types of cells: the thirteen leaves of the tree, and for more, variants of them.
    compression
        ``None``, ``"lzf"`` or ``"gzip"``.
    seed
        Each cell has randomness of its own, so the same seed gives the same cells whatever the blocks and
        threads.
    """
    from anndata.io import sparse_dataset, write_elem

    from cellkey.io.guarded import new_hdf5
    from cellkey.records.atomic import atomic_path

    options = {} if compression is None else {"compression": compression}
    names = _gene_names(n_genes)
    types: list[NDArray[np.int64]] = []
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for block, kind in _blocks(n_cells, n_genes, depth, n_types, seed):
            if types:
                sparse_dataset(file["X"]).append(block)
            else:
                block.indptr = block.indptr.astype(np.int64)  # room for more than 2**31 values
                write_elem(file, "X", block, dataset_kwargs=options)
            types.append(kind)
        label = pd.Categorical(np.concatenate(types).astype(str))
        cells = pd.Index([f"cell{i:07d}" for i in range(n_cells)])
        write_elem(file, "obs", pd.DataFrame({"true_type": label}, index=cells))
        write_elem(file, "var", pd.DataFrame(index=names))
        for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            write_elem(file, slot, {})
    return marker_map()


def _blocks(
    n_cells: int, n_genes: int, depth: float | None, n_types: int, seed: int
) -> Iterator[tuple[sp.csr_matrix, NDArray[np.int64]]]:
    rng = np.random.default_rng(seed)
    share = _type_profiles(n_genes, n_types, rng)
    threshold, alias = _alias_tables(share)
    mean = _DEPTH_PER_GENE * n_genes if depth is None else depth
    for start in range(0, n_cells, _BLOCK_CELLS):
        n = min(_BLOCK_CELLS, n_cells - start)
        kind, data, indices, indptr = _kernels.draw_cells(
            np.uint64(seed), start, n, float(mean), threshold, alias
        )
        yield sp.csr_matrix((data, indices, indptr), shape=(n, n_genes)), kind


def _gene_names(n_genes: int) -> list[str]:
    markers = list(dict.fromkeys(m for leaf in leaves(marker_map()) for m in leaf.markers))[:n_genes]
    return [*markers, *(f"GENE{i:05d}" for i in range(n_genes - len(markers)))]


def _type_profiles(n_genes: int, n_types: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of each gene in the molecules of a type, types x genes."""
    types = leaves(marker_map())
    place = {name: i for i, name in enumerate(_gene_names(n_genes))}
    base = np.exp(1.9 * rng.standard_normal(n_genes))
    profile = np.tile(base, (n_types, 1))
    differs = rng.random((n_types, n_genes)) < 0.03
    profile[differs] *= np.exp(1.2 * rng.standard_normal(int(differs.sum())))
    listed = [place[m] for leaf in types for m in leaf.markers if m in place]
    profile[:, listed] = base.sum() * 1e-7
    for row in range(n_types):
        shown = [place[m] for m in types[row % len(types)].markers if m in place]
        # Three molecules of a marker per cell of average depth.
        profile[row, shown] = base.sum() * 3.0 / max(_DEPTH_PER_GENE * n_genes, 200.0)
    share: NDArray[np.float64] = profile / profile.sum(axis=1, keepdims=True)
    return share


def _alias_tables(share: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Walker's tables, types x genes: one uniform number picks a gene in constant time."""
    threshold = np.ones_like(share)
    alias = np.zeros(share.shape, dtype=np.int32)
    for row in range(len(share)):
        _kernels.fill_alias_table(share[row] * share.shape[1], threshold[row], alias[row])
    return threshold, alias
