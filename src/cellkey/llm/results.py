"""What is left of a dataset's annotation: one row per cluster, the conversations, and a text for readers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.llm.identifiers import natural_key
from cellkey.llm.prompts import prompt_hash
from cellkey.llm.roles import ROLES
from cellkey.llm.workflow import State
from cellkey.records.atomic import atomic_path, safe_name, write_text
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from cellkey.llm.accounting import Call
    from cellkey.llm.agreement import Agreement
    from cellkey.llm.asking import Turn
    from cellkey.llm.evidence import ClusterEvidence, Study
    from cellkey.llm.merging import Groups
    from cellkey.llm.terms import MatchedTerm
    from cellkey.llm.workflow import Case

__all__ = [
    "ANNOTATIONS",
    "FINAL_RESULTS",
    "STATUS_OF_STATE",
    "AnnotationResult",
    "ClusterResult",
    "neutral_cell",
]

STATUS_OF_STATE: Mapping[State, str] = {
    State.ACCEPTED: "ok",
    State.BOOSTED: "boosted",
    State.LOW_CONFIDENCE: "low_confidence",
    State.CONFLICT: "conflict",
    State.UNLABELLED: "unlabelled",
}

ANNOTATIONS = TableSchema(
    "annotations.csv",
    "Every cluster with its label, the way to it, and what it cost.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("n_cells", "float", "cells; empty where not known"),
        Column(
            "cell_type",
            "string",
            "final label: the detailed type, or the general one; Unknown without a label",
        ),
        Column("general_cell_type", "string", "general type"),
        Column("subtype_1", "string", "most likely detailed type"),
        Column("subtype_2", "string", "second"),
        Column("subtype_3", "string", "third"),
        Column("cell_state", "string", "activation, cycle, stress; apart from identity"),
        Column("mixed_populations", "string", "types that seem mixed, separated by semicolons"),
        Column("possible_tissues", "string", "tissues named where the tissue was withheld"),
        Column("ontology_id", "string", "Cell Ontology identifier of the label, or of its general type"),
        Column("ontology_label", "string", "preferred name of that term"),
        Column("confidence", "string", "the model's own word", ("high", "medium", "low")),
        Column("score", "float", "scorer's 0 to 100; empty without a score"),
        Column("status", "string", "outcome", tuple(STATUS_OF_STATE.values())),
        Column("attempts", "int", "proposals of the annotator"),
        Column("boosted", "bool", "whether the booster finished"),
        Column("boost_changed", "bool", "whether the booster replaced the label"),
        Column("label_before_boost", "string", "label before boosting, where it was replaced"),
        Column("checks", "string", "findings of the rule checks, separated by semicolons"),
        Column("n_markers_shown", "int", "genes shown to the model"),
        Column("markers_shown", "list", "those genes, best first"),
        Column("evidence", "string", "the model's explanation"),
        Column("scorer_reason", "string", "the scorer's explanation"),
        Column("broad_group", "string", "group of the label, few groups"),
        Column("detailed_group", "string", "group of the label, by type"),
        Column("specific_group", "string", "group of the label, as detailed as possible"),
        Column("agreement_general", "float", "share of repeated runs with the winning general type"),
        Column("agreement_detailed", "float", "share of repeated runs with the winning detailed type"),
        Column("similarity", "float", "mean of both shares; above 0.9 robust, below 0.75 weak"),
        Column("entropy", "float", "entropy of the detailed labels of repeated runs, bits"),
        Column("n_repeats", "int", "runs"),
        Column("model", "string", "model that answered"),
        Column("provider", "string", "service"),
        Column("tissue", "string", "tissue as given"),
        Column("species", "string", "species as given"),
        Column("calls", "int", "HTTP attempts on behalf of the cluster"),
        Column("input_tokens", "int", "tokens read by the model"),
        Column("output_tokens", "int", "tokens written by the model"),
        Column("cost_usd", "float", "their price"),
        Column("error", "string", "why there is no label, or no better one"),
    ),
)

FINAL_RESULTS = TableSchema(
    "FINAL_RESULTS.csv",
    "The same results under the column names of the original program.",
    tuple(
        Column(name, "string", meaning)
        for name, meaning in (
            ("Cluster ID", "cluster identifier"),
            ("Predicted General Cell Type", "general type"),
            ("Predicted Detailed Cell Type", "ranked detailed types, joined by comma and blank"),
            ("Possible Mixed Cell Types", "types that seem mixed"),
            ("Marker Number", "genes shown"),
            ("Marker List", "those genes"),
            ("Iterations", "proposals of the annotator"),
            ("Model", "model"),
            ("Provider", "service"),
            ("Tissue", "tissue"),
            ("Species", "species"),
            ("Score", "0 to 100"),
            ("Scoring_Reasoning", "the scorer's explanation"),
            ("Merged_Grouping_1", "broad group"),
            ("Merged_Grouping_2", "detailed group"),
            ("Merged_Grouping_3", "specific group"),
        )
    ),
)


def neutral_cell(text: str) -> str:
    """Return ``text`` so that a spreadsheet shows it and never runs it: an apostrophe before ``= + - @``."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


