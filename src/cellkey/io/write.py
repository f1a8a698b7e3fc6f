"""Writing cells: one whole ``.h5ad`` file or none."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkey.errors import CellkeyWarning, ParameterError
from cellkey.io.guarded import new_hdf5
from cellkey.io.names import ORIGINAL_NAMES, original_names
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    from anndata import AnnData

__all__ = ["Compression", "XFormat", "link_or_copy", "storable_frame", "write_cells"]

XFormat = Literal["csr", "as-input"]
Compression = Literal["lzf", "gzip", "zstd", "none"]

_BLOCK_CELLS = 8192


def write_cells(
    adata: AnnData,
    path: str | Path,
    *,
    x_format: XFormat = "csr",
    compression: Compression = "lzf",
    matrix: Any = None,
) -> None:
    """Write cells to an ``.h5ad`` file: to a temporary name first, then renamed, so that no half file is
    seen.

    ``adata`` itself is not changed.

    Parameters
    ----------
    x_format
        ``"csr"`` stores X as CSR whatever its form in memory, since readers slice cells and call ``toarray``;
        ``"as-input"`` keeps its form. Values and their type stay as they are either way.
    compression
        ``"lzf"`` is about as small as ``"gzip"`` and several times faster. ``"zstd"`` needs
        the package hdf5plugin, here and for every reader; without it lzf is used, with a warning.

    matrix
        Written as X instead of ``adata.X``; anything that hands out blocks of cells as ``matrix[start:stop]``.

    Raises
    ------
    RunError
        If the file system refuses (full disk, no permission); an earlier file at ``path`` stays as it was.

    Notes
    -----
    Cell and variable names that repeated in the input are written as they were there. Text columns are stored
    as categories where values repeat; columns of mixed types become text, with a warning.
    """
    if x_format not in ("csr", "as-input"):
        msg = f"x_format must be 'csr' or 'as-input', but got {x_format!r}"
        raise ParameterError(msg)
    options = _dataset_options(compression)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="anndata")
        warnings.filterwarnings("ignore", message=".*orward slash.*")
        _write_file(adata, temporary, x_format, options, adata.X if matrix is None else matrix)


def _write_file(adata: AnnData, path: Path, x_format: XFormat, options: dict[str, Any], X: Any) -> None:
    from anndata.io import write_elem

    with new_hdf5(path) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        _write_matrix(file, X, x_format, options)
        for axis in ("obs", "var"):
            frame = storable_frame(getattr(adata, axis), original_names(adata, axis))
            write_elem(file, axis, frame, dataset_kwargs=options)
        for slot in ("layers", "obsm", "varm", "obsp", "varp"):
            write_elem(file, slot, dict(getattr(adata, slot)), dataset_kwargs=options)
        uns = {key: value for key, value in adata.uns.items() if key != ORIGINAL_NAMES}
        scalars_too = {key: value for key, value in options.items() if key != "shuffle"}
        write_elem(file, "uns", uns, dataset_kwargs=scalars_too)
        if adata.raw is not None:
            write_elem(file, "raw", adata.raw, dataset_kwargs=options)


def _write_matrix(file: h5py.File, X: Any, x_format: XFormat, options: dict[str, Any]) -> None:
    from anndata.io import write_elem

    if X is None:
        return
    in_memory = isinstance(X, np.ndarray) or sp.issparse(X)
    if x_format == "csr" and not (in_memory and getattr(X, "format", "") == "csr"):
        _write_csr_blocks(file, X, options)
    elif in_memory:
        write_elem(file, "X", X, dataset_kwargs=options)
    else:
        stored = getattr(X, "group", X)
        if not hasattr(stored, "id"):  # blocks of cells, from another kind of store
            _write_csr_blocks(file, X, options)
            return
        file.copy(stored, file, name="X")


def _write_csr_blocks(file: h5py.File, X: Any, options: dict[str, Any]) -> None:
    """Store a dense, gene-major or backed matrix as CSR, a block of cells at a time."""
    from anndata.io import sparse_dataset, write_elem

    if getattr(X, "format", "") == "csc":  # cells are scattered: turn it around once
        X = X if sp.issparse(X) else X.to_memory()
        write_elem(file, "X", sp.csr_matrix(X), dataset_kwargs=options)
        return

    def block_at(start: int) -> sp.csr_matrix:
        block = X[start : start + _BLOCK_CELLS]  # half-precision values have no sparse form
        return sp.csr_matrix(np.asarray(block, dtype=np.float32) if block.dtype == np.float16 else block)

    first = block_at(0)
    first.indptr = first.indptr.astype(np.int64)  # room for more than 2**31 values
    write_elem(file, "X", first, dataset_kwargs=options)
    stored = sparse_dataset(file["X"])
    for start in range(_BLOCK_CELLS, X.shape[0], _BLOCK_CELLS):
        stored.append(block_at(start))


def storable_frame(frame: pd.DataFrame, names: Any = None) -> pd.DataFrame:
    """Return a frame that an ``.h5ad`` file can hold, with ``names`` as its index.

    Text becomes categorical where values repeat; columns of mixed types become text, with a warning.
    """
    columns = {}
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        columns[str(name)] = _storable_text(values, str(name)) if _is_text(values) else values
    index = frame.index if names is None else pd.Index(np.asarray(names, dtype=object), name=frame.index.name)
    index = index.astype(str)
    if index.name is not None and index.name in columns:
        index = index.rename(None)
    return pd.DataFrame({name: values.set_axis(index) for name, values in columns.items()}, index=index)


def _is_text(values: pd.Series[Any]) -> bool:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _is_text_type(values.cat.categories.dtype)
    return _is_text_type(values.dtype)


def _is_text_type(dtype: Any) -> bool:
    return isinstance(dtype, pd.StringDtype) or np.dtype(object) == dtype


def _storable_text(values: pd.Series[Any], name: str) -> pd.Series[Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _plain_categories(values)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in ("string", "empty"):
        msg = f"column {name!r} holds values of mixed types; they are written as text"
        warnings.warn(msg, CellkeyWarning, stacklevel=5)
    text = values.map(str, na_action="ignore").astype(object)
    missing = text.isna()
    few = text[~missing].nunique() < len(text)
    return text.astype("category") if few or missing.any() else text


def _plain_categories(values: pd.Series[Any]) -> pd.Series[Any]:
    kinds = values.cat.categories
    if kinds.dtype == object and pd.api.types.infer_dtype(kinds) in ("string", "empty"):
        return values
    names = pd.Index([str(kind) for kind in kinds], dtype=object)
    plain = pd.Categorical.from_codes(values.cat.codes.to_numpy(), names, ordered=values.cat.ordered)
    return pd.Series(plain, index=values.index)


def _dataset_options(compression: str) -> dict[str, Any]:
    if compression == "none":
        return {}
    if compression == "zstd":
        try:
            import hdf5plugin  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            msg = "compression 'zstd' needs the package hdf5plugin; 'lzf' is used instead"
            warnings.warn(msg, CellkeyWarning, stacklevel=3)
            compression = "lzf"
        else:
            return dict(hdf5plugin.Zstd(clevel=3))
    if compression not in ("lzf", "gzip"):
        msg = f"compression must be lzf, gzip, zstd or none, but got {compression!r}"
        raise ParameterError(msg)
    return {"compression": compression}


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make ``target`` a second name of ``source``, or a copy where the file system has no hard links.

    Raises
    ------
    RunError
        If the file system refuses both.
    """
    with atomic_path(target) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
