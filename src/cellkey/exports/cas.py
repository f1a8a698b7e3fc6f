"""Cell Annotation Schema: columns ``S--...`` beside the labels in an ``.h5ad`` file, and the JSON file."""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cellkey import _keys
from cellkey.annotation.explain import explain_cluster
from cellkey.errors import InputError, Problem
from cellkey.hierarchy.ontology import bundled_ontology, read_ontology
from cellkey.io.write import write_cells
from cellkey.records.atomic import write_text
from cellkey.records.run import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

SETTINGS: Final = {
    "author_name": "name of the author (required)",
    "title": "title of the data set (required)",
    "author_contact": "address of the author",
    "orcid": "ORCID of the author",
    "ontology": "Cell Ontology as an OBO file, for the names of terms that the built-in hierarchies do not use",
}

_SET = "cell_type"
_LONGEST = 2000
"""Characters that the schema allows for a rationale."""
_REPOSITORY = "cellkey"
_DESCRIPTION = "Cell types called by walking each cluster down a hierarchy of markers"


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``cas.h5ad`` and ``cas.json``.

    The label column is ``cell_type``; ``cell_type--marker_gene_evidence`` are the measured markers of the called type
    that are on, and ``cell_type--rationale`` is the decision trace of the cell's cluster.

    Raises
    ------
    InputError
        If the author or the title is not named.
    """
    missing = [Problem("is required", n, f"--set {n}=...") for n in ("author_name", "title") if not settings.get(n)]
    if missing:
        msg = "the Cell Annotation Schema requires what was not given"
        raise InputError(msg, missing)
    rows = _rows(cells, settings)
    adata = cells.adata.copy()
    _, codes = np.unique(adata.obs[cells.cluster_key].astype(str).to_numpy(dtype=object), return_inverse=True)
    groups = np.unique(adata.obs[cells.cluster_key].astype(str).to_numpy(dtype=object))
    for suffix in next(iter(rows.values())):
        values = np.array([rows[g][suffix] for g in groups], dtype=object)[codes]
        adata.obs[f"{_SET}{suffix}"] = pd.Categorical(values)
    for i, column in enumerate(cells.levels):
        adata.obs[f"{_SET}_level_{i}"] = adata.obs[column].astype("category")
    adata.uns["hierarchy"] = {_SET: str(len(cells.levels)), **{
        f"{_SET}_level_{i}": str(i) for i in range(len(cells.levels))}}
    adata.uns["cellannotation_metadata"] = {_SET: {k: v for k, v in _labelset(cells).items() if isinstance(v, str)} | (
        _labelset(cells)["automated_annotation"])}
    adata.uns["cellannotation_schema_version"] = "1.1.0"
    adata.uns["title"] = settings["title"]
    write_cells(adata, folder / "cas.h5ad", compression="gzip")
    record = _record(cells, settings, rows)
    write_text(folder / "cas.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return [f"{len(record['annotations'])} annotations in {len(record['labelsets'])} label sets"]


def _rows(cells: LabelledCells, settings: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What to say of each cluster, by column suffix; the suffix of the label itself is empty."""
    obs = cells.adata.obs
    terms = read_ontology(settings["ontology"]) if "ontology" in settings else bundled_ontology()
    ids, exact = cells.ontology_ids()
    clusters = obs[cells.cluster_key].astype(str).to_numpy(dtype=object)
    labels, paths = cells.labels.astype(str).to_numpy(), cells.paths()
    rows: dict[str, dict[str, str]] = {}
    for i, cluster in enumerate(clusters):
        if cluster in rows:
            continue
        path = paths[i]
        node = cells.hierarchy[path] if path else None
        parent = path[:-1]
        parent_id = cells.hierarchy[parent].ontology_id or "" if parent else ""
        on = cells.evidence(cluster)
        label = labels[i] if labels[i] != _keys.UNASSIGNED else "unknown"  # the schema's reserved word
        rows[cluster] = {
            "": label,
            "--cell_fullname": " / ".join(path) or label,
            "--cell_ontology_exists": str(bool(exact[i])),
            "--cell_ontology_term_id": str(ids[i]),
            "--cell_ontology_term": _term_name(terms, str(ids[i])),
            "--rationale": _rationale(cells, cluster),
            "--rationale_dois": "",
            "--marker_gene_evidence": ", ".join(on["marker"]) if len(on) else "",
            "--canonical_marker_genes": "" if node is None else ", ".join(node.markers),
            "--synonyms": "" if node is None else ", ".join(node.aliases),
            "--category_fullname": parent[-1] if parent else label,
            "--category_cell_ontology_exists": str(bool(parent_id)),
            "--category_cell_ontology_term_id": parent_id,
            "--category_cell_ontology_term": _term_name(terms, parent_id),
        }
    return rows


def _term_name(terms: Any, identifier: str) -> str:
    return str(terms.name(identifier)) if identifier and identifier in terms else ""


def _rationale(cells: LabelledCells, cluster: str) -> str:
    if cells.call(cluster) is None or "decision_steps" not in cells.tables:
        return ""
    walk, _, _ = explain_cluster(cells.tables, cluster).partition("\nMarkers of ")  # these have a column of their own
    lines = [" ".join(line.split()) for line in walk.splitlines() if line.strip()]
    text = "\n".join(lines)
    if len(text) <= _LONGEST:
        return text
    end = "\n(cut; the table decision_steps holds the whole walk)"
    return text[: _LONGEST - len(end)].rpartition("\n")[0] + end


def _labelset(cells: LabelledCells) -> dict[str, Any]:
    return {
        "name": _SET, "description": _DESCRIPTION,
        "annotation_method": "both" if _reviewed(cells) else "algorithmic",
        "automated_annotation": {
            "algorithm_name": _REPOSITORY, "algorithm_version": metadata.version("cellkey"),
            "algorithm_repo_url": _REPOSITORY,
            "reference_location": str(cells.facts.get("hierarchy", "")),
        },
    }


def _reviewed(cells: LabelledCells) -> bool:
    """Whether a person set labels."""
    actions = cells.adata.obs.get("refinement_action")
    return actions is not None and bool((actions.astype(str) == "OVERRIDE").any())


def _record(cells: LabelledCells, settings: Mapping[str, str], rows: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    obs = cells.adata.obs
    members = obs.groupby(obs[cells.cluster_key].astype(str), observed=True).groups
    annotations = []
    for cluster, row in rows.items():
        found = {
            "labelset": _SET, "cell_label": row[""], "cell_fullname": row["--cell_fullname"],
            "cell_ontology_term_id": row["--cell_ontology_term_id"],
            "cell_ontology_term": row["--cell_ontology_term"], "rationale": row["--rationale"],
            "marker_gene_evidence": _listed(row["--marker_gene_evidence"]), "synonyms": _listed(row["--synonyms"]),
            "cell_ids": [str(c) for c in members[cluster]],
            "author_annotation_fields": {"cluster": cluster, "path": row["--cell_fullname"]},
        }
        annotations.append({k: v for k, v in found.items() if v not in ("", [])})
    named = {k: settings[k] for k in ("title", "author_name", "author_contact", "orcid") if settings.get(k)}
    return {**named, "cellannotation_timestamp": timestamp(), "labelsets": [_labelset(cells)],
            "annotations": annotations}


def _listed(text: str) -> list[str]:
    return [t for t in text.split(", ") if t]
