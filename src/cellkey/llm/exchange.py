"""One attempt to get an answer: on whose behalf, what became known, and its record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cellkey.llm.accounting import Call
from cellkey.llm.messages import Usage

if TYPE_CHECKING:
    from cellkey.llm.accounting import Price
    from cellkey.llm.messages import ChatReply, ChatRequest

__all__ = ["Exchange", "Origin", "estimated_usage"]


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a question is asked; goes into the record of the call, never into the request."""

    role: str
    dataset: str = ""
    tissue: str = ""
    cluster: str = ""


class Exchange:
    """What becomes known about one attempt while it runs."""

    def __init__(self, request: ChatRequest, origin: Origin, attempt: int, started_at: str) -> None:
        self.request = request
        self.origin = origin
        self.attempt = attempt
        self.timestamp = started_at
        self.was_sent = False
        self.status = 0
        self.latency = 0.0
        self.usage = Usage(source="none")
        self.reply: ChatReply | None = None
        self.failure: BaseException | None = None

    def call(self, model: str, provider: str, price: Price) -> Call:
        """Return the record of the attempt."""
        usage, reply, origin = self.usage, self.reply, self.origin
        if usage.cost is not None:
            price = replace(price, source="provider")
        return Call(
            timestamp=self.timestamp,
            role=origin.role,
            model=reply.model if reply else model,
            requested_model=model,
            provider=provider,
            status="ok" if self.failure is None else _status_word(self.failure),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost=price.cost(usage),
            priced=price.is_known,
            dataset=origin.dataset,
            tissue=origin.tissue,
            cluster=origin.cluster,
            attempt=self.attempt,
            repeat=self.request.repeat,
            latency_s=round(self.latency, 4),
            http_status=self.status,
            finish_reason=str(reply.finish) if reply else "",
            usage_source=usage.source,
            request_id=reply.request_id if reply else "",
        )


def _status_word(failure: BaseException) -> str:
    """Class name of a failure as a word for tables: ``ThrottledError`` gives ``throttled``."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(failure).__name__.removesuffix("Error"))
    return words.strip("_")


def estimated_usage(request: ChatRequest, answer: str) -> Usage:
    """Return tokens by rule of thumb (four characters each), for services that do not count."""
    asked = len(request.system) + sum(len(m.text) for m in request.messages)
    return Usage(input_tokens=-(-asked // 4), output_tokens=-(-len(answer) // 4), source="estimated")
