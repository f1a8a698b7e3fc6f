"""A comparison of candidates from a marker table or a finished run to tables, in a directory of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError
from cellkey.llm.comparison import (
    COMPARER,
    Comparison,
    ComparisonParameters,
    checked_candidates,
    compare_candidates,
)
from cellkey.llm.conversations import turn_record
from cellkey.llm.result_tables import neutral_table
from cellkey.llm.run import asking_in
from cellkey.llm.stored import chosen_clusters, write_manifest
from cellkey.llm.terms import match_term
from cellkey.records.atomic import safe_name, write_text
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cellkey.llm.accounting import Call
    from cellkey.llm.evidence import ClusterEvidence
    from cellkey.llm.knowledge import Knowledge
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.stored import AskedWith, StoredResult
    from cellkey.llm.terms import CellTypeTerms

__all__ = [
    "OPINIONS",
    "VERDICTS",
    "ComparisonRun",
    "candidates_of",
    "compare_in",
    "evidence_for",
    "preview_comparison",
]

OPINIONS = TableSchema(
    "comparison.csv",
    "What every model said about every candidate, round by round.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("round", "int", "from 1"),
        Column("model", "string", "model that was asked"),
        Column("provider", "string", "its service"),
        Column("cell_type", "string", "candidate; empty where the model gave no scores"),
        Column("score", "float", "how well the genes fit the candidate, 0 to 100"),
        Column("is_choice", "bool", "whether it is the one that the model prefers; none where several share the top"),
        Column("supporting_genes", "list", "genes that speak for it"),
        Column("contradicting_genes", "list", "genes that speak against it"),
        Column("reason", "string", "the model's explanation"),
        Column("status", "string", "outcome of the question", ("ok", "abstained", "failed")),
        Column("error", "string", "why there are no scores"),
    ),
)

VERDICTS = TableSchema(
    "verdicts.csv",
    "What the models agree on for every cluster.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("cell_type", "string", "candidate that enough models prefer; Unknown without one"),
        Column("ontology_id", "string", "Cell Ontology identifier of that candidate"),
        Column("status", "string", "outcome", ("consensus", "no_consensus", "unanswered")),
        Column("leaders", "string", "candidates with the most votes, separated by semicolons"),
        Column("share", "float", "share of all models that prefer a leader"),
        Column("mean_score", "float", "mean score of the first leader over the models that scored it, 0 to 100"),
        Column("n_models", "int", "models that were asked"),
        Column("n_answered", "int", "models that gave scores"),
        Column("rounds", "int", "rounds"),
        Column("reason", "string", "votes, mean scores and the strongest reasons"),
        Column("tissue", "string", "tissue as given"),
        Column("species", "string", "species as given"),
        Column("calls", "int", "HTTP attempts on behalf of the cluster"),
        Column("input_tokens", "int", "tokens read by the models"),
        Column("output_tokens", "int", "tokens written by the models"),
        Column("cost_usd", "float", "their price"),
    ),
)


@dataclass(frozen=True)
class ComparisonRun:
    """A finished comparison and where it was written."""

    directory: Path
    name: str
    comparisons: tuple[Comparison, ...]
    verdicts: pd.DataFrame
    opinions: pd.DataFrame

    def text(self) -> str:
        """Return the verdicts as text for readers."""
        lines = []
        for row in self.verdicts.to_dict("records"):
            lines.append(f"cluster {row['cluster']}: {row['cell_type']} ({row['status']}, {row['rounds']} rounds)")
            lines.append(f"  {row['reason']}")
        return "\n".join(lines) + "\n"


def evidence_for(
    markers: pd.DataFrame, asked: AskedWith, knowledge: Knowledge, clusters: Sequence[str]
) -> list[ClusterEvidence]:
    """Return the evidence of some clusters of a marker table.

    Raises
    ------
    InputError
        If one is not in the table, or has no genes.
    """
    known = knowledge.evidence(markers, asked.study, asked.selection)
    for cluster in chosen_clusters(list(known), list(clusters)):
        if not known[cluster].selection.genes:
            msg = f"no gene of cluster {cluster!r} is listed or passes the filters: there is nothing to compare by"
            raise InputError(msg)
    return [known[c] for c in dict.fromkeys(clusters)]


def candidates_of(stored: StoredResult, cluster: str) -> tuple[str, ...]:
    """Return the candidates that a finished annotation names for a cluster: ranked types, the label before boosting.

    Raises
    ------
    InputError
        If it names fewer than two.
    """
    case = next(r.case for r in stored.result.clusters if r.cluster == cluster)
    answers = [a for a in (case.proposal, case.before_boost, case.candidate) if a is not None and not a.unknown]
    names = [s.name for a in answers for s in a.ranked_subtypes] + [n for a in answers for n in a.mixed_populations]
    try:
        return checked_candidates(names[:8])
    except InputError:
        msg = f"the run names fewer than two types for cluster {cluster!r}: say which with --candidate, twice or more"
        raise InputError(msg) from None


def compare_in(
    output_dir: str | Path,
    evidence: Sequence[ClusterEvidence],
    candidates: Mapping[str, Sequence[str]],
    asked: AskedWith,
    *,
    parameters: ComparisonParameters | None = None,
    terms: CellTypeTerms | None = None,
    source: Mapping[str, Any] | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
) -> ComparisonRun:
    """Let the models of ``asked`` compare candidates, and write what they say.

    Parameters
    ----------
    output_dir
        A new directory, or with ``resume`` that of an interrupted comparison.
    evidence, candidates, parameters
        See :func:`cellkey.llm.comparison.compare_candidates`.
    asked
        Study and models; ``other_models`` of the settings are asked besides the first.
    terms
        Ontology for the identifiers of verdicts.
    source
        Where the evidence is from, for the record.
    budget_usd, budget_tokens, resume, probe
        See :func:`cellkey.llm.run.asking_in`.

    Raises
    ------
    RunError
        If the directory is in use without ``resume``.
    InputError, ServiceError
        If the candidates or a model cannot be used.
    """
    wanted = {e.cluster: checked_candidates(candidates[e.cluster]) for e in evidence}  # before anything is asked
    directory, name, rules = Path(output_dir), safe_name(asked.study.dataset), parameters or ComparisonParameters()
    with asking_in(
        directory, asked.model, budget_usd=budget_usd, budget_tokens=budget_tokens, resume=resume, probe=probe
    ) as team:
        models = [team.main, *team.others]
        found = compare_candidates(evidence, wanted, models, rules, workers=asked.model.max_workers)
        calls = [c for c in team.journal.calls if not c.is_hit]
        verdicts = VERDICTS.frame([_verdict(c, calls, terms) for c in found])
        opinions = OPINIONS.frame([row for c in found for row in _opinions(c)])
        VERDICTS.write_csv(neutral_table(verdicts), directory / f"{name}_verdicts.csv")
        OPINIONS.write_csv(neutral_table(opinions), directory / f"{name}_comparison.csv")
        said = {c.cluster: {"candidates": c.candidates, "turns": [turn_record(t) for t in c.turns]} for c in found}
        talks = {"schema": "comparison/1", "system": COMPARER.system, "clusters": said}
        text = json.dumps(talks, indent=1, ensure_ascii=False) + "\n"
        write_text(directory / f"{name}_conversations.json", text)
        record = {"comparison": rules.model_dump(mode="json"), "candidates": wanted, **(source or {})}
        write_manifest(directory, asked, record, schema="comparison-run/1")
    return ComparisonRun(directory, name, tuple(found), verdicts, opinions)


def preview_comparison(
    evidence: Sequence[ClusterEvidence],
    candidates: Mapping[str, Sequence[str]],
    model: ModelSettings,
    parameters: ComparisonParameters,
) -> str:
    """Return what a comparison would take, from one round to all, and what would be sent first."""
    from cellkey.llm.preview import preview_questions

    rounds = parameters.rounds
    return preview_questions(
        model,
        lambda team: compare_candidates(evidence, candidates, [team.main, *team.others], parameters),
        {COMPARER.name: (1, (1 + rounds) / 2, rounds)},
        f"{len(evidence)} clusters, {1 + len(model.other_models)} models, {rounds} rounds at most",
    )


def _verdict(comparison: Comparison, calls: Sequence[Call], terms: CellTypeTerms | None) -> dict[str, Any]:
    own = [c for c in calls if c.cluster == comparison.cluster]
    term = match_term(comparison.verdict, terms) if comparison.verdict and terms is not None else None
    study, leaders = comparison.evidence.study, comparison.leaders
    return {
        "cluster": comparison.cluster,
        "cell_type": comparison.verdict or "Unknown",
        "ontology_id": term.id if term is not None else "",
        "status": comparison.status,
        "leaders": "; ".join(leaders),
        "share": comparison.share,
        "mean_score": comparison.mean_score(leaders[0]) if leaders else float("nan"),
        "n_models": len(comparison.last),
        "n_answered": sum(o.status == "ok" for o in comparison.last),
        "rounds": len(comparison.rounds),
        "reason": " ".join(comparison.reasons().split()),
        "tissue": study.tissue,
        "species": study.species,
        "calls": len(own),
        "input_tokens": sum(c.input_tokens for c in own),
        "output_tokens": sum(c.output_tokens for c in own),
        "cost_usd": sum(c.cost for c in own),
    }


def _opinions(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for opinion in (o for said in comparison.rounds for o in said):
        shared = {
            "cluster": comparison.cluster,
            "round": opinion.round,
            "model": opinion.model,
            "provider": opinion.provider,
            "status": opinion.status,
            "error": " ".join(opinion.error.split()),
        }
        rows += [
            {
                **shared,
                "cell_type": s.cell_type,
                "score": s.score,
                "is_choice": s.cell_type == opinion.choice,
                "supporting_genes": list(s.supporting_genes),
                "contradicting_genes": list(s.contradicting_genes),
                "reason": " ".join(s.reason.split()),
            }
            for s in opinion.scores
        ]
        if not opinion.scores:
            empty = {"cell_type": "", "score": float("nan"), "is_choice": False, "reason": ""}
            rows.append({**shared, **empty, "supporting_genes": [], "contradicting_genes": []})
    return rows
