"""Covariances and exact neighbours on a CUDA device by cupy, and communities there by rapids-singlecell."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.clustering._blocks import block_starts
from cellkey.device import compiled, device_name, free_bytes, launch, why_no_gpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["EXACT_CELLS", "communities_on_gpu", "device_note", "gpu_candidates", "gpu_covariance", "gpu_leiden"]

#: Up to this many cells a device compares all pairs: about ten seconds on a data-centre card.
EXACT_CELLS = 1_000_000
STEPS = ("components", "neighbours", "communities")
"""Steps of clustering that a GPU may take."""
_QUERIES = 32_768
_TILE_BYTES = 2**30


def device_note(wanted: str, on_gpu: Sequence[str]) -> str:
    """Return a sentence on where the steps of clustering ran, and for ``"auto"`` why not on a GPU."""
    if on_gpu:
        others = [step for step in STEPS if step not in on_gpu]
        rest = f"; {' and '.join(others)} on the CPU" if others else ""
        return f"device: {' and '.join(on_gpu)} on the GPU ({device_name()}){rest}"
    return f"device: cpu ({why_no_gpu()})" if wanted == "auto" and why_no_gpu() else "device: cpu"


def communities_on_gpu() -> bool:
    """Whether rapids-singlecell is there to find communities on the device."""
    return find_spec("rapids_singlecell") is not None


def gpu_covariance(
    blocks: Iterable[Any], offset: NDArray[np.float64], n_cells: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and covariance of scaled blocks, as :func:`~cellkey.clustering.pca.scaled_covariance`, by cupy.

    Blocks travel one by one and are multiplied in float64, so that the result is that of the CPU but for rounding.
    """
    import cupy

    n = len(offset)
    shift = cupy.asarray(offset)
    products, sums = cupy.zeros((n, n)), cupy.zeros(n)
    for block in blocks:
        whole = _spread(block, shift) if sp.issparse(block) else cupy.asarray(block).astype(np.float64)
        products += whole.T @ whole
        sums += whole.sum(axis=0)
    mean = np.asarray(cupy.asnumpy(sums)) / n_cells
    covariance = np.asarray(cupy.asnumpy(products)) / n_cells - np.outer(mean, mean)
    return mean, (covariance + covariance.T) / 2


def _spread(block: Any, shift: Any) -> Any:
    """A CSR block as a dense one on the device, less ``shift`` per column."""
    import cupy

    dense = cupy.zeros(block.shape)
    dense -= shift
    parts = (np.asarray(block.data, dtype=np.float64), block.indices.astype(np.int32), block.indptr.astype(np.int32))
    launch(_module(), "spread", block.nnz,
           (np.int64(block.nnz), *map(np.int64, block.shape), *map(cupy.asarray, parts), dense))
    return dense


def gpu_candidates(points: NDArray[np.float32], n_candidates: int) -> NDArray[np.int64]:
    """Return the nearest cells of each cell, itself included, cells x ``n_candidates``, nearest first.

    All pairs are compared in float64, a tile of them at a time, as far as the memory of the device reaches.
    """
    import cupy

    n_cells = len(points)
    whole = cupy.asarray(points).astype(np.float64)
    whole -= whole.mean(axis=0)  # far from the origin, squares are large and their differences lose digits
    squares = (whole * whole).sum(axis=1)
    found = np.empty((n_cells, n_candidates), dtype=np.int64)
    n_queries = min(n_cells, _QUERIES)
    step = max(1, min(_TILE_BYTES, free_bytes() // 4) // (8 * n_queries))
    for start, stop in block_starts(n_cells, n_queries):
        queries = whole[start:stop].T
        far = cupy.full((n_candidates, stop - start), np.inf)
        near = cupy.zeros((n_candidates, stop - start), dtype=np.int32)
        for first, last in block_starts(n_cells, step):
            products = cupy.ascontiguousarray(whole[first:last] @ queries)
            sizes = (stop - start, last - first, first, n_candidates)
            launch(_module(), "keep_nearest", stop - start, (*map(np.int64, sizes), products, squares, far, near))
        found[start:stop] = cupy.asnumpy(near).T
    return found


def gpu_leiden(graph: sp.csr_matrix, *, resolution: float, seed: int) -> NDArray[np.int64]:
    """Return the Leiden communities that rapids-singlecell finds in a graph; they differ somewhat from the CPU's."""
    import anndata as ad
    import pandas as pd
    import rapids_singlecell as rsc

    data: Any = ad.AnnData(obs=pd.DataFrame(index=pd.RangeIndex(graph.shape[0]).astype(str)))
    rsc.tl.leiden(data, resolution=resolution, random_state=seed, key_added="group", adjacency=graph)
    return np.asarray(data.obs["group"].astype(str).astype(np.int64))


def _module() -> Any:
    return compiled("cellkey.clustering", "_neighbors.cu")
