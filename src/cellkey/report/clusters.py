"""What the page knows of every cluster from the start: one plain mapping each, from the tables of a run."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from cellkey.annotation.label_colours import label_colours
from cellkey.calls.label_mapping import ABSTENTIONS
from cellkey.plots.colours import lineage_colours
from cellkey.records.vocabulary import ConsensusStop, StopDetail
from cellkey.report.conversations import answer_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellkey.hierarchy import Hierarchy
    from cellkey.report.reading import DatasetTables

__all__ = ["cluster_rows"]

_SEPARATOR = " / "
_VOTE = ("source", "label", "path", "match", "share", "confidence", "weight", "agrees")
_GENES = ("gene", "avg_log2FC", "pct.1", "pct.2", "p_val_adj")


def cluster_rows(dataset: DatasetTables, place: Mapping[str, int], tree: Hierarchy | None) -> list[dict[str, Any]]:
    """Return one mapping per cluster, without what is empty.

    Parameters
    ----------
    place
        Position of each path in the list of cell types.
    tree
        Hierarchy that labels of other origin are looked up in.
    """
    calls = _by_cluster(dataset.tables["cluster_annotations"].to_dict("records")
                        if "cluster_annotations" in dataset.tables else [])
    names = ("confidence", "consensus", "consensus_votes", "refinement_log", "calls")
    sure, agreed, votes, log, listed = (_grouped(dataset.beside.get(n, [])) for n in names)
    rows = []
    for cluster in dataset.clusters:
        call, answer = calls.get(cluster), dataset.answers.get(cluster)
        row = {"id": cluster, **(_of_call(call, place) if call else {}), **(_of_answer(answer) if answer else {})}
        if call is None and answer is None and cluster in agreed:
            row |= _of_consensus(agreed[cluster][0], place)
        if cluster in listed:
            row |= _of_marker_table(listed[cluster][0], place)
        row |= {
            "sure": _confidence(sure.get(cluster, []), str(row.get("path", ""))),
            "agreed": [_agreed(r) for r in agreed.get(cluster, [])],
            "said": [[r.get(c, "") for c in _VOTE] for r in votes.get(cluster, [])],
            "log": [_action(r) for r in log.get(cluster, [])],
            "genes": [[g.get(c, "") for c in _GENES] for g in dataset.genes.get(cluster, [])],
        }
        if row["sure"]:
            row["confidence"] = row["sure"][-1][-1]
        rows.append({k: v for k, v in row.items() if v not in (None, "", [], {})})
    _colour_other_labels(rows, dataset, place, tree)
    return rows


def _colour_other_labels(
    rows: Iterable[dict[str, Any]], dataset: DatasetTables, place: Mapping[str, int], tree: Hierarchy | None
) -> None:
    """Colour labels that no walk gave; one without any walk behind it takes the type that it stands for."""
    own = [r for r in rows if r.get("type", -1) < 0 or r.get("label") == r.get("model")]
    own = [r for r in own if r.get("label", "").casefold() not in ABSTENTIONS and "~" not in r["label"]]
    terms = {r["label"]: dataset.answers.get(r["id"], {}).get("ontology_id", "") for r in own}
    found = label_colours(terms, tree) if tree else {}
    unplaced = lineage_colours(terms)
    for row in own:
        row["hue"], stands = found.get(row["label"], (unplaced[row["label"]], None))
        if stands and stands.path and row.get("type", -1) < 0:
            row |= {"type": place[" / ".join(stands.path)], "level": len(stands.path) - 1,
                    "placed": stands.match.replace("_", " ")}


def _by_cluster(records: Iterable[Mapping[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {str(r["cluster_id"]): {str(k): v for k, v in r.items()} for r in records}


def _grouped(records: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """Rows by cluster; an action on several clusters belongs to each, and to those it made."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in records:
        named = row.get("cluster_id", "") or row.get("cluster", "")
        several = {named, *(row.get("new_clusters") or "").split(","), *(named.split(",") if "action" in row else [])}
        for cluster in several - {""}:
            found.setdefault(cluster, []).append(row)
    return found


def _of_call(call: Mapping[str, Any], place: Mapping[str, int]) -> dict[str, Any]:
    stop = str(call["stop_detail"])
    path = str(call["assigned_path"])
    fragile = str(call.get("fragile_markers", "") or "")
    return {
        "n": int(call["n_cells"]),
        "label": str(call["final_annotation"] or call["assigned_label"]),
        "path": path,
        "type": place.get(path, -1),
        "level": int(call["assigned_level"]),
        "score": _number(call["assigned_score"]),
        "band": str(call["confidence_level"]),
        "margin": None if call["margin_is_infinite"] else _number(call["confidence"]),
        "alone": bool(call["margin_is_infinite"]) or None,
        "rival": str(call["runner_up_label"]),
        "rivalScore": _number(call["runner_up_score"]),
        "stop": str(call["stop_reason"]),
        "stopped": StopDetail(stop).meaning if stop in set(StopDetail) else "",
        "coverage": _number(call["coverage"]),
        "failed": str(call["root_fail_reasons"]).replace(";", "; "),
        "votes": _votes(str(call["composition"])),
        "stability": [_number(call.get(n)) for n in ("split_stability", "label_stability", "marker_stability")]
        if "label_stability" in call else None,
        "fragile": fragile,
    }


