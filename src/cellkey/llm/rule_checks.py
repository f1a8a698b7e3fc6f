"""Checks of a proposed label that need no model: genes, lineages, ontology, and the marker hierarchy's own call."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.llm.terms import CellTypeTerms, MatchedTerm, NoTerms, match_term, normalised_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from cellkey.llm.answers import AnnotationAnswer

__all__ = ["Finding", "FindingKind", "RuleChecks", "lineage_of_label", "lineage_panels", "lineage_scores"]


class FindingKind(StrEnum):
    """What a check found. The first four ask for a revision; the others are notes."""

    UNSUPPORTED_GENES = "unsupported_genes"
    NOT_ENRICHED = "not_enriched"
    LINEAGE_CONFLICT = "lineage_conflict"
    HIERARCHY_CONFLICT = "hierarchy_conflict"
    MIXTURE_SUSPECTED = "mixture_suspected"
    STATE_DOMINATES = "state_dominates"
    UNRESOLVED_LABEL = "unresolved_label"
    INCONSISTENT_LEVELS = "inconsistent_levels"
    NO_CANONICAL_MARKERS = "no_canonical_markers"
    LACKING_MARKERS = "lacking_markers"


_ASK_FOR_REVISION = {
    FindingKind.UNSUPPORTED_GENES,
    FindingKind.NOT_ENRICHED,
    FindingKind.LINEAGE_CONFLICT,
    FindingKind.HIERARCHY_CONFLICT,
}

_FEWEST_GENES = 3
"""Genes of a panel that must be clearly up before a lineage is held against a label."""

_CLEAR_FOLD, _CLEAR_FRACTION = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check."""

    kind: FindingKind
    text: str
    genes: tuple[str, ...] = ()

    @property
    def asks_for_revision(self) -> bool:
        """Whether the proposal should be revised because of it."""
        return self.kind in _ASK_FOR_REVISION

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@functools.cache
def _panels() -> Mapping[str, Any]:
    text = resources.files("cellkey.llm").joinpath("data/lineages.json").read_text(encoding="utf-8")
    panels: Mapping[str, Any] = json.loads(text)
    return panels


def lineage_panels() -> dict[str, tuple[str, ...]]:
    """Return the bundled marker genes of broad lineages, by lineage."""
    return {name: tuple(panel["genes"]) for name, panel in _panels()["lineages"].items()}


def lineage_of_label(label: str) -> str | None:
    """Return the broad lineage that a label speaks of, or None. The longest matching word decides."""
    text = f" {normalised_label(label)} "
    hits = [
        (len(word), lineage)
        for lineage, panel in _panels()["lineages"].items()
        for word in panel["words"]
        if word in text
    ]
    return max(hits)[1] if hits else None


def lineage_scores(rows: pd.DataFrame) -> dict[str, float]:
    """Return a score per lineage from the marker rows of one cluster.

    The score is the mean, over the tested genes of the lineage's panel, of ``log2FC`` (cut to -3..3) times
    ``pct.1``; lineages of which fewer than two genes are tested have none. Tables without numbers score 1 for
    a listed gene and 0 for others.
    """
    by_gene = _by_folded_gene(rows)
    fold = np.nan_to_num(rows["avg_log2FC"].to_numpy(dtype=float), nan=1.0, posinf=3.0, neginf=-3.0).clip(-3, 3)
    fraction = np.nan_to_num(rows["pct.1"].to_numpy(dtype=float), nan=1.0)
    weight = fold * fraction
    has_numbers = not rows["avg_log2FC"].isna().all()
    scores = {}
    for lineage, panel in _panels()["lineages"].items():
        values = [weight[by_gene[g.casefold()]] for g in panel["genes"] if g.casefold() in by_gene]
        if has_numbers and len(values) >= 2:
            scores[lineage] = float(np.mean(values))
        elif not has_numbers:
            scores[lineage] = sum(values) / len(panel["genes"])
    return scores


def lineage_support(rows: pd.DataFrame) -> dict[str, int]:
    """Return how many genes of each lineage's panel are clearly up in the marker rows of one cluster.

    That is: a log2 fold change above 0.5 in at least a quarter of its cells; where the table has no numbers, any
    gene that is listed. One gene that several lineages share never makes a lineage by itself.
    """
    fold = np.nan_to_num(rows["avg_log2FC"].to_numpy(dtype=float), nan=1.0)
    fraction = np.nan_to_num(rows["pct.1"].to_numpy(dtype=float), nan=1.0)
    up = (fold > _CLEAR_FOLD) & (fraction >= _CLEAR_FRACTION)
    names = {str(g).casefold() for g in rows["gene"].to_numpy()[up]}
    return {name: sum(g.casefold() in names for g in genes) for name, genes in lineage_panels().items()}


