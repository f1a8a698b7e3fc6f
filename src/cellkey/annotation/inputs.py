"""What is asked of cells: the hierarchy, its markers among the genes, and the clusters."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.clustering import MatrixReport
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.profile import ClusterProfiles

__all__ = [
    "as_hierarchy", "better_sources", "cluster_labels", "default_hierarchy", "obs_column", "possible_clusters",
    "require_cells", "resolve_markers", "symbol_columns",
]


def require_cells(given: Any) -> None:
    """Refuse what is no AnnData, with the way to one.

    Raises
    ------
    InputError
        For a path, MuData, SpatialData or anything else.
    """
    ways = {"mod": "take one modality, as mdata[NAME], of", "tables": "take one table, as sdata.tables[NAME], of"}
    parts = [f"{way} {', '.join(getattr(given, name))}" for name, way in ways.items() if hasattr(given, name)]
    if hasattr(given, "var_names") and not parts:
        return
    if isinstance(given, (str, Path)):
        parts = ["annotate_file(PATH, FOLDER) annotates a file, cellkey.io.read_cells(PATH) reads one"]
    msg = ": ".join([f"expected cells as AnnData, found {type(given).__name__}", *parts])
    raise InputError(msg)


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


def resolve_markers(key: Hierarchy, gating: Mapping[str, Any], adata: AnnData) -> Resolution:
    """Find all names once; refuse data that measure no marker of any cell type, and say where the markers are."""
    from cellkey.hierarchy.resolution import no_marker_measured, resolve_names
    from cellkey.routing.limits import merge_gating

    _warn_of_unknown_roots(key, gating)
    also = merge_gating(key.gating, gating, names=("marker map", "gating parameters")).markers()
    names = adata.var_names.astype(str).tolist()
    resolution = resolve_names([*key.all_markers(), *also], names, var_columns=symbol_columns(adata))
    if not any(m in resolution.found for node in key.nodes for m in node.markers):
        named = f"hierarchy {key.name!r}" if key.name else "the marker map"
        raise no_marker_measured(resolution, named, [*_elsewhere(adata, resolution), *_why_protein(key)])
    return resolution


def _why_protein(key: Hierarchy) -> list[str]:
    from cellkey.hierarchy.catalogue import PROTEIN

    return [] if key.name != PROTEIN else [
        f"{PROTEIN!r} is what small panels of intensities are judged by if none is named: name another with "
        "--marker-map, and say what the values are with --assume"]


def _warn_of_unknown_roots(key: Hierarchy, gating: Mapping[str, Any]) -> None:
    """Say which rules for top-level types will not be used; those of the map itself were told when it was read."""
    from cellkey.hierarchy.checks import unknown_root

    paths = [node.path for node in key.nodes]
    roots = {path[0] for path in paths}
    for setting in ("root_hard_requirements", "root_veto_markers"):
        rules = gating.get(setting)
        for root in [] if not isinstance(rules, Mapping) else [str(r) for r in rules if str(r) not in roots]:
            warnings.warn(unknown_root(setting, root, paths), CellkeyWarning, stacklevel=4)


def _elsewhere(adata: AnnData, resolution: Resolution) -> list[str]:
    """Where in the data the markers are, if they are not among the variables."""
    names = [str(n) for n in adata.obs_names]
    on_their_side = _n_found(resolution.listed, names)
    found = []
    if on_their_side:
        found.append(f"{on_their_side} of them are names of cells: the matrix lies on its side, write adata.T instead")
    in_raw = _n_found(resolution.listed, _raw_names(adata))
    if in_raw:
        found.append(f"{in_raw} of them are in raw: {_TAKE_RAW}")
    return found


_TAKE_RAW = "write adata.raw.to_adata() to a file and annotate that"


def better_sources(
    adata: AnnData, layer: str, report: MatrixReport | None, resolution: Resolution
) -> list[str]:
    """Say which other values of the same cells would serve better: for scaled values, and for genes left out."""
    if report is None:  # stored profiles: it was said when they were made
        return []
    notes = []
    raw = _raw_names(adata)
    if report.minimum < 0 and not report.assumed:
        layers = [str(name) for name in adata.layers if name != layer]
        others = [f"layers {', '.join(layers)} (choose with --layer)"] if layers else []
        others += [f"raw ({_TAKE_RAW})"] if raw else []
        if others:
            notes.append(f"{layer} holds scaled values. Counts or log-normalised values give better evidence; the data "
                         f"also hold {' and '.join(others)}.")
    in_raw = _n_found(resolution.missing, raw)
    if in_raw > 0.1 * len(resolution.listed):
        notes.append(f"{in_raw} of the {len(resolution.listed)} listed markers are not among the "
                     f"{resolution.n_vars:,} variables but in raw ({len(raw):,} variables): {_TAKE_RAW}.")
    return notes


def _n_found(names: Sequence[str], among: Sequence[str]) -> int:
    from cellkey.hierarchy.aliases import case_key

    known = {case_key(n) for n in among}
    return sum(case_key(n) in known for n in names)


def _raw_names(adata: AnnData) -> list[str]:
    names = getattr(adata, "raw_names", None)
    if names is None:
        names = [] if getattr(adata, "raw", None) is None else adata.raw.var_names
    return [str(n) for n in names]


def obs_column(adata: Any, name: str) -> Any:
    """Return a column of ``obs``, of cells on disk without reading the others; None if there is none."""
    return adata.column(name) if hasattr(adata, "column") else adata.obs.get(name)


def possible_clusters(adata: Any) -> list[str]:
    """Return the columns of ``obs`` with as many different values as there may be clusters."""
    return [str(c) for c in adata.obs if 1 < adata.obs[c].nunique() <= max(200, adata.n_obs // 20)]


def cluster_labels(adata: AnnData, groupby: str, option: str = "--cluster-key") -> NDArray[np.object_]:
    """Return the cluster of each cell as text, None where it has none; refuse a column that holds no clusters.

    ``option`` is what messages say to name another column with.
    """
    column = obs_column(adata, groupby)
    if column is None:
        few = possible_clusters(adata)
        found = f"columns that could hold clusters: {', '.join(few)}" if few else "no column looks like clusters"
        hint = did_you_mean(groupby, map(str, adata.obs.columns))
        msg = f"obs has no column {groupby!r}{hint}; {found}. Name one with {option}"
        raise MissingFieldError(msg)
    values, missing, n_different = _texts(column, groupby, option)
    if missing.all():
        msg = f"obs[{groupby!r}] holds no value at all: name a column that holds clusters with {option}"
        raise InputError(msg)
    if missing.any():
        msg = (f"{int(missing.sum())} of {len(missing)} cells have no value in obs[{groupby!r}]: "
               "they are in no group and left out of all statistics")
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    if n_different > min(5000, max(20, len(values) // 2)):
        msg = (f"obs[{groupby!r}] holds {n_different:,} different values in {len(values):,} cells: is it a column of "
               "clusters?")
        if n_different > 5000:
            raise ParameterError(msg)
        warnings.warn(msg, CellkeyWarning, stacklevel=3)
    return values


def _texts(column: Any, name: str, option: str) -> tuple[NDArray[np.object_], NDArray[np.bool_], int]:
    """Values of a column as text (None where missing or blank), where they miss, and how many differ."""
    import pandas as pd

    codes, different = pd.factorize(np.asarray(column) if not hasattr(column, "dtype") else column)
    different = np.asarray(different)
    if different.dtype.kind == "f":  # whole numbers become fractions where some are missing
        broken = different[different != np.floor(different)]
        if len(broken):
            msg = (f"obs[{name!r}] holds numbers with fractions such as {broken[0]:g}: a measurement, not clusters. "
                   f"Name a column that holds clusters with {option}")
            raise InputError(msg)
        different = different.astype(np.int64)
    texts = np.array([*map(str, different), None], dtype=object)
    blank = np.array([not t.strip() for t in texts[:-1]] + [True])
    texts[blank] = None
    return texts[codes], blank[codes], len(different)
