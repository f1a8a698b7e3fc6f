"""Run directories with names that attack pages and spreadsheets, made of tables only."""

from __future__ import annotations

import json
from pathlib import Path

from cellkey.records.tables import CLUSTER_ANNOTATIONS, DECISION_STEPS

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
