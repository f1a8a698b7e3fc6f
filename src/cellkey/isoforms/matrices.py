"""How the matrices of a bundle are stored: dense or sparse ``.npz``, or parquet with named rows and columns.

All three are read without pickle, written atomically, and give the same bytes for the same matrix.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.errors import BundleError, Problem
from cellkey.isoforms.parquet import read_parquet, write_parquet
from cellkey.isoforms.table_files import need_numbers
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "label_problems", "read_matrix", "read_named_matrix", "write_matrix"]

SUFFIXES = {"dense_npz": ".npz", "sparse_npz": ".npz", "parquet": ".matrix.parquet"}
"""End of the file name; tables of features may bear the name of their assay and end in ``.parquet``."""
ROW_LABEL = "feature_id"


def write_matrix(
    matrix: NDArray[np.float64],
    path: str | Path,
    *,
    encoding: str = "dense_npz",
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> None:
    """Write a matrix (features x samples).

    Parameters
    ----------
    encoding
        ``dense_npz``: the array ``data`` of a compressed archive. ``sparse_npz``: compressed sparse rows as
        :func:`scipy.sparse.load_npz` reads them; smaller where most counts are zero. ``parquet``: a table with the ids
        of the rows in the column ``feature_id`` and one column per sample, for other programs.
    rows, columns
        Ids of rows and columns; needed by ``parquet``, ignored by the others.
    """
    if encoding == "parquet":
        frame = pd.DataFrame(matrix, columns=list(map(str, columns or ())))
        frame.insert(0, ROW_LABEL, list(map(str, rows or ())))
        write_parquet(frame, path)
        return
    arrays = {"data": np.ascontiguousarray(matrix)} if encoding == "dense_npz" else _sparse_arrays(matrix)
    _write_archive(arrays, path)


def _sparse_arrays(matrix: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    from scipy.sparse import csr_array

    sparse = csr_array(matrix)
    sparse.sort_indices()
    return {
        "indices": sparse.indices,
        "indptr": sparse.indptr,
        "format": np.array(b"csr"),
        "shape": np.array(sparse.shape),
        "data": sparse.data,
    }


def _write_archive(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            # A fixed time stamp: two runs with one seed write the same bytes.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, array, allow_pickle=False)


def read_matrix(path: str | Path, encoding: str = "dense_npz") -> NDArray[np.float64]:
    """Read a matrix as dense float64.

    Raises
    ------
    BundleError
        If the file is missing, corrupt, of another encoding, or holds something that is not numeric.
    """
    return read_named_matrix(path, encoding)[0]


def read_named_matrix(
    path: str | Path, encoding: str = "dense_npz"
) -> tuple[NDArray[np.float64], list[str] | None, list[str] | None]:
    """Read a matrix with the ids of its rows and columns; None where the encoding stores no ids."""
    if encoding == "parquet":
        return _read_table(path)
    arrays = _read_archive(path)
    if "data" not in arrays:
        msg = f"{path}: holds the arrays {sorted(arrays)}, expected one array named 'data'"
        raise BundleError(msg)
    is_sparse = "indptr" in arrays
    if is_sparse != (encoding == "sparse_npz"):
        found = "sparse_npz" if is_sparse else "dense_npz"
        msg = f"{path}: is stored as {found}, the manifest says encoding = {encoding}; correct the manifest"
        raise BundleError(msg)
    data = arrays["data"]
    if data.dtype.kind not in "fiub":
        msg = f"{path}: holds values of type {data.dtype}, expected numbers"
        raise BundleError(msg)
    return (_dense(arrays, path) if is_sparse else np.asarray(data, dtype=np.float64)), None, None


def _read_archive(path: str | Path) -> dict[str, NDArray[Any]]:
    try:
        with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise BundleError(msg) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        msg = (
            f"{path}: not a readable .npz archive ({error}); write it again with numpy.savez_compressed(path, data=...)"
        )
        raise BundleError(msg) from None


def _dense(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    try:
        kind = arrays["format"].item()
        if kind not in (b"csr", "csr"):
            msg = f"sparse format {kind!r} instead of csr"
            raise ValueError(msg)
        shape = tuple(int(n) for n in arrays["shape"])
        sparse = csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        sparse.check_format(full_check=True)
        return np.asarray(sparse.toarray(), dtype=np.float64)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        msg = f"{path}: not a sparse matrix ({error}); write it again with scipy.sparse.save_npz(path, csr_matrix)"
        raise BundleError(msg) from None


def _read_table(path: str | Path) -> tuple[NDArray[np.float64], list[str], list[str]]:
    table = read_parquet(path)
    if ROW_LABEL not in table.columns:
        msg = f"{path}: has no column {ROW_LABEL!r}; it holds the ids of the rows, the other columns are samples"
        raise BundleError(msg)
    rows = [str(v) for v in table[ROW_LABEL]]
    values = table.drop(columns=ROW_LABEL)
    need_numbers(values, str(path), "one column per sample")
    return values.to_numpy(dtype=np.float64), rows, [str(c) for c in values.columns]


def label_problems(
    file: str, found: Sequence[str] | None, expected: Sequence[str], what: str, order_of: str
) -> list[Problem]:
    """Return a problem where the ids stored with a matrix are not those of its table, in the same order."""
    if found is None or list(found) == list(expected):
        return []
    place, wrong = next(
        ((i, a) for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        (min(len(found), len(expected)), "nothing"),
    )
    wanted = expected[place] if place < len(expected) else "nothing"
    same = sorted(found) == sorted(expected)
    detail = f"first at {what} {place + 1}: {wrong!r} where {order_of} has {wanted!r}"
    return [
        Problem(
            f"its {what}s are {'in another order than' if same else 'not those of'} {order_of}, {detail}",
            file,
            f"sort the {what}s as in {order_of}" if same else "write the bundle again",
        )
    ]
