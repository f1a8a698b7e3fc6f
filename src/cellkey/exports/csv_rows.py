"""Rows of text files: quoted where needed, the same on all platforms."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["one_line", "write_rows", "write_tsv"]


def one_line(value: object) -> str:
    """Text for a table that knows no quotes: tabs and line ends become blanks."""
    return " ".join(str(value).splitlines()).replace("\t", " ")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header, UTF-8, line ends of one character."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_tsv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a tab-separated file without quotes: tabs and line ends within a value become blanks."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        for row in (header, *rows):
            handle.write("\t".join(map(one_line, row)) + "\n")
