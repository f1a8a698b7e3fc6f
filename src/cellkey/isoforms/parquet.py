"""Parquet tables and ``.npz`` matrices, written atomically and read without pickle."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import BundleError, MissingDependencyError
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.records.schema import TableSchema

__all__ = ["read_matrix", "read_parquet", "sha256_of", "write_matrix", "write_parquet", "write_table"]


_WIDE = 1000
"""Tables with more columns than this hold one number per sample and transcript."""


def _need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        package, extra, purpose = "pyarrow", "isoforms", "reading and writing parquet tables"
        raise MissingDependencyError(package, extra, purpose)


def write_parquet(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame without its index."""
    _need_pyarrow()
    with atomic_path(path) as temporary:
        # Dictionaries and statistics per column are what makes tables of many columns slow and large.
        wide = frame.shape[1] > _WIDE
        frame.to_parquet(temporary, index=False, engine="pyarrow", use_dictionary=not wide, write_statistics=not wide)


def write_table(frame: pd.DataFrame, schema: TableSchema, directory: str | Path) -> Path:
    """Write a table that follows ``schema`` to ``<directory>/<schema name>.parquet`` and return the path."""
    path = Path(directory) / f"{schema.name}.parquet"
    write_parquet(schema.conform(frame), path)
    return path


def read_parquet(path: str | Path) -> pd.DataFrame:
    """Read a parquet table.

    Raises
    ------
    BundleError
        If the file is missing, truncated or no parquet file.
    """
    _need_pyarrow()
    from pyarrow import ArrowException

    try:
        return pd.read_parquet(path, engine="pyarrow", use_threads=False)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise BundleError(msg) from None
    except (ArrowException, OSError, ValueError) as error:
        msg = f"{path}: not a readable parquet table ({str(error).splitlines()[0]}); write it again"
        raise BundleError(msg) from None


def write_matrix(matrix: NDArray[np.float64], path: str | Path) -> None:
    """Write a matrix as the array ``data`` of a compressed archive whose bytes depend on the matrix alone."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed time stamp: two runs with one seed write the same bytes.
        entry = zipfile.ZipInfo("data.npy", date_time=(1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as handle:
            np.lib.format.write_array(handle, np.ascontiguousarray(matrix), allow_pickle=False)


def read_matrix(path: str | Path) -> NDArray[np.float64]:
    """Read the array ``data`` of an archive as float64, pickles refused.

    Raises
    ------
    BundleError
        If the file is missing or corrupt, has no array ``data`` or holds something that is not numeric.
    """
    try:
        with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            if "data" not in archive.files:
                msg = f"{path}: holds the arrays {archive.files}, expected one array named 'data'"
                raise BundleError(msg)
            data = archive["data"]
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise BundleError(msg) from None
    except BundleError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        msg = (
            f"{path}: not a readable .npz archive ({error}); write it again with numpy.savez_compressed(path, data=...)"
        )
        raise BundleError(msg) from None
    if data.dtype.kind not in "fiub":
        msg = f"{path}: holds values of type {data.dtype}, expected numbers"
        raise BundleError(msg)
    return np.asarray(data, dtype=np.float64)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