@dataclass(frozen=True)
class ClusterResult:
    """Everything about one cluster."""

    case: Case
    evidence: ClusterEvidence
    turns: tuple[Turn, ...]
    calls: tuple[Call, ...]
    term: MatchedTerm | None = None
    agreement: Agreement | None = None
    groups: Groups | None = None
    repeats: tuple[Case, ...] = ()

    @property
    def cluster(self) -> str:
        """Identifier."""
        return self.case.cluster

    @property
    def status(self) -> str:
        """Outcome as a word."""
        return STATUS_OF_STATE[self.case.state]

    @property
    def is_labelled(self) -> bool:
        """Whether there is a label."""
        proposal = self.case.proposal
        return proposal is not None and not proposal.unknown and self.case.state is not State.UNLABELLED

    @property
    def label(self) -> str:
        """Final label, or ``Unknown``. Where repeated runs disagree, their closest common type if there is one."""
        if not self.is_labelled or self.case.proposal is None:
            return "Unknown"
        if self.case.state is State.CONFLICT and self.agreement is not None and self.agreement.common:
            return self.agreement.common
        return self.case.proposal.detailed_cell_type

    @property
    def general_label(self) -> str:
        """General type, or ``Unknown``."""
        return self.case.proposal.general_cell_type if self.is_labelled and self.case.proposal else "Unknown"


