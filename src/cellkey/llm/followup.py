"""Asking again about a finished annotation: boost clusters on demand, score labels, group labels.

The finished result and its directory are never changed; a new one is made, with a table of what was before and what is
now.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.llm.annotate import Office
from cellkey.llm.client import side_by_side
from cellkey.llm.clock import Clock, SystemClock
from cellkey.llm.conversations import case_of, case_record
from cellkey.llm.gene_queries import GeneQueries
from cellkey.llm.result_tables import STATUS_OF_STATE, neutral_table
from cellkey.llm.roles import BOOSTER, ClusterTalk
from cellkey.llm.run import asking_in, write_table_run
from cellkey.llm.stored import chosen_clusters
from cellkey.llm.workflow import Case, Desk, State, finish_case
from cellkey.records.atomic import safe_name
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from cellkey.llm.client import ModelClient
    from cellkey.llm.results import AnnotationResult, ClusterResult
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.stored import StoredResult

__all__ = [
    "CHANGES",
    "FollowUp",
    "FollowUpRun",
    "asked_again",
    "boost_clusters",
    "follow_up",
    "merge_labels",
    "score_clusters",
]


CHANGES = TableSchema(
    "changes.csv",
    "Clusters that were asked about again: before and after.",
    (
        Column("cluster", "string", "cluster identifier"),
        Column("label_before", "string", "label of the finished run"),
        Column("label_after", "string", "label now"),
        Column("score_before", "float", "score of the finished run; empty without one"),
        Column("score_after", "float", "score now"),
        Column("status_before", "string", "outcome of the finished run", tuple(STATUS_OF_STATE.values())),
        Column("status_after", "string", "outcome now", tuple(STATUS_OF_STATE.values())),
        Column("changed", "bool", "whether the label is another"),
        Column("reason", "string", "what the last step says"),
        Column("calls", "int", "HTTP attempts made for it"),
        Column("cost_usd", "float", "their price"),
        Column("error", "string", "why it could not be asked; the cluster is then as it was"),
    ),
)


@dataclass(frozen=True)
class FollowUp:
    """A new result, the clusters that were asked about (none: about all labels together), and what failed."""

    result: AnnotationResult
    before: AnnotationResult
    asked: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> pd.DataFrame:
        """One row per cluster that was asked about; see :data:`CHANGES`."""
        former = {r.cluster: r for r in self.before.clusters}
        rows = [_change(former[r.cluster], r, self.errors) for r in self.result.clusters if r.cluster in self.asked]
        return CHANGES.frame(rows)


def boost_clusters(
    stored: StoredResult,
    clients: Mapping[str, ModelClient],
    clusters: list[str] | None = None,
    *,
    task: str = "",
    rounds: int | None = None,
    strategy: str | None = None,
    history: str | None = None,
    workers: int = 4,
    clock: Clock | None = None,
    on_cluster: Callable[[Case], None] | None = None,
) -> FollowUp:
    """Let the booster examine clusters of a finished annotation by asking for the numbers of genes.

    Its label is taken under the rules of a first annotation: no more rule checks may fail than before, and the score
    must not fall. A cluster without any proposal is annotated from the start.

    Parameters
    ----------
    stored
        The finished annotation.
    clients
        Client by role name; ``""`` is the client of roles that are not named.
    clusters
        Identifiers; None for all.
    task
        A question that the booster is told, such as "are these cells malignant?".
    rounds, strategy, history
        Gene requests at most, how they are made, and what the booster sees of the label; see
        :class:`~cellkey.llm.workflow.WorkflowParameters`. Those of the annotation by default.
    workers
        Clusters that are worked on at once.
    clock
        Source of time.
    on_cluster
        Told of every finished cluster, from any thread.

    Raises
    ------
    InputError
        If a cluster does not exist.
    """
    given = {"boost_rounds": rounds, "boost_strategy": strategy, "boost_history": history}
    changes = {"boost": True, "merge": "off", "repeats": 1, **{k: v for k, v in given.items() if v is not None}}
    again = _Again(stored, clients, changes, task, workers, clock, on_cluster)
    reason = f"boosted on demand: {task}" if task else "boosted on demand"
    return again.ask(chosen_clusters([r.cluster for r in stored.result.clusters], clusters), State.BOOST, reason)


def score_clusters(
    stored: StoredResult,
    clients: Mapping[str, ModelClient],
    clusters: list[str] | None = None,
    *,
    workers: int = 4,
    clock: Clock | None = None,
    on_cluster: Callable[[Case], None] | None = None,
) -> FollowUp:
    """Score the labels of a finished annotation again, usually by another model; labels stay as they are.

    Parameters are those of :func:`boost_clusters`. Clusters without a label are left out.
    """
    changes = {"boost": False, "score": True, "merge": "off", "repeats": 1}
    again = _Again(stored, clients, changes, "", workers, clock, on_cluster)
    labelled = {r.cluster for r in stored.result.clusters if r.is_labelled}
    wanted = [c for c in chosen_clusters([r.cluster for r in stored.result.clusters], clusters) if c in labelled]
    return again.ask(wanted, State.SCORE, "scored on demand")


def merge_labels(
    stored: StoredResult, clients: Mapping[str, ModelClient], how: str = "ontology", *, workers: int = 4
) -> FollowUp:
    """Group the labels of a finished annotation anew, by the ``ontology`` (which asks nobody) or by a ``model``."""
    again = _Again(stored, clients, {"merge": how}, "", workers, None, None)
    result = again.office.finish(stored.result.clusters, stored.result.study)
    return FollowUp(again.as_before(result), stored.result)


class _Again:
    """The office of a finished annotation, opened again."""

    def __init__(
        self,
        stored: StoredResult,
        clients: Mapping[str, ModelClient],
        changes: Mapping[str, Any],
        task: str,
        workers: int,
        clock: Clock | None,
        on_cluster: Callable[[Case], None] | None,
    ) -> None:
        known = stored.knowledge
        checks = known.checks(stored.markers)
        queries = GeneQueries(stored.markers, known.aliases)
        steps = stored.asked.workflow.updated(**changes)
        self.office = Office(dict(clients), checks, queries, steps, known, clock, on_cluster, workers)
        self._before, self._task = stored.result, task
        self._clock = clock or SystemClock()

    def ask(self, clusters: list[str], at: State, reason: str) -> FollowUp:
        """Reopen ``clusters`` at a state and bring them to their end."""
        errors: dict[str, str] = {}

        def again(former: ClusterResult) -> ClusterResult:
            return self._cluster(former, at, reason, errors) if former.cluster in clusters else former

        office = self.office
        results = side_by_side(again, self._before.clusters, office.workers, office.clients.values())
        result = self.as_before(self.office.gather(results, self._before.study))
        return FollowUp(result, self._before, tuple(clusters), errors)

    def as_before(self, result: AnnotationResult) -> AnnotationResult:
        """Return ``result`` under the name of the model that gave the labels which stay."""
        return replace(result, model=self._before.model, provider=self._before.provider)

    def _cluster(self, former: ClusterResult, at: State, reason: str, errors: dict[str, str]) -> ClusterResult:
        case = case_of(case_record(former.case))
        if at is State.BOOST:
            case.was_boosted, case.before_boost, case.candidate, case.score_before_boost = False, None, None, None
        elif at is State.SCORE:
            case.score = None
        talk = ClusterTalk(self.office.clients, former.evidence)
        case.reopen(at, reason, self._clock.now())
        office = self.office
        finish_case(case, Desk(talk, office.checks, office.queries, office.steps, self._task), office.clock)
        failed = case.error or ("; ".join(case.notes) if at is State.SCORE and case.score is None else "")
        if failed and former.is_labelled:
            errors[former.cluster] = failed
            case = case_of(case_record(former.case))  # what could not be asked changes nothing
        elif former.case.state is State.CONFLICT and at is State.SCORE:
            case.go(State.CONFLICT, "repeated runs disagree", self._clock.now())
        if office.on_cluster is not None:
            office.on_cluster(case)
        now = replace(former, case=case, turns=tuple(talk.turns))
        taken = case.proposal != former.case.proposal
        return replace(now, answered_by=_names(office.clients, BOOSTER.name)) if taken else now


def _names(clients: Mapping[str, ModelClient], role: str) -> tuple[str, str]:
    client = clients.get(role, clients[""])
    return client.model, client.provider.name


def _change(former: ClusterResult, now: ClusterResult, errors: Mapping[str, str]) -> dict[str, Any]:
    real = [c for c in now.calls if not c.is_hit]
    steps = now.case.transitions
    return {
        "cluster": now.cluster,
        "label_before": former.label,
        "label_after": now.label,
        "score_before": former.case.score.score if former.case.score else float("nan"),
        "score_after": now.case.score.score if now.case.score else float("nan"),
        "status_before": former.status,
        "status_after": now.status,
        "changed": former.label != now.label,
        "reason": steps[-1].reason if steps and now.cluster not in errors else "",
        "calls": len(real),
        "cost_usd": sum(c.cost for c in real),
        "error": " ".join(errors.get(now.cluster, "").split()),
    }


_ROLE_MODELS = ("score_model", "boost_model", "merge_model")


@dataclass(frozen=True)
class FollowUpRun:
    """What came of asking again, and where it was written."""

    directory: Path
    outcome: FollowUp

    @property
    def asked(self) -> tuple[str, ...]:
        """Clusters that were asked about."""
        return self.outcome.asked

    @property
    def errors(self) -> Mapping[str, str]:
        """Why clusters could not be asked about."""
        return self.outcome.errors

    def text(self) -> str:
        """Return before and after, or the groups, as text for readers."""
        if self.asked:
            names = ["cluster", "label_before", "label_after", "score_before", "score_after", "status_after", "error"]
            table = self.outcome.changes[names]
        else:
            names = ["cluster", "cell_type", "specific_group", "detailed_group", "broad_group"]
            table = self.outcome.result.table[names]
        warnings = "".join(f"Warning: {w}\n" for w in self.outcome.result.warnings)
        return f"{table.to_string(index=False, na_rep='')}\n{warnings}"


def follow_up(
    stored: StoredResult,
    ask: Callable[[StoredResult, Mapping[str, ModelClient]], FollowUp],
    output_dir: str | Path | None = None,
    *,
    verb: str,
    model: Mapping[str, Any] | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
) -> FollowUpRun:
    """Ask about a finished run and write the new results.

    Parameters
    ----------
    stored
        The finished annotation.
    ask
        One of the functions of :mod:`cellkey.llm.followup`, with its further arguments.
    output_dir
        A new directory, or with ``resume`` that of an interrupted follow-up; ``VERB_DATASET_DATE`` beside the run if
        None.
    verb
        What is done, as a participle, for the name of the directory.
    model
        Settings that differ from those of the run; a model or provider given here plays all roles.
    budget_usd, budget_tokens
        Limits of this follow-up.
    resume, probe
        See :func:`cellkey.llm.run.asking_in`.

    Raises
    ------
    RunError
        If the directory is in use.
    InputError, ServiceError
        If the model cannot be used.
    """
    settings = asked_again(stored.asked.model, model or {})
    directory = Path(output_dir) if output_dir is not None else _beside(stored, verb)
    with asking_in(
        directory, settings, budget_usd=budget_usd, budget_tokens=budget_tokens, resume=resume, probe=probe
    ) as team:
        outcome = ask(stored, {"": team.main, **team.roles})
        source = {"follow_up": verb, "of": str(stored.source), "clusters": list(outcome.asked)}
        write_table_run(directory, outcome.result, stored.markers, replace(stored.asked, model=settings), source)
        if outcome.asked:
            name = safe_name(stored.asked.study.dataset)
            CHANGES.write_csv(neutral_table(outcome.changes), directory / f"{name}_changes.csv")
    return FollowUpRun(directory, outcome)


def asked_again(before: ModelSettings, given: Mapping[str, Any]) -> ModelSettings:
    """Return the settings of a run with those that were given; a model given here plays all roles."""
    if "provider" in given or "model" in given:
        given = {**dict.fromkeys(_ROLE_MODELS), **given}
    if "provider" in given:
        given = {"base_url": None, **given}
    return before.updated(**{"record": None, "replay": None, **given})


def _beside(stored: StoredResult, verb: str) -> Path:
    """A name that does not look like a run of a batch, so that loops over runs pass it by."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
    return stored.source.resolve().parent / f"{verb}_{safe_name(stored.asked.study.dataset)}_{stamp}"
