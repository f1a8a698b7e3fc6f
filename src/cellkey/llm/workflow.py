"""The way of one cluster from genes to a label: a state machine that always ends in exactly one final state.

::

    PENDING → ANNOTATE → CHECK ──────→ VALIDATE ──pass──→ SCORE ──≥ threshold──→ ACCEPTED
                 │         ↑ │ finding     │ objection       │ below, or none
                 │         │ └──→ REVISE ←─┘                 ↓
                 │         └────────┘                      BOOST → RESCORE → BOOSTED | LOW_CONFIDENCE
                 └→ UNLABELLED

From every step, a failure leads to LOW_CONFIDENCE where there is a label and to UNLABELLED where there is none.
Repeated runs that disagree turn a labelled cluster to CONFLICT. A service that fails for good loses no label that was
there before: without a validator the rules decide, without a score the cluster counts as weak, without a booster the
former label stays, with the reason.

A finished cluster can be reopened on demand at BOOST or SCORE, or at ANNOTATE where it has no proposal.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellkey.errors import CellkeyError, RunError, ServiceError
from cellkey.llm.clock import Clock, SystemClock, timestamp
from cellkey.llm.failures import ends_run, is_transient
from cellkey.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellkey.llm.answers import AnnotationAnswer, ScoreAnswer, ValidationAnswer
    from cellkey.llm.gene_queries import GeneQueries
    from cellkey.llm.roles import ClusterTalk
    from cellkey.llm.rule_checks import Finding, RuleChecks

__all__ = ["Case", "Desk", "State", "StateError", "Transition", "WorkflowParameters", "finish_case", "run_case"]

log = logging.getLogger(__name__)


class WorkflowParameters(Parameters):
    """Which roles take part, and their limits."""

    validator: Literal["off", "rules", "llm", "both"] = Field(
        default="both", description="who examines a proposal: nobody, the rule checks, the model, or both"
    )
    score: bool = Field(default=True, description="whether proposals are scored")
    boost: bool = Field(default=True, description="whether doubtful labels are examined with gene queries")
    merge: Literal["off", "model", "ontology", "auto"] = Field(
        default="auto",
        description="grouping of labels; auto: by ontology where 80% of the labels are found there",
    )
    score_threshold: float = Field(default=75, ge=0, le=100, description="scores below are boosted")
    max_annotations: int = Field(default=3, ge=1, le=10, description="proposals of the annotator in all")
    boost_rounds: int = Field(default=5, ge=1, le=20, description="gene requests of the booster")
    boost_strategy: Literal["free", "breadth", "depth"] = Field(
        default="free",
        description="breadth: up to three rival types in each request of the booster; depth: one at a time, two "
        "requests at least; free: as the model likes",
    )
    boost_history: Literal["final", "none"] = Field(
        default="final", description="whether the booster sees the label and the objections to it"
    )
    repeats: int = Field(default=1, ge=1, le=15, description="runs per cluster, for agreement")
    repeat_below: float | None = Field(
        default=None, ge=0, le=100, description="repeat only clusters that score below; None: all"
    )
    repeat_temperature: float = Field(default=0.5, ge=0, le=2, description="sampling temperature of repeats")


class State(StrEnum):
    """Where a cluster stands."""

    PENDING = "pending"
    ANNOTATE = "annotate"
    CHECK = "check"
    VALIDATE = "validate"
    REVISE = "revise"
    SCORE = "score"
    BOOST = "boost"
    RESCORE = "rescore"
    ACCEPTED = "accepted"
    BOOSTED = "boosted"
    LOW_CONFIDENCE = "low_confidence"
    CONFLICT = "conflict"
    UNLABELLED = "unlabelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens."""
        return self in _FINAL


_FINAL = {State.ACCEPTED, State.BOOSTED, State.LOW_CONFIDENCE, State.CONFLICT, State.UNLABELLED}

