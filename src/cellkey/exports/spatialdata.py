"""A SpatialData store that holds the labelled table, its link to the regions intact."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellkey.errors import InputError, MissingDependencyError, ParameterError, Problem
from cellkey.io.parts import spatialdata_problems

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

_ZARR: Final = "zarr"

SETTINGS: Final = {"table": "name of the table in the store; table if not given"}

_STORE_VERSION, _TABLE_VERSION = "0.2", "0.2"


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``labelled.zarr`` with one table: all cells, labels and colours, and ``spatialdata_attrs`` as they came.

    Raises
    ------
    InputError
        If the link of the table to its regions is broken, with every way in which it is.
    MissingDependencyError
        If the package zarr is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise MissingDependencyError(_ZARR, "spatial", "writing a SpatialData store") from None
    from anndata.io import write_elem

    name = _element_name(settings.get("table", "table"))
    adata = cells.adata
    problems = [*spatialdata_problems(adata), *_name_problems(adata)]
    if problems:
        msg = "the table would not be valid in SpatialData"
        raise InputError(msg, [Problem(p) for p in problems])
    table = adata.copy()
    table.obsm.pop("refinement_history", None)
    table.uns = {k: v for k, v in table.uns.items() if not str(k).startswith("de_wilcoxon_")}
    root = zarr.open_group(str(folder / "labelled.zarr"), mode="w", zarr_format=3)
    root.attrs["spatialdata_attrs"] = {"version": _STORE_VERSION, "spatialdata_software_version": "0.7.3"}
    tables = root.create_group("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_elem(tables, name, table)
    attrs = adata.uns.get("spatialdata_attrs", {})
    tables[name].attrs.update({
        "spatialdata-encoding-type": "ngff:regions_table", "version": _TABLE_VERSION,
        **{k: _plain(attrs.get(k)) for k in ("region", "region_key", "instance_key")},
    })
    link = "its link to the regions is as it was" if attrs else "it annotates no region, as the input did not"
    return [f"labelled.zarr holds the table {name!r}; {link}",
            f"in Python: sdata.tables['{name}'] = spatialdata.read_zarr('labelled.zarr').tables['{name}']"]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    texts = [str(v) for v in np.atleast_1d(np.asarray(value, dtype=object))]
    return texts[0] if len(texts) == 1 and np.ndim(value) == 0 else texts


def _element_name(name: str) -> str:
    if not name or name.startswith("__") or name in (".", "..") or not all(c.isalnum() or c in "_-." for c in name):
        msg = f"table={name!r} is no name of an element: letters, digits, '_', '-' and '.' only"
        raise ParameterError(msg)
    return name


def _name_problems(adata: Any) -> list[str]:
    """Names of columns that SpatialData refuses: other characters, or the same name in another case."""
    problems = []
    for slot in ("obs", "var", "obsm", "layers", "obsp"):
        names = [str(n) for n in (getattr(adata, slot).columns if slot in ("obs", "var") else getattr(adata, slot))]
        odd = [n for n in names if not n or not all(c.isalnum() or c in "_-." for c in n)]
        if odd:
            problems.append(f"{slot} holds names with other characters than letters, digits, '_', '-' and '.': "
                            f"{', '.join(map(repr, odd[:5]))}; rename them")
        folded: dict[str, str] = {}
        for name in names:
            if name.casefold() in folded:
                problems.append(f"{slot} holds {folded[name.casefold()]!r} and {name!r}, which differ in case only")
            folded[name.casefold()] = name
    return problems