def _by_folded_gene(rows: pd.DataFrame) -> dict[str, int]:
    index: dict[str, int] = {}
    for i, gene in enumerate(rows["gene"]):
        index.setdefault(str(gene).casefold(), i)
    return index


class RuleChecks:
    """All checks of a dataset's proposals.

    Parameters
    ----------
    table
        Full marker table (every tested gene) in the common form.
    terms
        Cell Ontology lookup; None leaves the ontology checks out.
    calls
        What the marker hierarchy called each cluster, where it was run; labels by cluster.
    canonical_markers
        Known markers by label (any spelling), from a hierarchy or the user's panels.
    lacking_markers
        Genes that a type is known to lack, likewise.
    aliases
        Returns other names of a gene.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        terms: CellTypeTerms | None = None,
        calls: Mapping[str, str] | None = None,
        canonical_markers: Mapping[str, Iterable[str]] | None = None,
        aliases: Callable[[str], Iterable[str]] | None = None,
        lacking_markers: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._rows = {str(cluster): rows for cluster, rows in table.groupby("cluster", sort=False)}
        self._terms = terms or NoTerms()
        self._calls = dict(calls or {})
        self._aliases = aliases
        self._canonical = {normalised_label(k): tuple(v) for k, v in (canonical_markers or {}).items()}
        self._lacking = {normalised_label(k): tuple(v) for k, v in (lacking_markers or {}).items()}

    def rows(self, cluster: str) -> pd.DataFrame:
        """Return the marker rows of one cluster."""
        return self._rows[cluster]

    def enriched(self, cluster: str, genes: Iterable[str]) -> tuple[str, ...]:
        """Return those of ``genes`` that are up in a cluster and seen in enough of its cells, by any of their names."""
        rows = self._rows[cluster]
        index = _by_folded_gene(rows)
        found = ((g, self._row_of(g, index)) for g in genes)
        return tuple(g for g, row in found if row is not None and not _is_weak(rows, row))

    def term(self, label: str) -> MatchedTerm | None:
        """Return the ontology term that a label stands for."""
        return match_term(label, self._terms)

    def findings(self, answer: AnnotationAnswer) -> tuple[Finding, ...]:
        """Return everything the checks have to say about an annotation; nothing about an abstention."""
        if answer.unknown:
            return ()
        rows = self._rows[answer.cluster]
        return (
            *self._cited_genes(answer, rows),
            *self._lineages(answer, rows),
            *self._states(rows),
            *self._ontology(answer),
            *self._hierarchy(answer),
            *self._canonical_genes(answer, rows),
            *self._lacking_genes(answer),
        )

    def _row_of(self, gene: str, index: Mapping[str, int]) -> int | None:
        """Row of a gene, by name without regard to case, else by another of its names."""
        others = self._aliases(gene) if self._aliases is not None and gene.casefold() not in index else ()
        return next((index[n.casefold()] for n in (gene, *others) if n.casefold() in index), None)

    def _cited_genes(self, answer: AnnotationAnswer, rows: pd.DataFrame) -> list[Finding]:
        cited = answer.cited_genes
        if not cited:
            return []
        index = _by_folded_gene(rows)
        absent = tuple(g for g in cited if self._row_of(g, index) is None)
        found = []
        if len(absent) > 0.3 * len(cited):
            text = f"{len(absent)} of {len(cited)} cited genes are not in the table: {', '.join(absent)}"
            found.append(Finding(FindingKind.UNSUPPORTED_GENES, text, absent))
        support = answer.ranked_subtypes[0].supporting_genes if answer.ranked_subtypes else ()
        at = {g: self._row_of(g, index) for g in support}
        weak = tuple(g for g, row in at.items() if row is not None and _is_weak(rows, row))
        if weak:
            kind = FindingKind.NOT_ENRICHED if len(weak) * 2 > len(support) else FindingKind.NO_CANONICAL_MARKERS
            text = f"cited as support but not enriched in this cluster: {', '.join(weak)}"
            found.append(Finding(kind, text, weak))
        return found

    def _lineages(self, answer: AnnotationAnswer, rows: pd.DataFrame) -> list[Finding]:
        scores = lineage_scores(rows)
        if not scores:
            return []
        found, support = [], lineage_support(rows)
        ranked = sorted(scores, key=lambda name: (-scores[name], name))
        named = lineage_of_label(answer.detailed_cell_type) or lineage_of_label(answer.general_cell_type)
        leader = next((n for n in ranked if support[n] >= _FEWEST_GENES), ranked[0])
        if named in scores and named != leader and not _same_compartment(named, leader):
            low = scores[named] <= np.median(list(scores.values()))
            clear = support[leader] >= _FEWEST_GENES
            if low and clear and scores[leader] > 0.25 and scores[leader] - scores[named] > 0.25:
                text = f"genes speak for {leader} ({scores[leader]:.2f}), not {named} ({scores[named]:.2f})"
                found.append(Finding(FindingKind.LINEAGE_CONFLICT, text))
        strong = [
            n for n in ranked if support[n] >= _FEWEST_GENES and scores[n] > 0.5 and scores[n] > 0.6 * scores[leader]
        ]
        apart = [n for n in strong[1:] if not _same_compartment(n, strong[0])]
        if apart and not answer.mixed_populations:
            text = f"genes of {strong[0]} and of {', '.join(apart)} are both strong"
            found.append(Finding(FindingKind.MIXTURE_SUSPECTED, text))
        return found

    def _states(self, rows: pd.DataFrame) -> list[Finding]:
        top = {str(g).casefold() for g in rows["gene"].head(20)}
        return [
            Finding(FindingKind.STATE_DOMINATES, f"{name} genes dominate the list; they speak of a state")
            for name, genes in _panels()["states"].items()
            if sum(g.casefold() in top for g in genes) >= 6
        ]

    def _ontology(self, answer: AnnotationAnswer) -> list[Finding]:
        if isinstance(self._terms, NoTerms):
            return []
        detailed, general = self.term(answer.detailed_cell_type), self.term(answer.general_cell_type)
        if detailed is None and not self._terms.is_complete:
            return []
        if detailed is None:
            text = f"{answer.detailed_cell_type!r} is not the name of a type in the Cell Ontology"
            return [Finding(FindingKind.UNRESOLVED_LABEL, text)]
        if general is not None and general.id != detailed.id:
            above = self._terms.ancestors(detailed.id)
            if general.id not in above:
                text = f"{detailed.label!r} is not below {general.label!r} in the Cell Ontology"
                return [Finding(FindingKind.INCONSISTENT_LEVELS, text)]
        return []

    def _hierarchy(self, answer: AnnotationAnswer) -> list[Finding]:
        call = self._calls.get(answer.cluster)
        if not call:
            return []
        theirs, ours = lineage_of_label(call), lineage_of_label(answer.detailed_cell_type)
        if theirs is None or ours is None or theirs == ours or _same_compartment(theirs, ours):
            return []
        return [Finding(FindingKind.HIERARCHY_CONFLICT, f"the marker hierarchy calls this cluster {call!r}")]

    def _canonical_genes(self, answer: AnnotationAnswer, rows: pd.DataFrame) -> list[Finding]:
        for label in (answer.detailed_cell_type, answer.general_cell_type):
            known = self._canonical.get(normalised_label(label), ())
            index = _by_folded_gene(rows)
            tested = {g: row for g in known if (row := self._row_of(g, index)) is not None}
            if tested:
                enriched = [g for g, row in tested.items() if not _is_weak(rows, row)]
                if enriched:
                    return []
                text = f"none of the tested canonical markers of {label} is enriched: {', '.join(list(tested)[:8])}"
                return [Finding(FindingKind.NO_CANONICAL_MARKERS, text, tuple(tested))]
        return []

    def _lacking_genes(self, answer: AnnotationAnswer) -> list[Finding]:
        label = answer.detailed_cell_type
        there = self.enriched(answer.cluster, self._lacking.get(normalised_label(label), ()))
        if not there:
            return []
        text = f"{label} is known to lack genes that are enriched here: {', '.join(there[:8])}"
        return [Finding(FindingKind.LACKING_MARKERS, text, there)]


def _is_weak(rows: pd.DataFrame, row: int) -> bool:
    """Whether a gene is known to be not higher in the cluster, or seen in fewer than a tenth of its cells."""
    fold, fraction = rows["avg_log2FC"].to_numpy(dtype=float)[row], rows["pct.1"].to_numpy(dtype=float)[row]
    return bool(fold <= 0 or fraction < 0.1)


def _same_compartment(first: str, second: str) -> bool:
    lineages = _panels()["lineages"]
    return first == second or lineages[first]["within"] == lineages[second]["within"]
