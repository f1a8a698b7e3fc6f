"""Tables as users have them: text separated by commas (``.csv``) or tabs, gzipped or not, or parquet."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellkey.errors import InputError
from cellkey.isoforms.parquet import read_parquet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["biotype_of", "gtf_rows", "is_parquet", "need_numbers", "read_table_file"]

_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeError, pd.errors.EmptyDataError, pd.errors.ParserError)


def is_parquet(path: Path) -> bool:
    """Return whether a file is parquet by its name."""
    return path.name.lower().endswith(".parquet")


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
        If there is no such file, or it is no table.
    BundleError
        If a parquet file cannot be read.
    """
    source = _present(path, what)
    if is_parquet(source):
        return read_parquet(source)
    separator = "," if source.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    try:
        table: pd.DataFrame = pd.read_csv(source, sep=separator, **text_options)
    except _UNREADABLE as error:
        msg = (
            f"{what} {source}: not a readable table ({str(error).strip()}); expected text with a header, columns "
            "separated by commas (.csv) or tabs, or parquet"
        )
        raise InputError(msg) from error
    return table


def gtf_rows(path: str | Path, features: Collection[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the nine fields and the attributes of the rows of some features (``exon``, ...) of a GTF file.

    Raises
    ------
    InputError
        If there is no such file, or it is no text.
    """
    source = _present(path, "annotation")
    try:
        with gzip.open(source, "rt") if source.suffix == ".gz" else source.open() as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if len(fields) == 9 and fields[2] in features:
                    yield fields, dict(_ATTRIBUTE.findall(fields[8]))
    except _UNREADABLE as error:
        msg = f"annotation {source}: not a readable GTF file ({error}); expected text, gzipped if it ends in .gz"
        raise InputError(msg) from error


def biotype_of(attributes: dict[str, str]) -> str:
    """Return the type of a transcript as GENCODE or Ensembl writes it, or an empty string."""
    return attributes.get("transcript_type", attributes.get("transcript_biotype", ""))


def need_numbers(table: pd.DataFrame, where: str, hint: str) -> None:
    """Refuse a table with a column that is not numeric, naming the first value that is no number.

    Raises
    ------
    InputError
        With what was found and ``hint``.
    """
    for name in table.columns:
        column = table[name]
        if len(column) and not pd.api.types.is_numeric_dtype(column):
            bad = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
            found = repr(bad.iloc[0]) if len(bad) else str(column.dtype)
            msg = f"{where}, column {str(name)!r}: values must be numbers, found {found}; {hint}"
            raise InputError(msg)


def _present(path: str | Path, what: str) -> Path:
    source = Path(path)
    if not source.is_file():
        msg = f"{what} {source}: no such file"
        raise InputError(msg)
    return source
