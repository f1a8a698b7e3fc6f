"""Maps of the cells: a bounded, repeatable sample of their coordinates, read without touching the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cellkey.report.packing import packed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["cell_maps", "sample_cells"]

_KINDS = (
    ("X_umap", "UMAP"), ("X_tsne", "t-SNE"), ("spatial", "Spatial"), ("X_spatial", "Spatial"),
    ("X_pca", "Principal components 1 and 2"),
)
_FEWEST = 30
_SEED = 1337
_STEPS = 65534


def cell_maps(
    file: Path, column: Sequence[str], clusters: Sequence[str], *, most: int = 20_000
) -> dict[str, Any]:
    """Return the maps that an ``.h5ad`` file holds, for a sample of its cells.

    Parameters
    ----------
    file
        Cells with coordinates in ``obsm``.
    column
        Columns of ``obs`` that may hold the cluster of a cell; the first that exists and names a known cluster counts.
    clusters
        Clusters, named by position in the result.
    most
        Cells to show at most, apart from those added so that small clusters stay visible.

    Returns
    -------
    ``n`` cells in all; ``cluster`` (uint16, 65535 without one), and for each map ``title``, ``x``, ``y`` (uint16 over
    the range of both axes, 65535 where missing) and ``down`` (whether y points down, as in images). Empty without maps.
    """
    try:
        with h5py.File(file, "r") as h5:
            codes = _codes(h5, column, clusters)
            found = [(key, title) for key, title in _KINDS if _is_map(h5, key, len(codes))]
            if not found or not (codes >= 0).any():
                return {}
            rows = sample_cells(codes, most)
            shown = [_one_map(h5[f"obsm/{key}"], key, title, rows) for key, title in found]
    except (OSError, KeyError, ValueError):
        return {}
    return {"n": len(codes), "cluster": packed(np.where(codes < 0, 65535, codes)[rows], "u2"), "maps": shown}


def sample_cells(codes: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Return positions of at most ``most`` random cells, and of up to 30 of each cluster; the same each time."""
    order = np.random.default_rng(_SEED).permutation(len(codes))
    if len(codes) <= most:
        return np.sort(order)
    by_cluster = order[np.argsort(codes[order], kind="stable")]
    starts = np.r_[0, np.flatnonzero(np.diff(codes[by_cluster])) + 1]
    rank = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    few = by_cluster[(rank < _FEWEST) & (codes[by_cluster] >= 0)]
    return np.union1d(order[:most], few)


def _codes(h5: h5py.File, columns: Sequence[str], clusters: Sequence[str]) -> NDArray[np.int64]:
    place: Mapping[str, int] = {c: i for i, c in enumerate(clusters)}
    empty = np.zeros(0, dtype=np.int64)
    for name in columns:
        if f"obs/{name}" not in h5:
            continue
        item = h5[f"obs/{name}"]
        if isinstance(item, h5py.Group) and "codes" in item:
            names = [_text(v) for v in item["categories"][()]]
            table = np.array([*(place.get(n, -1) for n in names), -1], dtype=np.int64)
            codes = np.asarray(table[item["codes"][()]])
        elif isinstance(item, h5py.Dataset):
            codes = np.array([place.get(_text(v), -1) for v in item[()]], dtype=np.int64)
        else:
            continue
        if (codes >= 0).any():
            return codes
    return empty


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_map(h5: h5py.File, key: str, n_cells: int) -> bool:
    item = h5.get(f"obsm/{key}")
    return isinstance(item, h5py.Dataset) and item.ndim == 2 and item.shape[0] == n_cells and item.shape[1] >= 2


def _one_map(item: h5py.Dataset, key: str, title: str, rows: NDArray[np.intp]) -> dict[str, Any]:
    points = np.asarray(item[:, :2], dtype=np.float64)[rows]
    points[~np.isfinite(points).all(axis=1)] = np.nan
    low = np.nanmin(points, axis=0) if np.isfinite(points).any() else np.zeros(2)
    span = float(np.nanmax(points - low)) if np.isfinite(points).any() else 1.0
    scaled = (points - low) / (span or 1.0) * _STEPS
    whole = np.where(np.isnan(scaled), 65535, np.rint(scaled)).astype(np.int64)
    down = "spatial" in key
    return {"key": key, "title": title, "down": down, "x": packed(whole[:, 0], "u2"), "y": packed(whole[:, 1], "u2")}
