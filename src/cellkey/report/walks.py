"""The walk of a cluster down the marker hierarchy: steps, candidates, why each lost, and the markers behind it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from cellkey.records.vocabulary import FailReason, StopDetail
from cellkey.report.markup import Markup, element, facts, number, percent, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["call_facts", "gene_table", "marker_tables", "walk"]

_MARKERS = 12
_CANDIDATES = ("", "candidate", "score", "markers on", "positive cells", "enrichment", "outcome")


def call_facts(row: Mapping[str, Any]) -> Markup:
    """Return what the marker hierarchy says about a cluster, from a row of ``cluster_annotations``."""
    rival = str(row.get("runner_up_label", ""))
    sure = "no competitor" if row.get("margin_is_infinite") else number(float(row["confidence"]))
    stop = str(row.get("stop_detail", ""))
    meaning = StopDetail(stop).meaning if stop in set(StopDetail) else ""
    return facts(
        [
            ("path", str(row["assigned_path"])),
            ("score", f"{number(float(row['assigned_score']))} ({row.get('confidence_level', '')})"),
            ("confidence", f"{sure} over {rival}" if rival else sure),
            ("stopped", f"{row['stop_reason']}. {meaning}"),
            ("markers measured", percent(float(row["coverage"]))),
            ("no top-level type", str(row.get("root_fail_reasons", "")).replace(";", "; ")),
            ("votes of the cells", _votes(str(row["composition"]))),
        ]
    )


def _votes(composition: str) -> str:
    try:
        shares = json.loads(composition) if composition else {}
    except ValueError:
        return ""
    named = [(str(k), float(v)) for k, v in shares.items() if not str(k).startswith("_")]
    return ", ".join(f"{k} {percent(v)}" for k, v in sorted(named, key=lambda item: (-item[1], item[0])))


def walk(steps: pd.DataFrame) -> Markup:
    """Return every step of a walk with all its candidates, from the rows of ``decision_steps`` of one cluster."""
    parts = []
    for index, candidates in steps.groupby("step_idx", sort=True):
        parent = str(candidates["parent_label"].iloc[0])
        title = "which top-level type?" if parent == "ROOT" else f"which kind of {parent}?"
        rows = sorted(candidates.to_dict("records"), key=_rank)
        parts.append(element("h4", f"Step {index}: {title}"))
        parts.append(table(_CANDIDATES, [_candidate(r) for r in rows], class_="candidates"))
    return Markup("".join(parts))


def _rank(row: Mapping[Any, Any]) -> tuple[bool, bool, float, str]:
    score = float(row["child_score"])
    lost = math.inf if math.isnan(score) else -score
    return not row["selected"], not row["child_passed_gate"], lost, str(row["child_label"])


def _candidate(row: Mapping[Any, Any]) -> list[Any]:
    mark = "chosen" if row["selected"] else ("passed" if row["child_passed_gate"] else "failed")
    sign = {"chosen": "\u2713", "passed": "=", "failed": "\u2717"}[mark]
    return [
        element("span", sign, class_=mark, title=mark),
        element("b", row["child_label"]) if row["selected"] else str(row["child_label"]),
        float(row["child_score"]),
        percent(float(row["child_frac_markers_on"])),
        percent(float(row["child_pos_frac"])),
        float(row["child_enrichment"]),
        _outcome(row),
    ]


def _outcome(row: Mapping[Any, Any]) -> str:
    gap = float(row["margin_to_runner_up"])
    if row["selected"]:
        return "chosen" if math.isnan(gap) else f"chosen, {gap:.2f} ahead"
    reason = str(row["fail_reason"])
    if reason == FailReason.OUTSCORED and not math.isnan(gap):
        return f"leads by {gap:.2f} only: undecided"
    meaning = FailReason(reason).meaning if reason in set(FailReason) else reason
    return f"{meaning} [{row['fail_detail']}]" if row["fail_detail"] else meaning


def marker_tables(evidence: pd.DataFrame, path: str) -> Markup:
    """Return markers for and against the assigned type, from rows of ``marker_evidence`` of one cluster."""
    own = evidence[evidence["path"] == path]
    parts = []
    for role, title in (("positive", "Markers for"), ("anti", "Markers against")):
        rows = own[own["role"] == role].sort_values(["enrichment", "marker"], ascending=[False, True]).head(_MARKERS)
        if rows.empty:
            continue
        shown = [
            [str(m["marker"]), float(m["enrichment"]), percent(float(m["pos_frac"])), _flags(m)]
            for m in rows.to_dict("records")
        ]
        parts.append(element("h4", f"{title} {path.split(' / ')[-1]}"))
        parts.append(table(("marker", "enrichment", "positive cells", ""), shown))
    return Markup("".join(parts))


def _flags(row: Mapping[Any, Any]) -> str:
    return ", ".join(name for name, held in (("on", row["is_on"]), ("differential", row["is_de_hit"])) if held)


def gene_table(genes: list[dict[str, str]]) -> Markup:
    """Return the genes that lead a cluster against all other cells."""
    columns = ("gene", "avg_log2FC", "pct.1", "pct.2", "p_val_adj")
    rows = [[g.get(c, "") for c in columns] for g in genes]
    return table(("gene", "log2 fold change", "in", "elsewhere", "adjusted p"), rows)
