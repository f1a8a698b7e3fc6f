"""From settings to a client: the one place where provider, model, key, limits and files are put together and tried."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from cellkey.errors import CellkeyError, InputError
from cellkey.llm.accounting import PriceTable
from cellkey.llm.cache import AnswerCache, default_cache_file
from cellkey.llm.client import ModelClient
from cellkey.llm.journal import Journal
from cellkey.llm.lane import Lane
from cellkey.llm.providers import PROVIDERS, Provider, provider_from
from cellkey.llm.retry import RetryPolicy
from cellkey.llm.transport import LiveTransport, RecordedTransport, Timeouts, Transport, is_loopback
from cellkey.parameters import Parameters

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cellkey.errors import ServiceError
    from cellkey.llm.accounting import Price
    from cellkey.llm.budget import Budget

__all__ = ["SCRIPTED", "ClientTeam", "ModelSettings", "check_model", "open_client"]


SCRIPTED = "scripted"
"""Name of the provider that is no service at all: rules in this process, for trying things out."""


class ModelSettings(Parameters):
    """Which model is asked, and how. Holds names of files with keys, never keys, so it can go into records."""

    provider: str = Field(default="openai", description="name of a provider, a base URL, or 'scripted'")
    model: str = Field(default="gpt-4o-2024-08-06", description="name of the model at the provider")
    base_url: str | None = Field(default=None, description="address that replaces the provider's own")
    api_keys: str | None = Field(default=None, description="private JSON file of keys")
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = Field(
        default=None, description="how hard a reasoning model shall think; None leaves it to the model"
    )
    timeout: float = Field(
        default=120.0,
        gt=0,
        description="seconds without a byte before a call is given up; five times as many at medium or high effort",
    )
    retries: int = Field(default=5, ge=0, le=50, description="repeated attempts of a call")
    max_workers: int = Field(default=4, ge=1, le=256, description="calls at once")
    requests_per_minute: int | None = Field(default=None, ge=1, description="limit; None for none")
    tokens_per_minute: int | None = Field(default=None, ge=1, description="limit; None for none")
    cache: Literal["on", "off", "readonly"] = Field(default="on", description="answers kept between runs")
    cache_file: str | None = Field(default=None, description="file of the cache; None for the user's own")
    input_cost: float | None = Field(default=None, ge=0, description="USD per million input tokens")
    output_cost: float | None = Field(default=None, ge=0, description="USD per million output tokens")
    score_model: str | None = Field(default=None, description="[PROVIDER:]MODEL that scores; None for the same")
    boost_model: str | None = Field(default=None, description="[PROVIDER:]MODEL that boosts; None for the same")
    merge_model: str | None = Field(default=None, description="[PROVIDER:]MODEL that groups; None for the same")
    other_models: tuple[str, ...] = Field(
        default=(), description="[PROVIDER:]MODEL of each further model that compares candidates"
    )
    price_file: str | None = Field(default=None, description="JSON file of prices by model")
    record: str | None = Field(default=None, description="file that exchanges are recorded to")
    replay: str | None = Field(default=None, description="recording that answers instead of the service")

    @property
    def timeouts(self) -> Timeouts:
        """Patience with one call. A model that thinks sends nothing meanwhile."""
        read = self.timeout * (5 if self.reasoning_effort in ("medium", "high") else 1)
        return Timeouts(10.0, read, 5 * read / 2)

    @property
    def prices(self) -> PriceTable:
        """Prices under these settings."""
        return PriceTable(self.price_file, self.input_cost, self.output_cost)

    @property
    def is_local(self) -> bool:
        """Whether the model runs on this machine, where tokens cost nothing."""
        if self.provider == SCRIPTED:
            return True
        kind = PROVIDERS.get(self.provider)
        named = (os.environ.get(kind.url_variable, "") or kind.base_url) if kind is not None else self.provider
        return is_loopback(self.base_url or named)

    def for_role(self, role: str) -> ModelSettings:
        """Return the settings of the model that plays ``role``; these ones where none is named for it.

        A model without a provider is one of the same provider.
        """
        field = _FIELD_OF_ROLE.get(role)
        named: str | None = getattr(self, field) if field is not None else None
        return self if named is None else self.with_model(named)

    def with_model(self, named: str) -> ModelSettings:
        """Return the settings of the model ``[PROVIDER:]MODEL``, alone."""
        provider, _, model = named.partition(":")
        alone: dict[str, Any] = {**dict.fromkeys(_FIELD_OF_ROLE.values()), "other_models": ()}
        if model and (provider in PROVIDERS or provider == SCRIPTED):
            return self.updated(provider=provider, model=model, base_url=None, **alone)
        return self.updated(model=named, **alone)

    def price_of(self, role: str = "") -> Price:
        """Return the price of the model that plays ``role``."""
        player = self.for_role(role)
        return player.prices.price(player.model, is_local=player.is_local)

    def price_by_model(self) -> dict[str, Price]:
        """Return the price of every model that takes part."""
        taking_part = [self, *map(self.for_role, _FIELD_OF_ROLE), *map(self.with_model, self.other_models)]
        return {s.model: s.price_of() for s in taking_part}


_FIELD_OF_ROLE = {"scorer": "score_model", "booster": "boost_model", "merger": "merge_model"}


@dataclass(frozen=True)
class _Service:
    provider: Provider
    transport: Transport


def open_client(
    settings: ModelSettings,
    *,
    journal: Journal | str | Path | None = None,
    budget: Budget | None = None,
    key: str | SecretStr | None = None,
) -> ModelClient:
    """Return a client for ``settings``; the caller closes it.

    Parameters
    ----------
    settings
        Provider, model, limits.
    journal
        File of calls and answers, continued if it exists, or a journal that other clients write, too.
    budget
        Limit that is shared with other clients.
    key
        Key that replaces environment and file.

    Raises
    ------
    InputError
        If the provider, its address or its key cannot be used.
    """
    service = _service(settings, key)
    cache = None
    if settings.cache != "off" and settings.provider != SCRIPTED:
        file = Path(settings.cache_file) if settings.cache_file else default_cache_file()
        cache = AnswerCache(file, read_only=settings.cache == "readonly")
    lane = Lane(settings.max_workers, settings.requests_per_minute, settings.tokens_per_minute)
    return ModelClient(
        service.provider,
        settings.model,
        service.transport,
        journal=journal if isinstance(journal, Journal) else Journal(journal),
        cache=cache,
        budget=budget,
        lane=lane,
        retry=RetryPolicy(retries=settings.retries),
        timeouts=settings.timeouts,
        prices=settings.prices,
    )


class ClientTeam:
    """The clients of a run: one for all roles, others where a role has a model of its own, and those that compare.

    They share one journal and one budget; all are closed at the end of a ``with`` block.

    Parameters
    ----------
    settings
        Provider, model, limits, models of single roles.
    journal
        File of calls and answers, continued if it exists.
    budget
        Limit of the whole run.

    Raises
    ------
    InputError
        If a provider, its address or its key cannot be used.
    """

    def __init__(
        self, settings: ModelSettings, *, journal: str | Path | None = None, budget: Budget | None = None
    ) -> None:
        self.settings = settings
        self.journal = Journal(journal)
        self._budget = budget
        self.main = open_client(settings, journal=self.journal, budget=budget)
        self.roles: dict[str, ModelClient] = {}
        self.others: list[ModelClient] = []
        try:
            for role, field in _FIELD_OF_ROLE.items():
                if getattr(settings, field) is not None:
                    self.roles[role] = open_client(settings.for_role(role), journal=self.journal, budget=budget)
            for named in settings.other_models:
                self.others.append(open_client(settings.with_model(named), journal=self.journal, budget=budget))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
        if self._budget is not None:
            self._budget.close()

    @property
    def clients(self) -> tuple[ModelClient, ...]:
        """All clients."""
        return (self.main, *self.roles.values(), *self.others)

    @property
    def stopped(self) -> ServiceError | None:
        """The failure after which a client made no further call, if there was one."""
        return next((c.stopped for c in self.clients if c.stopped is not None), None)

    def probe(self) -> None:
        """Try every model with one tiny call, unless no service is asked.

        Raises
        ------
        ServiceError
            If a service cannot be used.
        """
        if self.settings.replay:
            return
        for client in self.clients:
            if client.provider.name != SCRIPTED:
                client.probe()

    def close(self) -> None:
        """Close all clients."""
        for client in self.clients:
            client.close()


def _service(settings: ModelSettings, key: str | SecretStr | None) -> _Service:
    if settings.provider == SCRIPTED:
        from cellkey.testing.scripted_model import scripted_transport

        provider = provider_from("custom", base_url="http://127.0.0.1:9/v1", environment={})
        return _Service(replace(provider, name=SCRIPTED), scripted_transport())
    if settings.record and settings.replay:
        msg = "either record exchanges or replay them, not both"
        raise InputError(msg)
    url, effort = settings.base_url, settings.reasoning_effort
    if settings.replay:
        provider = provider_from(settings.provider, base_url=url, key=key or "none", effort=effort)
        return _Service(provider, RecordedTransport(settings.replay))
    provider = provider_from(settings.provider, base_url=url, key=key, key_file=settings.api_keys, effort=effort)
    live = LiveTransport(settings.max_workers)
    return _Service(provider, RecordedTransport(settings.record, live) if settings.record else live)


def check_model(settings: ModelSettings, *, probe: bool = True) -> list[tuple[str, bool, str]]:
    """Return what is needed for asking a model, whether it is there, and what was found; keys are never shown.

    Parameters
    ----------
    settings
        Provider, model, key file.
    probe
        Whether one tiny call is made, which may cost a fraction of a cent.
    """
    rows = [_terms(), _writable("cache of answers", default_cache_file().parent)]
    try:
        team = ClientTeam(settings.updated(cache="off"))
    except CellkeyError as error:
        return [*rows, ("provider and key", False, str(error))]
    with team:
        provider = team.main.provider
        key = "a key was found" if provider.key is not None else "no key, which this address does not need"
        rows.append(("provider and key", True, f"{provider.name} at {provider.host}; {key}"))
        price = team.main.price
        shown = f"${price.input_per_million:g}/M in, ${price.output_per_million:g}/M out ({price.source})"
        rows.append(("price", price.is_known, shown))
        if probe and provider.name != SCRIPTED:
            rows.append(_answer(team))
    return rows


def _answer(team: ClientTeam) -> tuple[str, bool, str]:
    begun = time.monotonic()
    try:
        reply = team.main.probe()
    except CellkeyError as error:
        return "answer", False, str(error)
    return "answer", True, f"{reply.model} answered in {time.monotonic() - begun:.1f} s"


def _terms() -> tuple[str, bool, str]:
    from cellkey.hierarchy.ontology import bundled_ontology

    ontology = bundled_ontology()
    return "Cell Ontology", len(ontology) > 0, f"{len(ontology)} terms, release {ontology.version}"


def _writable(what: str, folder: Path) -> tuple[str, bool, str]:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    good = os.access(there, os.W_OK)
    return what, good, str(folder) if good else f"{there} cannot be written; CELLKEY_CACHE_DIR names another folder"
