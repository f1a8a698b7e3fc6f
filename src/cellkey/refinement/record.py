"""What refinement writes down: fields of AnnData, provenance of every iteration, and how to go back to one.

The clusters before iteration N are column ``before_N`` of ``obsm["refinement_history"]``; what each cluster was called
then is part of ``uns["stage_refine_iteration_N"]``. Together they are the state before that iteration.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.calls.columns import companions, nearest_ontology_id, path_text, spread, tree_order
from cellkey.profiles.profile import natural_key
from cellkey.records.vocabulary import RefinementAction
from cellkey.refinement.lineage import with_label
from cellkey.refinement.profiling import profiles_of_ids
from cellkey.refinement.state import State, Touch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.refinement.cell_access import Cells
    from cellkey.refinement.confidence import Confidence
    from cellkey.refinement.iteration import Iteration, Refinement
    from cellkey.refinement.judging import Judge
    from cellkey.refinement.parameters import RefinementParameters

__all__ = [
    "HISTORY", "ITERATION", "PARAMETERS", "REFINED_COLUMNS", "SUMMARY", "clusters_text", "flat", "history_frame",
    "is_refined_column", "iteration_record", "obs_columns", "parameters_sum", "restored", "summary_record",
]

HISTORY = "refinement_history"
ITERATION = "stage_refine_iteration_"
PARAMETERS = "stage_i_params"
SUMMARY = "stage_i_summary"
_NOT_OF_SPLITS = {"max_iterations", "score_threshold", "call_resamples"}
REFINED_COLUMNS = (
    "cluster_lvl1", "cell_type_lvl1", "cell_type_lvl0", "refinement_action", "refinement_iteration",
    "refinement_reason", "cell_type_lvl1_conf", "cell_type_lvl1_path", "cell_type_lvl1_stability",
    "cell_type_lvl1_ontology_term_id",
)
"""Columns of ``obs`` that refinement owns, beside the companions of the refined label."""


def is_refined_column(name: str) -> bool:
    """Return whether a column of ``obs`` is one that refinement writes."""
    return name in REFINED_COLUMNS or name.startswith(f"{_keys.REFINED_LABEL}_")


def obs_columns(state: State, first_labels: Mapping[str, str], confidence: Confidence) -> dict[str, Any]:
    """Return the columns of ``obs``, one value per cell; cells without a cluster are Unassigned.

    Parameters
    ----------
    first_labels
        Labels of the first annotation, by cluster of the first clustering.
    confidence
        Of the calls, where it was measured.
    """
    clusters = list(state.clusters)
    codes = _codes(state.ids, clusters)
    calls = [state.calls[c] for c in clusters]
    touches = [state.touches.get(c, Touch()) for c in clusters]
    origins = sorted(first_labels, key=natural_key)
    tree = state.verdict.key.hierarchy
    rank = tree_order(tree)
    label = spread(codes, [c.label for c in calls], _keys.UNASSIGNED, rank)
    import pandas as pd

    return {
        "cluster_lvl1": pd.Categorical.from_codes(codes, categories=pd.Index(clusters)),
        "cell_type_lvl1": label,
        "cell_type_lvl0": spread(_codes(state.origin, origins), [first_labels[c] for c in origins],
                                 _keys.UNASSIGNED, rank),
        "refinement_action": spread(codes, [str(t.action) for t in touches], str(RefinementAction.KEEP), {}),
        "refinement_iteration": np.array([*(t.iteration for t in touches), 0], dtype=np.int64)[codes],
        "refinement_reason": spread(codes, [t.reason for t in touches], "", {}),
        "cell_type_lvl1_conf": np.array([*(c.confidence for c in calls), 0.0])[codes],
        "cell_type_lvl1_path": spread(codes, [path_text(c) for c in calls], "", rank),
        "cell_type_lvl1_stability": _values(codes, {c: s.held[-1] for c, s in confidence.stability.items()}, clusters),
        **({_keys.REFINED_PROBABILITY: _values(codes, confidence.by_cluster(), clusters)}
           if confidence.table is not None else {}),
        "cell_type_lvl1_ontology_term_id": spread(
            codes, [nearest_ontology_id(c, tree) for c in calls], "", {}
        ),
        **companions(_keys.REFINED_LABEL, calls, codes, tree),
        _keys.FINAL: label,
    }


def _values(codes: NDArray[np.int64], known: Mapping[str, float], clusters: Sequence[str]) -> NDArray[np.float64]:
    """A number per cell: that of its cluster, NaN where none is known."""
    return np.array([*(known.get(c, math.nan) for c in clusters), math.nan])[codes]


def _codes(ids: NDArray[np.object_], names: Sequence[str]) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(names)}
    return np.array([-1 if i is None else place.get(str(i), -1) for i in ids], dtype=np.int64)


# --- provenance ---


def parameters_sum(parameters: RefinementParameters) -> str:
    """Return a hash of everything that decides whether a split would come out differently."""
    text = json.dumps(parameters.model_dump(mode="json", exclude=_NOT_OF_SPLITS), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def clusters_text(state: State, parameters: RefinementParameters) -> str:
    """Return what is remembered of the clusters, as JSON."""
    rows = {}
    for cluster in state.clusters:
        call, touch = state.calls[cluster], state.touches.get(cluster)
        row: dict[str, Any] = {"label": call.label, "path": path_text(call), "confidence": call.confidence}
        if touch is not None:
            row |= {"action": str(touch.action), "iteration": touch.iteration, "reason": touch.reason}
        if cluster in state.pinned:
            row["pinned"] = True
        if cluster in state.exhausted:
            row["exhausted"] = state.exhausted[cluster]
        if cluster in state.stability and math.isfinite(state.stability[cluster]):
            row["split_stability"] = state.stability[cluster]
        rows[cluster] = row
    return json.dumps({"parameters": parameters_sum(parameters), "clusters": rows}, ensure_ascii=False)


def restored(
    ids: NDArray[np.object_],
    text: str,
    first: State,
    cells: Cells,
    judge: Judge,
    parameters: RefinementParameters,
) -> State:
    """Return the state that :func:`clusters_text` described.

    Parameters
    ----------
    ids
        Cluster of each cell.
    text
        What was remembered of the clusters. Clusters that it does not know are called afresh.
    first
        The state before any refinement.
    parameters
        Outcomes of splits that were tried with others than these are forgotten.
    """
    remembered = json.loads(text)
    rows: dict[str, dict[str, Any]] = remembered["clusters"]
    profiles = profiles_of_ids(ids, first.origin, first.base, cells)
    verdict = judge(profiles)
    calls = {c: _remembered_call(verdict, call, rows.get(c)) for c, call in verdict.calls.items()}
    known = [c for c in profiles.groups if c in rows]
    touches = {
        c: Touch(RefinementAction(rows[c]["action"]), int(rows[c]["iteration"]), str(rows[c]["reason"]))
        for c in known if "action" in rows[c]
    }
    same = remembered.get("parameters") == parameters_sum(parameters)
    return replace(
        first, ids=np.asarray(ids, dtype=object), profiles=profiles, verdict=verdict, calls=calls, touches=touches,
        pinned=frozenset(c for c in known if rows[c].get("pinned")),
        exhausted={c: str(rows[c]["exhausted"]) for c in known if "exhausted" in rows[c]} if same else {},
        stability={c: float(rows[c]["split_stability"]) for c in known if "split_stability" in rows[c]},
    )


def _remembered_call(verdict: Any, call: Call, row: Mapping[str, Any] | None) -> Call:
    if row is None:
        return call
    if (call.label, path_text(call)) != (row["label"], row["path"]):
        label = row["label"] if "~" in row["label"] else row["path"] or row["label"]
        call = _undecided(call, label) if "~" in label else with_label(verdict, call, label)
    return replace(call, confidence=float(row["confidence"]))


def _undecided(call: Call, label: str) -> Call:
    return replace(call, label=label, path=(), level=0, root_label=label, node=None)


def iteration_record(
    done: Iteration, parameters: RefinementParameters, *, parent_file: str, stop: str = ""
) -> dict[str, Any]:
    """Return ``uns["stage_refine_iteration_N"]``."""
    worked_on = [e for e in done.log if e.action is not RefinementAction.KEEP]
    applied = [e for e in worked_on if e.status == "done"]

    def of(action: RefinementAction) -> list[Any]:
        return [e for e in applied if e.action is action]

    split = of(RefinementAction.SUBCLUSTER)
    touched = {e.cluster for e in worked_on} | {c for e in of(RefinementAction.MERGE) for c in e.cluster.split(",")}
    skipped = [c for c in done.before.clusters if c not in touched]
    return {
        "timestamp": done.timestamp,
        "clusters_processed": len(done.before.clusters),
        "subclustered": _texts([e.cluster for e in split]),
        "relabeled": {_key(e.cluster): e.new_label for e in of(RefinementAction.RELABEL)},
        "skipped": _texts(skipped),
        "parameters": flat(parameters),
        "overridden": {_key(e.cluster): e.new_label for e in of(RefinementAction.OVERRIDE)},
        "merged": {_key(e.new_clusters[0]): e.cluster for e in of(RefinementAction.MERGE)},
        "subclusters_created": _texts([c for e in split for c in e.new_clusters]),
        "not_split": _texts([e.cluster for e in done.log if e.status == "no_split"]),
        "n_cells_modified": sum(e.n_cells for e in applied),
        "parent_file": parent_file,
        "plan_checksum": done.plan.checksum(),
        "reviewer": done.plan.reviewer,
        "reviewed_at": str(done.plan.metadata.get("created_at") or "") if done.plan.reviewer else "",
        "clusters_before": clusters_text(done.before, parameters),
        "stop_reason": stop,
    }


def flat(parameters: RefinementParameters) -> dict[str, Any]:
    """Parameters as plain values that an ``.h5ad`` file can hold."""
    return {k: v for k, v in parameters.model_dump(mode="json").items() if v is not None}


def _texts(values: Sequence[str]) -> NDArray[Any]:
    """An array of text, text also when empty, so that it comes back as such from a file."""
    return np.array(list(values), dtype="U" if values else "U1")


def _key(name: str) -> str:
    """A name as a key of an HDF5 group, where a slash would make a level."""
    return name.replace("/", "∕")


def summary_record(
    refinement: Refinement, parameters: RefinementParameters, *, n_iterations: int, first: State
) -> dict[str, Any]:
    """Return ``uns["stage_i_summary"]``; ``n_iterations`` counts those of earlier commands as well."""
    before, after = first, refinement.last
    log = [e for i in refinement.iterations for e in i.log if e.status == "done"]
    return {
        "n_iterations": n_iterations,
        "converged": refinement.stop in ("converged", "exhausted", "no_change"),
        "stop_reason": str(refinement.stop),
        "stop_meaning": refinement.stop.meaning,
        "n_clusters_before": len(before.clusters),
        "n_clusters_after": len(after.clusters),
        "n_subclustered": sum(e.action is RefinementAction.SUBCLUSTER for e in log),
        "n_relabeled": sum(e.action is RefinementAction.RELABEL for e in log),
        "n_cells_modified": int(sum(n for c, n in after.sizes.items() if c in after.touches)),
        "unassigned_cells_before": _unassigned(before),
        "unassigned_cells_after": _unassigned(after),
        "mean_confidence_before": _mean_confidence(before),
        "mean_confidence_after": _mean_confidence(after),
        "clusters": clusters_text(after, parameters),
    }


def _unassigned(state: State) -> int:
    return sum(call.n_cells for call in state.calls.values() if call.label == _keys.UNASSIGNED)


def _mean_confidence(state: State) -> float:
    calls = list(state.calls.values())
    return float(np.average([c.confidence for c in calls], weights=[c.n_cells for c in calls]))


def history_frame(
    earlier: pd.DataFrame | None, iterations: Sequence[Iteration], index: Any
) -> pd.DataFrame:
    """Return the clusters before each iteration, cells x iterations."""
    import pandas as pd

    columns: dict[str, Any] = {} if earlier is None else {str(c): earlier[c].to_numpy() for c in earlier.columns}
    for done in iterations:
        columns[f"before_{done.number}"] = pd.Categorical(
            done.before.ids, categories=sorted({i for i in done.before.ids if i is not None}, key=natural_key)
        )
    return pd.DataFrame(
        {name: pd.Categorical(values) if not isinstance(values, pd.Categorical) else values
         for name, values in columns.items()},
        index=index,
    )
