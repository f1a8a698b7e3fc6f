"""Results as text for readers: the annotation cluster by cluster, and what the booster asked and was told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cellkey.llm.identifiers import natural_key
from cellkey.llm.spreadsheets import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cellkey.llm.results import AnnotationResult, ClusterResult

__all__ = ["annotation_text", "boost_trace"]


def annotation_text(result: AnnotationResult) -> str:
    """Return the annotation of a dataset, cluster by cluster, with a table at the end."""
    study = result.study
    head = (
        f"DATASET {study.dataset}  TISSUE {study.tissue or 'not given'}  "
        f"SPECIES {study.species}  MODEL {result.model} ({result.provider})\n"
    )
    blocks = [_block(r) for r in result.clusters]
    return "\n".join([head, *blocks, *(f"Warning: {w}" for w in result.warnings), _closing_table(result.clusters)])


def boost_trace(result: ClusterResult) -> str:
    """Return what the booster asked, what it was told, and what it concluded, as Markdown."""
    lines = [f"# Boosting of cluster {one_line(result.cluster)}", ""]
    for number, turn in enumerate((t for t in result.turns if t.role == "booster"), start=1):
        if number > 1 and turn.messages:
            lines += ["## Numbers", "", "```json", turn.messages[-1].text.replace("```", ""), "```", ""]
        lines += [
            f"## Answer {number}",
            "",
            "```json",
            json.dumps(turn.parsed, indent=1, ensure_ascii=False).replace("```", ""),
            "```",
            "",
        ]
    case = result.case
    before = case.before_boost.detailed_cell_type if case.before_boost else "the same"
    lines += ["## Outcome", "", f"{result.status}: {result.label} (before: {before})", ""]
    return "\n".join(lines)


def _block(result: ClusterResult) -> str:
    case, proposal = result.case, result.case.proposal
    size = f" ({result.evidence.n_cells:,} cells)" if result.evidence.n_cells is not None else ""
    title = f"--- Cluster {one_line(result.cluster)}{size} ".ljust(74, "-")
    term = f"{result.term.id} ({result.term.label})" if result.term else "none"
    score = str(case.score.score) if case.score else "none"
    boosted = "no"
    if case.was_boosted:
        boosted = (
            f"yes, was {case.before_boost.detailed_cell_type}"
            if case.boost_changed and case.before_boost
            else "yes, label kept"
        )
    lines = [
        title,
        f"Cell type: {result.label}    General: {result.general_label}    Ontology: {term}",
        f"Score: {score}    Status: {result.status}    Attempts: {case.annotations}    Boosted: {boosted}",
    ]
    if proposal is not None and result.is_labelled:
        ranked = "  ".join(f"{i}) {s.name}" for i, s in enumerate(proposal.ranked_subtypes, start=1))
        lines += [
            f"Ranked subtypes: {ranked}",
            f"Mixed population: {', '.join(proposal.mixed_populations) or 'none'}",
        ]
    genes = ", ".join(g.described() for g in result.evidence.selection.genes[:10])
    lines.append(f"Key markers: {one_line(genes)}")
    if proposal is not None:
        lines.append(f"Evidence: {one_line(proposal.evidence)}")
    lines.append(f"Checks: {'; '.join(map(str, case.findings)) or 'passed'}")
    if case.score is not None:
        lines.append(f"Scorer: {one_line(case.score.reason)}")
    if result.agreement is not None:
        lines.append(
            f"Repeats: {1 + len(result.repeats)}, {result.agreement.verdict}, similarity "
            f"{result.agreement.similarity:.2f}"
        )
    lines += [f"Note: {one_line(n)}" for n in case.notes]
    return "\n".join(lines) + "\n"


def _closing_table(results: Iterable[ClusterResult]) -> str:
    rows = [("cluster", "cells", "cell type", "score", "status")]
    for r in sorted(results, key=lambda r: natural_key(r.cluster)):
        cells = str(r.evidence.n_cells) if r.evidence.n_cells is not None else ""
        rows.append((one_line(r.cluster), cells, r.label, str(r.case.score.score) if r.case.score else "", r.status))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows) + "\n"
