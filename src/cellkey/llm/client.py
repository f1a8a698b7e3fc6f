"""The one place where a question becomes calls: journal, cache, budget, lane, retries, and a record of each attempt."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from cellkey.errors import ServiceError, did_you_mean
from cellkey.llm.accounting import Call, Exchange, Origin, Price, PriceTable, estimated_usage
from cellkey.llm.budget import Budget
from cellkey.llm.cache import AnswerCache, request_key
from cellkey.llm.clock import Clock, SystemClock, timestamp
from cellkey.llm.credentials import redact, without_keys
from cellkey.llm.failures import (
    ContentRefusedError,
    EmptyAnswerError,
    ModelNotFoundError,
    OptionUnsupportedError,
    ServerFailedError,
    ThrottledError,
    ends_run,
    is_transient,
)
from cellkey.llm.journal import Journal
from cellkey.llm.lane import Lane, Passage
from cellkey.llm.messages import ChatReply, ChatRequest, Finish, Message
from cellkey.llm.retry import Attempt, RetryHook, RetryPolicy
from cellkey.llm.transport import HttpRequest, HttpResponse, Timeouts, Transport
from cellkey.llm.wire import Dialect, dialect_of, exhausted_wait, failure_of, json_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import SecretStr

    from cellkey.llm.providers import Provider

__all__ = ["Answer", "ModelClient", "Origin", "side_by_side"]

T = TypeVar("T")
R = TypeVar("R")

_MOST_ADAPTATIONS = 6
"""Options that may be left out for one question before it is given up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and the key of the request that it answers."""

    reply: ChatReply
    key: str
    calls: tuple[Call, ...] = ()

    @property
    def text(self) -> str:
        """Text of the reply."""
        return self.reply.text


class ModelClient:
    """Asks one model of one service; shared by all threads of a process.

    Parameters
    ----------
    provider, model
        The service and the name of the model there.
    transport
        How bytes travel; see :mod:`cellkey.llm.transport`.
    journal
        Durable record of calls and answers. Answers found there are used before anything is sent.
    cache
        Answers kept between runs; None for none.
    budget
        Limit that is checked before each call; None for none.
    lane
        Limits of concurrency and rate.
    retry, timeouts
        Patience.
    prices
        Where prices come from.
    clock
        Source of time.
    hooks
        Called before each wait, with the attempt that failed.
    """

    def __init__(
        self,
        provider: Provider,
        model: str,
        transport: Transport,
        *,
        journal: Journal | None = None,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
        lane: Lane | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        prices: PriceTable | None = None,
        clock: Clock | None = None,
        hooks: Iterable[RetryHook] = (),
    ) -> None:
        self.provider = provider
        self.model = model
        self.journal = journal if journal is not None else Journal()
        self.price: Price = (prices or PriceTable()).price(model, is_local=provider.is_local)
        self._transport = transport
        self._cache = cache
        self._budget = budget or Budget()
        self._clock = clock or SystemClock()
        self._lane = lane or Lane(clock=self._clock)
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or Timeouts()
        self._hooks = tuple(hooks)
        self._rng = random.Random(0)  # spreads waits, guards no secret
        self._dialect = dialect_of(model, provider.effort)
        self._lock = threading.Condition()  # notified when the client is stopped
        self._stopped: ServiceError | None = None

    def __repr__(self) -> str:
        return f"ModelClient({self.provider.name!r}, {self.model!r})"

    @property
    def keys(self) -> tuple[SecretStr | None, ...]:
        """Keys that must not show in any text."""
        return (self.provider.key,)

    @property
    def stopped(self) -> ServiceError | None:
        """The failure after which no further call is made, if there was one."""
        return self._stopped

    def stop(self, reason: ServiceError) -> None:
        """Make every further question fail with ``reason`` without sending anything."""
        with self._lock:
            self._stopped = self._stopped or reason
            self._lock.notify_all()

    def ask(self, request: ChatRequest, origin: Origin) -> Answer:
        """Return the model's answer.

        An answer cut at its limit is returned as it is (``reply.finish``), because only the caller knows
        whether a longer one is worth its price.

        Raises
        ------
        ServiceError
            When patience runs out or the failure is permanent; see :mod:`cellkey.llm.failures`.
        """
        key = request_key(request, self.provider, self.model)
        started = self._clock.elapsed()
        calls: list[Call] = []
        for number in range(self._retry.empty_answers + 1):
            reply = self._known(key, number, request, origin, calls)
            if reply is None:
                reply = self._fetch(request, key, origin, started, calls)
            if reply.finish is Finish.REFUSED:
                raise ContentRefusedError(self._clean(reply.text)[:300] or "the service declined to answer")
            if reply.text.strip() or reply.finish is Finish.LENGTH:
                return Answer(reply, key, tuple(calls))
        msg = f"{self._retry.empty_answers + 1} answers without text"
        raise EmptyAnswerError(msg)

    def keep(self, answer: Answer) -> None:
        """Store an answer that was found valid, for later runs."""
        if self._cache is not None:
            self._cache.put(answer.key, answer.reply)

    def probe(self) -> ChatReply:
        """Send one tiny request, to find out before any work whether key and model can be used.

        Where the address lacks the usual ``/v1``, it is added.

        Raises
        ------
        ServiceError
            If the service cannot be used; where it does not know the model, with those that it has.
        """
        request = ChatRequest("Answer with the word ready.", (Message("user", "Are you ready?"),), max_tokens=16)
        address = self.provider.base_url
        try:
            return self._fetch(request, "", Origin("probe"), self._clock.elapsed(), [])
        except ModelNotFoundError as error:
            if address.endswith("/v1"):
                raise self._with_models(error) from None
            self._stopped = None
            self.provider = replace(self.provider, base_url=f"{address}/v1")
            try:
                return self._fetch(request, "", Origin("probe"), self._clock.elapsed(), [])
            except ModelNotFoundError as again:
                raise self._with_models(again) from None

    def _with_models(self, error: ModelNotFoundError) -> ModelNotFoundError:
        """The error with the models that the service lists, nearest first, if it lists any."""
        headers = self.provider.wire.headers(self.provider.key)
        try:
            response = self._transport.send(
                HttpRequest(self.provider.address("/models"), headers=headers, method="GET"), self._timeouts.within(10)
            )
            listed = json_body(response).get("data") if response.status == 200 else None
        except ServiceError:
            listed = None
        names = [str(m["id"]) for m in listed or () if isinstance(m, dict) and m.get("id")]
        if not names:
            return error
        shown = ", ".join(sorted(names)[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
        return ModelNotFoundError(self._clean(f"{error}{did_you_mean(self.model, names)}; it has {shown}"))

    def close(self) -> None:
        """Close the connections, the journal and the cache."""
        self._transport.close()
        self.journal.close()
        if self._cache is not None:
            self._cache.close()

    def _known(
        self,
        key: str,
        number: int,
        request: ChatRequest,
        origin: Origin,
        calls: list[Call],
    ) -> ChatReply | None:
        """The answer this run had before, or one of an earlier run, which then is written to this run's journal."""
        reply = self.journal.reply(key, number)
        if reply is None and number == 0 and self._cache is not None:
            reply = self._cache.get(key)
            if reply is not None:
                hit = Call(
                    timestamp(self._clock.now()),
                    origin.role,
                    reply.model,
                    self.model,
                    self.provider.name,
                    "cached",
                    dataset=origin.dataset,
                    tissue=origin.tissue,
                    cluster=origin.cluster,
                    repeat=request.repeat,
                )
                self.journal.append(hit, key, reply)
                calls.append(hit)
        return reply

    def _fetch(
        self,
        request: ChatRequest,
        key: str,
        origin: Origin,
        started: float,
        calls: list[Call],
    ) -> ChatReply:
        """Send until there is an answer or patience runs out."""
        attempt = adaptations = 0
        while True:
            if self._stopped is not None:
                raise self._stopped
            dialect = self._dialect
            try:
                return self._attempt(request, key, origin, attempt, started, calls, dialect)
            except OptionUnsupportedError as error:
                adaptations += 1
                if adaptations > _MOST_ADAPTATIONS:
                    raise
                self._adapt(error, dialect)
                continue
            except ServiceError as error:
                if ends_run(error):
                    self.stop(error)
                if not is_transient(error):
                    raise
                self._pause(error, attempt, started)
            attempt += 1

    def _pause(self, failure: ServiceError, attempt: int, started: float) -> None:
        """Wait before the next attempt, or raise the failure when there is to be none."""
        asked = failure.wait if isinstance(failure, ThrottledError | ServerFailedError) else None
        with self._lock:
            wait = self._retry.wait(attempt, asked, self._rng)
        elapsed = self._clock.elapsed() - started
        if attempt >= self._retry.retries or elapsed + wait > self._retry.total:
            raise failure
        for hook in self._hooks:
            hook(Attempt(attempt, failure, wait, elapsed))
        with self._lock:
            if self._stopped is None:
                self._clock.wait(self._lock, wait)

    def _adapt(self, error: OptionUnsupportedError, used: Dialect) -> None:
        """Leave out the option that the model refuses, from now on; another thread may have done so."""
        with self._lock:
            if self._dialect != used:
                return
            weaker = used.without(error.option)
            if weaker is None:
                raise error
            self._dialect = weaker

    def _attempt(
        self,
        request: ChatRequest,
        key: str,
        origin: Origin,
        attempt: int,
        started: float,
        calls: list[Call],
        dialect: Dialect,
    ) -> ChatReply:
        body = json.dumps(self.provider.wire.body(request, self.model, dialect), ensure_ascii=False).encode("utf-8")
        most_out = request.max_tokens * (4 if dialect.thinks else 1)
        # A token is at least one byte of what is sent, hence the body's length bounds the input from above.
        reservation = self._budget.reserve(self.price.ceiling(len(body), most_out), len(body) + most_out)
        exchange = Exchange(request, origin, attempt + 1, timestamp(self._clock.now()))
        try:
            with self._lane.passage(len(body) // 4 + request.max_tokens // 2) as passage:
                reply = self._send(body, exchange, passage, started)
        finally:
            call = exchange.call(self.model, self.provider.name, self.price)
            self._budget.settle(reservation, call.cost, call.input_tokens + call.output_tokens)
            if exchange.was_sent:
                self.journal.append(call, key, exchange.reply)
                calls.append(call)
        return reply

    def _send(self, body: bytes, exchange: Exchange, passage: Passage, started: float) -> ChatReply:
        if self._stopped is not None:  # the run was ended while this call waited for its turn
            raise self._stopped
        wire = self.provider.wire
        http = HttpRequest(self.provider.address(wire.path), body, wire.headers(self.provider.key))
        remaining = self._retry.total - (self._clock.elapsed() - started)
        if remaining <= 0:
            msg = f"no turn within {self._retry.total:g} s: the service keeps all calls waiting"
            raise ThrottledError(msg)
        begun = self._clock.elapsed()
        exchange.was_sent = True
        try:
            response = self._transport.send(http, self._timeouts.within(remaining))
            exchange.status = response.status
            reply = self._read(response, exchange)
        except ServiceError as error:
            exchange.failure = error
            if isinstance(error, ThrottledError):
                # A pause longer than our patience would only make the other calls wait for their own end.
                self._lane.throttled(passage, error.wait if (error.wait or 0) <= self._retry.total else None)
            raise self._redacted(error) from None
        finally:
            exchange.latency = self._clock.elapsed() - begun
        usage = reply.usage
        self._lane.succeeded(passage, usage.input_tokens + usage.output_tokens)
        rest = exhausted_wait(response.headers, self._clock.now())
        if rest:  # this was the last call that the account allows for now: better to wait than to be refused
            self._lane.hold(min(rest, self._retry.max_wait))
        return reply

    def _read(self, response: HttpResponse, exchange: Exchange) -> ChatReply:
        if response.status != 200:
            raise failure_of(response, self._clock.now())
        payload = json_body(response)
        exchange.usage = self.provider.wire.usage(payload)
        reply = self.provider.wire.read(payload, self.model)
        reply = replace(reply, text=without_keys(reply.text, self.keys))  # some gateways repeat what they were sent
        if reply.usage.source == "none":
            reply = replace(reply, usage=estimated_usage(exchange.request, reply.text))
            exchange.usage = reply.usage
        exchange.reply = reply
        return reply

    def _redacted(self, error: ServiceError) -> ServiceError:
        error.args = (self._clean(str(error)), *error.args[1:])
        return error

    def _clean(self, text: str) -> str:
        return redact(text, self.keys)


def side_by_side(
    work: Callable[[T], R], items: Sequence[T], workers: int, clients: Iterable[ModelClient]
) -> list[R]:
    """Return ``work(item)`` of every item, in order, from several threads at once.

    After an interrupt nothing further is sent: calls that are under way come home and are recorded, no more.
    """
    with ThreadPoolExecutor(max_workers=max(workers, 1), thread_name_prefix="cellkey-llm") as pool:
        try:
            return list(pool.map(work, items))
        except KeyboardInterrupt:
            for client in clients:
                client.stop(ServiceError("interrupted"))
            raise
