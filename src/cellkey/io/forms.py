"""Which form a file or folder of cells has, told by its content and not by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cellkey.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Form", "first_line", "recognise"]

Form = Literal["h5ad", "zarr", "10x-h5", "10x-h5-v2", "10x-folder", "loom", "spatialdata", "h5mu", "mudata-zarr"]

_KNOWN = "an .h5ad file, a Zarr store, a loom file, a MuData file, a SpatialData store or a 10x matrix folder"
_TRUNCATED = "is truncated: the file ends before its content does (an interrupted copy or download?)"
_START = 4096
_ZARR_MARKS = frozenset({".zgroup", "zarr.json", ".zattrs"})
_SPATIAL = frozenset({"tables", "table", "shapes", "points", "images", "labels"})


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
            return _of_folder(source)
        if not source.exists():
            msg = f"{source} does not exist{_nearby(source)}"
            raise InputError(msg)
        if not source.is_file():
            msg = f"{source} is neither a file nor a folder, expected {_KNOWN}"
            raise InputError(msg)
        return _of_file(source)
    except OSError as error:
        msg = f"{source} cannot be read: {error.strerror or first_line(error)}"
        raise InputError(msg) from None


def _of_folder(source: Path) -> Form:
    names = {p.name for p in source.iterdir()}
    if names & _ZARR_MARKS:
        return _of_store(source, names)
    if any(n.endswith(("matrix.mtx", "matrix.mtx.gz")) for n in names):
        return "10x-folder"
    inside = sorted(n for n in names if n.endswith((".h5ad", ".zarr", ".h5", ".h5mu", ".loom", "_bc_matrix"))
                    or any((source / n / f"matrix.mtx{packed}").is_file() for packed in ("", ".gz")))
    hint = f"; it holds {', '.join(inside[:5])}" if inside else ""
    msg = f"{source} is a folder, expected {_KNOWN}{hint}"
    raise InputError(msg)


def _of_store(source: Path, names: set[str]) -> Form:
    if "mod" in names:
        return "mudata-zarr"
    if {"obs", "var"} <= names:
        return "zarr"
    if names & _SPATIAL:
        return "spatialdata"
    found = ", ".join(sorted(names - _ZARR_MARKS - {".zmetadata"})[:6]) or "nothing"
    msg = f"{source} is a Zarr store but holds no cells: expected obs and var, or tables, found {found}"
    raise InputError(msg)


def _of_file(source: Path) -> Form:
    import h5py

    with source.open("rb") as handle:
        start = handle.read(_START)
    if not start:
        msg = f"{source} is an empty file, expected {_KNOWN}"
        raise InputError(msg)
    if not h5py.is_hdf5(source):
        msg = f"{source} is not an .h5ad file: it is no HDF5 file at all{_what_starts_so(start)}; expected {_KNOWN}"
        raise InputError(msg)
    try:
        with h5py.File(source, "r") as file:
            groups = {name: set(file[name]) if isinstance(file[name], h5py.Group) else set() for name in file}
    except (OSError, RuntimeError, KeyError) as error:
        reason = _TRUNCATED if "truncated" in str(error) else f"cannot be opened: {first_line(error)}"
        msg = f"{source} {reason}"
        raise InputError(msg) from None
    return _of_hdf5(source, groups)


def _of_hdf5(source: Path, groups: Mapping[str, set[str]]) -> Form:
    keys = set(groups)
    if groups.get("mod"):
        return "h5mu"
    if {"obs", "var"} <= keys:
        return "h5ad"
    if {"matrix", "row_attrs", "col_attrs"} <= keys:
        return "loom"
    if "matrix" in keys and not keys & {"row_attrs", "col_attrs"}:
        return "10x-h5"
    if keys and all({"barcodes", "gene_names", "indptr"} <= inside for inside in groups.values()):
        return "10x-h5-v2"
    known = {
        "a loom file without cells": {"row_attrs", "col_attrs"},
        "a MuData file without modalities": {"mod"},
        "a Keras model": {"model_weights"},
    }
    looks = next((f"; it looks like {name}" for name, marks in known.items() if marks & keys), "")
    found = ", ".join(sorted(keys)[:6]) or "nothing"
    msg = f"{source} is an HDF5 file but not an .h5ad file: it has no obs and var, but {found}{looks}"
    raise InputError(msg)


def _nearby(source: Path) -> str:
    if source.is_symlink():
        return f": it is a symbolic link to {source.readlink()}, which leads to no file"
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
    kind = next((kind for mark, kind in kinds.items() if start.startswith(mark)), _text_like(start))
    return f" ({kind})" if kind else ""


def _text_like(start: bytes) -> str:
    """What text at the start of a file is: a table of numbers or other text; empty if it is no text."""
    try:
        lines = start.decode("utf-8", errors="strict" if len(start) < _START else "ignore").split("\n", 2)
    except UnicodeDecodeError:
        return ""
    if b"\0" in start:
        return ""
    first, second = lines[0], lines[1] if len(lines) > 1 else ""
    if first.startswith("%%MatrixMarket"):
        return "a matrix alone: give its folder, with barcodes and features beside it"
    for separator, name in (("\t", "tab"), (",", "comma"), (";", "semicolon")):
        if first.count(separator) > 1 or first.count(separator) == second.count(separator) == 1:
            return (f"a {name}-separated text table: write it as .h5ad once, with cells as rows, as in "
                    f"anndata.AnnData(pandas.read_csv(FILE, sep={separator!r}, index_col=0)).write_h5ad('cells.h5ad'); "
                    "add .T where genes are the rows")
    return "plain text"


def first_line(error: Exception) -> str:
    """Return the first line of an error's text that says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
