"""Tables of an imagined run: scores decide, and the walks stop for all kinds of reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.records.tables import (
    CLUSTER_ANNOTATIONS,
    DECISION_STEPS,
    GATING_DETAILS,
    MARKER_EVIDENCE,
    MARKER_SCORES,
)

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.records.schema import TableSchema

KEY: dict[str, Any] = {
    "Immune cells": {
        "T cells": {"CD4 T cells": {}, "CD8 T cells": {}, "Regulatory T cells": {}},
        "B cells": {"Naive B cells": {}, "Plasma cells": {}},
        "NK cells": {},
        "Monocytes": {"Classical monocytes": {}, "Non-classical monocytes": {}},
        "Dendritic cells": {},
        "Mast cells": {},
    },
    "Epithelium": {"Ciliated epithelium": {}, "Secretory epithelium": {}, "Basal cells": {}},
    "Endothelium": {"Arterial endothelium": {}, "Venous endothelium": {}, "Lymphatic endothelium": {}},
    "Fibroblasts": {"Myofibroblasts": {}, "Inflammatory fibroblasts": {}},
    "Smooth muscle cells": {},
    "Erythroid cells": {},
}


def nodes(tree: dict[str, Any] | None = None, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All paths of the key, parents first."""
    found = []
    for name, below in (KEY if tree is None else tree).items():
        found += [(*above, name), *nodes(below, (*above, name))]
    return found


