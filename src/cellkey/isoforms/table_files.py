"""Tables as users have them: text separated by commas (``.csv``) or tabs, gzipped or not, or parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from cellkey.errors import InputError
from cellkey.isoforms.parquet import read_parquet

__all__ = ["is_parquet", "read_table_file", "separator_of"]


def is_parquet(path: Path) -> bool:
    """Return whether a file is parquet by its name."""
    return path.name.lower().endswith(".parquet")


def separator_of(path: Path) -> str:
    """Return what separates the columns of a text file by its name."""
    return "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"


def read_table_file(path: str | Path, what: str, **text_options: Any) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    what
        What the table is, for messages.
    text_options
        For :func:`pandas.read_csv`, where the file is text.

    Raises
    ------
    InputError
        If there is no such file.
    BundleError
        If a parquet file cannot be read.
    """
    source = Path(path)
    if not source.is_file():
        msg = f"{what} {source}: no such file"
        raise InputError(msg)
    return read_parquet(source) if is_parquet(source) else pd.read_csv(source, sep=separator_of(source), **text_options)
