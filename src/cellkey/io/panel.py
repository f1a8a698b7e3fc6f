"""The genes of a panel, from a list, a table or a file of cells."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cellkey.errors import InputError
from cellkey.hierarchy.resolution import SYMBOL_COLUMNS

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["read_panel"]

_CELLS: Final = frozenset({".h5ad", ".zarr", ".h5", ".loom"})
_COLUMNS: Final = ("gene", "genes", "name", "target", "marker", "protein", *SYMBOL_COLUMNS)


def read_panel(path: str | Path) -> list[str]:
    """Return the names of the genes or proteins of a panel, each once, in the order of the file.

    Parameters
    ----------
    path
        Text with one name per line (also separated by commas, spaces or tabs on one line), a csv or tsv table
        with a column such as ``gene``, ``gene_name`` or ``symbol`` (else its first column), or cells. Where the
        variables of cells are Ensembl ids, their column of symbols is taken. Lines that start with ``#`` are
        skipped.

    Raises
    ------
    InputError
        If the file cannot be read or names nothing.
    """
    file = Path(path)
    names = _of_cells(file) if file.suffix.casefold() in _CELLS or file.is_dir() else _of_text(file)
    found = list(dict.fromkeys(n.strip() for n in names if n.strip()))
    if not found:
        msg = f"{file} names no gene; expected one name per line, or a table with a column 'gene'"
        raise InputError(msg)
    return found


def _of_cells(file: Path) -> list[str]:
    from cellkey.io.read import read_cells

    cells: AnnData = read_cells(file, backed=True)
    names: list[str] = cells.var_names.astype(str).tolist()
    if sum(n.startswith("ENS") for n in names) > len(names) / 2:
        columns = {str(c).casefold(): c for c in cells.var.columns}
        chosen = next((columns[c] for c in SYMBOL_COLUMNS if c in columns), None)
        names = names if chosen is None else cells.var[chosen].astype(str).tolist()
    return names


def _of_text(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror or error}"
        raise InputError(msg) from None
    except UnicodeDecodeError:
        msg = f"{file} is not UTF-8 text; give a list of genes, a csv or tsv table, or cells (.h5ad)"
        raise InputError(msg) from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if file.suffix.casefold() in (".csv", ".tsv") and lines:
        return _of_table(lines, "\t" if "\t" in lines[0] else ",")
    return [name.strip("\"'") for line in lines for name in line.replace(",", " ").replace(";", " ").split()]


def _of_table(lines: list[str], separator: str) -> list[str]:
    rows = list(csv.reader(lines, delimiter=separator))
    header = [c.strip().casefold() for c in rows[0]]
    column = next((header.index(c) for c in _COLUMNS if c in header), None)
    body = rows if column is None and len(header) == 1 else rows[1:]
    return [row[column or 0] for row in body if len(row) > (column or 0)]
