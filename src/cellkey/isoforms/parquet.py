"""Parquet tables, written atomically."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cellkey.errors import BundleError, MissingDependencyError
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from cellkey.records.schema import TableSchema

__all__ = ["read_parquet", "sha256_of", "write_parquet", "write_table"]


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


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
