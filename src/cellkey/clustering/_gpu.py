"""Components and exact neighbours on a CUDA device by cupy, and communities there by rapids-singlecell."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from cellkey.clustering._blocks import block_starts
from cellkey.device import compiled, device_name, free_bytes, launch, why_no_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from cellkey.clustering.pca import FeatureScaling

__all__ = ["EXACT_CELLS", "communities_on_gpu", "device_note", "gpu_candidates", "gpu_components", "gpu_leiden"]

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


def gpu_components(
    blocks: Callable[[], Iterable[Any]], scaling: FeatureScaling, n_cells: int, n_kept: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], float]:
    """Return scores, loadings (of either sign), variances and total variance of the leading components.

    ``blocks`` gives blocks of unscaled cells, twice the same. They travel one by one and are scaled and multiplied in
    float64, so that the result is that of the CPU but for rounding.
    """
    import cupy

    limits = tuple(map(cupy.asarray, (scaling.mean, scaling.sd, scaling.lower, scaling.upper)))
    n = len(scaling.mean)
    products, sums = cupy.zeros((n, n)), cupy.zeros(n)
    for block in blocks():
        whole = _scaled(block, limits)
        products += whole.T @ whole
        sums += whole.sum(axis=0)
    mean = sums / n_cells
    covariance = products / n_cells - mean[:, None] * mean
    values, vectors = cupy.linalg.eigh((covariance + covariance.T) / 2)  # ascending
    loadings = cupy.ascontiguousarray(vectors[:, ::-1][:, :n_kept])
    centre = mean @ loadings
    scores = [cupy.asnumpy(_scaled(block, limits) @ loadings - centre).astype(np.float32) for block in blocks()]
    variance = np.maximum(cupy.asnumpy(values)[::-1][:n_kept], 0.0)
    return np.concatenate(scores), cupy.asnumpy(loadings), variance, float(covariance.trace())


def _scaled(block: Any, limits: tuple[Any, ...]) -> Any:
    """A block of cells on the device, dense, clipped and scaled; ``limits`` are mean, deviation, lower and upper."""
    import cupy

    mean, sd, lower, upper = limits
    if not sp.issparse(block):
        return (cupy.clip(cupy.asarray(block).astype(np.float64), lower, upper) - mean) / sd
    dense = cupy.empty(block.shape)
    dense[...] = (cupy.clip(cupy.zeros(len(mean)), lower, upper) - mean) / sd
    parts = (block.data.astype(np.float32, copy=False), block.indices.astype(np.int32, copy=False),
             block.indptr.astype(np.int32, copy=False))
    launch(_module(), "spread_scaled", block.nnz,
           (np.int64(block.nnz), *map(np.int64, block.shape), *map(cupy.asarray, parts), *limits, dense))
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
    return compiled("cellkey.clustering", "_cells.cu")
