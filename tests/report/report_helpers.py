"""Run directories with names that attack pages and spreadsheets, made of tables only."""

from __future__ import annotations

import json
from pathlib import Path

from cellkey.records.tables import CLUSTER_ANNOTATIONS, CONSENSUS, CONSENSUS_VOTES, DECISION_STEPS

HOSTILE = [
    "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\"quotes\" & 'more'", "</script><b>", "a b", "../x", "Ä\u202e",
    "__proto__", "constructor", "line\u2028separator", "x" * 300,
]


def annotation_row(cluster: str, label: str) -> dict[str, object]:
    texts = {c.name: "" for c in CLUSTER_ANNOTATIONS.columns if c.kind in ("string", "list", "json")}
    numbers = {c.name: 1 for c in CLUSTER_ANNOTATIONS.columns if c.kind in ("int", "float")}
    flags = {c.name: False for c in CLUSTER_ANNOTATIONS.columns if c.kind == "bool"}
    own = {
        "cluster_id": cluster, "cluster": cluster, "assigned_label": label, "assigned_path": f"Root / {label}",
        "root_label": "Root", "stop_reason": "leaf_reached", "stop_detail": "leaf_reached", "n_cells": 10,
        "confidence_level": "high", "runner_up_label": label, "composition": json.dumps({label: 0.75, "_n": 3}),
    }
    return {**texts, **numbers, **flags, **own}


def step_row(cluster: str, label: str, **more: object) -> dict[str, object]:
    numbers = {c.name: 0.5 for c in DECISION_STEPS.columns if c.kind == "float"}
    own = {
        "cluster_id": cluster, "step_idx": 0, "parent_label": "ROOT", "child_label": label, "child_path": label,
        "child_passed_gate": True, "selected": True, "fail_reason": "", "fail_detail": "",
    }
    return {**numbers, **own, **more}


def hostile_run(folder: Path) -> Path:
    """An annotation run whose clusters and types have names that attack pages and spreadsheets."""
    folder.mkdir()
    rows = [annotation_row(name, name) for name in HOSTILE]
    CLUSTER_ANNOTATIONS.write_csv(CLUSTER_ANNOTATIONS.frame(rows), folder / "cluster_annotations.csv")
    lost = {"selected": False, "child_passed_gate": False, "fail_reason": "below_gate"}
    steps = [step_row(name, name) for name in HOSTILE]
    steps += [step_row(name, f"other {name}", fail_detail="pos_frac<0.3", **lost) for name in HOSTILE]
    DECISION_STEPS.write_csv(DECISION_STEPS.frame(steps), folder / "decision_steps.csv")
    manifest = {"input": {"name": "<img src=x onerror=alert(1)>"}, "messages": ["<b>note</b>"]}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def model_run(folder: Path) -> Path:
    """A batch run in which a model took part, with names and answers that attack."""
    inside = folder / "a b" / "_x"
    (inside / "details").mkdir(parents=True)
    (folder / "batch_summary.csv").write_text(
        "dataset,tissue,status,output_dir,error,n_cells,api_calls\n"
        f"/x,a b,success,/moved/run/a b/_x,,30,4\n'=cmd,<script>,failed,{folder.parent},<script>boom</script>,,0\n",
        encoding="utf-8",
    )
    attack = "</script><script>alert(1)</script>"
    columns = ("cluster", "cell_type", "n_cells", "score", "status", "boosted", "label_before_boost", "evidence",
               "input_tokens", "output_tokens", "cost_usd")
    (inside / "details" / "_x_annotations.csv").write_text(
        ",".join(columns) + f"\n'=1,B cell,30,88,boosted,True,T cell,{attack},1234,56,0.0123\n", encoding="utf-8"
    )
    turn = {"role": "annotator", "model": "m", "messages": [{"role": "user", "text": attack}], "answer": attack,
            "parsed": {"label": attack}, "problems": attack, "usage": {"input_tokens": 1234, "output_tokens": 56,
                                                                       "cost": 0.0123}}
    said = {"state": [{"after": "boosted", "reason": attack}], "turns": [turn], "before_boost": {"label": "T cell"},
            "final": {"label": "B cell"}}
    (inside / "details" / "_x_conversations.json").write_text(json.dumps({"clusters": {"=1": said}}), encoding="utf-8")
    (inside / "_x_markers.csv").write_text(f"cluster,gene,avg_log2FC\n'=1,{attack},2.5\n", encoding="utf-8")
    totals = {"calls": 1, "input_tokens": 1234, "output_tokens": 56, "cost": 0.0123}
    (folder / "token_tracking.json").write_text(
        json.dumps({**{f"total_{k}": v for k, v in totals.items()}, "by_role": {attack: totals}}), encoding="utf-8"
    )
    return folder


def consensus_run(folder: Path) -> Path:
    """A folder that holds a consensus without the run behind it: one cluster agreed on, one not."""
    folder.mkdir()
    shared = {"label": "Deep", "path": "Lineage / Deep", "level": 1, "ontology_term_id": "CL:0000084", "n_sources": 2,
              "support": 1.0, "agreement": 0.9, "confidence": 0.75, "n_cells": 7}
    agreed = {**shared, "cluster_id": "a", "status": "resolved", "stop_reason": "leaf_reached", "n_abstained": 0,
              "rival_label": "", "rival_share": float("nan")}
    parted = {**shared, "cluster_id": "b", "status": "mixed", "stop_reason": "disagreement", "n_abstained": 1,
              "rival_label": "Other", "rival_share": 0.4}
    votes = [
        {"cluster_id": "b", "source": source, "label": label, "path": f"Lineage / {label}", "match": "name",
         "share": 1.0, "confidence": 0.8, "weight": 1.0, "agrees": label == "Deep"}
        for source, label in (("one", "Deep"), ("two", "Other"))
    ]
    CONSENSUS.write_csv(CONSENSUS.frame([agreed, parted]), folder / "consensus.csv")
    CONSENSUS_VOTES.write_csv(CONSENSUS_VOTES.frame(votes), folder / "consensus_votes.csv")
    (folder / "manifest.json").write_text(json.dumps({"input": {"name": "cells.h5ad"}}), encoding="utf-8")
    return folder
