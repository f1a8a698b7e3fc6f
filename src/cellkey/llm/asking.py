"""Asking for an answer in a form: parse, ask to mend, ask again with more room, show less, and give up in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cellkey.llm.answers import AnswerModel, answer_form, parse_answer
from cellkey.llm.evidence import Detail
from cellkey.llm.failures import (
    ContentRefusedError,
    ContextTooLongError,
    TruncatedError,
    UnreadableAnswerError,
)
from cellkey.llm.messages import AnswerForm, ChatRequest, Finish, Message
from cellkey.llm.prompts import repair_text, system_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellkey.llm.accounting import Call
    from cellkey.llm.client import ModelClient, Origin

__all__ = ["Asked", "Role", "Turn", "ask_once", "ask_role"]

A = TypeVar("A", bound=AnswerModel)

_REPAIRS = 2
_QUOTED = 4000
"""Characters of an unusable answer that are quoted back."""


@dataclass(frozen=True)
class Role(Generic[A]):
    """A role: its instructions, the form of its answers, and how long they may be."""

    name: str
    form_name: str
    answer: type[A]
    max_tokens: int

    def __post_init__(self) -> None:
        form = answer_form(self.form_name, self.answer)
        object.__setattr__(self, "form", form)
        object.__setattr__(self, "system", system_text(self.name, form.name, form.schema))

    form: AnswerForm = field(init=False, repr=False)
    system: str = field(init=False, repr=False)

    def request(
        self,
        text: str,
        *,
        temperature: float = 0.0,
        seed: int | None = 0,
        repeat: int = 0,
        max_tokens: int | None = None,
    ) -> ChatRequest:
        """Return the opening request of a conversation in this role."""
        return ChatRequest(
            self.system,
            (Message("user", text),),
            self.form,
            max_tokens or self.max_tokens,
            temperature,
            seed,
            repeat,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange as it is stored: what was said last, what came back, and what was made of it."""

    role: str
    messages: tuple[Message, ...]
    answer: str
    parsed: dict[str, Any] | None
    problems: str
    model: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Asked(Generic[A]):
    """A valid answer and the conversation that led to it, without what had to be mended, so that it can go on."""

    answer: A
    request: ChatRequest
    text: str

    def continued(self, text: str) -> ChatRequest:
        """Return the request that answers the model's last words with ``text``."""
        return self.request.continued(self.text, text)


def ask_role(
    client: ModelClient,
    role: Role[A],
    origin: Origin,
    request_of: Callable[[Detail], ChatRequest],
    context: dict[str, Any],
    on_turn: Callable[[Turn], None] = lambda _turn: None,
) -> Asked[A]:
    """Return an answer in the form of ``role``.

    What goes wrong is met in this order: a refusal, with names only instead of numbers; a prompt that is too
    long, with half of the genes; a cut answer, with twice the room; an unusable answer, with its faults
    quoted back, twice.

    Parameters
    ----------
    client, origin
        Whom to ask, and on whose behalf.
    request_of
        Makes the request for a level of detail.
    context
        What the answer is checked against; see :func:`cellkey.llm.answers.parse_answer`.
    on_turn
        Told of every exchange.

    Raises
    ------
    ServiceError
        When nothing helped; see :mod:`cellkey.llm.failures`.
    """
    try:
        return _ask(client, role, origin, request_of(Detail.FULL), context, on_turn)
    except ContentRefusedError:
        return _ask(client, role, origin, request_of(Detail.NAMES), context, on_turn)
    except ContextTooLongError:
        return _ask(client, role, origin, request_of(Detail.HALF), context, on_turn)


def ask_once(
    client: ModelClient, role: Role[A], origin: Origin, request: ChatRequest, on_turn: Callable[[Turn], None]
) -> Asked[A]:
    """Return an answer to one request that has no shorter form; see :func:`ask_role`."""
    return _ask(client, role, origin, request, {}, on_turn)


def _ask(
    client: ModelClient,
    role: Role[A],
    origin: Origin,
    request: ChatRequest,
    context: dict[str, Any],
    on_turn: Callable[[Turn], None],
) -> Asked[A]:
    opening, problems = request, ""
    for repair in range(_REPAIRS + 1):
        text, answer = _complete(client, role, origin, request, on_turn)
        parsed, problems = parse_answer(text, role.answer, {**context, "last": repair == _REPAIRS})
        on_turn(_turn(role, request, text, parsed, problems, answer.reply.model, answer.calls))
        if parsed is not None:
            client.keep(answer)
            return Asked(parsed, opening, text)
        request = request.continued(text[:_QUOTED], repair_text(problems, role.form.name))
    msg = f"{role.name}: no usable answer in {_REPAIRS + 1} tries: {' '.join(problems.split())}"
    raise UnreadableAnswerError(msg)


def _complete(
    client: ModelClient,
    role: Role[A],
    origin: Origin,
    request: ChatRequest,
    on_turn: Callable[[Turn], None],
) -> tuple[str, Any]:
    """Return an answer that was not cut; a cut one is never used, however complete it looks."""
    answer = client.ask(request, origin)
    if answer.reply.finish is not Finish.LENGTH:
        return answer.text, answer
    on_turn(_turn(role, request, answer.text, None, "cut at the output limit", answer.reply.model, answer.calls))
    answer = client.ask(request.with_limit(2 * request.max_tokens), origin)
    if answer.reply.finish is Finish.LENGTH:
        on_turn(_turn(role, request, answer.text, None, "cut again", answer.reply.model, answer.calls))
        msg = f"{role.name}: answer cut at {2 * request.max_tokens} tokens"
        raise TruncatedError(msg)
    return answer.text, answer


def _turn(
    role: Role[A],
    request: ChatRequest,
    text: str,
    parsed: A | None,
    problems: str,
    model: str,
    calls: tuple[Call, ...],
) -> Turn:
    values = parsed.model_dump(mode="json") if parsed is not None else None
    return Turn(role.name, request.messages, text, values, problems, model, calls)
