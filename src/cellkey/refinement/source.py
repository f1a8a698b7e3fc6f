"""Annotated cells as refinement reads them: clusters, labels and parameters of the run that made them."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.annotation.inputs import symbol_columns
from cellkey.errors import CellkeyWarning, InputError, MissingFieldError
from cellkey.profiles.profile import POSITIVE_QUANTILES, ClusterProfiles, profile_clusters
from cellkey.refinement.cell_access import Cells
from cellkey.refinement.judging import EnrichmentJudge, Judge, MarkerJudge
from cellkey.refinement.record import HISTORY, ITERATION, SUMMARY, restored
from cellkey.refinement.state import State, start
from cellkey.scoring.marker_evidence import MarkerScoring

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from cellkey.profiles.resampling import Resamples
    from cellkey.refinement.parameters import RefinementParameters

__all__ = ["Source", "annotated_ids", "iterations_done", "open_source", "state_before"]


@dataclass(frozen=True, slots=True)
class Source:
    """What a refinement starts from.

    Attributes
    ----------
    cells, judge
        Values of the cells, and the scorer and router with the parameters of the annotation.
    first, current
        The state after annotation, and after the refinement that was done before (the same if none was).
    first_labels
        Labels of the annotation by cluster.
    n_done
        Iterations done before.
    history
        Clusters before each of those; None if there is none.
    index
        Names of the cells.
    resamples
        Of the first clustering, as the annotation made them; None if there are none.
    """

    cells: Cells
    judge: Judge
    first: State
    current: State
    first_labels: Mapping[str, str]
    n_done: int
    history: pd.DataFrame | None
    index: Any
    resamples: Resamples | None = None


def open_source(
    adata: AnnData,
    parameters: RefinementParameters,
    *,
    profiles: ClusterProfiles | None = None,
    resamples: Resamples | None = None,
    obs: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    components: NDArray[np.float32] | None = None,
    restart: bool = False,
) -> Source:
    """Return what refinement needs of annotated cells.

    Parameters
    ----------
    adata
        Annotated cells, in memory or backed.
    profiles
        Of the first clustering; made from the cells if None.
    resamples
        That were made with ``profiles``.
    obs, uns
        Fields of an annotation that are not (yet) written into ``adata``; earlier refinement in ``adata`` then
        does not count.
    components
        Components of the first clustering; those in ``obsm["X_pca"]`` if None.
    restart
        Leave earlier refinement out of account.

    Raises
    ------
    MissingFieldError
        If the cells are not annotated.
    """
    fresh = uns is not None
    fields = {**dict(adata.uns), **(uns or {})}
    columns = {**{c: adata.obs[c] for c in (_keys.CLUSTER,) if c in adata.obs}, **(obs or {})}
    if _keys.PARAMS not in fields or _keys.MARKER_MAP not in fields or _keys.CLUSTER not in columns:
        msg = ("these cells are not annotated yet: run 'cellkey annotate' on them first (obs['cluster_lvl0'] and "
               "uns['stage_h_params'] are missing)")
        raise MissingFieldError(msg)
    settings = dict(fields[_keys.PARAMS])
    var_names = np.asarray(adata.var_names.astype(str), dtype=object)
    features = _features(settings, var_names)
    origin = annotated_ids(columns[_keys.CLUSTER])
    if components is None and "X_pca" in adata.obsm:
        components = np.asarray(adata.obsm["X_pca"], dtype=np.float32)
    cells = Cells(
        _matrix(adata, str(settings.get("layer", "X"))), var_names, transform=str(settings.get("transform", "none")),
        components=components, features=features,
    )
    judge = _judge(fields, settings, adata, features)
    if profiles is None or not _fits(profiles, origin, var_names):
        resamples = None
        profiles = _fresh_profiles(cells, origin, var_names, _scoring(settings))
        profiles.info.update({k: str(settings.get(k, "")) for k in ("values", "transform", "layer")})
    first = start(origin, profiles, judge)
    labels = {c: call.label for c, call in first.calls.items()}
    n_done = 0 if fresh or restart else iterations_done(fields)
    current = first
    if n_done or (not fresh and not restart and SUMMARY in fields):
        ids = annotated_ids(adata.obs["cluster_lvl1"])
        current = restored(ids, str(fields[SUMMARY]["clusters"]), first, cells, judge, parameters)
    history = adata.obsm[HISTORY] if n_done and HISTORY in adata.obsm else None
    return Source(cells, judge, first, current, labels, n_done, history, adata.obs_names, resamples)


def state_before(source: Source, uns: Mapping[str, Any], number: int, parameters: RefinementParameters) -> State:
    """Return the state before iteration ``number``.

    Raises
    ------
    InputError
        If there was no such iteration, or its record is not complete.
    """
    key, column = f"{ITERATION}{number}", f"before_{number}"
    if key not in uns or source.history is None or column not in source.history:
        known = ", ".join(str(n) for n in range(1, source.n_done + 1))
        found = f"iterations on record are {known}" if known else "no iteration is on record"
        msg = f"iteration {number} cannot be undone: {found}"
        raise InputError(msg)
    ids = annotated_ids(source.history[column])
    text = str(uns[key]["clusters_before"])
    return restored(ids, text, source.first, source.cells, source.judge, parameters)


def iterations_done(uns: Mapping[str, Any]) -> int:
    """Return the number of the last iteration on record; 0 if there is none."""
    numbers = [int(m.group(1)) for k in uns if (m := re.fullmatch(rf"{ITERATION}(\d+)", str(k)))]
    return max(numbers, default=0)


def annotated_ids(column: Any) -> NDArray[np.object_]:
    """Return a column of clusters as an object array of text, None where a cell has none."""
    import pandas as pd

    values = pd.Series(column)
    missing = values.isna().to_numpy()
    ids = values.astype(str).to_numpy(dtype=object)
    ids[missing] = None
    return np.asarray(ids, dtype=object)


def _features(settings: Mapping[str, Any], var_names: NDArray[np.object_]) -> NDArray[np.bool_]:
    from cellkey.clustering import find_technical

    named = settings.get("technical_markers")
    wanted = None if named is None else [m for m in str(named).split(",") if m]
    is_feature: NDArray[np.bool_] = find_technical([str(v) for v in var_names], wanted)[1]
    return is_feature


def _matrix(adata: AnnData, layer: str) -> Any:
    from cellkey.clustering import pick_layer

    return pick_layer(adata, layer)[1]


def _scoring(settings: Mapping[str, Any]) -> MarkerScoring:
    known = set(MarkerScoring.model_fields)
    given = {k.removeprefix("scoring_"): _plain(v) for k, v in settings.items() if k.startswith("scoring_")}
    if set(given) <= known:
        return MarkerScoring.parse(given)
    return MarkerScoring()  # parameters of another method; marker statistics then use the defaults


def _judge(
    fields: Mapping[str, Any], settings: Mapping[str, Any], adata: AnnData, features: NDArray[np.bool_]
) -> Judge:
    from cellkey.hierarchy import read_hierarchy

    try:
        source = json.loads(str(fields[_keys.MARKER_MAP]))["source"]
        gating = json.loads(str(fields[_keys.GATING])).get("given") or None
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = (f"uns[{_keys.MARKER_MAP!r}] and uns[{_keys.GATING!r}] are not those of an annotation: annotate the "
               "cells again")
        raise InputError(msg) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CellkeyWarning)  # the annotation that used this map has told its weaknesses
        hierarchy = read_hierarchy(source)
    common: dict[str, Any] = {"var_columns": symbol_columns(adata), "features": features}
    family, method = _family(str(settings.get("method", "markers")))
    if family == "markers":
        return MarkerJudge(hierarchy, scoring=_scoring(settings), gating=gating, **common)
    return _enrichment_judge(hierarchy, method, settings, common)


def _family(method: str) -> tuple[str, str]:
    """Family and name of the method that decided."""
    if method == "both":
        return "markers", "markers"
    from cellkey.annotation.registry import get_method

    chosen = get_method(method)
    return chosen.family, chosen.name


def _enrichment_judge(hierarchy: Any, method: str, settings: Mapping[str, Any], common: dict[str, Any]) -> Judge:
    from cellkey.annotation.methods import plan_methods

    scoring = {k.removeprefix("scoring_"): _plain(v) for k, v in settings.items() if k.startswith("scoring_")}
    routing = {k.removeprefix("routing_"): _plain(v) for k, v in settings.items() if k.startswith("routing_")}
    plan = plan_methods(method, scoring=scoring or None, gating=routing or None)
    return EnrichmentJudge(
        hierarchy, method=method, scoring=plan.enrichment_scoring, routing=plan.routing, export=plan.export, **common
    )


def _plain(value: Any) -> Any:
    """A setting as it was before it was stored in a file."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and (value[:1] in ("[", "{") or value == "null"):
        return json.loads(value)
    return None if value == "" else value


def _fits(profiles: ClusterProfiles, origin: NDArray[np.object_], var_names: NDArray[np.object_]) -> bool:
    present = {str(i) for i in origin if i is not None}
    return present == set(profiles.groups) and np.array_equal(profiles.var_names.astype(str), var_names.astype(str))


def _fresh_profiles(
    cells: Cells, origin: NDArray[np.object_], var_names: NDArray[np.object_], scoring: MarkerScoring
) -> ClusterProfiles:
    quantiles = sorted({*POSITIVE_QUANTILES, scoring.positive_quantile})
    whole = cells.expression(np.arange(cells.n_obs))
    return profile_clusters(whole, origin, var_names, quantiles=quantiles, basis=scoring.positive_basis)
