"""Requests and replies as values, independent of the wire format of any provider."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

__all__ = ["AnswerForm", "ChatReply", "ChatRequest", "Finish", "Message", "Usage"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class AnswerForm:
    """The form an answer must take: a name with version (``annotation-1``) and a strict JSON schema."""

    name: str
    schema: dict[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """Hash of name and schema."""
        return hashlib.sha256(json.dumps([self.name, self.schema], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Everything about a question that can influence its answer, except the model.

    Parameters
    ----------
    system
        Standing instructions.
    messages
        Turns, starting with the user's; two turns of the same speaker never follow each other.
    form
        Form of the answer, or None for free text.
    max_tokens
        Upper limit of output tokens, thinking included.
    temperature, seed
        Sampling options; None leaves the model's default.
    repeat
        Index of a repeated run of the same question; part of the cache key, not sent.
    """

    system: str
    messages: tuple[Message, ...]
    form: AnswerForm | None = None
    max_tokens: int = 2048
    temperature: float | None = 0.0
    seed: int | None = None
    repeat: int = 0

    def continued(self, answer: str, reply: str) -> ChatRequest:
        """Return the request with the model's ``answer`` and our ``reply`` appended."""
        more = (Message("assistant", answer), Message("user", reply))
        return replace(self, messages=self.messages + more)

    def with_limit(self, max_tokens: int) -> ChatRequest:
        """Return the request with another output limit."""
        return replace(self, max_tokens=max_tokens)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    ``input_tokens`` counts everything read by the model, cached and newly cached tokens included;
    ``reasoning_tokens`` are part of ``output_tokens``. ``cost`` is in USD when the provider reports it.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    source: Literal["provider", "estimated", "none"] = "provider"


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """Answer of a model, whatever the wire format was."""

    text: str
    model: str
    usage: Usage
    finish: Finish = Finish.STOP
    request_id: str = ""
    fingerprint: str = ""
