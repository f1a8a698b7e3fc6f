"""Reading cells: ``.h5ad``, Zarr stores, and the matrix folders and files of 10x Genomics."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellkey.errors import InputError, MissingDependencyError
from cellkey.io.names import make_names_unique

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

__all__ = ["Form", "read_cells", "recognise"]

Form = Literal["h5ad", "zarr", "10x-h5", "10x-folder"]

_ZARR = "zarr"
_TRUNCATED = "is truncated: the file ends before its content does (an interrupted copy or download?)"


def read_cells(path: str | Path, *, backed: bool = False) -> AnnData:
    """Read cells from a file or folder.

    Parameters
    ----------
    path
        An ``.h5ad`` file, a ``.zarr`` folder written by anndata, a 10x Genomics ``.h5`` file, or a folder
        with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``), gzipped or not.
    backed
        Leave X of an ``.h5ad`` file on disk.

    Returns
    -------
    Cells x variables with unique names. Names that repeat are made unique with a warning; their originals are
    put back by :func:`cellkey.io.write.write_cells`.

    Raises
    ------
    InputError
        If the path does not exist, is no such file, is truncated or damaged, or holds no cells or no
        variables.
    MissingDependencyError
        If a Zarr store is given and the package zarr is not installed.
    """
    source = Path(path)
    form = recognise(source)
    adata = _READERS[form](source, backed)
    if adata.n_obs == 0 or adata.n_vars == 0:
        _close(adata)
        msg = f"{source} is empty: {adata.n_obs:,} cells x {adata.n_vars:,} variables"
        raise InputError(msg)
    make_names_unique(adata, source=source.name)
    return adata


def recognise(path: str | Path) -> Form:
    """Return the form of a file or folder by its content, not by its name.

    Raises
    ------
    InputError
        With what was found, if it is none of the forms that can be read.
    """
    source = Path(path)
    try:
        if source.is_dir():
            return _recognise_folder(source)
        if not source.exists():
            msg = f"{source} does not exist{_nearby(source)}"
            raise InputError(msg)
        return _recognise_file(source)
    except PermissionError as error:
        msg = f"{source} cannot be read: {error.strerror}"
        raise InputError(msg) from None


def _recognise_folder(source: Path) -> Form:
    names = {p.name for p in source.iterdir()}
    if names & {".zgroup", "zarr.json", ".zattrs"}:
        return "zarr"
    if names & {"matrix.mtx", "matrix.mtx.gz"}:
        return "10x-folder"
    inside = sorted(n for n in names if n.endswith((".h5ad", ".zarr", ".h5")))
    hint = f"; it holds {', '.join(inside[:5])}" if inside else ""
    msg = f"{source} is a folder, expected an .h5ad file, a Zarr store or a folder with matrix.mtx{hint}"
    raise InputError(msg)


def _recognise_file(source: Path) -> Form:
    import h5py

    with source.open("rb") as handle:
        start = handle.read(8)
    if not start:
        msg = f"{source} is an empty file"
        raise InputError(msg)
    if not h5py.is_hdf5(source):
        msg = f"{source} is not an .h5ad file: it is no HDF5 file at all{_what_starts_so(start)}"
        raise InputError(msg)
    try:
        with h5py.File(source, "r") as file:
            return _recognise_hdf5(source, set(file))
    except (OSError, RuntimeError) as error:
        reason = _TRUNCATED if "truncated" in str(error) else f"cannot be opened: {_first_line(error)}"
        msg = f"{source} {reason}"
        raise InputError(msg) from None


def _recognise_hdf5(source: Path, keys: set[str]) -> Form:
    if {"obs", "var"} <= keys:
        return "h5ad"
    if "matrix" in keys and not keys & {"row_attrs", "col_attrs"}:
        return "10x-h5"
    known = {
        "a loom file": {"row_attrs", "col_attrs"},
        "a MuData file": {"mod"},
        "a Keras model": {"model_weights"},
    }
    looks = next((f"; it looks like {name}" for name, marks in known.items() if marks & keys), "")
    found = ", ".join(sorted(keys)[:6]) or "nothing"
    msg = f"{source} is an HDF5 file but not an .h5ad file: it has no obs and var, but {found}{looks}"
    raise InputError(msg)


def _nearby(source: Path) -> str:
    from cellkey.errors import did_you_mean

    try:
        names = [p.name for p in source.parent.iterdir()]
    except OSError:
        return f": there is no folder {source.parent}"
    return did_you_mean(source.name, names)


def _what_starts_so(start: bytes) -> str:
    kinds = {
        b"\x1f\x8b": "gzip: unpack it first",
        b"PK": "zip: unpack it first",
        b"RDX": "R data",
        b"X\n": "R data",
    }
    return next((f" ({kind})" for mark, kind in kinds.items() if start.startswith(mark)), "")


def _read_h5ad(source: Path, backed: bool) -> AnnData:
    import anndata as ad

    try:
        with _quiet():
            return ad.read_h5ad(source, backed="r" if backed else None)
    except Exception as error:
        raise _unreadable(source, error) from error


def _read_zarr(source: Path, backed: bool) -> AnnData:
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise MissingDependencyError(_ZARR, "spatial", "reading a Zarr store") from None
    import anndata as ad

    try:
        with _quiet():
            return ad.read_zarr(source)
    except Exception as error:
        raise _unreadable(source, error) from error


def _read_10x_h5(source: Path, backed: bool) -> AnnData:
    from cellkey.io.tenx import read_10x_h5

    try:
        return read_10x_h5(source)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _unreadable(source, error) from error


def _read_10x_folder(source: Path, backed: bool) -> AnnData:
    from cellkey.io.tenx import read_10x_folder

    try:
        return read_10x_folder(source)
    except InputError:
        raise
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise _unreadable(source, error) from error


_READERS: dict[Form, Any] = {
    "h5ad": _read_h5ad,
    "zarr": _read_zarr,
    "10x-h5": _read_10x_h5,
    "10x-folder": _read_10x_folder,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Old encodings, repeated names, index types: all read correctly; what matters is said by the caller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _unreadable(source: Path, error: Exception) -> InputError:
    return InputError(f"{source} cannot be read, it may be damaged: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _close(adata: AnnData) -> None:
    if adata.isbacked:
        adata.file.close()
