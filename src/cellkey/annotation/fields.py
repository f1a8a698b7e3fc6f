"""Fields that an annotation adds to AnnData: labels of cells, and the record in ``uns``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.profiles.profile import natural_key
from cellkey.records.run import package_versions, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation

__all__ = ["labels_by_cell", "record_fields"]


def labels_by_cell(annotation: Annotation, labels: NDArray[np.object_]) -> dict[str, Any]:
    """Return the obs columns of an annotation, one value per cell; cells without a group are Unassigned."""
    import pandas as pd

    groups = list(annotation.evidence.groups)
    position = {g: i for i, g in enumerate(groups)}
    codes = np.array([position.get(v, -1) if v is not None else -1 for v in labels], dtype=np.int64)
    calls = {c.group: c for c in annotation.calls}
    ordered = [calls[g] for g in groups]

    def spread(values: Sequence[str], missing: str) -> pd.Categorical:
        whole = np.array([*values, missing], dtype=object)
        names = sorted(set(whole[codes]), key=natural_key) if len(codes) else []
        return pd.Categorical(whole[codes], categories=names)

    def number(values: Sequence[float]) -> NDArray[np.float64]:
        return np.array([*values, 0.0])[codes]

    label = spread([c.label for c in ordered], _keys.UNASSIGNED)
    reported = _reported_labels(annotation)
    return {
        _keys.CLUSTER: pd.Categorical.from_codes(codes, categories=pd.Index(groups, dtype=object)),
        _keys.LABEL: label,
        _keys.ROOT: spread([c.root_label for c in ordered], _keys.UNASSIGNED),
        _keys.CONFIDENCE: number([c.confidence for c in ordered]),
        _keys.PATH: spread([" / ".join(c.path) or (c.label if c.level == 0 else "") for c in ordered], ""),
        _keys.SCORE: number([c.score for c in ordered]),
        _keys.ONTOLOGY: spread([_ontology_id(annotation, c.node) for c in ordered], ""),
        _keys.FINAL: spread([reported.get(g, calls[g].label) for g in groups], _keys.UNASSIGNED),
    }


def _reported_labels(annotation: Annotation) -> dict[str, str]:
    """Labels that enrichment reports, by group; none where it did not decide."""
    calls = annotation.enrichment
    if calls is None or calls.method != annotation.method:
        return {}
    return dict(zip(calls.table["cluster_id"], calls.table["annot_export_label"], strict=True))


def _ontology_id(annotation: Annotation, node: int | None) -> str:
    """Cell Ontology id of the node, or of its nearest ancestor that has one."""
    nodes = annotation.key.hierarchy.nodes
    parents = annotation.key.parents
    while node is not None and node >= 0:
        found = nodes[node].ontology_id
        if found:
            return found
        node = int(parents[node])
    return ""


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
    from cellkey.annotation.differential import rank_genes_groups

    layer = str(facts["layer"])
    flat: dict[str, Any] = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    flat |= {f"scoring_{k}": v for k, v in facts["scoring"].items()}
    routing = facts.get("enrichment", {}).get("routing", {})
    flat |= {f"routing_{k}": "" if v is None else v for k, v in routing.items()}
    flat |= {f"clustering_{k}": "" if v is None else v for k, v in facts["clustering"].items()}
    flat |= {f"version_{k}": v for k, v in package_versions().items()}
    flat = {k: v if isinstance(v, str | int | float | bool) else json.dumps(v) for k, v in flat.items()}
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
    uns: dict[str, Any] = {
        _keys.PARAMS: flat,
        _keys.GATING: json.dumps({"effective": _finite(annotation.gating.model_dump(mode="json")),
                                  "given": dict(gating)}),
        _keys.MARKER_MAP: json.dumps({"nodes": compiled, "source": key.hierarchy.to_dict()}, ensure_ascii=False),
        _keys.TIMESTAMP: timestamp(),
    }
    if annotation.profiles.n_groups > 1:
        uns[_keys.differential(layer)] = rank_genes_groups(annotation.profiles, facts)
    return uns


def _finite(value: Any) -> Any:
    """Replace infinities, which strict JSON cannot hold, by null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
