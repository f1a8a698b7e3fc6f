"""Cells whose matrices stay on disk: everything else is read, X and layers are opened."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError
from cellkey.io.names import make_names_unique
from cellkey.io.read import need_zarr, recognise

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["open_matrix", "open_on_disk", "open_store"]

_IN_MEMORY = ("obs", "var", "uns", "obsm", "varm", "obsp", "varp")


def open_on_disk(path: str | Path) -> AnnData:
    """Open cells of an ``.h5ad`` file or a Zarr store, with X and all layers left on disk.

    X and the layers are AnnData's backed sparse matrices, HDF5 data sets or Zarr arrays, of which slices are
    read. The file stays open as long as one of them lives.

    Raises
    ------
    InputError
        If the path holds another form, is damaged, was written before anndata 0.8, or is empty.
    MissingDependencyError
        If a Zarr store is given and the package zarr is not installed.
    """
    import anndata as ad
    from anndata.io import read_elem

    source = Path(path)
    root = open_store(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated names and index types; what matters is said below
            held = {name: read_elem(root[name]) for name in _IN_MEMORY if name in root}
            layers = {name: open_matrix(root, f"layers/{name}") for name in root.get("layers", {})}
            X = open_matrix(root, "X") if "X" in root else None
            adata = ad.AnnData(X=X, layers=layers, raw=_raw(root), **held)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        msg = f"{source} cannot be opened on disk, it may be damaged or of an old form: {error}".splitlines()[0]
        raise InputError(msg) from error
    if adata.n_obs == 0 or adata.n_vars == 0:
        msg = f"{source} is empty: {adata.n_obs:,} cells x {adata.n_vars:,} variables"
        raise InputError(msg)
    make_names_unique(adata, source=source.name)
    return adata


def open_store(path: str | Path) -> Any:
    """Return the root of an ``.h5ad`` file (``h5py.File``) or a Zarr store (``zarr.Group``), for reading."""
    source = Path(path)
    form = recognise(source)
    if form == "h5ad":
        import h5py

        return h5py.File(source, "r")
    if form == "zarr":
        need_zarr("reading a Zarr store")
        import zarr

        return zarr.open_group(source, mode="r")
    msg = f"{source} ({form}) cannot be read in slices: write it as .h5ad or Zarr first"
    raise InputError(msg)


def open_matrix(root: Any, key: str) -> Any:
    """Return the matrix ``X`` or ``layers/NAME`` of an open store, on disk."""
    from anndata.io import sparse_dataset

    stored = root[key]
    return stored if hasattr(stored, "shape") else sparse_dataset(stored)


def _raw(root: Any) -> dict[str, Any] | None:
    from anndata.io import read_elem

    if "raw" not in root or hasattr(root["raw"], "shape"):  # absent, or stored as nothing
        return None
    parts = {name: read_elem(root[f"raw/{name}"]) for name in ("var", "varm") if name in root["raw"]}
    return {"X": open_matrix(root, "raw/X"), **parts}
