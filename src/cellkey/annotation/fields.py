"""Fields that an annotation adds to AnnData: labels of cells, and the record in ``uns``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.calls.columns import companions, nearest_ontology_id, path_text, spread, tree_order
from cellkey.records.run import package_versions, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["colour_fields", "labels_by_cell", "marker_map_text", "record_fields"]


def labels_by_cell(
    annotation: Annotation, labels: NDArray[np.object_], confidence: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return the obs columns of an annotation, one value per cell; cells without a group are Unassigned.

    ``confidence`` holds the probability that each group's label is right, where that was measured.
    """
    import pandas as pd

    tree = annotation.key.hierarchy
    groups = list(annotation.evidence.groups)
    position = {g: i for i, g in enumerate(groups)}
    codes = np.array([position.get(v, -1) if v is not None else -1 for v in labels], dtype=np.int64)
    found = {c.group: c for c in annotation.calls}
    calls = [found[g] for g in groups]
    rank = tree_order(tree)
    reported = _reported_labels(annotation)

    def number(values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([*values, 0.0])[codes]

    likely = np.array([*((confidence or {}).get(g, np.nan) for g in groups), np.nan])
    return {
        _keys.CLUSTER: pd.Categorical.from_codes(codes, categories=pd.Index(groups, dtype=object)),
        _keys.LABEL: spread(codes, [c.label for c in calls], _keys.UNASSIGNED, rank),
        _keys.ROOT: spread(codes, [c.root_label for c in calls], _keys.UNASSIGNED, rank),
        _keys.CONFIDENCE: number([c.confidence for c in calls]),
        **({_keys.PROBABILITY: likely[codes]} if confidence else {}),
        _keys.PATH: spread(codes, [path_text(c) for c in calls], "", rank),
        _keys.SCORE: number([c.score for c in calls]),
        _keys.ONTOLOGY: spread(codes, [nearest_ontology_id(c, tree) for c in calls], "", {}),
        **companions(_keys.LABEL, calls, codes, tree),
        _keys.FINAL: spread(codes, [reported.get(c.group, c.label) for c in calls], _keys.UNASSIGNED, rank),
    }


def colour_fields(obs: Mapping[str, Any], hierarchy: Hierarchy) -> dict[str, Any]:
    """Return ``uns["<column>_colors"]`` for the columns of labels, one colour per category in their order.

    The colours follow from the hierarchy alone: a cell type has the same one in every data set.
    """
    from cellkey.annotation.label_colours import column_colours

    named = {c: v for c, v in obs.items() if c in _LABEL_COLUMNS or c.startswith(_LEVEL_COLUMNS)}
    return column_colours(named, hierarchy)


_LABEL_COLUMNS = frozenset({
    _keys.LABEL, _keys.ROOT, _keys.FINAL, _keys.REFINED_LABEL, "cell_type_lvl0",
})
_LEVEL_COLUMNS = (_keys.level(_keys.LABEL, ""), _keys.level(_keys.REFINED_LABEL, ""))


def _reported_labels(annotation: Annotation) -> dict[str, str]:
    """Labels that enrichment reports, by group; none where it did not decide."""
    calls = annotation.enrichment
    if calls is None or calls.method != annotation.method:
        return {}
    return dict(zip(calls.table["cluster_id"], calls.table["annot_export_label"], strict=True))


def record_fields(annotation: Annotation, facts: Mapping[str, Any], gating: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of ``uns``: parameters, gates and hierarchy as used, time, and differential results.

    Parameters
    ----------
    annotation
        The decided groups.
    facts
        Plain facts of the run; nested values become JSON text, which HDF5 can hold.
    gating
        Gating settings as given by the caller.
    """
    from cellkey.annotation.differential import fits_hdf5, rank_genes_groups

    layer = str(facts["layer"])
    flat: dict[str, Any] = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    flat |= {f"scoring_{k}": v for k, v in facts["scoring"].items()}
    routing = facts.get("enrichment", {}).get("routing", {})
    flat |= {f"routing_{k}": "" if v is None else v for k, v in routing.items()}
    flat |= {f"clustering_{k}": "" if v is None else v for k, v in facts["clustering"].items()}
    flat |= {f"version_{k}": v for k, v in package_versions().items()}
    flat = {k: v if isinstance(v, str | int | float | bool) else json.dumps(v) for k, v in flat.items()}
    uns: dict[str, Any] = {
        _keys.PARAMS: flat,
        _keys.GATING: json.dumps({"effective": _finite(annotation.gating.model_dump(mode="json")),
                                  "given": dict(gating)}),
        _keys.MARKER_MAP: marker_map_text(annotation),
        _keys.TIMESTAMP: timestamp(),
    }
    if annotation.profiles.n_groups > 1 and fits_hdf5(annotation.profiles.groups):
        uns[_keys.differential(layer)] = rank_genes_groups(annotation.profiles, facts)
    return uns


def marker_map_text(annotation: Annotation) -> str:
    """Return the hierarchy as JSON: its types with the markers that were measured, and its source."""
    key = annotation.key
    compiled = [
        {
            "path": n.path_text, "level": n.level, "ontology_id": n.ontology_id or "",
            "resolved_markers": list(key.names(key.markers[i])), "missing_markers": list(key.missing_markers[i]),
            "resolved_anti_markers": list(key.names(key.anti_markers[i])),
            "missing_anti_markers": list(key.missing_anti_markers[i]),
        }
        for i, n in enumerate(key.hierarchy.nodes)
    ]
    return json.dumps({"nodes": compiled, "source": key.hierarchy.to_dict()}, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """Replace infinities, which strict JSON cannot hold, by null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
