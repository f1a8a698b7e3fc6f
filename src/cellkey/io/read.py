"""Reading cells in any of the forms that :mod:`cellkey.io.forms` tells apart."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import CellkeyWarning, InputError, MissingDependencyError, ParameterError
from cellkey.io.forms import Form, first_line, recognise
from cellkey.io.names import make_names_unique

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

__all__ = ["Form", "need_zarr", "read_cells", "recognise"]

_ZARR = "zarr"


def read_cells(
    path: str | Path, *, backed: bool = False, table: str | None = None, modality: str | None = None
) -> AnnData:
    """Read cells from a file or folder.

    Parameters
    ----------
    path
        An ``.h5ad`` file, a ``.zarr`` folder written by anndata, a SpatialData or MuData store, an ``.h5mu`` or
        ``.loom`` file, a 10x Genomics ``.h5`` file (of version 2 as well), or a folder with ``matrix.mtx``,
        ``barcodes.tsv`` and ``features.tsv`` (or ``genes.tsv``), gzipped or not, with one prefix or none.
    backed
        Leave X of an ``.h5ad`` file on disk; other forms are read whole.
    table
        Table of a SpatialData store; needed if it has several.
    modality
        Modality of MuData, such as ``rna`` or ``prot``; needed if there are several.

    Returns
    -------
    Cells x variables with unique names. Names that repeat are made unique with a warning; their originals are
    put back by :func:`cellkey.io.write.write_cells`.

    Raises
    ------
    InputError
        If the path does not exist, is no such file, is truncated or damaged, holds no cells or no variables, or
        holds several tables or modalities of which none is named.
    ParameterError
        If a table or modality is named for a form that has none.
    MissingDependencyError
        If a Zarr store is given and the package zarr is not installed.
    """
    source = Path(path)
    form = recognise(source)
    _check_part(source, form, table, modality)
    with _readable(source):
        adata = _READERS[form](source, backed, table or modality)
    if adata.n_obs == 0 or adata.n_vars == 0:
        _close(adata)
        msg = f"{source} is empty: {adata.n_obs:,} cells x {adata.n_vars:,} variables"
        raise InputError(msg)
    make_names_unique(adata, source=source.name)
    return adata


def _check_part(source: Path, form: Form, table: str | None, modality: str | None) -> None:
    named = {"table": (table, ("spatialdata",)), "modality": (modality, ("h5mu", "mudata-zarr"))}
    for what, (value, forms) in named.items():
        if value is not None and form not in forms:
            msg = f"{source} is of the form {form} and has no {what}: leave out --{what} {value}"
            raise ParameterError(msg)


def _read_h5ad(source: Path, backed: bool, part: str | None) -> AnnData:
    import anndata as ad

    return ad.read_h5ad(source, backed="r" if backed else None)


def _read_zarr(source: Path, backed: bool, part: str | None) -> AnnData:
    need_zarr("reading a Zarr store")
    import anndata as ad

    return ad.read_zarr(source)


def _read_spatialdata(source: Path, backed: bool, part: str | None) -> AnnData:
    need_zarr("reading a SpatialData store")
    from cellkey.io.parts import read_table, spatialdata_problems

    adata = read_table(source, part)
    problems = spatialdata_problems(adata)
    if problems:
        msg = f"{source}: the link of the table to its regions is broken: {'; '.join(problems)}"
        warnings.warn(msg, CellkeyWarning, stacklevel=4)
    return adata


def _read_h5mu(source: Path, backed: bool, part: str | None) -> AnnData:
    import h5py

    from cellkey.io.parts import read_modality

    with h5py.File(source, "r") as file:
        return read_modality(file, source, part)


def _read_mudata_zarr(source: Path, backed: bool, part: str | None) -> AnnData:
    need_zarr("reading a Zarr store")
    import zarr

    from cellkey.io.parts import read_modality

    return read_modality(zarr.open_group(str(source), mode="r"), source, part)


def _read_10x_h5(source: Path, backed: bool, part: str | None) -> AnnData:
    from cellkey.io.tenx import read_10x_h5

    return read_10x_h5(source)


def _read_10x_h5_v2(source: Path, backed: bool, part: str | None) -> AnnData:
    from cellkey.io.tenx import read_10x_h5_v2

    return read_10x_h5_v2(source)


def _read_10x_folder(source: Path, backed: bool, part: str | None) -> AnnData:
    from cellkey.io.tenx import read_10x_folder

    return read_10x_folder(source)


def _read_loom(source: Path, backed: bool, part: str | None) -> AnnData:
    from cellkey.io.loom import read_loom

    return read_loom(source)


_READERS: dict[Form, Any] = {
    "h5ad": _read_h5ad,
    "zarr": _read_zarr,
    "spatialdata": _read_spatialdata,
    "h5mu": _read_h5mu,
    "mudata-zarr": _read_mudata_zarr,
    "loom": _read_loom,
    "10x-h5": _read_10x_h5,
    "10x-h5-v2": _read_10x_h5_v2,
    "10x-folder": _read_10x_folder,
}


def need_zarr(purpose: str) -> None:
    """Raise the error that names the extra where zarr is not installed."""
    try:
        import zarr  # noqa: F401
    except ImportError:
        raise MissingDependencyError(_ZARR, "spatial", purpose) from None


@contextlib.contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Turn whatever a library makes of a damaged file into one message.

    Its warnings about old encodings, repeated names and index types are dropped: all of these are read correctly,
    and what matters is said by the caller.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", CellkeyWarning)
        try:
            yield
        except (InputError, MissingDependencyError):
            raise
        except Exception as error:
            msg = f"{source} cannot be read, it may be damaged: {first_line(error)}"
            raise InputError(msg) from error


def _close(adata: AnnData) -> None:
    if adata.isbacked:
        adata.file.close()
