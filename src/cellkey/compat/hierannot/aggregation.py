"""Cluster profiles straight from AnnData: which matrix is meant, and what its features are called."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.compat.hierannot.group_profiles import (
    AggregateMethod,
    Centrality,
    GroupProfiles,
    aggregate_matrix,
    central_cells,
    group_codes,
)
from cellkey.errors import CellkeyWarning, MissingFieldError, ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = ["SOURCES", "MatrixSource", "aggregate_cells", "matrix_source"]

SOURCES = ("X", "raw", "layer", "obsm")


@dataclass(frozen=True, slots=True)
class MatrixSource:
    """A matrix of an AnnData object, cells x features, with the names of its features."""

    X: Any
    names: tuple[str, ...]


def matrix_source(adata: AnnData, source: str = "X", key: str | None = None) -> MatrixSource:
    """Return a matrix by name.

    Parameters
    ----------
    adata
        The cells.
    source
        ``X``, ``raw``, ``layer`` or ``obsm``; case does not matter.
    key
        Name of the layer or of the ``obsm`` entry. Features of an ``obsm`` entry are named by its columns,
        by ``uns["<key>_feature_names"]``, else ``<key>_0``, ``<key>_1`` and so on.

    Raises
    ------
    ParameterError
        If the source is unknown or needs a key.
    MissingFieldError
        If there is no such matrix.
    """
    kind = {s.lower(): s for s in SOURCES}.get(str(source).lower())
    if kind is None:
        msg = f"source {source!r} is unknown{did_you_mean(str(source), SOURCES)}; it is one of {', '.join(SOURCES)}"
        raise ParameterError(msg)
    genes = tuple(map(str, adata.var_names))
    if kind == "X":
        return MatrixSource(adata.X, genes)
    if kind == "raw":
        if adata.raw is None:
            msg = "source 'raw' was asked for, but adata.raw is empty"
            raise MissingFieldError(msg)
        return MatrixSource(adata.raw.X, tuple(map(str, adata.raw.var_names)))
    if key is None:
        msg = f"source {kind!r} needs source_key, the name of the {kind} entry"
        raise ParameterError(msg)
    held = adata.layers if kind == "layer" else adata.obsm
    if key not in held:
        names = ", ".join(map(str, held.keys())) or "none"
        msg = f"there is no {kind} {key!r}{did_you_mean(key, map(str, held.keys()))}; there are: {names}"
        raise MissingFieldError(msg)
    if kind == "layer":
        return MatrixSource(held[key], genes)
    return _embedding(held[key], adata.uns.get(f"{key}_feature_names"), key)


def _embedding(values: Any, names: Iterable[Any] | None, key: str) -> MatrixSource:
    if hasattr(values, "columns"):
        return MatrixSource(values.to_numpy(), tuple(map(str, values.columns)))
    given = tuple(map(str, names)) if names is not None else ()
    if len(given) == values.shape[1]:
        return MatrixSource(values, given)
    return MatrixSource(values, tuple(f"{key}_{i}" for i in range(values.shape[1])))


def aggregate_cells(
    adata: AnnData,
    groupby: str,
    *,
    source: str = "X",
    source_key: str | None = None,
    method: AggregateMethod = "mean",
    trim_fraction: float = 0.1,
    mask: str | Sequence[bool] | pd.Series | None = None,
    min_cells: int = 1,
    central_fraction: float | None = None,
    centrality: Centrality = "centroid",
    centrality_source: str = "X",
    centrality_key: str | None = None,
    neighbors_key: str | None = None,
) -> tuple[GroupProfiles, tuple[str, ...]]:
    """Aggregate the cells of each cluster; clusters come in order of first appearance.

    Parameters
    ----------
    adata
        The cells, in memory or backed.
    groupby
        Column of ``obs``; cells without a value are left out, with a warning.
    source, source_key
        Which matrix; see :func:`matrix_source`.
    method, trim_fraction
        See :func:`~cellkey.compat.hierannot.group_profiles.aggregate_matrix`.
    mask
        Column of ``obs`` or booleans: cells to use. A shorter Series is matched by cell name.
    min_cells
        Clusters with fewer cells are left out.
    central_fraction
        Keep only the most central share of each cluster's cells; None keeps all.
    centrality, centrality_source, centrality_key, neighbors_key
        How centrality is measured, in which matrix, or in which neighbour graph of ``obsp``.

    Returns
    -------
    The profiles, and the names of the features.
    """
    if groupby not in adata.obs:
        names = list(map(str, adata.obs.columns))
        msg = f"obs has no column {groupby!r}{did_you_mean(groupby, names)}"
        raise MissingFieldError(msg)
    column = adata.obs[groupby]
    labels = column.astype(object).where(column.notna(), None).to_numpy(dtype=object)
    n_missing = int(column.isna().sum())
    if n_missing:
        msg = f"{n_missing} of {len(column)} cells have no value in obs[{groupby!r}] and are left out"
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    keep = None if mask is None else _mask(adata, mask)
    groups, codes = group_codes(labels, keep, min_cells)
    if central_fraction is not None:
        points = (
            matrix_source(adata, centrality_source, centrality_key).X
            if centrality == "centroid" else _graph(adata, neighbors_key)
        )
        codes = np.where(central_cells(codes, points, fraction=central_fraction, mode=centrality), codes, -1)
    chosen = matrix_source(adata, source, source_key)
    return aggregate_matrix(chosen.X, groups, codes, method=method, trim_fraction=trim_fraction), chosen.names


def _mask(adata: AnnData, mask: Any) -> NDArray[np.bool_]:
    if isinstance(mask, str):
        if mask not in adata.obs:
            msg = f"obs has no column {mask!r}{did_you_mean(mask, map(str, adata.obs.columns))}"
            raise MissingFieldError(msg)
        return np.asarray(adata.obs[mask] == True, dtype=bool)  # noqa: E712 - missing values are no
    if hasattr(mask, "reindex") and len(mask) != adata.n_obs:
        return np.asarray(mask.reindex(adata.obs_names, fill_value=False), dtype=bool)
    values = np.asarray(mask, dtype=bool)
    if len(values) != adata.n_obs:
        msg = f"the mask has {len(values)} entries for {adata.n_obs} cells"
        raise ParameterError(msg)
    return values


def _graph(adata: AnnData, key: str | None) -> Any:
    names = [f"{key}_connectivities", key, "connectivities"] if key else ["connectivities"]
    for name in names:
        if name in adata.obsp:
            return adata.obsp[name]
    held = ", ".join(map(str, adata.obsp.keys())) or "none"
    msg = f"no neighbour graph {names[0]!r} in obsp; there are: {held}"
    raise MissingFieldError(msg)
