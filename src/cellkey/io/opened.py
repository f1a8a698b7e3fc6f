"""Cells on disk whose parts are read when they are asked for: nothing is loaded that is not looked at."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import InputError, MissingDependencyError, ParameterError
from cellkey.io.forms import first_line, recognise
from cellkey.io.names import cell_keys, make_names_unique
from cellkey.io.on_disk import open_store
from cellkey.io.stored import StoredMatrix

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["OpenedCells", "open_cells"]

_NAMES = 65_536
_MATRICES = ("csr_matrix", "csc_matrix", "array")


class OpenedCells:
    """An ``.h5ad`` file or a Zarr store, open for reading; looks like AnnData to all that reads it.

    ``obs``, ``var`` and the entries of ``uns``, ``obsm`` and the like are read on first use. ``X`` and ``layers``
    stay on disk as :class:`~cellkey.io.stored.StoredMatrix` until :meth:`hold` puts something in their place.

    Parameters
    ----------
    path
        Of the file or folder.
    store
        The open file: ``h5py.File`` or ``zarr.Group``.
    budget
        Bytes of memory for a decoded matrix; None does not limit it.
    """

    isbacked = False

    def __init__(self, path: Path, store: Any, budget: int | None = None) -> None:
        self.path = path
        self.budget = budget
        self._store = store
        self._frames: dict[str, pd.DataFrame] = {}
        self._held: dict[str, Any] = {}
        self._columns: dict[str, Any] = {}
        self.uns = _Entries(store, "uns")
        self.obsm = _Entries(store, "obsm")
        self.layers = _Layers(self)
        self.n_obs, self.n_vars = _length(store, "obs"), _length(store, "var")

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and variables."""
        return self.n_obs, self.n_vars

    @property
    def X(self) -> Any:  # noqa: N802 - AnnData's name
        """The matrix, or None."""
        return self.matrix("X")

    @property
    def obs(self) -> pd.DataFrame:
        """Columns of the cells."""
        return self._frame("obs")

    @property
    def var(self) -> pd.DataFrame:
        """Columns of the variables."""
        return self._frame("var")

    @property
    def obs_names(self) -> pd.Index[Any]:
        """Names of the cells, unique."""
        return self.obs.index

    @property
    def var_names(self) -> pd.Index[Any]:
        """Names of the variables, unique."""
        return self.var.index

    @property
    def raw_names(self) -> list[str]:
        """Names of the variables of ``raw``; empty if there is none."""
        return [str(n) for n in _element(self._store["raw/var"]).index] if "raw/var" in self._store else []

    def matrix(self, layer: str) -> Any:
        """Return ``"X"`` or a layer; None if the cells have no X."""
        if layer not in self._held:
            place = "X" if layer == "X" else f"layers/{layer}"
            if place not in self._store:
                return None
            self._held[layer] = StoredMatrix(self._store[place], self.budget)
        return self._held[layer]

    def limit(self, budget: int) -> None:
        """Set the bytes of memory that a decoded matrix may take."""
        self.budget = budget
        for matrix in self._held.values():
            matrix.budget = budget

    def hold(self, layer: str, matrix: Any) -> None:
        """Put a decoded matrix in the place of ``"X"`` or a layer."""
        self._held[layer] = matrix

    def column(self, name: str) -> Any:
        """Return one column of ``obs`` without reading the others; None if there is none."""
        if "obs" in self._frames:
            return self._frames["obs"].get(name)
        place = f"obs/{name}"
        if name not in self._columns:
            self._columns[name] = _element(self._store[place]) if place in self._store else None
        return self._columns[name]

    def can_be_copied(self, x_format: str) -> bool:
        """Whether a copy of the file, with fields added, is the file to write: ``.h5ad`` with X in that form."""
        if self.path.is_dir():
            return False
        return "X" not in self._store or x_format == "as-input" or self._stored_form() == "csr_matrix"

    def check_form(self, x_format: str) -> None:
        """Refuse to keep the form of a matrix that cannot be copied, before any work is done.

        Raises
        ------
        ParameterError
            If ``"as-input"`` is asked for a Zarr store whose matrix is not CSR.
        """
        kept = self.path.is_dir() and x_format == "as-input" and "X" in self._store
        if kept and self._stored_form() != "csr_matrix":
            msg = (f"{self.path.name} is a Zarr store: its matrix ({self._stored_form()}) is written by cells; leave "
                   "out --x-format as-input, or write the cells as .h5ad first")
            raise ParameterError(msg)

    def _stored_form(self) -> str:
        return str(self._store["X"].attrs.get("encoding-type", ""))

    def to_memory(self) -> AnnData:
        """Return all but the matrix as AnnData; ``X`` is left out."""
        import anndata as ad

        slots = ("layers", "obsm", "varm", "obsp", "varp", "uns", "raw")
        parts = {s: _element(self._store[s]) for s in slots if s in self._store}
        adata = ad.AnnData(obs=self.obs.copy(), var=self.var.copy(), **parts)
        for key in [k for k in self.uns if k not in adata.uns]:
            adata.uns[key] = self.uns[key]
        return adata

    def cell_keys(self) -> NDArray[np.uint64]:
        """Return :func:`~cellkey.io.names.cell_keys` of the cells, without keeping their names."""
        keys = None if "obs" in self._frames else self._keys
        return cell_keys(self.obs_names) if keys is None else keys

    @cached_property
    def _keys(self) -> NDArray[np.uint64] | None:
        """Hashes of the names of cells, read block by block: as text they take ten times the memory.

        None if names are stored in another form, or if two hashes are equal.
        """
        import pandas as pd

        group = self._store["obs"]
        names = group[str(group.attrs["_index"])]
        if names.attrs.get("encoding-type") != "string-array":
            return None
        keys = np.empty(self.n_obs, dtype=np.uint64)
        texts = names.asstr() if hasattr(names, "asstr") else names
        for start in range(0, self.n_obs, _NAMES):
            block = np.asarray(texts[start : start + _NAMES], dtype=object)
            keys[start : start + len(block)] = pd.util.hash_array(block, categorize=False)
        ordered = np.sort(keys)
        return None if (ordered[1:] == ordered[:-1]).any() else keys

    def close(self) -> None:
        """Close the file."""
        _close(self._store)

    def make_names_unique(self) -> None:
        """See :func:`~cellkey.io.names.make_names_unique`; names of cells that all differ are not kept."""
        axes = ("obs", "var") if self._keys is None else ("var",)
        make_names_unique(self, source=self.path.name, axes=axes)

    def obs_names_make_unique(self) -> None:
        """Give repeated names of cells a suffix."""
        self._make_unique("obs")

    def var_names_make_unique(self) -> None:
        """Give repeated names of variables a suffix."""
        self._make_unique("var")

    def _make_unique(self, axis: str) -> None:
        from anndata.utils import make_index_unique

        frame = self._frame(axis)
        frame.index = make_index_unique(frame.index)

    def _frame(self, axis: str) -> pd.DataFrame:
        if axis not in self._frames:
            frame = _element(self._store[axis])
            frame.index = frame.index.astype(str)
            self._frames[axis] = frame
        return self._frames[axis]


