"""Loom files (version 2 and 3), read straight from HDF5: genes in rows there, cells in rows here."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import scipy.sparse as sp

from cellkey.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import numpy as np
    from anndata import AnnData

__all__ = ["read_loom"]

_CELL_NAMES: Final = ("CellID", "obs_names", "cell_id", "Barcode", "barcode", "_index")
_GENE_NAMES: Final = ("Gene", "var_names", "gene_name", "GeneName", "Symbol", "symbol", "_index", "Accession")
_BLOCK_VALUES: Final = 2**25
"""Values held dense at a time (128 MiB in single precision)."""


def read_loom(path: Path) -> AnnData:
    """Read a loom file: its matrix as CSR cells x genes, layers, attributes of cells and genes.

    Cells are named by ``CellID`` and genes by ``Gene``, or by the common other names of these attributes; attributes
    with several columns go to ``obsm`` and ``varm``. The file is read in blocks of cells, so that never more than a
    small dense piece is held. Graphs are left out.

    Raises
    ------
    InputError
        If attributes and matrix disagree in size, or no attribute names the genes.
    """
    import anndata as ad
    import h5py

    with h5py.File(path, "r") as file:
        n_vars, n_obs = file["matrix"].shape
        obs, obsm = _attributes(file["col_attrs"], n_obs, path, "cells")
        var, varm = _attributes(file["row_attrs"], n_vars, path, "genes")
        genes = _named(var, _GENE_NAMES)
        if genes is None:
            msg = f"{path} names no genes: row_attrs holds {', '.join(var) or 'nothing'}, expected Gene"
            raise InputError(msg)
        cells = _named(obs, _CELL_NAMES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated names are handled by the caller
            return ad.AnnData(
                _cells_by_genes(file["matrix"]),
                obs=_frame(obs, [f"cell{i}" for i in range(n_obs)] if cells is None else obs.pop(cells)),
                var=_frame(var, var.pop(genes)),
                layers={name: _cells_by_genes(layer) for name, layer in file.get("layers", {}).items()},
                obsm=obsm, varm=varm,
            )


def _attributes(
    group: h5py.Group, n: int, path: Path, axis: str
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    columns: dict[str, np.ndarray[Any, Any]] = {}
    tables: dict[str, np.ndarray[Any, Any]] = {}
    for name, stored in group.items():
        values = stored.asstr()[:] if stored.dtype.kind in "OS" else stored[:]
        if len(values) != n:
            msg = f"{path}: attribute {name!r} has {len(values):,} values for {n:,} {axis}"
            raise InputError(msg)
        (columns if values.ndim == 1 else tables)[name] = values
    return columns, tables


def _named(columns: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in columns), None)


def _frame(columns: dict[str, Any], names: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index([str(n) for n in names], dtype=object))


def _cells_by_genes(matrix: h5py.Dataset) -> sp.csr_matrix:
    n_vars, n_obs = matrix.shape
    step = max(64, _BLOCK_VALUES // max(n_vars, 1) // 64 * 64)
    blocks = [sp.csr_matrix(matrix[:, start : start + step].T) for start in range(0, n_obs, step)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((0, n_vars), dtype=matrix.dtype)