def _of_answer(answer: Mapping[str, str]) -> dict[str, Any]:
    named = answer.get("cell_type", "")
    row: dict[str, Any] = {
        "model": named,
        "modelScore": _number(answer.get("score") or math.nan),
        "outcome": answer.get("status", ""),
        "cost": _number(answer.get("cost_usd") or math.nan, digits=6),
        "answer": answer_facts(answer),
    }
    size = _number(answer.get("n_cells") or math.nan)
    if size is not None:
        row["n"] = int(size)
    if named not in ("", "Unknown"):
        row["label"] = named
    return row


def _of_consensus(row: Mapping[str, str], place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "n": int(_number(row.get("n_cells")) or 0),
        "label": row.get("label", ""),
        "path": row.get("path", ""),
        "type": place.get(row.get("path", ""), -1),
        "level": int(_number(row.get("level")) or 0),
        "outcome": row.get("status", ""),
        "rival": row.get("rival_label", ""),
        "confidence": _number(row.get("confidence")),
    }


def _of_marker_table(row: Mapping[str, str], place: Mapping[str, int]) -> dict[str, Any]:
    path = row.get("path", "")
    return {
        "label": row.get("cell_type", ""),
        "path": path,
        "type": place.get(path, -1),
        "level": path.count(_SEPARATOR) if path else -1,
        "score": _number(row.get("score")),
        "outcome": row.get("status", ""),
        "stopped": row.get("reason", ""),
        "rival": row.get("runner_up", ""),
        "rivalScore": _number(row.get("runner_up_score")),
        "found": row.get("markers", "").replace(",", ", "),
        "rows": row.get("n_genes", ""),
    }


def _confidence(rows: Iterable[Mapping[str, str]], path: str) -> list[list[Any]]:
    """Method, label, shares that hold in resamples and without one marker, fragile marker, confidence; by level.

    Only of methods whose call is the cluster's present one: a label that was changed since has no confidence on record.
    """
    columns = ("share_held", "share_held_without_marker")
    methods = [r.get("method", "") for r in rows if r.get("path", "") == path]
    own = [r for r in rows if r.get("method", "") in methods]
    calls = {r.get("method", "") for r in own if r.get("is_call", "True") == "True" and r.get("path", "") == path}
    listed = sorted((r for r in own if r.get("method", "") in calls),
                    key=lambda r: (r.get("method", ""), _number(r.get("level")) or 0.0))
    return [
        [r.get("method", ""), r.get("label", ""), *(_number(r.get(c)) for c in columns), r.get("fragile_marker", ""),
         _number(r.get("confidence"))]
        for r in listed
    ]


def _agreed(row: Mapping[str, str]) -> list[list[str]]:
    """What the sources of a consensus agree on, in words; see the table ``consensus``."""
    stop, rival = row.get("stop_reason", ""), row.get("rival_label", "")
    facts = {
        "label": (row.get("path") or row.get("label", "")).replace(_SEPARATOR, " › "),
        "ontology": row.get("ontology_term_id", ""),
        "outcome": row.get("status", ""),
        "ended": ConsensusStop(stop).meaning if stop in set(ConsensusStop) else stop,
        "sources": f"{row.get('n_sources', '')} voted, {row.get('n_abstained', '')} abstained",
        "agreement": _share(row, "agreement"),
        "support": _share(row, "support"),
        "strongest other": " ".join(filter(None, (rival, _share(row, "rival_share")))) if rival else "",
        "confidence": _share(row, "confidence"),
    }
    return [[name, text] for name, text in facts.items() if text]


def _share(row: Mapping[str, str], column: str) -> str:
    value = _number(row.get(column) or math.nan)
    return "" if value is None else f"{100 * value:.0f} %"


def _action(row: Mapping[str, str]) -> dict[str, str]:
    names = {"action": "action", "old_label": "from", "new_label": "to", "reason": "reason", "source": "source",
             "reviewer": "reviewer", "timestamp": "at", "status": "status", "iteration": "iteration"}
    return {short: row[name] for name, short in names.items() if row.get(name)}


def _votes(composition: str) -> list[list[Any]]:
    try:
        shares = json.loads(composition) if composition else {}
    except ValueError:
        return []
    named = [(str(k), float(v)) for k, v in shares.items() if not str(k).startswith("_")]
    return [[k, round(v, 4)] for k, v in sorted(named, key=lambda item: (-item[1], item[0]))]


def _number(value: Any, *, digits: int = 4) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return round(found, digits) if math.isfinite(found) else None