def open_cells(path: str | Path, *, budget: int | None = None, names: bool = True) -> OpenedCells | None:
    """Open cells without reading the matrix; None if the form must be read whole.

    Parameters
    ----------
    path
        An ``.h5ad`` file or a Zarr store of AnnData.
    budget
        Bytes of memory for a decoded matrix.
    names
        Check now that names are unique; False leaves it out.

    Raises
    ------
    InputError, MissingDependencyError
        As :func:`~cellkey.io.read.read_cells`.
    """
    source = Path(path)
    if recognise(source) not in ("h5ad", "zarr"):
        return None
    store = None
    try:
        store = open_store(source)
        if not _is_plain(store):
            _close(store)
            return None
        cells = OpenedCells(source, store, budget)
        if cells.n_obs == 0 or cells.n_vars == 0:
            msg = f"{source} is empty: {cells.n_obs:,} cells x {cells.n_vars:,} variables"
            raise InputError(msg)
        cells.var  # noqa: B018 - damage shows here
        if names:
            cells.make_names_unique()
        _check_shapes(cells)
    except Exception as error:
        _close(store)
        if isinstance(error, InputError | MissingDependencyError):
            raise
        msg = f"{source} cannot be read, it may be damaged: {first_line(error)}"
        raise InputError(msg) from error
    return cells


def _close(store: Any) -> None:
    if hasattr(store, "close"):
        store.close()


def _is_plain(store: Any) -> bool:
    """Whether all parts are stored as AnnData stores them since version 0.7."""
    if any(str(store[axis].attrs.get("encoding-type", "")) != "dataframe" for axis in ("obs", "var")):
        return False
    layers = store.get("layers", {})
    nodes = [*([store["X"]] if "X" in store else []), *(layers[name] for name in layers)]
    return all(str(node.attrs.get("encoding-type", "")) in _MATRICES for node in nodes)


def _check_shapes(cells: OpenedCells) -> None:
    X = cells.X
    if X is not None and X.shape != cells.shape:
        msg = f"{cells.path} is damaged: X is {X.shape[0]:,} x {X.shape[1]:,}, but there are names for {cells.shape}"
        raise InputError(msg)


def _length(store: Any, axis: str) -> int:
    group = store[axis]
    return int(group[str(group.attrs["_index"])].shape[0])


def _element(node: Any) -> Any:
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_elem(node)


class _Entries(Mapping[str, Any]):
    """A group of fields, each read on first use; more can be set, in memory only."""

    def __init__(self, store: Any, slot: str) -> None:
        self._group = store.get(slot, {})
        self._read: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._read:
            self._read[key] = _element(self._group[key])
        return self._read[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._read[key] = value

    def setdefault(self, key: str, value: Any) -> Any:
        """Return the entry, or set it."""
        if key not in self:
            self._read[key] = value
        return self[key]

    def __contains__(self, key: object) -> bool:
        return key in self._read or key in self._group

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*map(str, self._group), *self._read])

    def __len__(self) -> int:
        return len(list(iter(self)))


class _Layers(Mapping[str, Any]):
    """Layers, left on disk."""

    def __init__(self, cells: OpenedCells) -> None:
        self._cells = cells
        store = cells._store
        self._names = [str(name) for name in store.get("layers", ())]

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            raise KeyError(key)
        return self._cells.matrix(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

