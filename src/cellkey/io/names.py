"""Names of cells and variables: made unique for the work and put back in what is written; one number per cell."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import CellkeyWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.io.opened import OpenedCells

__all__ = ["ORIGINAL_NAMES", "cell_keys", "make_names_unique", "original_names"]

#: Key of ``uns`` that remembers the names of the input while they are replaced; never written to a file.
ORIGINAL_NAMES = "cellkey_original_names"


def make_names_unique(
    adata: AnnData | OpenedCells, *, source: str = "the data", axes: Sequence[str] = ("obs", "var")
) -> None:
    """Make names of cells and variables unique, with a warning, and remember the original ones.

    The second ``CD4`` becomes ``CD4-1`` and so on; :func:`original_names` gives the names of the input back.
    """
    for axis in axes:
        what = {"obs": "cell", "var": "variable"}[axis]
        index: pd.Index[Any] = getattr(adata, f"{axis}_names")
        if index.is_unique:
            continue
        remembered = adata.uns.setdefault(ORIGINAL_NAMES, {})
        remembered[axis] = index.to_numpy(dtype=object)
        repeated = index[index.duplicated()].unique()
        some = ", ".join(map(str, repeated[:3])) + (" ..." if len(repeated) > 3 else "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # suffixes that make new duplicates are resolved
            getattr(adata, f"{axis}_names_make_unique")()
        msg = (
            f"{source}: {len(repeated):,} {what} names repeat ({some}); they are made unique for the work "
            "and kept as they were in the output"
        )
        warnings.warn(msg, CellkeyWarning, stacklevel=3)


def original_names(adata: AnnData, axis: str) -> np.ndarray[Any, Any]:
    """Return the names of ``"obs"`` or ``"var"`` as they were in the input."""
    remembered = adata.uns.get(ORIGINAL_NAMES, {}).get(axis)
    now = getattr(adata, f"{axis}_names").to_numpy(dtype=object)
    fits = remembered is not None and len(remembered) == len(now)
    return np.asarray(remembered, dtype=object) if fits else now


def cell_keys(names: Sequence[str] | pd.Index[Any] | NDArray[np.object_] | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return one number per cell that depends on its name alone; cells of one name are counted through.

    Numbers made before are returned as they are.
    """
    import pandas as pd

    if isinstance(names, np.ndarray) and names.dtype == np.uint64:
        return np.asarray(names, dtype=np.uint64)
    texts = np.asarray(names, dtype=object).astype(str)
    hashed = np.asarray(pd.util.hash_array(texts.astype(object), categorize=False), dtype=np.uint64)
    if len(np.unique(hashed)) < len(hashed):
        occurrence = pd.Series(texts).groupby(texts, sort=False).cumcount().to_numpy(np.uint64)
        hashed = hashed + occurrence * np.uint64(0x9E3779B97F4A7C15)
    return hashed
