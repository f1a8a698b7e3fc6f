"""One table of several: the tables of a SpatialData store, the modalities of MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anndata import AnnData

__all__ = ["read_modality", "read_table", "spatialdata_problems"]


def read_table(source: Path, table: str | None = None) -> AnnData:
    """Read one table of a SpatialData store; the only one if none is named.

    The link of the table to its regions (``uns["spatialdata_attrs"]``) is kept.

    Raises
    ------
    InputError
        If there is no such table, or several and none is named: with the names of all.
    """
    import zarr
    from anndata.io import read_elem

    store = zarr.open_group(str(source), mode="r")
    place = next((p for p in ("tables", "table") if p in store), None)
    names = [] if place is None else sorted(store[place].group_keys())
    if not names:
        elements = ", ".join(sorted(store.group_keys())) or "nothing"
        msg = (f"{source} is a SpatialData store without a table of cells (it holds {elements}): aggregate its "
               "points first")
        raise InputError(msg)
    chosen = _chosen(source, names, table, what="table", option="--table")
    adata: AnnData = read_elem(store[f"{place}/{chosen}"])
    return adata


def read_modality(root: Any, source: Path, modality: str | None = None) -> AnnData:
    """Read one modality of MuData; the only one if none is named.

    Columns of the joint ``obs`` that belong to all modalities, and joint embeddings, are added where the modality
    has none of that name.

    Parameters
    ----------
    root
        Open HDF5 file or Zarr group.
    source
        Its path, for messages.
    modality
        Such as ``rna`` or ``prot``.
    """
    from anndata.io import read_elem

    names = sorted(root["mod"])
    chosen = _chosen(source, names, modality, what="modality", option="--modality")
    adata: AnnData = read_elem(root[f"mod/{chosen}"])
    joint = read_elem(root["obs"]) if "obs" in root else None
    if joint is None or not adata.obs_names.is_unique or not joint.index.is_unique:
        return adata
    rows = joint.index.get_indexer(adata.obs_names)
    if (rows < 0).any():
        return adata
    for column in joint.columns:
        own = str(column).partition(":")[0] in names
        if not own and column not in adata.obs:
            adata.obs[column] = joint[column].iloc[rows].array
    for name in root.get("obsm", ()):
        if name not in names and name not in adata.obsm:
            adata.obsm[name] = np.asarray(read_elem(root[f"obsm/{name}"]))[rows]
    return adata


def _chosen(source: Path, names: Iterable[str], wanted: str | None, *, what: str, option: str) -> str:
    known = list(names)
    if wanted is None and len(known) == 1:
        return known[0]
    plural = {"table": "tables", "modality": "modalities"}[what]
    listed = ", ".join(known)
    if wanted is None:
        msg = f"{source} holds {len(known)} {plural} ({listed}): name one with {option} NAME"
        raise InputError(msg)
    if wanted not in known:
        msg = f"{source} has no {what} {wanted!r}{did_you_mean(wanted, known)}; it holds {listed}"
        raise InputError(msg)
    return wanted


def spatialdata_problems(adata: AnnData) -> list[str]:
    """Return what is wrong with the link of a SpatialData table to its regions; nothing if there is no link.

    Checked are the rules of SpatialData: the columns named by ``region_key`` and ``instance_key`` exist, the regions
    of the cells are those that ``region`` names, and no cell lacks an instance.
    """
    if "spatialdata_attrs" not in adata.uns:
        return []
    attrs = adata.uns["spatialdata_attrs"]
    missing = [k for k in ("region", "region_key", "instance_key") if k not in attrs]
    if missing:
        return [f"uns['spatialdata_attrs'] lacks {', '.join(missing)}"]
    region_key, instance_key = str(attrs["region_key"]), str(attrs["instance_key"])
    problems = [f"obs has no column {k!r}, which uns['spatialdata_attrs'] names"
                for k in (region_key, instance_key) if k not in adata.obs]
    if problems:
        return problems
    named = set(map(str, np.atleast_1d(np.asarray(attrs["region"], dtype=object))))
    found = set(map(str, adata.obs[region_key].dropna().unique()))
    if found != named:
        problems.append(f"obs[{region_key!r}] holds {', '.join(sorted(found)) or 'nothing'}, but the regions are "
                        f"{', '.join(sorted(named))}")
    for key in (region_key, instance_key):
        n = int(adata.obs[key].isna().sum())
        if n:
            problems.append(f"{n:,} cells have no value in obs[{key!r}]")
    pairs = adata.obs[[region_key, instance_key]].astype(str)
    if pairs.duplicated().any():
        problems.append(f"{int(pairs.duplicated().sum()):,} cells repeat a pair of {region_key!r} and {instance_key!r}")
    return problems
