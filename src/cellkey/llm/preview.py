"""What asking would take and what would be sent, found out by asking a client that only listens."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from cellkey.errors import BudgetExceededError
from cellkey.llm.annotate import annotate_markers
from cellkey.llm.client import ModelClient
from cellkey.llm.estimate import Question, estimate_annotation, estimate_questions
from cellkey.llm.followup import asked_again
from cellkey.llm.identifiers import natural_key
from cellkey.llm.knowledge import bundled_knowledge
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.providers import provider_from
from cellkey.llm.roles import BOOSTER, SCORER
from cellkey.llm.transport import MockTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from cellkey.llm.accounting import Origin, Price
    from cellkey.llm.estimate import Estimate
    from cellkey.llm.followup import FollowUp
    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.stored import AskedWith, StoredResult

__all__ = ["ListeningTeam", "preview_annotation", "preview_follow_up", "preview_questions"]

Calls = tuple[float, float, float]
_ASSUMED = "no price is known, a usual one is assumed; --input-cost and --output-cost tell yours"
_AT_MOST_REPEATED: Calls = (1, 1, 3)
_WHOLE_WORKFLOW: Calls = (2, 4, 10)


class _UnsentError(BudgetExceededError):
    """A question that nobody was asked: a preview has no budget."""


@dataclass(frozen=True, slots=True)
class _Heard:
    role: str
    cluster: str
    request: ChatRequest
    price: Price


class _Listener(ModelClient):
    """A client that notes every question and answers none; it needs no key."""

    def __init__(self, settings: ModelSettings, heard: list[_Heard]) -> None:
        nowhere = provider_from("custom", base_url="http://127.0.0.1:9/v1", environment={})
        super().__init__(nowhere, settings.model, MockTransport(_never))
        self.price, self._heard = settings.price_of(), heard

    def ask(self, request: ChatRequest, origin: Origin) -> NoReturn:
        self._heard.append(_Heard(origin.role, origin.cluster, request, self.price))
        msg = "nothing is sent in a preview"
        raise _UnsentError(msg)


def _never(_request: Any) -> NoReturn:
    raise AssertionError


class ListeningTeam:
    """The clients of :class:`~cellkey.llm.setup.ClientTeam`, none of which sends anything."""

    def __init__(self, settings: ModelSettings) -> None:
        self.heard: list[_Heard] = []
        self.main = _Listener(settings, self.heard)
        self.roles: dict[str, ModelClient] = {
            role: _Listener(settings.for_role(role), self.heard) for role in ("scorer", "booster", "merger")
        }
        self.others = [_Listener(settings.with_model(m), self.heard) for m in settings.other_models]


def preview_questions(
    settings: ModelSettings,
    ask: Callable[[ListeningTeam], object],
    calls: Mapping[str, Calls] | None = None,
    what: str = "",
) -> str:
    """Return what asking would take at least, about and at most, and the first question.

    Parameters
    ----------
    settings
        Who would be asked.
    ask
        Asks the team; that it gets no answer ends it.
    calls
        Calls in a conversation that a role opens: at least, expected, at most; one, and two to mend the answer, of a
        role that is not named.
    what
        What the questions are about; the clusters that they name by default.
    """
    heard, calls = _heard(settings, ask), calls or {}
    if not heard:
        return "No model is asked.\nCost: $0.00\n"
    questions = [Question(h.request, h.price, calls.get(h.role, _AT_MOST_REPEATED)) for h in heard]
    scored = [h for h in heard if h.role == BOOSTER.name and SCORER.name in calls]
    questions += [
        Question(replace(h.request, system=SCORER.system, max_tokens=SCORER.max_tokens), settings.price_of(SCORER.name),
                 calls[SCORER.name])
        for h in scored
    ]  # fmt: skip
    guess = estimate_questions(questions, workers=settings.max_workers)
    return _text(what or _clusters(len({h.cluster for h in heard})), guess, (q.price for q in questions), heard[0])


def preview_annotation(path: str | Path, asked: AskedWith) -> str:
    """Return what annotating a marker table would take, and exactly what would be sent about its first cluster."""
    table, model = read_marker_table(path), asked.model
    known = bundled_knowledge(ontology=asked.ontology, panels=asked.panels, study=asked.study)
    once = asked.workflow.updated(repeats=1, merge="off")
    heard = _heard(model, lambda team: annotate_markers(
        table, team.main, study=asked.study, workflow=once, selection=asked.selection, knowledge=known,
    ))  # fmt: skip
    n = table["cluster"].nunique()
    guess = estimate_annotation(
        n, asked.workflow, model.price_of, n_genes=asked.selection.n_genes, workers=model.max_workers
    )
    return _text(_clusters(n), guess, model.price_by_model().values(), heard[0] if heard else None)


def preview_follow_up(
    stored: StoredResult,
    ask: Callable[[StoredResult, Mapping[str, ModelClient]], FollowUp],
    model: Mapping[str, Any],
    rounds: int | None = None,
) -> str:
    """Return what asking again about a finished run would take; see :func:`cellkey.llm.followup.follow_up`."""
    settings = asked_again(stored.asked.model, model)
    most = (rounds or stored.asked.workflow.boost_rounds) + 1
    calls = {"booster": (1, min(3, most), most), "scorer": (1, 1, 2), "annotator": _WHOLE_WORKFLOW}
    return preview_questions(settings, lambda team: ask(stored, {"": team.main, **team.roles}), calls)


def _heard(settings: ModelSettings, ask: Callable[[ListeningTeam], object]) -> list[_Heard]:
    team = ListeningTeam(settings)
    with suppress(_UnsentError):
        ask(team)
    return sorted(team.heard, key=lambda h: natural_key(h.cluster))


def _clusters(n: int) -> str:
    return f"{n} cluster{'s' * (n != 1)}"


def _text(what: str, guess: Estimate, prices: Iterable[Price], first: _Heard | None) -> str:
    calls, read, written, cost = guess.calls, guess.input_tokens, guess.output_tokens, guess.cost
    both = read + written
    known = {p.source: f"{p.source} price" for p in prices}
    sources = " and ".join({**known, "assumed": _ASSUMED}[s] for s in sorted(known))
    lines = [
        what,
        f"Calls: {calls.low:.0f} to {calls.high:.0f}, about {calls.point:.0f}",
        f"Tokens: ~{read.point:,.0f} in, ~{written.point:,.0f} out; {both.low:,.0f} to {both.high:,.0f} together",
        f"Cost: ~${cost.point:.2f}; ${cost.low:.2f} to ${cost.high:.2f} ({sources})",
    ]
    if first is not None:
        lines += ["", "What would be sent first, after the instructions:", first.request.messages[-1].text]
    return "\n".join(lines) + "\n"
