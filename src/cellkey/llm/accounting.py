"""What calls used and cost: one record per attempt, prices, and totals that equal the sum of the records."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellkey.errors import InputError
from cellkey.llm.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellkey.llm.messages import ChatReply, ChatRequest

__all__ = ["Call", "Exchange", "Origin", "Price", "PriceTable", "estimated_usage", "token_tracking"]


PriceSource = Literal["option", "user", "table", "provider", "local", "assumed"]

_ASSUMED = (1.25, 10.0)
"""USD per million input and output tokens that are assumed for a model without a known price."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP attempt, or one answer taken from the cache (``status`` is ``cached``, which is no call).

    ``cost`` is in USD; ``latency_s`` is the time of the attempt without waits; ``usage_source`` says whether
    the provider counted the tokens or we estimated them.
    """

    timestamp: str
    role: str
    model: str
    requested_model: str
    provider: str
    status: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0
    priced: bool = True
    dataset: str = ""
    tissue: str = ""
    cluster: str = ""
    attempt: int = 1
    repeat: int = 0
    latency_s: float = 0.0
    http_status: int = 0
    finish_reason: str = ""
    usage_source: str = "none"
    request_id: str = ""

    @property
    def is_hit(self) -> bool:
        """Whether the answer came from the cache."""
        return self.status == "cached"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Call:
        """Return the record that :func:`dataclasses.asdict` wrote, ignoring names of later versions."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens.

    Parameters
    ----------
    input_per_million, output_per_million
        Plain tokens.
    cached_per_million
        Input tokens read from the provider's prompt cache; None for the plain price.
    source
        Where the price comes from; ``assumed`` prices make totals incomplete.
    """

    input_per_million: float
    output_per_million: float
    cached_per_million: float | None = None
    source: PriceSource = "table"

    @property
    def is_known(self) -> bool:
        """Whether money computed with this price may be shown as known."""
        return self.source != "assumed"

    def cost(self, usage: Usage) -> float:
        """Return USD for ``usage``; what the provider reports wins."""
        if usage.cost is not None:
            return usage.cost
        cached_price = self.input_per_million if self.cached_per_million is None else self.cached_per_million
        plain = max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
        # Writing to the prompt cache is billed with a quarter on top of the plain input price.
        total = (
            plain * self.input_per_million
            + usage.cached_tokens * cached_price
            + usage.cache_write_tokens * 1.25 * self.input_per_million
            + usage.output_tokens * self.output_per_million
        )
        return total / 1e6

    def ceiling(self, input_tokens: int, output_tokens: int) -> float:
        """Return the most that a call with at most these tokens can cost."""
        return (input_tokens * 1.25 * self.input_per_million + output_tokens * self.output_per_million) / 1e6


class PriceTable:
    """Prices by model name: the bundled table, a file of the user on top, and options on top of both.

    Parameters
    ----------
    file
        JSON object of model names and ``{"input": ..., "output": ..., "cached": ...}`` in USD per million.
    input_per_million, output_per_million
        Options that override every table; both or none.
    """

    def __init__(
        self,
        file: str | Path | None = None,
        input_per_million: float | None = None,
        output_per_million: float | None = None,
    ) -> None:
        self._tables: list[tuple[PriceSource, Mapping[str, Any]]] = [("table", _bundled_prices())]
        if file is not None:
            self._tables.insert(0, ("user", _read_prices(Path(file))))
        self._option = (input_per_million, output_per_million)

    def price(self, model: str, *, is_local: bool = False) -> Price:
        """Return the price of ``model``; models on this machine are free."""
        given_in, given_out = self._option
        if given_in is not None or given_out is not None:
            return Price(given_in or 0.0, given_out or 0.0, source="option")
        for source, table in self._tables:
            if source == "table" and is_local:
                return Price(0.0, 0.0, source="local")
            entry = _entry(table, model)
            if entry is not None:
                return Price(float(entry["input"]), float(entry["output"]), entry.get("cached"), source)
        return Price(*_ASSUMED, source="assumed")


def _entry(table: Mapping[str, Any], model: str) -> Any:
    """Entry of a model: by name, without the vendor, or without the date at its end."""
    undated = re.sub(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)$", "", model)
    for name in (model, undated, model.split("/")[-1], undated.split("/")[-1]):
        if name in table:
            return table[name]
    return None


def _bundled_prices() -> Mapping[str, Any]:
    text = resources.files("cellkey.llm").joinpath("data/prices.json").read_text(encoding="utf-8")
    prices: Mapping[str, Any] = json.loads(text)["usd_per_million_tokens"]
    return prices


def _read_prices(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        checked = {
            str(k): {"input": float(v["input"]), "output": float(v["output"]), "cached": v.get("cached")}
            for k, v in values.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        msg = f'price file {path} must be a JSON object such as {{"model": {{"input": 1.25, "output": 10.0}}}}'
        raise InputError(msg) from None
    return checked


def token_tracking(
    calls: Iterable[Call],
    *,
    run: str,
    started_at: str,
    finished_at: str,
    prices: Mapping[str, Price] | None = None,
) -> dict[str, Any]:
    """Return the content of ``token_tracking.json``: totals, splits and every call in order of time.

    Parameters
    ----------
    calls
        Records of all processes of a run, cached answers included; those are counted apart.
    run
        Name of the run directory.
    started_at, finished_at
        ISO 8601 times.
    prices
        Prices that were used, by model.
    """
    records = list(calls)
    real = sorted((c for c in records if not c.is_hit), key=lambda c: (c.timestamp, c.dataset, c.cluster))
    totals = _totals(real)
    return {
        "schema": "token-tracking/1",
        "run": run,
        "started_at": started_at,
        "finished_at": finished_at,
        "total_calls": totals["calls"],
        "total_input_tokens": totals["input_tokens"],
        "total_output_tokens": totals["output_tokens"],
        "total_tokens": totals["input_tokens"] + totals["output_tokens"],
        "total_cached_tokens": sum(c.cached_tokens for c in real),
        "total_reasoning_tokens": sum(c.reasoning_tokens for c in real),
        "total_cost": totals["cost"],
        "cost_complete": all(c.priced for c in real),
        "currency": "USD",
        "unpriced_calls": sum(not c.priced for c in real),
        "prices": {
            model: {
                "input_per_million": p.input_per_million,
                "output_per_million": p.output_per_million,
                "source": p.source,
            }
            for model, p in sorted((prices or {}).items())
        },
        "failed_calls": sum(c.status != "ok" for c in real),
        "cache_hits": sum(c.is_hit for c in records),
        "by_role": _split(real, "role"),
        "by_model": _split(real, "model"),
        "by_dataset": _split(real, "dataset"),
        "api_calls": [asdict(c) for c in real],
    }


def _totals(calls: Iterable[Call]) -> dict[str, Any]:
    calls = list(calls)
    return {
        "calls": len(calls),
        "input_tokens": sum(c.input_tokens for c in calls),
        "output_tokens": sum(c.output_tokens for c in calls),
        "cost": sum(c.cost for c in calls),
    }


def _split(calls: Iterable[Call], name: str) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Call]] = {}
    for call in calls:
        groups.setdefault(getattr(call, name), []).append(call)
    return {key: _totals(members) for key, members in sorted(groups.items())}


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