@dataclass
class AnnotationResult:
    """Annotation of all clusters of one marker table.

    Parameters
    ----------
    clusters
        Results in natural order of the identifiers.
    study
        Context.
    model, provider
        Who answered.
    calls
        All HTTP attempts and cache hits, merging included.
    merge_turns
        Exchanges about all clusters.
    warnings
        What concerns the whole dataset.
    """

    clusters: tuple[ClusterResult, ...]
    study: Study
    model: str
    provider: str
    calls: tuple[Call, ...] = ()
    merge_turns: tuple[Turn, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def failed(self) -> list[str]:
        """Identifiers of clusters without a label."""
        return [r.cluster for r in self.clusters if not r.is_labelled]

    @property
    def labels(self) -> dict[str, str]:
        """Label by cluster."""
        return {r.cluster: r.label for r in self.clusters}

    @property
    def table(self) -> pd.DataFrame:
        """One row per cluster; see :data:`ANNOTATIONS`."""
        return ANNOTATIONS.frame([self._row(r) for r in self.clusters])

    @property
    def conversations(self) -> dict[str, Any]:
        """All exchanges, by cluster, for ``conversations.json``."""
        return {
            "schema": "conversations/1",
            "dataset": self.study.dataset,
            "prompt_hash": prompt_hash(),
            "system": {role.name: role.system for role in ROLES},
            "clusters": {r.cluster: _conversation(r) for r in self.clusters},
            "merge": [_turn(t) for t in self.merge_turns],
        }

    def write(self, folder: str | Path, name: str = "", *, store_prompts: bool = True) -> dict[str, Path]:
        """Write the tables, conversations and text of this result; return the files by kind.

        Parameters
        ----------
        folder
            Made if absent.
        name
            Prefix of the files; the dataset's name by default.
        store_prompts
            Whether what was sent is kept in the conversations (the hash is kept in any case).
        """
        base = Path(folder)
        base.mkdir(parents=True, exist_ok=True)
        prefix = safe_name(name or self.study.dataset or "markers")
        files = {
            kind: base / f"{prefix}_{ending}"
            for kind, ending in {
                "annotations": "annotations.csv",
                "final_results": "FINAL_RESULTS.csv",
                "conversations": "conversations.json",
                "text": "annotation.txt",
            }.items()
        }
        table = self.table
        ANNOTATIONS.write_csv(_neutral(table), files["annotations"])
        FINAL_RESULTS.write_csv(
            _neutral(FINAL_RESULTS.frame([self._original_row(r) for r in self.clusters])),
            files["final_results"],
        )
        self._write_conversations(files["conversations"], store_prompts=store_prompts)
        write_text(files["text"], self.text())
        for result in self.clusters:
            if any(t.role == "booster" for t in result.turns):
                (base / "boost").mkdir(exist_ok=True)
                write_text(base / "boost" / f"{safe_name(result.cluster)}.md", _boost_trace(result))
        return files

    def text(self) -> str:
        """Return the annotation as text for readers, cluster by cluster, with a table at the end."""
        head = (
            f"DATASET {self.study.dataset}  TISSUE {self.study.tissue or 'not given'}  "
            f"SPECIES {self.study.species}  MODEL {self.model} ({self.provider})\n"
        )
        blocks = [_block(r) for r in self.clusters]
        return "\n".join([head, *blocks, *(f"Warning: {w}" for w in self.warnings), _closing_table(self.clusters)])

    def _write_conversations(self, path: Path, *, store_prompts: bool) -> None:
        content = self.conversations
        if not store_prompts:
            content = {**content, "system": {}, "merge": [{**t, "messages": []} for t in content["merge"]]}
            for conversation in content["clusters"].values():
                conversation["turns"] = [{**t, "messages": []} for t in conversation["turns"]]
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _row(self, result: ClusterResult) -> dict[str, Any]:
        case, evidence, agreement = result.case, result.evidence, result.agreement
        return {
            "cluster": result.cluster,
            "n_cells": evidence.n_cells if evidence.n_cells is not None else float("nan"),
            "cell_type": result.label,
            "general_cell_type": result.general_label,
            **_answer_fields(result),
            "ontology_id": result.term.id if result.term else "",
            "ontology_label": result.term.label if result.term else "",
            "score": case.score.score if case.score is not None else float("nan"),
            "status": result.status,
            "attempts": case.annotations,
            "boosted": case.was_boosted,
            "boost_changed": case.boost_changed,
            "label_before_boost": case.before_boost.detailed_cell_type if case.before_boost else "",
            "checks": "; ".join(map(str, case.findings)),
            "n_markers_shown": len(evidence.selection.genes),
            "markers_shown": list(evidence.selection.names),
            "scorer_reason": case.score.reason if case.score else "",
            "broad_group": result.groups.broad if result.groups else "",
            "detailed_group": result.groups.detailed if result.groups else "",
            "specific_group": result.groups.specific if result.groups else "",
            "agreement_general": agreement.general if agreement else float("nan"),
            "agreement_detailed": agreement.detailed if agreement else float("nan"),
            "similarity": agreement.similarity if agreement else float("nan"),
            "entropy": agreement.entropy if agreement else float("nan"),
            "n_repeats": 1 + len(result.repeats),
            "model": self.model,
            "provider": self.provider,
            "tissue": self.study.tissue,
            "species": self.study.species,
            **_spending(result.calls),
            "error": _one_line("; ".join([*case.notes] or [case.error])),
        }

    def _original_row(self, result: ClusterResult) -> dict[str, Any]:
        proposal, case = result.case.proposal, result.case
        subtypes = [s.name for s in proposal.ranked_subtypes] if proposal and result.is_labelled else []
        groups = result.groups
        return {
            "Cluster ID": result.cluster,
            "Predicted General Cell Type": result.general_label,
            "Predicted Detailed Cell Type": ", ".join(subtypes) or result.label,
            "Possible Mixed Cell Types": ", ".join(proposal.mixed_populations) if proposal else "",
            "Marker Number": len(result.evidence.selection.genes),
            "Marker List": ", ".join(result.evidence.selection.names),
            "Iterations": case.annotations,
            "Model": self.model,
            "Provider": self.provider,
            "Tissue": self.study.tissue,
            "Species": self.study.species,
            "Score": case.score.score if case.score else "",
            "Scoring_Reasoning": case.score.reason if case.score else "",
            "Merged_Grouping_1": groups.broad if groups else "",
            "Merged_Grouping_2": groups.detailed if groups else "",
            "Merged_Grouping_3": groups.specific if groups else "",
        }


def _answer_fields(result: ClusterResult) -> dict[str, Any]:
    proposal = result.case.proposal
    names = [s.name for s in proposal.ranked_subtypes] if proposal and result.is_labelled else []
    names += [""] * (3 - len(names))
    return {
        "subtype_1": names[0],
        "subtype_2": names[1],
        "subtype_3": names[2],
        "cell_state": (proposal.cell_state or "") if proposal else "",
        "mixed_populations": "; ".join(proposal.mixed_populations) if proposal else "",
        "possible_tissues": "; ".join(proposal.possible_tissues) if proposal else "",
        "confidence": proposal.confidence if proposal else "",
        "evidence": proposal.evidence if proposal else "",
    }


def _spending(calls: Iterable[Call]) -> dict[str, Any]:
    real = [c for c in calls if not c.is_hit]
    return {
        "calls": len(real),
        "input_tokens": sum(c.input_tokens for c in real),
        "output_tokens": sum(c.output_tokens for c in real),
        "cost_usd": sum(c.cost for c in real),
    }


def _neutral(table: pd.DataFrame) -> pd.DataFrame:
    """Texts of data and models on one line each, and never read as formulas."""
    return table.map(lambda v: neutral_cell(_one_line(v)) if isinstance(v, str) else v)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _conversation(result: ClusterResult) -> dict[str, Any]:
    return {
        "state": [asdict(t) for t in result.case.transitions],
        "repeats": [[asdict(t) for t in case.transitions] for case in result.repeats],
        "before_boost": _answer(result.case.before_boost),
        "final": _answer(result.case.proposal),
        "turns": [_turn(t) for t in result.turns],
    }


def _answer(answer: Any) -> dict[str, Any] | None:
    values: dict[str, Any] | None = answer.model_dump(mode="json") if answer is not None else None
    return values


def _turn(turn: Turn) -> dict[str, Any]:
    real = [c for c in turn.calls if not c.is_hit]
    return {
        "role": turn.role,
        "model": turn.model,
        "messages": [asdict(m) for m in turn.messages],
        "answer": turn.answer,
        "parsed": turn.parsed,
        "problems": turn.problems,
        "attempts": len(real),
        "cached": any(c.is_hit for c in turn.calls),
        "time": turn.calls[-1].timestamp if turn.calls else "",
        "usage": {
            "input_tokens": sum(c.input_tokens for c in real),
            "output_tokens": sum(c.output_tokens for c in real),
            "cost": sum(c.cost for c in real),
        },
    }


def _boost_trace(result: ClusterResult) -> str:
    """What the booster asked, what it was told, and what it concluded."""
    lines = [f"# Boosting of cluster {_one_line(result.cluster)}", ""]
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
    title = f"--- Cluster {_one_line(result.cluster)}{size} ".ljust(74, "-")
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
    lines.append(f"Key markers: {_one_line(genes)}")
    if proposal is not None:
        lines.append(f"Evidence: {_one_line(proposal.evidence)}")
    lines.append(f"Checks: {'; '.join(map(str, case.findings)) or 'passed'}")
    if case.score is not None:
        lines.append(f"Scorer: {_one_line(case.score.reason)}")
    if result.agreement is not None:
        lines.append(
            f"Repeats: {1 + len(result.repeats)}, {result.agreement.verdict}, similarity "
            f"{result.agreement.similarity:.2f}"
        )
    lines += [f"Note: {_one_line(n)}" for n in case.notes]
    return "\n".join(lines) + "\n"


def _closing_table(results: Iterable[ClusterResult]) -> str:
    rows = [("cluster", "cells", "cell type", "score", "status")]
    for r in sorted(results, key=lambda r: natural_key(r.cluster)):
        cells = str(r.evidence.n_cells) if r.evidence.n_cells is not None else ""
        rows.append((_one_line(r.cluster), cells, r.label, str(r.case.score.score) if r.case.score else "", r.status))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows) + "\n"
