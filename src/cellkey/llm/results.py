"""What is left of a dataset's annotation: one result per cluster, and the files and texts that tell of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.llm.agreement import repeat_shares
from cellkey.llm.boost_trace import boost_trace
from cellkey.llm.identifiers import natural_key
from cellkey.llm.prompts import prompt_hash
from cellkey.llm.result_tables import (
    ANNOTATIONS,
    FINAL_RESULTS,
    STATUS_OF_STATE,
    annotation_row,
    neutral_table,
    original_row,
)
from cellkey.llm.roles import BOOSTER, ROLES
from cellkey.llm.spreadsheets import one_line
from cellkey.llm.terms import match_term
from cellkey.llm.workflow import State
from cellkey.records.atomic import safe_name, write_text
from cellkey.records.confidence_tables import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from cellkey.llm.accounting import Call
    from cellkey.llm.agreement import Agreement
    from cellkey.llm.asking import Turn
    from cellkey.llm.evidence import ClusterEvidence, Study
    from cellkey.llm.merging import Groups
    from cellkey.llm.terms import CellTypeTerms, MatchedTerm
    from cellkey.llm.workflow import Case

__all__ = ["AnnotationResult", "ClusterResult", "annotation_text", "with_term"]


_ENDINGS = {
    "annotations": "annotations.csv",
    "final_results": "FINAL_RESULTS.csv",
    "conversations": "conversations.json",
    "text": "annotation.txt",
    "confidence": "confidence.csv",
}


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
    earlier: tuple[Mapping[str, Any], ...] = ()
    """Exchanges of the run that this result goes on from, as that run wrote them."""
    answered_by: tuple[str, str] | None = None
    """Model and provider of the label, where they are not those of the whole result."""

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
    def is_unanswered(self) -> bool:
        """Whether a service did not answer a question about the cluster that it may answer another time."""
        return any(c.is_unanswered for c in (self.case, *self.repeats))

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


def with_term(result: ClusterResult, terms: CellTypeTerms | None) -> ClusterResult:
    """Return ``result`` with the term of its label, or of its general type; without one where neither has any."""
    if terms is None or not result.is_labelled:
        return replace(result, term=None)
    return replace(result, term=match_term(result.label, terms) or match_term(result.general_label, terms))


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
    terms
        Ontology that the labels were looked up in.
    """

    clusters: tuple[ClusterResult, ...]
    study: Study
    model: str
    provider: str
    calls: tuple[Call, ...] = ()
    merge_turns: tuple[Turn, ...] = ()
    warnings: tuple[str, ...] = ()
    terms: CellTypeTerms | None = field(default=None, repr=False)

    @property
    def failed(self) -> list[str]:
        """Identifiers of clusters without a label."""
        return [r.cluster for r in self.clusters if not r.is_labelled]

    @property
    def unanswered(self) -> list[str]:
        """Identifiers of clusters about which questions are open."""
        return [r.cluster for r in self.clusters if r.is_unanswered]

    @property
    def labels(self) -> dict[str, str]:
        """Label by cluster."""
        return {r.cluster: r.label for r in self.clusters}

    @property
    def table(self) -> pd.DataFrame:
        """One row per cluster; see :data:`ANNOTATIONS`."""
        return ANNOTATIONS.frame([annotation_row(self, r) for r in self.clusters])

    @property
    def confidence(self) -> pd.DataFrame:
        """Shares of repeated runs, by cluster and ancestor; see :func:`cellkey.llm.agreement.repeat_shares`."""
        return repeat_shares(self.clusters, self.terms)

    @property
    def conversations(self) -> dict[str, Any]:
        """All exchanges and the state of every cluster, for ``conversations.json``."""
        from cellkey.llm.conversations import SCHEMA, conversation, turn_record

        return {
            "schema": SCHEMA,
            "dataset": self.study.dataset,
            "prompt_hash": prompt_hash(),
            "system": {role.name: role.system for role in ROLES},
            "clusters": {r.cluster: conversation(r) for r in self.clusters},
            "merge": [turn_record(t) for t in self.merge_turns],
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
        files = {kind: base / f"{prefix}_{ending}" for kind, ending in _ENDINGS.items()}
        ANNOTATIONS.write_csv(neutral_table(self.table), files["annotations"])
        original = FINAL_RESULTS.frame([original_row(self, r) for r in self.clusters])
        FINAL_RESULTS.write_csv(neutral_table(original), files["final_results"])
        self._write_conversations(files["conversations"], store_prompts=store_prompts)
        write_text(files["text"], annotation_text(self))
        if any(r.repeats for r in self.clusters):
            CONFIDENCE.write_csv(neutral_table(self.confidence), files["confidence"])
        else:
            del files["confidence"]
        self._write_boost_traces(base / "boost")
        return files

    @property
    def troubles(self) -> tuple[str, ...]:
        """Why clusters have no label or no better one: one line per reason, with its clusters."""
        by_reason: dict[str, list[str]] = {}
        for result in self.clusters:
            if result.case.error:
                by_reason.setdefault(one_line(result.case.error), []).append(one_line(result.cluster))
        reasons = (f"{_some(clusters)}: {reason}" for reason, clusters in by_reason.items())
        going_on = ("--resume asks the open questions again",) if self.unanswered else ()
        return (*reasons, *going_on)

    def text(self) -> str:
        """Return the annotation as text for readers, cluster by cluster, with a table at the end."""
        return annotation_text(self)

    def _write_boost_traces(self, folder: Path) -> None:
        taken: set[str] = set()
        for result in self.clusters:
            if not any(t.role == BOOSTER.name for t in result.turns):
                continue
            folder.mkdir(exist_ok=True)
            name, number = safe_name(result.cluster), 2
            while name.casefold() in taken:  # two identifiers may be one file name
                name, number = f"{safe_name(result.cluster)}_{number}", number + 1
            taken.add(name.casefold())
            write_text(folder / f"{name}.md", boost_trace(result))

    def _write_conversations(self, path: Path, *, store_prompts: bool) -> None:
        content = self.conversations
        if not store_prompts:
            content = {**content, "system": {}, "merge": [{**t, "messages": []} for t in content["merge"]]}
            for conversation in content["clusters"].values():
                conversation["turns"] = [{**t, "messages": []} for t in conversation["turns"]]
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _some(clusters: list[str], most: int = 8) -> str:
    shown = ", ".join(clusters[:most]) + (", ..." if len(clusters) > most else "")
    return f"cluster{'s' if len(clusters) > 1 else ''} {shown}"


def annotation_text(result: AnnotationResult) -> str:
    """Return the annotation of a dataset, cluster by cluster, with a table at the end."""
    study = result.study
    tissues = ", ".join(dict.fromkeys(r.evidence.study.tissue for r in result.clusters))
    head = (
        f"DATASET {study.dataset}  TISSUE {tissues or 'not given'}  "
        f"SPECIES {study.species}  MODEL {result.model} ({result.provider})\n"
    )
    blocks = [_block(r) for r in result.clusters]
    return "\n".join([head, *blocks, *(f"Warning: {w}" for w in result.warnings), _closing_table(result.clusters)])


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
