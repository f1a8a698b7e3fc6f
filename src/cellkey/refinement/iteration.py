"""Rounds of diagnosis, plan and action, until nothing is left to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellkey.records.run import timestamp
from cellkey.records.vocabulary import Described, Recommendation
from cellkey.refinement.diagnosis import Diagnosis, diagnose, rivals, votes_needed
from cellkey.refinement.operations import Workshop, carry_out
from cellkey.refinement.plan import Plan, Skip
from cellkey.refinement.policies import (
    Focus,
    automatic_plan,
    combine,
    forced,
    require_in_focus,
    require_known,
    within_focus,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cellkey.refinement.state import LogEntry, State

__all__ = ["Iteration", "Refinement", "RefinementStop", "examine", "refine_state"]


class RefinementStop(Described):
    """Why refinement ended."""

    CONVERGED = "converged", "No cluster is flagged any more."
    EXHAUSTED = "exhausted", "Flagged clusters are left, but a split of each was tried and did not hold."
    NO_CHANGE = "no_change", "An iteration changed no label and no cluster."
    MAX_ITERATIONS = "max_iterations", "The number of iterations asked for is done; clusters are still flagged."
    PLAN_DONE = "plan_done", "The written plan is carried out; no automatic policy was asked for."
    UNDONE = "undone", "Iterations were undone; this is the state before the first of them."


@dataclass(frozen=True, slots=True)
class Iteration:
    """One round: what was found, what was planned, what was done, and the state before and after."""

    number: int
    timestamp: str
    diagnoses: Sequence[Diagnosis]
    plan: Plan
    log: Sequence[LogEntry]
    before: State
    after: State


@dataclass(frozen=True, slots=True)
class Refinement:
    """All rounds of one command.

    ``diagnoses`` are those of the first round, or of the only look where nothing was done.
    """

    first: State
    last: State
    iterations: Sequence[Iteration]
    diagnoses: Sequence[Diagnosis]
    stop: RefinementStop
    messages: Sequence[str] = field(default_factory=tuple)


def examine(state: State, shop: Workshop, *, among: Collection[str] | None = None) -> list[Diagnosis]:
    """Let the cells vote where that is needed, and diagnose every cluster (or those ``among``)."""
    chosen = {c: call for c, call in state.calls.items() if among is None or c in among}
    candidates = votes_needed(state.verdict, chosen)
    shop.tell("votes")
    beside = rivals(state.verdict, {c: call for c, call in chosen.items() if c not in state.pinned})
    rows = {c: state.rows(c) for c in {*candidates, *beside}}
    votes = shop.cells.hold_votes(state.verdict, candidates, rows)
    rival_votes = shop.cells.hold_votes(state.verdict, beside, rows)
    return diagnose(
        state.verdict, chosen, shop.parameters, votes, rival_votes=rival_votes, exhausted=state.exhausted,
        pinned=state.pinned,
    )


def refine_state(
    state: State,
    shop: Workshop,
    *,
    plan: Plan | None = None,
    automatic: bool = True,
    focus: Focus | None = None,
    first_number: int = 1,
) -> Refinement:
    """Refine until a stated reason ends it.

    Parameters
    ----------
    plan
        A written plan, carried out in the first round.
    automatic
        Whether the diagnosis adds operations of its own.
    focus
        Which clusters may be touched; all if None.
    first_number
        Number of the first round; more than 1 when earlier rounds are built upon.

    Raises
    ------
    ParameterError
        If the plan or the focus does not fit the clusters.
    NothingToDoError
        If the focus selects nothing.
    """
    focus = focus or Focus()
    hierarchy = state.verdict.key.hierarchy
    require_known(focus, state.calls, hierarchy)
    among = within_focus(state.calls, focus, hierarchy) if focus.is_set else None
    skipped = set() if plan is None else {op.cluster_id for op in plan.of(Skip)}
    if plan is not None:
        plan.check(state.sizes, hierarchy, min_cells=shop.parameters.min_cells)
        if among is not None:
            require_in_focus(plan, among)
    first = state
    rounds: list[Iteration] = []
    diagnoses = examine(state, shop, among=among)
    seen = diagnoses
    stop = RefinementStop.MAX_ITERATIONS
    for number in range(first_number, first_number + shop.parameters.max_iterations):
        open_to = {c for c in state.calls if (among is None or c in among) and c not in skipped}
        todo = automatic_plan(diagnoses, hierarchy, among=open_to) if automatic else Plan()
        if not rounds:
            todo = _with_written(todo, plan, focus, state.sizes, shop.parameters.min_subcluster_cells * 2)
        if not todo.changes and not (plan is not None and not rounds and todo.operations):
            stop = _nothing_left(diagnoses, automatic=automatic)
            break
        done = _round(number, diagnoses, todo, state, shop)
        rounds.append(done)
        changed = _changed(state, done.after)
        state = done.after
        if not automatic:
            stop = RefinementStop.PLAN_DONE
            break
        if not changed:
            stop = RefinementStop.NO_CHANGE
            break
        among = within_focus(state.calls, focus, hierarchy) if focus.is_set else None
        diagnoses = examine(state, shop, among=among)
    else:
        if not any(d.recommendation is not Recommendation.SKIP for d in diagnoses):
            stop = _nothing_left(diagnoses, automatic=automatic)
    return Refinement(first, state, tuple(rounds), tuple(seen), stop)


def _with_written(todo: Plan, plan: Plan | None, focus: Focus, sizes: Mapping[str, int], min_cells: int) -> Plan:
    written = plan or Plan()
    extra = forced(focus, sizes, min_cells)
    named = {c for op in written.operations for c in op.clusters}
    asked = [op for op in extra.operations if op.cluster_id not in named]  # type: ignore[union-attr]
    if not written.operations and not asked:
        return todo
    both = written.updated(operations=[op.model_dump() for op in (*written.operations, *asked)])
    return combine(todo, both)


def _round(number: int, diagnoses: Sequence[Diagnosis], todo: Plan, state: State, shop: Workshop) -> Iteration:
    after, log = carry_out(state, todo, shop, number)
    return Iteration(number, timestamp(), tuple(diagnoses), todo, tuple(log), state, after)


def _changed(before: State, after: State) -> bool:
    if set(before.calls) != set(after.calls):
        return True
    new = after.calls
    return any((call.label, call.path) != (new[c].label, new[c].path) for c, call in before.calls.items())


def _nothing_left(diagnoses: Sequence[Diagnosis], *, automatic: bool) -> RefinementStop:
    if not automatic:
        return RefinementStop.PLAN_DONE
    tried = any(d.ideal is not Recommendation.SKIP and d.reason.startswith("a split was tried") for d in diagnoses)
    return RefinementStop.EXHAUSTED if tried else RefinementStop.CONVERGED
