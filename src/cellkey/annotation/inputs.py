"""What is asked of cells: the hierarchy, its markers among the genes, and the clusters."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.clustering import MatrixReport
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["as_hierarchy", "cluster_labels", "default_hierarchy", "resolve_markers", "symbol_columns"]


def as_hierarchy(source: Hierarchy | Mapping[str, Any] | str | Path) -> Hierarchy:
    """Return a hierarchy as it is, or read from a mapping, a file or by the name of a built-in one."""
    from cellkey.hierarchy import Hierarchy, read_hierarchy

    return source if isinstance(source, Hierarchy) else read_hierarchy(source)


def default_hierarchy(
    report: MatrixReport | None, profiles: ClusterProfiles | None, n_vars: int, messages: list[str]
) -> Hierarchy:
    """Return the built-in hierarchy for such values, and say so."""
    from cellkey.hierarchy.catalogue import default_for, get_builtin

    kind = report.kind if report is not None else ("" if profiles is None else profiles.info.get("values", ""))
    name = default_for(kind, n_vars)
    messages.append(f"No marker map was named: the built-in map {name!r} is used.")
    return get_builtin(name)


def symbol_columns(adata: AnnData) -> dict[str, list[str]]:
    """Return the columns of ``var`` that may hold gene symbols."""
    from cellkey.hierarchy.resolution import SYMBOL_COLUMNS

    return {c: adata.var[c].astype(str).tolist() for c in SYMBOL_COLUMNS if c in adata.var}


def resolve_markers(
    key: Hierarchy, gating: Mapping[str, Any], var_names: NDArray[np.object_], var_columns: dict[str, list[str]]
) -> Resolution:
    """Find all names once; refuse data that measure no marker of any cell type."""
    from cellkey.hierarchy.resolution import no_marker_measured, resolve_names
    from cellkey.routing.limits import merge_gating

    also = merge_gating(key.gating, gating).markers()
    resolution = resolve_names([*key.all_markers(), *also], list(var_names), var_columns=var_columns)
    if not any(m in resolution.found for node in key.nodes for m in node.markers):
        raise no_marker_measured(resolution, f"hierarchy {key.name!r}" if key.name else "the marker map")
    return resolution


def cluster_labels(adata: AnnData, groupby: str) -> NDArray[np.object_]:
    """Return the cluster of each cell as text, None where it has none; refuse a column that holds no clusters."""
    known = adata.column(groupby) is not None if hasattr(adata, "column") else groupby in adata.obs
    if not known:
        few = [str(c) for c in adata.obs if 1 < adata.obs[c].nunique() <= max(200, adata.n_obs // 20)]
        found = f"columns that could hold clusters: {', '.join(few)}" if few else "no column looks like clusters"
        hint = did_you_mean(groupby, map(str, adata.obs.columns))
        msg = f"obs has no column {groupby!r}{hint}; {found}. Name one with --cluster-key"
        raise MissingFieldError(msg)
    values, missing, n_different = _texts(adata.column(groupby) if hasattr(adata, "column") else adata.obs[groupby])
    if missing.all():
        msg = f"obs[{groupby!r}] holds no value at all"
        raise InputError(msg)
    if missing.any():
        msg = (f"{int(missing.sum())} of {len(missing)} cells have no value in obs[{groupby!r}]: "
               "they are left out of all statistics and stay Unassigned")
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    if n_different > 5000:
        msg = f"obs[{groupby!r}] holds {n_different} different values: is it a column of clusters?"
        raise ParameterError(msg)
    return values


def _texts(column: Any) -> tuple[NDArray[np.object_], NDArray[np.bool_], int]:
    """Values of a column as text (None where missing), where they miss, and how many differ."""
    import pandas as pd

    codes, different = pd.factorize(np.asarray(column) if not hasattr(column, "dtype") else column)
    texts = np.array([*map(str, different), None], dtype=object)
    return texts[codes], codes < 0, len(different)
