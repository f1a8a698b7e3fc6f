"""Marker tables as files: what separates their columns, how they are encoded, whether they have a header."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from typing import TYPE_CHECKING

from cellkey.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["read_frame"]

_LINES = 50
"""Lines that are looked at to find out what separates columns."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_frame(file: Path) -> pd.DataFrame:
    """Return the table in ``file``; all cells of text files are text.

    Columns may be separated by commas, semicolons or tabs, whatever the ending of the name says, because spreadsheet
    programs of some countries write semicolons into ``.csv``. A table of clusters and gene lists may lack a header.

    Raises
    ------
    InputError
        If the file is missing, a spreadsheet, or no table at all.
    """
    import pandas as pd

    if not file.is_file():
        msg = f"marker table {file} does not exist"
        raise InputError(msg)
    endings = [s.casefold() for s in file.suffixes if s.casefold() != ".gz"]
    kind = endings[-1] if endings else ""
    if kind in (".xlsx", ".xls", ".ods"):
        msg = f"{file} is a spreadsheet, which may have turned gene names into dates: save it as CSV"
        raise InputError(msg)
    try:
        if kind == ".parquet":
            return pd.read_parquet(file)
        text = _columns_of_list(_text(file))
        separator = _separator(text, "\t" if kind in (".tsv", ".txt") else ",")
        frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True)
    except UnicodeDecodeError:
        msg = f"marker table {file} cannot be read: it is not UTF-8 text; save it as CSV in UTF-8"
        raise InputError(msg) from None
    except pd.errors.EmptyDataError:
        msg = f"marker table {file} is empty"
        raise InputError(msg) from None
    except (OSError, EOFError, ValueError, ImportError) as error:  # ValueError covers parser errors
        msg = f"marker table {file} cannot be read: {error}"
        raise InputError(msg) from None
    return _with_first_row(frame)


def _text(file: Path) -> str:
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")


def _columns_of_list(text: str) -> str:
    """Lines of the form ``cluster: gene, gene`` as two columns, where all lines are."""
    lines = [line for line in text.splitlines() if line.strip()]
    parts = [re.fullmatch(r"([^\t,;:]+):\s*([^:\t]*)", line) for line in lines]
    return "\n".join(f"{part[1]}\t{part[2]}" for part in parts if part is not None) if lines and all(parts) else text


def _separator(text: str, usual: str) -> str:
    """What cuts all first lines into the same number of columns: the fewest, as gene lists hold separators, too."""
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    widths = {}
    for separator in dict.fromkeys((usual, "\t", ";", ",")):
        counts = {len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)}
        if len(counts) == 1 and min(counts) > 1:
            widths[separator] = counts.pop()
    return min(widths, key=lambda separator: widths[separator]) if widths else usual


def _with_first_row(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its header as first row, where that is no header: no cluster may be lost for lack of one."""
    import pandas as pd

    if frame.shape[1] != 2:
        return frame
    first, second = map(str, frame.columns)
    is_gene_list = len([g for g in re.split(r"[,;]", second) if g.strip()]) > 1 or len(second.split()) > 4
    if not is_gene_list and first not in set(frame.iloc[:, 0]):
        return frame
    names = ["cluster", "genes" if is_gene_list else "gene"]
    rows = pd.DataFrame([[first, second]], columns=names)
    return pd.concat([rows, frame.set_axis(names, axis=1)], ignore_index=True)
