"""The matrix files of 10x Genomics: one HDF5 file, or a folder with matrix, barcodes and features."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkey.errors import CellkeyWarning, InputError

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    from anndata import AnnData

__all__ = ["read_10x_folder", "read_10x_h5", "read_10x_h5_v2"]

_GENES = "Gene Expression"


def read_10x_h5(path: Path) -> AnnData:
    """Read the ``matrix`` group of a 10x Genomics file (version 3 and later): counts as stored, cells x
    genes.

    Variables are named by gene symbol; ``var`` has ``gene_ids`` and ``feature_types``. Of several feature
    types only genes are kept, and genes of several genomes are kept together, each with a warning.
    """
    import h5py

    with h5py.File(path, "r") as file:
        group = file["matrix"]
        n_vars, n_obs = (int(n) for n in group["shape"][:])
        parts = (group["data"][:], group["indices"][:], group["indptr"][:])
        X = sp.csr_matrix(
            parts, shape=(n_obs, n_vars)
        )  # stored gene-major by columns, which is cells by rows
        features = group["features"]
        var = pd.DataFrame(
            {"gene_ids": _texts(features["id"]), "feature_types": _texts(features["feature_type"])}
        )
        if "genome" in features:
            _tell_genomes(_texts(features["genome"])[(var["feature_types"] == _GENES).to_numpy()])
        return _assemble(X, _texts(group["barcodes"]), _texts(features["name"]), var)


def read_10x_h5_v2(path: Path) -> AnnData:
    """Read a 10x Genomics file of version 2, which has one group per genome; there must be one genome only."""
    import h5py

    with h5py.File(path, "r") as file:
        genomes = sorted(file)
        if len(genomes) > 1:
            msg = (f"{path} holds the genomes {', '.join(genomes)}: annotate one species at a time, from a file that "
                   "holds one genome")
            raise InputError(msg)
        group = file[genomes[0]]
        n_vars, n_obs = (int(n) for n in group["shape"][:])
        X = sp.csr_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), shape=(n_obs, n_vars))
        var = pd.DataFrame({"gene_ids": _texts(group["genes"]), "feature_types": [_GENES] * n_vars})
        return _assemble(X, _texts(group["barcodes"]), _texts(group["gene_names"]), var)


def read_10x_folder(path: Path) -> AnnData:
    """Read ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``), gzipped or not.

    The three files may share one prefix, such as ``GSM1_``, which repositories put before them.
    """
    from scipy.io import mmread

    prefix = _prefix(path)
    matrix, barcodes = _member(path, f"{prefix}matrix.mtx"), _member(path, f"{prefix}barcodes.tsv")
    table = _table(_member(path, f"{prefix}features.tsv", f"{prefix}genes.tsv"))
    cells = _table(barcodes)[0].to_numpy(dtype=object)
    X = sp.csr_matrix(mmread(matrix)).T.tocsr()
    if X.shape != (len(cells), len(table)):
        msg = (
            f"{path}: the matrix holds {X.shape[0]:,} cells x {X.shape[1]:,} variables, but there are "
            f"{len(cells):,} barcodes and {len(table):,} features"
        )
        raise InputError(msg)
    n_columns = table.shape[1]
    kinds = table[2].to_numpy(dtype=object) if n_columns > 2 else np.full(len(table), _GENES, dtype=object)
    var = pd.DataFrame({"gene_ids": table[0].to_numpy(dtype=object), "feature_types": kinds})
    return _assemble(X, cells, table[1 if n_columns > 1 else 0].to_numpy(dtype=object), var)


def _prefix(folder: Path) -> str:
    names = {p.name.removesuffix(".gz").removesuffix("matrix.mtx") for p in folder.iterdir()
             if p.name.removesuffix(".gz").endswith("matrix.mtx")}
    if "" in names or len(names) == 1:
        return "" if "" in names else names.pop()
    msg = f"{folder} holds {len(names)} matrices ({', '.join(sorted(names)[:5])}): give each a folder of its own"
    raise InputError(msg)


def _member(folder: Path, *names: str) -> Path:
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    msg = f"{folder} holds a matrix but no {' or '.join(names)}"
    raise InputError(msg)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False)


def _texts(values: h5py.Dataset) -> np.ndarray[Any, Any]:
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values[:]], dtype=object)


def _tell_genomes(genomes: np.ndarray[Any, Any]) -> None:
    """Warn of genes of several genomes: of two species in one experiment, or of a virus beside its host."""
    names, n_genes = np.unique(genomes.astype(str), return_counts=True)
    if len(names) > 1:
        held = ", ".join(f"{name} ({n:,} genes)" for name, n in zip(names, n_genes, strict=True))
        msg = f"{len(names)} genomes: {held}; cells of another species than that of the hierarchy cannot be named"
        warnings.warn(msg, CellkeyWarning, stacklevel=3)


def _assemble(
    X: sp.csr_matrix, cells: np.ndarray[Any, Any], variables: np.ndarray[Any, Any], var: pd.DataFrame
) -> AnnData:
    import anndata as ad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are handled by the caller
        adata = ad.AnnData(X, obs=pd.DataFrame(index=cells), var=var.set_index(pd.Index(variables)))
    is_gene = (var["feature_types"] == _GENES).to_numpy()
    if is_gene.all() or not is_gene.any():
        return adata
    others = ", ".join(sorted(set(var["feature_types"][~is_gene])))
    msg = f"{int((~is_gene).sum()):,} variables of other types ({others}) are left out; genes are kept"
    warnings.warn(msg, CellkeyWarning, stacklevel=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adata[:, is_gene].copy()
