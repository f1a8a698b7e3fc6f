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
        return _of_file(source)
    except PermissionError as error:
        msg = f"{source} cannot be read: {error.strerror}"
        raise InputError(msg) from None


def _of_folder(source: Path) -> Form:
    names = {p.name for p in source.iterdir()}
    if names & _ZARR_MARKS:
        return _of_store(source, names)
    if any(n.endswith(("matrix.mtx", "matrix.mtx.gz")) for n in names):
        return "10x-folder"
    inside = sorted(n for n in names if n.endswith((".h5ad", ".zarr", ".h5", ".h5mu", ".loom", "_bc_matrix")))
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
        start = handle.read(8)
    if not start:
        msg = f"{source} is an empty file"
        raise InputError(msg)
    if not h5py.is_hdf5(source):
        msg = f"{source} is not an .h5ad file: it is no HDF5 file at all{_what_starts_so(start)}"
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


def first_line(error: Exception) -> str:
    """Return the first line of an error's text that says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
