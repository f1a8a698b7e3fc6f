"""Ways in which a service can fail, and what its responses and answers then look like."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from cellkey.testing.scripted_model import SeenRequest

__all__ = ["ANSWER_FAULTS", "REFUSALS", "Fault", "FaultPlan", "every_nth"]


class Fault(StrEnum):
    """Ways in which a request can go wrong."""

    THROTTLED = "429 without Retry-After"
    THROTTLED_SECONDS = "429 with Retry-After in seconds"
    THROTTLED_DATE = "429 with Retry-After as a date"
    QUOTA = "429 whose code speaks of quota"
    PAYMENT = "402"
    UNAUTHORISED = "401"
    NO_MODEL = "404 for the model"
    SERVER_ERROR = "500"
    OVERLOADED = "529"
    UNSUPPORTED_OPTION = "400 for an option"
    TOO_LONG = "400 for a prompt that is too long"
    SLOW = "the answer after a while"
    SILENT = "a connection that stays open and says nothing"
    DRIP = "one byte now and then"
    RESET = "connection reset"
    HTML = "200 with HTML"
    CUT_BODY = "200 with a body shorter than announced"
    BROKEN_JSON = "200 with half a JSON document"
    ERROR_OBJECT = "200 with an error object"
    NULL_CONTENT = "content null"
    EMPTY_CONTENT = "content of blanks"
    PROSE = "prose instead of JSON"
    CUT_ANSWER = "an answer cut at the output limit"
    FENCED = "JSON in a fence with text around"
    SLOPPY = "JSON with trailing commas, single quotes and raw line ends"
    NULL_LABELS = "null where labels are due"
    TEXT_FOR_LIST = "text where lists are due"
    PLACEHOLDERS = "placeholders where labels are due"
    WRONG_CLUSTER = "another cluster's identifier"
    REFUSED = "a refusal"
    NO_USAGE = "no token counts"


FaultPlan = Callable[[SeenRequest, int], Fault | None]
"""Decides about a request from its content and from how often its role has been asked before (from 1)."""


def every_nth(n: int, *faults: Fault) -> FaultPlan:
    """Return a plan under which every ``n``-th call of every role fails, with the faults in turn."""
    turns = itertools.cycle(faults)

    def plan(_request: SeenRequest, number: int) -> Fault | None:
        return next(turns) if number % n == 0 else None

    return plan


Refusal = tuple[int, dict[str, Any], dict[str, str]]


def _error(message: str, code: str = "", param: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": code or "error", "code": code or None, "param": param}


def _date_in(seconds: float) -> str:
    from email.utils import formatdate

    return formatdate(time.time() + seconds, usegmt=True)


def _unsupported(request: SeenRequest) -> Refusal:
    """Complain about the first option of the request that can be left out."""
    options = ("reasoning", "reasoning_effort", "temperature", "seed", "response_format", "text", "tools")
    for option in (*options, "max_tokens", "max_completion_tokens"):
        if option in request.body:
            return 400, _error(f"Unsupported parameter: '{option}'", "unsupported_parameter", option), {}
    return 400, _error("bad request"), {}


REFUSALS: dict[Fault | None, Callable[[SeenRequest], Refusal]] = {
    Fault.THROTTLED: lambda _r: (429, _error("slow down", "rate_limit_exceeded"), {}),
    Fault.THROTTLED_SECONDS: lambda _r: (
        429,
        _error("slow down", "rate_limit_exceeded"),
        {"retry-after": "2"},
    ),
    Fault.THROTTLED_DATE: lambda _r: (429, _error("slow down"), {"retry-after": _date_in(3)}),
    Fault.QUOTA: lambda _r: (429, _error("You exceeded your current quota", "insufficient_quota"), {}),
    Fault.PAYMENT: lambda _r: (402, _error("Insufficient credits"), {}),
    Fault.UNAUTHORISED: lambda _r: (401, _error("Incorrect API key provided: sk-wrong-12345678"), {}),
    Fault.NO_MODEL: lambda r: (
        404,
        _error(f"The model {r.body.get('model')!r} does not exist", "model_not_found"),
        {},
    ),
    Fault.SERVER_ERROR: lambda _r: (500, _error("internal error"), {}),
    Fault.OVERLOADED: lambda _r: (529, _error("overloaded", "overloaded_error"), {}),
    Fault.UNSUPPORTED_OPTION: _unsupported,
    Fault.TOO_LONG: lambda _r: (
        400,
        _error("This model's maximum context length is 100 tokens", "context_length_exceeded"),
        {},
    ),
}


def _text(answer: dict[str, Any] | str) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


def _sloppy(answer: dict[str, Any] | str) -> str:
    text = _text(answer).replace('"evidence": "', '"evidence": "one\nand two; ')
    return text.replace("}", ",}").replace("{,}", "{}").replace('"cluster"', "'cluster'")


def _replace_labels(answer: dict[str, Any] | str, label: Any) -> dict[str, Any] | str:
    if not isinstance(answer, dict):
        return answer
    names = ("general_cell_type", "name", "broad", "detailed", "verdict", "score")
    spoilt: dict[str, Any] = _mapped(answer, lambda k, v: label if k in names else v)
    return spoilt


def _text_for_lists(answer: dict[str, Any] | str) -> dict[str, Any] | str:
    if not isinstance(answer, dict):
        return answer
    return {k: "CD3D, CD3E" if isinstance(v, list) else v for k, v in answer.items()}


def _other_cluster(answer: dict[str, Any] | str) -> dict[str, Any] | str:
    if not isinstance(answer, dict):
        return answer
    spoilt: dict[str, Any] = _mapped(answer, lambda k, v: f"{v}0" if k == "cluster" else v)
    return spoilt


def _mapped(value: Any, change: Callable[[str, Any], Any]) -> Any:
    if isinstance(value, dict):
        return {k: change(k, _mapped(v, change)) for k, v in value.items()}
    return [_mapped(v, change) for v in value] if isinstance(value, list) else value


ANSWER_FAULTS: dict[Fault | None, Callable[[dict[str, Any] | str], dict[str, Any] | str | None]] = {
    Fault.NULL_CONTENT: lambda _a: None,
    Fault.EMPTY_CONTENT: lambda _a: "  \n ",
    Fault.PROSE: lambda _a: "These cells are probably T cells, but {it is hard to say}.",
    Fault.CUT_ANSWER: lambda a: _text(a)[: len(_text(a)) // 2],
    Fault.FENCED: lambda a: f"Here it is:\r\n```JSON\r\n{_text(a)}\r\n```\r\nand an example: ```\nx\n```",
    Fault.SLOPPY: _sloppy,
    Fault.NULL_LABELS: lambda a: _replace_labels(a, None),
    Fault.TEXT_FOR_LIST: _text_for_lists,
    Fault.PLACEHOLDERS: lambda a: _replace_labels(a, "..."),
    Fault.WRONG_CLUSTER: _other_cluster,
    Fault.REFUSED: lambda _a: "I cannot help with that.",
}