_S = State
_FAILED = frozenset({_S.LOW_CONFIDENCE, _S.UNLABELLED})
_NEXT: dict[State, frozenset[State]] = {
    _S.PENDING: frozenset({_S.ANNOTATE}),
    _S.ANNOTATE: frozenset({_S.CHECK}) | _FAILED,
    _S.CHECK: frozenset({_S.VALIDATE, _S.REVISE, _S.SCORE, _S.BOOST}) | _FAILED,
    _S.VALIDATE: frozenset({_S.SCORE, _S.REVISE}) | _FAILED,
    _S.REVISE: frozenset({_S.CHECK, _S.SCORE}) | _FAILED,
    _S.SCORE: frozenset({_S.ACCEPTED, _S.BOOST}) | _FAILED,
    _S.BOOST: frozenset({_S.RESCORE, _S.BOOSTED}) | _FAILED,
    _S.RESCORE: frozenset({_S.BOOSTED}) | _FAILED,
    _S.ACCEPTED: frozenset({_S.CONFLICT}),
    _S.BOOSTED: frozenset({_S.CONFLICT}),
    _S.LOW_CONFIDENCE: frozenset({_S.CONFLICT}),
    _S.CONFLICT: frozenset(),
    _S.UNLABELLED: frozenset(),
}


