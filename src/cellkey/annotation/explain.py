"""The decision trace of a cluster as text, from tables alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import InputError, did_you_mean
from cellkey.records.run_tables import RunKind, run_calls, run_kind, run_tables, table_rows
from cellkey.records.vocabulary import ConsensusStop, FailReason, StopDetail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

__all__ = ["explain_cluster", "explain_run"]

_TOP_MARKERS = 8
_TABLES = ("cluster_annotations", "decision_steps", "marker_evidence", "enrichment_calls", "confidence")


def explain_run(run: str | Path, clusters: Sequence[str] = ()) -> str:
    """Return how clusters of a run came by their labels, as readable text; of all clusters if none is named.

    Parameters
    ----------
    run
        Directory of an annotation, a consensus or a marker table. After refinement the refined clusters are explained;
        a cluster that was split or united can still be named.
    clusters
        Their ids.

    Raises
    ------
    InputError
        If the directory holds no such run, or there is no such cluster.
    """
    calls = run_calls(run)
    kind = run_kind(run)
    if kind is RunKind.ANNOTATION:
        now, first = (run_tables(run, _TABLES, current=c) for c in (True, False))
        asked = list(clusters) or now["cluster_annotations"]["cluster_id"].tolist()
        known = set(now["cluster_annotations"]["cluster_id"])
        older = set(first["cluster_annotations"]["cluster_id"])
        return "\n".join(explain_cluster(first if c in older - known else now, c) for c in asked)
    asked = list(clusters) or calls["cluster_id"].tolist()
    for cluster in asked:
        _require_cluster(cluster, calls["cluster_id"].tolist())
    if kind is RunKind.CONSENSUS:
        tables = run_tables(run, ("consensus", "consensus_votes"))
        return "\n".join(_agreement(tables, c) for c in asked)
    rows = {str(r["cluster"]): r for r in table_rows(run)}
    return "\n".join(_listed(rows[c]) for c in asked)


def _agreement(tables: Mapping[str, pd.DataFrame], cluster: str) -> str:
    """What the sources agree on, who voted for what, and where they part."""
    row = next(r for r in tables["consensus"].to_dict("records") if r["cluster_id"] == cluster)
    votes = tables["consensus_votes"]
    lines = [f"Cluster {cluster}: {row['label']}  ({row['n_cells']:,} cells)"]
    if row["path"]:
        lines.append(f"  path        {row['path']}")
    lines.append(f"  status      {row['status']}: {ConsensusStop(row['stop_reason']).meaning}")
    lines.append(f"  sources     {row['n_sources']} voted, {row['n_abstained']} abstained")
    lines.append(f"  agreement   {_percent(row['agreement'])} of the weight lies on one line with it")
    if row["rival_label"]:
        lines.append(f"  parted by   {row['rival_label']}, {_percent(row['rival_share'])} of the weight there")
    if not np.isnan(row["confidence"]):
        lines.append(f"  confidence  {row['confidence']:.2f}")
    lines += ["", "Votes:"]
    own = votes[votes["cluster_id"] == cluster]
    width = max(map(len, own["source"]), default=0)
    for vote in own.to_dict("records"):
        for_it = "agrees" if vote["agrees"] else ("no vote" if not vote["path"] else "differs")
        sure = "" if np.isnan(vote["confidence"]) else f", confidence {vote['confidence']:.2f}"
        part = "" if vote["voice"] >= 1.0 else f", voice {vote['voice']:.2f}"
        lines.append(f"  {vote['source']:<{width}}  {for_it:<8} {vote['label'] or 'no label'}"
                     f" ({vote['path'] or vote['match']}); weight {vote['weight']:.2f}{sure}{part}")
    return "\n".join(lines) + "\n"


def _listed(row: Mapping[str, str]) -> str:
    """A row of the calls of a marker table, without what is empty."""
    lines = [f"Cluster {row['cluster']}: {row.get('cell_type', '')}"]
    shown = [(k.replace("_", " "), " ".join(v.split())) for k, v in row.items() if k not in ("cluster", "cell_type")]
    width = max(len(k) for k, _ in shown)
    return "\n".join([*lines, *(f"  {k:<{width}}  {v}" for k, v in shown if v not in ("", "nan"))]) + "\n"


def _require_cluster(cluster: str, known: Sequence[str]) -> None:
    if str(cluster) not in known:
        hint = did_you_mean(str(cluster), known) or f"; clusters are {', '.join(known[:20])}"
        msg = f"there is no cluster {cluster!r}{hint}"
        raise InputError(msg)


def explain_cluster(tables: Mapping[str, pd.DataFrame], cluster: str) -> str:
    """Return the walk of a cluster as readable text: every step, every candidate, and why it was not chosen.

    Parameters
    ----------
    tables
        ``cluster_annotations`` and ``decision_steps``; with ``marker_evidence`` the markers are shown as well.
    cluster
        Its id.

    Raises
    ------
    InputError
        If there is no such cluster.
    """
    annotations = tables["cluster_annotations"]
    _require_cluster(cluster, annotations["cluster_id"].astype(str).tolist())
    row = annotations[annotations["cluster_id"] == str(cluster)].iloc[0]
    steps = tables["decision_steps"]
    steps = steps[steps["cluster_id"] == str(cluster)]
    lines = [*_headline(row), *_reported(tables, str(cluster)), *_stability_lines(tables, str(cluster))]
    for index, candidates in steps.groupby("step_idx", sort=True):
        lines += ["", *_step_lines(int(str(index)), candidates)]
    lines += ["", *_ending(row)]
    if "marker_evidence" in tables and row["assigned_path"]:
        lines += ["", *_marker_lines(tables["marker_evidence"], str(cluster), str(row["assigned_path"]))]
    return "\n".join(lines) + "\n"


def _headline(row: pd.Series) -> list[str]:
    share = f", {100 * row['proportion']:.1f} % of all" if "proportion" in row else ""
    lines = [f"Cluster {row['cluster_id']}: {row['assigned_label']}  ({row['n_cells']:,} cells{share})"]
    if row["assigned_path"]:
        lines.append(f"  path        {row['assigned_path']}")
    lines.append(f"  score       {row['assigned_score']:.3f} ({row['confidence_level']})")
    runner = f" over {row['runner_up_label']} at the tightest step" if row["runner_up_label"] else ""
    lines.append(f"  margin      {row['confidence']:.3f}{runner}")
    return lines


def _reported(tables: Mapping[str, pd.DataFrame], cluster: str) -> list[str]:
    """What enrichment reports, where it was asked."""
    table = tables.get("enrichment_calls")
    rows = [] if table is None else table[table["cluster_id"] == cluster].to_dict("records")
    lines = []
    for row in rows:
        lines.append(f"  enrichment  reports {row['annot_export_label']} ({row['annot_export_status']}:"
                     f" {row['annot_export_reason']}; confidence {row['annot_confidence']})")
        rival = row["annot_second_best_call"]
        if rival:
            lines.append(f"              best call of another lineage: {rival}, support "
                         f"{row['annot_second_best_call_score']:.3f}")
    return lines


def _stability_lines(tables: Mapping[str, pd.DataFrame], cluster: str) -> list[str]:
    """How well each level holds, and how probably it is right."""
    table = tables.get("confidence")
    rows = [] if table is None else table[table["cluster_id"] == cluster].to_dict("records")
    several = len({row["method"] for row in rows}) > 1
    names = [(f"{row['method']}: " if several else "") + (row["label"] or "no type") for row in rows]
    width = max(map(len, names), default=0)
    lines = []
    for name, row in zip(names, rows, strict=True):
        fragile = f" (not without {row['fragile_marker']})" if row["fragile_marker"] else ""
        likely = "" if np.isnan(row["confidence"]) else f"  probably right {row['confidence']:6.2f}"
        lost = row["share_held_without_marker"]
        without = "" if np.isnan(lost) else f", in {_percent(lost)} without one marker{fragile}"
        lines.append(f"  {name:<{width}}{likely}  holds in {_percent(row['share_held'])} of resamples{without}")
    return ["", "How well it holds:", *lines] if lines else []


def _percent(share: float) -> str:
    return "    ?" if np.isnan(share) else f"{100 * share:3.0f} %"


def _step_lines(index: int, candidates: pd.DataFrame) -> list[str]:
    parent = candidates["parent_label"].iloc[0]
    title = "which top-level type?" if parent == "ROOT" else f"which kind of {parent}?"
    unmeasured = candidates[candidates["fail_reason"] == FailReason.LOW_COVERAGE]
    judged = candidates.drop(unmeasured.index)
    width = max([0, *(len(str(label)) for label in judged["child_label"])])
    ranked = judged.sort_values(
        ["selected", "child_passed_gate", "child_score"], ascending=False, kind="stable", key=_sortable
    )
    lines = [f"Step {index}: {title}"]
    for _, c in ranked.iterrows():
        mark = ">" if c["selected"] else ("=" if c["child_passed_gate"] else "x")
        lines.append(f"  {mark} {c['child_label']:<{width}}  score {c['child_score']:7.3f}  {_seen(c)}  {_verdict(c)}")
    if len(unmeasured):
        names = ", ".join(f"{c['child_label']} ({100 * c['child_coverage']:.0f} %)" for _, c in unmeasured.iterrows())
        lines.append(f"  x too few of their markers are measured: {names}")
    return lines


def _seen(c: pd.Series) -> str:
    if not (c["child_pos_frac"] or c["child_enrichment"] or c["child_frac_markers_on"]):
        return f"{'judged by its subtypes, or silent':<51}"
    on, positive = 100 * c["child_frac_markers_on"], 100 * c["child_pos_frac"]
    return f"markers {on:3.0f} % on, positive in {positive:3.0f} % of cells, enrichment {c['child_enrichment']:+.2f}"


def _sortable(column: pd.Series) -> pd.Series:
    return column.astype(float)


def _verdict(c: pd.Series) -> str:
    if c["selected"]:
        margin = c["margin_to_runner_up"]
        return "chosen" if np.isnan(margin) else f"chosen, {margin:.3f} ahead"
    if c["fail_reason"] == FailReason.OUTSCORED:
        gap = c["margin_to_runner_up"]
        return "passed, but outscored" if np.isnan(gap) else f"leads by {gap:.3f} only: undecided"
    return f"{c['fail_reason']}: {c['fail_detail']}"


def _ending(row: pd.Series) -> list[str]:
    meaning = StopDetail(row["stop_detail"]).meaning if row["stop_detail"] else ""
    lines = [f"Stopped: {row['stop_reason']}. {meaning}"]
    if row["root_fail_reasons"]:
        lines.append(f"  {row['root_fail_reasons'].replace(';', '; ')}")
    if row["composition"]:
        lines.append(f"  votes of the cells (evidence only): {_votes(row['composition'])}")
    return lines


def _votes(composition: str) -> str:
    import json

    shares = {k: v for k, v in json.loads(composition).items() if not k.startswith("_")}
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in sorted(shares.items(), key=lambda i: -i[1]))


def _marker_lines(evidence: pd.DataFrame, cluster: str, path: str) -> list[str]:
    rows = evidence[(evidence["cluster_id"] == cluster) & (evidence["path"] == path)]
    if rows.empty:
        return []
    lines = [f"Markers of {path.split(' / ')[-1]}:"]
    for role, title in (("positive", "for"), ("anti", "against")):
        part = rows[rows["role"] == role].sort_values("enrichment", ascending=False, kind="stable").head(_TOP_MARKERS)
        for _, m in part.iterrows():
            flags = " ".join(f for f, held in (("on", m["is_on"]), ("differential", m["is_de_hit"])) if held)
            lines.append(f"  {title:<8}{m['marker']:<12} enrichment {m['enrichment']:+6.2f}   positive in "
                         f"{100 * m['pos_frac']:3.0f} % of cells   {flags}".rstrip())
    return lines
