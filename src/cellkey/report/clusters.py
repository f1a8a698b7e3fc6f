"""The table of clusters and the card of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellkey.report.conversations import answer_facts, conversation
from cellkey.report.markup import Markup, anchor, element, folded, number, table
from cellkey.report.walks import call_facts, gene_table, marker_tables, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.report.reading import DatasetTables

__all__ = ["cluster_card", "cluster_rows", "cluster_table", "dataset_key"]


def dataset_key(dataset: DatasetTables) -> str:
    """Return the identifier of a dataset's section."""
    return anchor(dataset.tissue, dataset.name)


def cluster_rows(dataset: DatasetTables) -> list[dict[str, Any]]:
    """Return one plain mapping per cluster: what the table shows and what programs may read from the page."""
    calls = _calls(dataset)
    return [_row(dataset, cluster, calls.get(cluster), dataset.answers.get(cluster)) for cluster in dataset.clusters]


def _calls(dataset: DatasetTables) -> dict[str, dict[str, Any]]:
    frame = dataset.tables.get("cluster_annotations")
    records = [] if frame is None else frame.to_dict("records")
    return {str(r["cluster_id"]): {str(k): v for k, v in r.items()} for r in records}


def _row(
    dataset: DatasetTables, cluster: str, call: Mapping[str, Any] | None, answer: Mapping[str, str] | None
) -> dict[str, Any]:
    by_markers = str(call["assigned_label"]) if call else ""
    by_model = answer.get("cell_type", "") if answer else ""
    named = by_model not in ("", "Unknown")
    return {
        "dataset": dataset.name,
        "tissue": dataset.tissue,
        "cluster": cluster,
        "n_cells": int(call["n_cells"]) if call else _whole(answer),
        "label": by_model if named or not call else by_markers,
        "by_markers": by_markers,
        "by_model": by_model,
        "path": str(call["assigned_path"]) if call else "",
        "confidence": _finite(call["confidence"]) if call else None,
        "stop_reason": str(call["stop_reason"]) if call else "",
        "status": (answer or {}).get("status", ""),
        "score": _finite((answer or {}).get("score") or math.nan),
        "cost_usd": _finite((answer or {}).get("cost_usd") or math.nan),
        "anchor": f"{dataset_key(dataset)}{anchor(cluster)}",
    }


def _whole(answer: Mapping[str, str] | None) -> int | None:
    value = _finite((answer or {}).get("n_cells") or math.nan)
    return None if value is None else int(value)


def _finite(value: Any) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def cluster_table(rows: list[dict[str, Any]], *, with_model: bool) -> Markup:
    """Return the table of clusters; each identifier links to the cluster's card."""
    head = ["cluster", "cells", "label", "path", "confidence", "stopped"]
    head += ["by the model", "score", "outcome", "cost"] if with_model else []
    return table(head, [_line(r, with_model=with_model) for r in rows], class_="clusters")


def _line(row: Mapping[str, Any], *, with_model: bool) -> list[Any]:
    cells = [
        element("a", row["cluster"], href=f"#{row['anchor']}"),
        row["n_cells"],
        str(row["label"]),
        str(row["path"]),
        row["confidence"],
        str(row["stop_reason"]),
    ]
    if with_model:
        cost = "" if row["cost_usd"] is None else f"${row['cost_usd']:.4f}"
        cells += [str(row["by_model"]), row["score"], str(row["status"]), cost]
    return cells


def cluster_card(dataset: DatasetTables, row: Mapping[str, Any]) -> Markup:
    """Return everything about one cluster, folded: walk, markers, leading genes, and the model's part."""
    cluster = str(row["cluster"])
    title = element(
        "span", element("b", f"Cluster {cluster}"), " ", element("span", row["label"], class_="label"),
        element("span", f" {number(row['n_cells'])} cells", class_="quiet"),
    )
    parts = [*_walk_parts(dataset, cluster), *_model_parts(dataset, cluster)]
    if dataset.genes.get(cluster):
        parts.append(folded("Genes that lead the cluster", gene_table(dataset.genes[cluster])))
    words = " ".join(str(row[k]) for k in ("cluster", "label", "path", "by_model", "by_markers", "dataset", "tissue"))
    genes = " ".join(g.get("gene", "") for g in dataset.genes.get(cluster, []))
    return folded(title, *parts, id=str(row["anchor"]), class_="card", data_words=f"{words} {genes}".casefold())


def _walk_parts(dataset: DatasetTables, cluster: str) -> list[Markup]:
    call = _calls(dataset).get(cluster)
    if call is None:
        return []
    parts = [element("h3", "Marker hierarchy"), call_facts(call)]
    steps, evidence = dataset.tables.get("decision_steps"), dataset.tables.get("marker_evidence")
    if evidence is not None and call["assigned_path"]:
        parts.append(marker_tables(evidence[evidence["cluster_id"] == cluster], str(call["assigned_path"])))
    if steps is not None:
        way = walk(steps[steps["cluster_id"] == cluster])
        parts.append(folded("The way down the hierarchy, with every candidate", way, open=True))
    return parts


def _model_parts(dataset: DatasetTables, cluster: str) -> list[Markup]:
    answer = dataset.answers.get(cluster)
    if answer is None:
        return []
    parts = [element("h3", "Language model"), answer_facts(answer)]
    said = (dataset.conversations.get("clusters") or {}).get(cluster)
    if isinstance(said, dict):
        parts.append(folded("Conversation", conversation(said)))
    return parts