class StateError(CellkeyError):
    """A step that the state of a cluster does not allow; a fault of the program."""

    def __init__(self, cluster: str, before: State, after: State) -> None:
        super().__init__(f"cluster {cluster!r} cannot go from {before} to {after}")


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of a cluster: from where to where, why, and when."""

    before: State
    after: State
    reason: str
    time: str


@dataclass
class Case:
    """One cluster on its way. ``proposal`` is always the label that would stand if nothing more happened.

    ``is_unanswered`` tells that a service did not answer a question that it may answer another time.
    """

    cluster: str
    state: State = State.PENDING
    proposal: AnnotationAnswer | None = None
    before_boost: AnnotationAnswer | None = None
    findings: tuple[Finding, ...] = ()
    validation: ValidationAnswer | None = None
    score: ScoreAnswer | None = None
    score_before_boost: ScoreAnswer | None = None
    candidate: AnnotationAnswer | None = None
    annotations: int = 0
    was_boosted: bool = False
    is_disputed: bool = False
    is_unanswered: bool = False
    error: str = ""
    notes: list[str] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    @property
    def boost_changed(self) -> bool:
        """Whether the booster replaced the label."""
        return (
            self.before_boost is not None
            and self.proposal is not None
            and self.before_boost.detailed_cell_type != self.proposal.detailed_cell_type
        )

    def go(self, after: State, reason: str, now: float) -> None:
        """Take a step.

        Raises
        ------
        StateError
            If the step is not one of the diagram.
        """
        if after not in _NEXT[self.state]:
            raise StateError(self.cluster, self.state, after)
        self._step(after, reason, now)

    def reopen(self, at: State, reason: str, now: float) -> None:
        """Take up a finished cluster again, at ``at``, or at its first question where it has no proposal.

        Raises
        ------
        StateError
            If the cluster is not finished.
        """
        if not self.state.is_final:
            raise StateError(self.cluster, self.state, at)
        self.error, self.notes, self.is_unanswered = "", [], False
        self._step(at if self.proposal is not None else State.ANNOTATE, reason, now)

    def _step(self, after: State, reason: str, now: float) -> None:
        self.transitions.append(Transition(self.state, after, reason, timestamp(now)))
        self.state = after


@dataclass(frozen=True, slots=True)
class Desk:
    """What the steps of one cluster work with; ``task`` is a question of the user that the booster is told."""

    talk: ClusterTalk
    checks: RuleChecks
    queries: GeneQueries
    parameters: WorkflowParameters
    task: str = ""


Step = tuple[State, str]


def run_case(desk: Desk, clock: Clock | None = None) -> Case:
    """Take one cluster from genes to a final state. Raises only what concerns the whole run (``RunError``)."""
    case = Case(desk.talk.evidence.cluster)
    finish_case(case, desk, clock)
    return case


def finish_case(case: Case, desk: Desk, clock: Clock | None = None) -> None:
    """Take a cluster from where it stands to a final state; see :func:`run_case`."""
    time = clock or SystemClock()
    while not case.state.is_final:
        try:
            after, reason = _STEPS[case.state](case, desk)
        except (RunError, StateError):
            raise
        except ServiceError as error:
            after, reason = _after_failure(case, error)
        except Exception as error:  # one cluster must never take the others down
            log.error("cluster %s: %s", case.cluster, traceback.format_exc())
            after, reason = _finish(case, f"internal error ({type(error).__name__}: {error})")
        case.go(after, reason, time.now())


def _pending(_case: Case, _desk: Desk) -> Step:
    return State.ANNOTATE, ""


def _annotate(case: Case, desk: Desk) -> Step:
    if not desk.talk.evidence.selection.genes:
        case.error = "no gene of this cluster is listed or passes the filters"
        return State.UNLABELLED, case.error
    case.proposal = desk.talk.annotate()
    case.annotations += 1
    return State.CHECK, "proposal received"


def _check(case: Case, desk: Desk) -> Step:
    assert case.proposal is not None
    if case.proposal.unknown:
        case.is_disputed = True
        if desk.parameters.boost:
            return State.BOOST, "the model found no name"
        case.error = "the model found no name"
        return State.UNLABELLED, case.error
    case.findings = desk.checks.findings(case.proposal)
    by_rules = desk.parameters.validator in ("rules", "both")
    wrong = [f for f in case.findings if f.asks_for_revision] if by_rules else []
    if wrong and case.annotations < desk.parameters.max_annotations:
        return State.REVISE, f"rule checks: {wrong[0]}"
    case.is_disputed = bool(wrong)
    if desk.parameters.validator in ("llm", "both"):
        return State.VALIDATE, "checked"
    return State.SCORE, "checked"


def _validate(case: Case, desk: Desk) -> Step:
    assert case.proposal is not None
    case.validation = desk.talk.validate(case.proposal, case.findings)
    if case.validation.verdict == "pass":
        case.is_disputed = False
        return State.SCORE, "validator passed"
    case.is_disputed = True
    reason = f"validator: {case.validation.verdict}"
    if case.annotations < desk.parameters.max_annotations:
        return State.REVISE, reason
    return State.SCORE, f"{reason} after {case.annotations} proposals"


def _revise(case: Case, desk: Desk) -> Step:
    assert case.proposal is not None
    revised = desk.talk.revise(case.proposal, case.findings, case.validation)
    case.annotations += 1
    case.proposal = revised
    case.validation = None
    return State.CHECK, "proposal revised"


def _score(case: Case, desk: Desk) -> Step:
    assert case.proposal is not None
    if desk.parameters.score:
        try:
            case.score = desk.talk.score(case.proposal)
        except ServiceError as error:
            if ends_run(error):
                raise
            case.is_unanswered |= is_transient(error)
            case.notes.append(f"no score: {error}")
    return _after_score(case, desk)


def _after_score(case: Case, desk: Desk) -> Step:
    threshold = desk.parameters.score_threshold
    if not desk.parameters.score:
        weak, reason = case.is_disputed, "not scored"
    elif case.score is None:
        weak, reason = True, "no score"
    else:
        weak, reason = case.score.score < threshold or case.is_disputed, f"score {case.score.score}"
    if case.is_disputed:
        reason = f"{reason}, objections stand"
    if not weak:
        return State.ACCEPTED, reason
    return (State.BOOST if desk.parameters.boost else State.LOW_CONFIDENCE), reason


def _boost(case: Case, desk: Desk) -> Step:
    assert case.proposal is not None
    steps = desk.parameters
    proposal, objections = (case.proposal, _objections(case)) if steps.boost_history == "final" else (None, [])
    answer = desk.talk.boost(
        proposal, objections, desk.queries, steps.boost_rounds, desk.task, steps.boost_strategy
    )
    assert answer.final is not None
    case.was_boosted, case.candidate = True, answer.final
    if answer.final.unknown:
        if case.proposal.unknown:
            case.error = "the model found no name, also with further genes"
            return State.UNLABELLED, case.error
        return State.LOW_CONFIDENCE, "the booster found no name; the former label stays"
    worse = _hard_findings(desk, case.candidate) > _hard_findings(desk, case.proposal)
    if worse and not case.proposal.unknown:
        return State.LOW_CONFIDENCE, "the booster's label passes fewer rule checks; the former label stays"
    if not desk.parameters.score:
        _take_candidate(case, desk, None)
        return State.BOOSTED, "boosted, not scored"
    return State.RESCORE, "boosted"


def _rescore(case: Case, desk: Desk) -> Step:
    assert case.candidate is not None
    assert case.proposal is not None
    score = desk.talk.score(case.candidate)
    former, threshold = case.score.score if case.score is not None else -1, desk.parameters.score_threshold
    if score.score < former:
        if case.candidate.detailed_cell_type == case.proposal.detailed_cell_type and former >= threshold:
            # A strong label that the booster confirms is not weaker for having been examined.
            return State.BOOSTED, f"label confirmed; now scores {score.score}, before {former}"
        return (
            State.LOW_CONFIDENCE,
            f"boosted label scores {score.score}, former {former}; the former label stays",
        )
    _take_candidate(case, desk, score)
    if score.score >= threshold:
        return State.BOOSTED, f"score {score.score}"
    return State.LOW_CONFIDENCE, f"score {score.score} also after boosting"


def _take_candidate(case: Case, desk: Desk, score: ScoreAnswer | None) -> None:
    assert case.candidate is not None
    case.before_boost, case.score_before_boost = case.proposal, case.score
    case.proposal, case.score = case.candidate, score
    case.findings = desk.checks.findings(case.proposal)


def _hard_findings(desk: Desk, answer: AnnotationAnswer) -> int:
    return sum(f.asks_for_revision for f in desk.checks.findings(answer))


def _objections(case: Case) -> list[str]:
    """What speaks against the proposal, for the booster."""
    objections = [f"{i.kind}: {i.text}" for i in case.validation.objections] if case.validation else []
    score = [f"scorer: {case.score.score} of 100; {case.score.reason}"] if case.score else []
    return [*objections, *map(str, case.findings), *score]


def _after_failure(case: Case, error: ServiceError) -> Step:
    """Where a cluster goes when a question could not be answered."""
    note = f"{case.state}: {error}"
    case.is_unanswered |= ends_run(error) or is_transient(error)
    if ends_run(error) or case.state in (State.ANNOTATE, State.BOOST, State.RESCORE):
        return _finish(case, note)
    case.notes.append(note)
    if case.state is State.VALIDATE:  # the rules decide
        return State.SCORE, f"no verdict: {error}"
    return State.SCORE, f"no revision: {error}"


def _finish(case: Case, reason: str) -> Step:
    """The final state of a cluster that cannot go on: its label with low confidence, or none."""
    case.notes.append(reason)
    case.error = reason
    if case.proposal is None or case.proposal.unknown:
        return State.UNLABELLED, reason
    return State.LOW_CONFIDENCE, reason


_STEPS: dict[State, Callable[[Case, Desk], Step]] = {
    State.PENDING: _pending,
    State.ANNOTATE: _annotate,
    State.CHECK: _check,
    State.VALIDATE: _validate,
    State.REVISE: _revise,
    State.SCORE: _score,
    State.BOOST: _boost,
    State.RESCORE: _rescore,
}