def _fill(schema: TableSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    empty = {"string": "", "int": 0, "float": np.nan, "bool": False, "json": "", "list": ""}
    defaults = {c.name: c.allowed[0] if c.allowed else empty[c.kind] for c in schema.columns}
    return schema.frame([{**defaults, **row} for row in rows])


def simulate(n_clusters: int, seed: int = 7) -> dict[str, pd.DataFrame]:
    """Return the tables of a run with ``n_clusters`` clusters."""
    rng = np.random.default_rng(seed)
    paths = nodes()
    leaves = [p for p in paths if not any(q[: len(p)] == p and q != p for q in paths)]
    sizes = np.maximum(np.sort(rng.lognormal(6, 1.1, n_clusters).astype(int))[::-1], 3)
    markers = {p: [f"{_initials(p)}{i + 1}" for i in range(int(rng.integers(3, 8)))] for p in paths}
    notes, scores, steps, gates, evidence = [], [], [], [], []
    for i in range(n_clusters):
        cluster, n_cells = str(i), int(sizes[i])
        truth = leaves[int(rng.integers(len(leaves)))] if i % 9 != 8 else ()
        clarity = rng.uniform(0.35, 1.3)
        judged = {p: _judge(p, truth, clarity, rng) for p in paths}
        for p in paths:
            score, on, coverage = judged[p]
            n = len(markers[p])
            found = round(coverage * n)
            scores.append(
                {
                    "cluster_id": cluster,
                    "label": p[-1],
                    "path": " / ".join(p),
                    "level": len(p) - 1,
                    "score": score,
                    "coverage": coverage,
                    "mean_enrichment": score * 0.7,
                    "mean_positive_fraction": on * 0.8,
                    "frac_markers_on": on,
                    "n_cells": n_cells,
                    "markers_expected": n,
                    "markers_found": found,
                    "n_markers_on": round(on * found),
                }
            )
            for m in markers[p]:
                share = float(np.clip(on + rng.normal(0, 0.15), 0, 1))
                evidence.append(
                    {
                        "cluster_id": cluster,
                        "cell_type": p[-1],
                        "path": " / ".join(p),
                        "level": len(p) - 1,
                        "marker": m,
                        "role": "positive",
                        "pos_frac": share,
                        "n_cells": n_cells,
                        "enrichment": float(rng.normal(2.2 * on - 0.7, 0.35)),
                        "is_on": share > 0.5,
                    }
                )
        notes.append(_walk(cluster, n_cells, judged, steps, gates) | {"proportion": n_cells / sizes.sum()})
    return {
        "cluster_annotations": _fill(CLUSTER_ANNOTATIONS, notes),
        "marker_scores": _fill(MARKER_SCORES, scores),
        "decision_steps": _fill(DECISION_STEPS, steps),
        "gating_details": _fill(GATING_DETAILS, gates),
        "marker_evidence": _fill(MARKER_EVIDENCE, evidence),
    }


def _initials(path: tuple[str, ...]) -> str:
    return "".join(w[:2].upper() for w in path[-1].replace("-", " ").split())[:5]


def _judge(path: tuple[str, ...], truth: tuple[str, ...], clarity: float, rng: np.random.Generator) -> Any:
    """Score, share of markers on, and coverage of one cell type in one cluster."""
    coverage = float(rng.choice([0.0, 0.6, 0.8, 1.0], p=[0.04, 0.16, 0.2, 0.6]))
    if coverage == 0:
        return -0.3, 0.0, 0.0
    if truth[: len(path)] == path:
        return (
            float(rng.normal(1.9 * clarity, 0.35)),
            float(np.clip(rng.normal(0.8 * clarity, 0.12), 0, 1)),
            coverage,
        )
    near = bool(truth) and path[0] == truth[0]
    return (
        float(rng.normal(0.45 * near * clarity - 0.25, 0.3)),
        float(np.clip(rng.normal(0.25 * near, 0.12), 0, 1)),
        coverage,
    )


def _walk(
    cluster: str,
    n_cells: int,
    judged: dict[tuple[str, ...], Any],
    steps: list[dict[str, Any]],
    gates: list[dict[str, Any]],
) -> dict[str, Any]:
    here: tuple[str, ...] = ()
    score, margins, reason, root = 0.0, [], "no_root_passed", "Unassigned"
    ambiguous = False
    for step in range(4):
        children = sorted(
            (p for p in judged if len(p) == step + 1 and p[:step] == here), key=lambda p: (-judged[p][0], p)
        )
        if not children:
            reason = "leaf_reached"
            break
        passed = [p for p in children if judged[p][1] >= 0.4 and judged[p][2] >= 0.5]
        order = passed + [p for p in children if p not in passed]
        gap = judged[order[0]][0] - judged[order[1]][0] if len(order) > 1 else np.nan
        tied = len(passed) > 1 and gap < 0.25
        chosen = passed[0] if passed and not tied else None
        for p in children:
            why = (
                ""
                if p == chosen
                else "outscored"
                if p in passed
                else (
                    "low_coverage"
                    if judged[p][2] < 0.5
                    else "anti_markers"
                    if judged[p][0] < -0.4
                    else "below_gate"
                )
            )
            detail = {
                "low_coverage": "coverage<0.5",
                "anti_markers": "veto:EPCAM",
                "below_gate": "pos_frac<0.3",
            }
            steps.append(
                {
                    "cluster_id": cluster,
                    "step_idx": step,
                    "parent_label": here[-1] if here else "ROOT",
                    "child_label": p[-1],
                    "child_passed_gate": p in passed,
                    "child_score": judged[p][0],
                    "child_coverage": judged[p][2],
                    "child_pos_frac": judged[p][1] * 0.8,
                    "child_enrichment": judged[p][0] * 0.7,
                    "child_anti_penalty": 0.0,
                    "selected": p == chosen,
                    "margin_to_runner_up": gap if p == order[0] else np.nan,
                    "fail_reason": why,
                    "fail_detail": detail.get(why, ""),
                    "child_path": " / ".join(p),
                    "child_frac_markers_on": judged[p][1],
                }
            )
            if step == 0:
                gates.append(
                    {
                        "cluster": cluster,
                        "cluster_id": cluster,
                        "root_type": p[-1],
                        "passed": p in passed,
                        "score": judged[p][0],
                        "coverage": judged[p][2],
                        "pos_frac": judged[p][1] * 0.8,
                        "fail_reason": why,
                        "selected": p == chosen,
                    }
                )
        if chosen is None:
            coverage_only = not passed and all(judged[p][2] < 0.5 for p in children)
            reason = (
                "low_margin"
                if tied
                else "no_root_passed"
                if step == 0
                else ("insufficient_coverage" if coverage_only else "no_children_pass")
            )
            if tied:
                margins.append(gap)
            if tied and step == 0:
                ambiguous, root, score = True, "~".join(p[-1] for p in passed[:2]), judged[passed[0]][0]
            break
        here, score = chosen, judged[chosen][0]
        root = here[0]
        margins.append(gap)
    finite = [m for m in margins if np.isfinite(m)]
    return {
        "cluster_id": cluster,
        "cluster": cluster,
        "assigned_label": here[-1] if here else root,
        "assigned_path": " / ".join(here) if here else (root if ambiguous else ""),
        "assigned_level": len(here) - 1 if here else (0 if ambiguous else -1),
        "assigned_score": score,
        "root_label": root,
        "confidence": min(finite) if finite else 0.0,
        "stop_reason": reason,
        "n_cells": n_cells,
        "is_ambiguous_root": ambiguous,
        "final_annotation": here[-1] if here else root,
    }
