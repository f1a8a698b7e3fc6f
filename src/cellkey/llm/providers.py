"""Where models are served: address, wire format, and where the key is found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from cellkey.errors import InputError, did_you_mean
from cellkey.llm.anthropic_messages import AnthropicMessages
from cellkey.llm.chat_completions import ChatCompletions, OpenRouterCompletions
from cellkey.llm.credentials import find_key
from cellkey.llm.openai_responses import OpenAIResponses
from cellkey.llm.transport import is_loopback, shown_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.llm.wire import WireFormat

__all__ = ["PROVIDERS", "Provider", "ProviderKind", "provider_from"]


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A kind of service that can be named by one word."""

    name: str
    wire: type[WireFormat]
    base_url: str
    key_variables: tuple[str, ...] = ()
    key_fields: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def url_variable(self) -> str:
        """Environment variable that stands in for the address."""
        return f"{self.name.upper()}_BASE_URL"


def _kind(
    name: str,
    base_url: str,
    meaning: str,
    wire: type[WireFormat] = ChatCompletions,
    more_variables: tuple[str, ...] = (),
) -> ProviderKind:
    variables = (f"{name.upper()}_API_KEY", *more_variables)
    return ProviderKind(name, wire, base_url, variables, (f"{name}_api_key", name), meaning)


PROVIDERS: Mapping[str, ProviderKind] = {
    kind.name: kind
    for kind in (
        _kind("openai", "https://api.openai.com/v1", "OpenAI"),
        _kind("anthropic", "https://api.anthropic.com/v1", "Anthropic", AnthropicMessages),
        _kind(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OpenRouter; models are named vendor/model",
            OpenRouterCompletions,
        ),
        _kind("ollama", "http://127.0.0.1:11434/v1", "Ollama on this machine"),
        _kind("vllm", "http://127.0.0.1:8000/v1", "a vLLM server on this machine"),
        _kind("llamacpp", "http://127.0.0.1:8080/v1", "a llama.cpp server on this machine"),
        _kind(
            "custom",
            "",
            "any server that speaks chat completions; needs a base URL",
            more_variables=("CUSTOMIZED_API_KEY",),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Provider:
    """One service as it will be used, and how hard its model shall think. No text made of this value shows the key."""

    name: str
    base_url: str
    wire: WireFormat = field(repr=False)
    key: SecretStr | None = None
    effort: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the service runs on this machine, where tokens cost nothing."""
        return is_loopback(self.base_url)

    @property
    def host(self) -> str:
        """Host and port, without credentials; part of the cache key."""
        return urlsplit(shown_url(self.base_url)).netloc

    def address(self, path: str) -> str:
        """Return the full address of ``path``."""
        return self.base_url.rstrip("/") + path


def provider_from(
    name: str,
    *,
    base_url: str | None = None,
    key: str | SecretStr | None = None,
    key_file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    effort: str | None = None,
) -> Provider:
    """Return the service called ``name``.

    Parameters
    ----------
    name
        A name of :data:`PROVIDERS`, or the base URL of a server that speaks chat completions.
    base_url
        Overrides the address of the kind and the environment (``OPENAI_BASE_URL`` and the like).
    key, key_file, environment
        See :func:`cellkey.llm.credentials.find_key`. Only the key of this service is read.
    effort
        How hard a reasoning model shall think (``minimal`` to ``high``). With it ``openai`` is asked in its responses
        format; others get the option ``reasoning_effort``.

    Raises
    ------
    InputError
        If the name is unknown, the address is no http address, a key is needed and absent, or the service has no
        option for the effort.
    """
    key = SecretStr(key) if isinstance(key, str) else key  # no frame below holds it in the open
    variables = os.environ if environment is None else environment
    if "://" in name:
        base_url, name = name, "custom"
    kind = PROVIDERS.get(name)
    if kind is None:
        known = ", ".join(PROVIDERS)
        msg = f"unknown provider {name!r}{did_you_mean(name, PROVIDERS)}; known: {known}, or a base URL"
        raise InputError(msg)
    address = base_url or variables.get(kind.url_variable, "") or kind.base_url
    _check_address(address, name)
    found = find_key(kind.key_variables, given=key, file=key_file, environment=environment, fields=kind.key_fields)
    if found is None and not is_loopback(address) and kind.key_variables and name != "custom":
        msg = (
            f"no key for provider {name!r}: set {kind.key_variables[0]}, or name a private JSON file with "
            f"{kind.key_fields[0]!r}"
        )
        raise InputError(msg)
    if effort is not None and kind.wire is AnthropicMessages:
        msg = f"provider {name!r} has no option for the effort of reasoning: leave --reasoning-effort out"
        raise InputError(msg)
    wire = OpenAIResponses if effort is not None and name == "openai" else kind.wire
    return Provider(name, address.rstrip("/"), wire(), found, effort)


def _check_address(address: str, name: str) -> None:
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        shown = "(an address with credentials)" if "@" in address else address
        msg = f"provider {name!r} needs a base URL such as http://127.0.0.1:8000/v1; got {shown!r}"
        raise InputError(msg)
