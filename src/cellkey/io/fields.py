"""Adding fields to AnnData without losing anything that was there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.errors import CellkeyWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from anndata import AnnData

__all__ = ["kept_columns", "without_kept_clusters", "write_fields"]


def kept_columns(existing: Iterable[str], ours: Iterable[str], *, own_output: bool) -> dict[str, str]:
    """Return which existing columns must be kept under another name, old name to new name.

    On output of an earlier run the columns are cellkey's own and are simply replaced.
    """
    known = set(existing)
    if own_output:
        return {}
    return {name: _free(f"{name}_input", known) for name in ours if name in known}


def without_kept_clusters(existing: pd.DataFrame, ours: Mapping[str, Any]) -> list[str]:
    """Return the names of our columns but for that of the clusters, if these are the ones that stand there already."""
    same = _keys.CLUSTER in existing and _keys.CLUSTER in ours and _equal(existing[_keys.CLUSTER], ours[_keys.CLUSTER])
    return [name for name in ours if not (same and name == _keys.CLUSTER)]


def _equal(old: pd.Series[Any], new: Any) -> bool:
    import pandas as pd

    before, after = (pd.Series(np.asarray(values, dtype=object)) for values in (old, new))
    missing = before.isna()
    return bool((missing == after.isna()).all() and (before.astype(str)[~missing] == after.astype(str)[~missing]).all())


def _free(name: str, known: set[str]) -> str:
    candidate, n = name, 2
    while candidate in known:
        candidate, n = f"{name}_{n}", n + 1
    return candidate


def write_fields(
    adata: AnnData,
    obs: Mapping[str, Any],
    uns: Mapping[str, Any],
    *,
    obsm: Mapping[str, Any] | None = None,
    obsp: Mapping[str, Any] | None = None,
) -> None:
    """Write columns and further fields into ``adata``; a user's column of the same name is kept as ``<name>_input``.

    Embeddings and graphs are only added where the name is free or cellkey's own.
    """
    own = _keys.PARAMS in adata.uns
    ours = () if own else without_kept_clusters(adata.obs, obs)
    moved = kept_columns(adata.obs.columns, ours, own_output=own)
    for old, new in moved.items():
        adata.obs[new] = adata.obs[old]
        if _keys.colours(old) in adata.uns:
            adata.uns[_keys.colours(new)] = adata.uns[_keys.colours(old)]
        msg = f"obs[{old!r}] existed already; its values are kept as obs[{new!r}]"
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    for name, values in obs.items():
        adata.obs[name] = values
    for slot, fields in ((adata.obsm, obsm), (adata.obsp, obsp)):
        for name, values in (fields or {}).items():
            if own or name not in slot:
                slot[name] = values
    for name, value in uns.items():
        adata.uns[name] = value
