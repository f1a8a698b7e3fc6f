"""Annotate the clusters of a marker table with a language model: the verb of this room."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cellkey.llm.agreement import Verdict, agreement_of
from cellkey.llm.client import side_by_side
from cellkey.llm.evidence import ClusterEvidence, Study
from cellkey.llm.gene_queries import GeneQueries
from cellkey.llm.identifiers import natural_key
from cellkey.llm.knowledge import Knowledge
from cellkey.llm.marker_tables import marker_table
from cellkey.llm.merging import MergeOutcome, merge_by_model, merge_by_ontology, resolved_share
from cellkey.llm.results import AnnotationResult, ClusterResult, with_term
from cellkey.llm.roles import MERGER, ClusterTalk
from cellkey.llm.workflow import Case, Desk, State, WorkflowParameters, run_case
from cellkey.records.event_log import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from cellkey.llm.accounting import Call
    from cellkey.llm.asking import Turn
    from cellkey.llm.client import ModelClient
    from cellkey.llm.clock import Clock
    from cellkey.llm.marker_selection import SelectionParameters
    from cellkey.llm.rule_checks import RuleChecks

__all__ = ["Office", "annotate_markers"]


def annotate_markers(
    markers: pd.DataFrame | Mapping[str, Any],
    client: ModelClient,
    *,
    study: Study | None = None,
    sizes: Mapping[str, int] | None = None,
    workflow: WorkflowParameters | None = None,
    selection: SelectionParameters | None = None,
    knowledge: Knowledge | None = None,
    role_clients: Mapping[str, ModelClient] | None = None,
    workers: int = 4,
    clock: Clock | None = None,
    on_cluster: Callable[[Case], None] | None = None,
) -> AnnotationResult:
    """Label every cluster of a marker table; each ends with a row and a stated outcome.

    Parameters
    ----------
    markers
        Marker table of a known form; see :func:`cellkey.llm.marker_table`. Its numbers are what the roles
        see.
    client
        The model that is asked.
    study
        Tissue, species, notes and the name of the dataset.
    sizes
        Cells by cluster.
    workflow, selection
        Which roles take part, and which genes they are shown.
    knowledge
        Ontology, calls of the marker hierarchy, known markers, aliases, panels of the user.
    role_clients
        Other models for single roles (``scorer``, ``booster``, ``merger``, ...).
    workers
        Clusters that are worked on at once.
    clock
        Source of time.
    on_cluster
        Told of every finished cluster, from any thread.

    Returns
    -------
    AnnotationResult
        One entry per cluster, in natural order, whatever order the answers came in.
    """
    table = marker_table(markers)
    context, steps, known = study or Study(), workflow or WorkflowParameters(), knowledge or Knowledge()
    clients = {"": client, **(role_clients or {})}
    checks = known.checks(table)
    evidence = known.evidence(table, context, selection, sizes, checks)
    office = Office(clients, checks, GeneQueries(table, known.aliases), steps, known, clock, on_cluster, workers)
    ordered = [evidence[c] for c in sorted(evidence, key=natural_key)]
    results = side_by_side(office.cluster, ordered, workers, clients.values())
    return office.finish(results, context)


@dataclass(frozen=True)
class Office:
    """What the clusters of one dataset share."""

    clients: dict[str, ModelClient]
    checks: RuleChecks
    queries: GeneQueries
    steps: WorkflowParameters
    known: Knowledge
    clock: Clock | None
    on_cluster: Callable[[Case], None] | None
    workers: int

    def cluster(self, evidence: ClusterEvidence) -> ClusterResult:
        """Take one cluster through its first run and, if asked for, its repeats."""
        talk = ClusterTalk(self.clients, evidence)
        case = run_case(Desk(talk, self.checks, self.queries, self.steps), self.clock)
        turns, repeats = list(talk.turns), self._repeats(case, evidence)
        for _, more in repeats:
            turns.extend(more)
        result = ClusterResult(case, evidence, tuple(turns), (), repeats=tuple(c for c, _ in repeats))
        result = self._voted(result) if repeats else result
        label, score = result.label, case.score.score if case.score is not None else None
        tell(
            "cluster",
            dataset=evidence.study.dataset,
            tissue=evidence.study.tissue,
            cluster=case.cluster,
            status=result.status,
            label=label,
            score=score,
            error=case.error,
        )
        if self.on_cluster is not None:
            self.on_cluster(case)
        return result

    def _repeats(self, first: Case, evidence: ClusterEvidence) -> list[tuple[Case, list[Turn]]]:
        below = self.steps.repeat_below
        score = first.score.score if first.score is not None else -1
        if below is not None and score >= below:
            return []
        # Repeats measure whether the annotator says the same again; scoring and boosting them would only
        # cost.
        steps = self.steps.updated(score=False, boost=False, repeats=1)
        done = []
        for number in range(1, self.steps.repeats):
            talk = ClusterTalk(self.clients, evidence, repeat=number, temperature=self.steps.repeat_temperature)
            case = run_case(Desk(talk, self.checks, self.queries, steps), self.clock)
            done.append((case, talk.turns))
        return done

    def _voted(self, result: ClusterResult) -> ClusterResult:
        """Let the runs vote: the majority's label wins, and without a majority the cluster is in conflict."""
        cases = (result.case, *result.repeats)
        agreement = agreement_of([c.proposal for c in cases], self.known.terms)
        case = result.case
        if agreement.winner is not None and case.state is not State.UNLABELLED:
            winner = cases[agreement.winner]
            if agreement.verdict is Verdict.CONFLICT:
                case.go(State.CONFLICT, f"{len(cases)} runs disagree", self._now())
            elif winner is not case:
                case.notes.append("label of the majority of the repeated runs")
                case.proposal, case.findings, case.score = winner.proposal, winner.findings, None
        return replace(result, agreement=agreement)

    def _now(self) -> float:
        from cellkey.llm.clock import SystemClock

        return (self.clock or SystemClock()).now()

    def finish(self, results: Sequence[ClusterResult], study: Study) -> AnnotationResult:
        """Group the labels, and give every cluster its calls and its term."""
        turns: list[Turn] = []
        outcome = self.merge(results, study, turns)
        grouped = [replace(r, groups=outcome.groups.get(r.cluster)) for r in results]
        return self.gather(grouped, study, tuple(turns), outcome.warnings)

    def gather(
        self,
        results: Sequence[ClusterResult],
        study: Study,
        merge_turns: tuple[Turn, ...] = (),
        warnings: Sequence[str] = (),
    ) -> AnnotationResult:
        """Return the results of all clusters with the calls that were made for them."""
        journals = {id(c.journal): c.journal for c in self.clients.values()}.values()
        calls = tuple(c for journal in journals for c in journal.calls if c.dataset == study.dataset)
        by_cluster: dict[str, list[Call]] = {}
        for call in calls:
            by_cluster.setdefault(call.cluster, []).append(call)
        done = tuple(
            with_term(replace(r, calls=tuple(by_cluster.get(r.cluster, ()))), self.known.terms) for r in results
        )
        client = self.clients[""]
        told = (*warnings, *_suspicions(done))
        return AnnotationResult(
            done, study, client.model, client.provider.name, calls, merge_turns, told, self.known.terms
        )

    def merge(self, results: Sequence[ClusterResult], study: Study, turns: list[Turn]) -> MergeOutcome:
        """Group the labels by the ontology or by a model, as the parameters say."""
        labels = {r.cluster: (r.general_label, r.label) for r in results if r.is_labelled}
        terms, how = self.known.terms, self.steps.merge
        if how == "off" or not labels:
            return MergeOutcome({})
        if terms is not None and (how == "ontology" or (how == "auto" and resolved_share(labels, terms) >= 0.8)):
            return merge_by_ontology(labels, terms)
        if how == "ontology":
            return MergeOutcome({}, ("labels not grouped: no ontology is at hand",))
        client = self.clients.get(MERGER.name, self.clients[""])
        return merge_by_model(client, labels, study, turns.append, self.workers)


def _suspicions(results: tuple[ClusterResult, ...]) -> list[str]:
    """Signs that a model did not look: one label for most clusters, or one text for all."""
    labelled = [r for r in results if r.is_labelled]
    if len(results) < 4 or not labelled:
        return []
    found = []
    label, count = Counter(r.label for r in labelled).most_common(1)[0]
    if count > 0.6 * len(results):
        found.append(f"{count} of {len(results)} clusters are called {label!r}")
    texts = {r.case.proposal.evidence for r in labelled if r.case.proposal is not None}
    if len(labelled) > 3 and len(texts) == 1:
        found.append("the explanation of all clusters is the same text")
    return found
