"""What every wire format shares: options that a model accepts, the meaning of statuses and error bodies, usage."""

from __future__ import annotations

import email.utils
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cellkey.llm.failures import (
    ContextTooLongError,
    CredentialsError,
    ModelNotFoundError,
    OptionUnsupportedError,
    QuotaError,
    RequestRejectedError,
    ServerFailedError,
    ThrottledError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from cellkey.errors import ServiceError
    from cellkey.llm.messages import ChatReply, ChatRequest, Usage
    from cellkey.llm.transport import HttpResponse

__all__ = [
    "Dialect",
    "WireFormat",
    "as_count",
    "dialect_of",
    "exhausted_wait",
    "failure_of",
    "json_body",
    "retry_after",
    "text_of",
]


_TRANSIENT = {408, 409, 425, 500, 502, 503, 504, *range(520, 530)}
_OPTIONS = (
    "temperature",
    "reasoning_effort",
    "reasoning",
    "text",
    "max_completion_tokens",
    "max_tokens",
    "response_format",
    "seed",
    "tool_choice",
    "tools",
)
_QUOTA = re.compile(r"quota|credit|billing|spend|insufficient[_ ]funds|balance", re.IGNORECASE)
_CONTEXT = re.compile(
    r"context[_ ](?:length|window)|maximum context|prompt is too long|too many (?:input )?tokens",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class WireFormat(Protocol):
    """Translates between values and the bodies of one API."""

    kind: str
    path: str

    def headers(self, key: SecretStr | None) -> dict[str, str | SecretStr]:
        """Return the headers of a request."""

    def body(self, request: ChatRequest, model: str, dialect: Dialect) -> dict[str, Any]:
        """Return the body of a request."""

    def usage(self, payload: Mapping[str, Any]) -> Usage:
        """Return the tokens that a body of status 200 reports, whether or not it holds an answer."""

    def read(self, payload: Mapping[str, Any], model: str) -> ChatReply:
        """Return the reply that a body of status 200 holds."""


def json_body(response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a response.

    Raises
    ------
    ServerFailedError
        If the body is HTML, cut, or any other thing than a JSON object.
    """
    try:
        value = json.loads(response.body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        msg = f"status {response.status} with a body that is not JSON ({len(response.body)} bytes)"
        raise ServerFailedError(msg) from None
    if not isinstance(value, dict):
        msg = f"status {response.status} with a JSON {type(value).__name__} where an object is due"
        raise ServerFailedError(msg)
    return value


def failure_of(response: HttpResponse, now: float) -> ServiceError:
    """Return the failure that a response of status other than 200 stands for.

    Parameters
    ----------
    response
        The response.
    now
        Wall time in seconds, for waits given as dates.
    """
    status = response.status
    message, code, param = _error_fields(response)
    text = f"status {status}: {message}" if message else f"status {status}"
    described = f"{code} {message}"
    if status in (401, 403):
        return CredentialsError(text)
    if status == 402 or (status == 429 and _QUOTA.search(described)):
        return QuotaError(text)
    if status == 429:
        return ThrottledError(text, retry_after(response.headers, now))
    if status in _TRANSIENT:
        return ServerFailedError(text, retry_after(response.headers, now))
    if status == 404:
        return ModelNotFoundError(text)
    if status in (400, 413, 422) and _CONTEXT.search(described):
        return ContextTooLongError(text)
    if status in (400, 422):
        option = _named_option(message, param)
        if option:
            return OptionUnsupportedError(text, option)
    return RequestRejectedError(text)


def _error_fields(response: HttpResponse) -> tuple[str, str, str]:
    """Message, code and parameter of an error body of any of the usual forms."""
    try:
        value = json.loads(response.body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return "", "", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, str):
        return error[:500], "", ""
    if not isinstance(error, dict):
        return "", "", ""
    code = f"{error.get('type') or ''} {error.get('code') or ''}"
    return text_of(error.get("message"))[:500], code, text_of(error.get("param"))


def _named_option(message: str, param: str) -> str:
    head = re.split(r"[.\[]", param)[0]
    if head in _OPTIONS:
        return head
    words = [o for o in _OPTIONS if o != "text"]  # which messages speak of in another sense
    named = [(match.start(), option) for option in words if (match := re.search(rf"\b{option}\b", message))]
    return min(named)[1] if named else ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the service asks to wait, from any of the usual headers; None if it says nothing."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    waits = [_wait_text(headers.get("retry-after", ""), now), exhausted_wait(headers, now, unknown="0")]
    known = [w for w in waits if w is not None]
    return max(known) if known else None


def exhausted_wait(headers: Mapping[str, str], now: float, unknown: str = "1") -> float | None:
    """Return the seconds until all quota windows that have nothing left are reset; None if there is none.

    Parameters
    ----------
    headers
        Of a response.
    now
        Wall time in seconds.
    unknown
        What is taken to be left in a window for which no header says it.
    """
    waits = []
    for name, value in headers.items():
        match = re.fullmatch(r"(x|anthropic)-ratelimit-(?:reset-([\w-]+)|([\w-]+)-reset|reset)", name)
        if match is None:
            continue
        what = match[2] or match[3]
        remaining = headers.get(
            f"{match[1]}-ratelimit-remaining-{what}",
            headers.get(
                f"{match[1]}-ratelimit-{what}-remaining", headers.get(f"{match[1]}-ratelimit-remaining", unknown)
            ),
        )
        if (_number(remaining) or 0) <= 0:
            waits.append(_wait_text(value, now))
    known = [w for w in waits if w is not None]
    return max(known) if known else None


def _wait_text(text: str, now: float) -> float | None:
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number > 1e11:  # milliseconds since 1970
            return max(number / 1000 - now, 0.0)
        return max(number - now, 0.0) if number > 1e8 else max(number, 0.0)
    parts = _DURATION.findall(text)
    if parts and "".join(a + b for a, b in parts) == text:
        return sum(float(value) * _UNIT_SECONDS[unit] for value, unit in parts)
    return _date_wait(text, now)


def _date_wait(text: str, now: float) -> float | None:
    from datetime import UTC, datetime

    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment.timestamp() - now, 0.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None


def as_count(value: Any) -> int:
    """Return a token count as a non-negative integer, whatever the service sent (null, text, float)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    number = _number(str(value))
    return max(int(number), 0) if number is not None else 0


def text_of(value: Any) -> str:
    """Return ``value`` if it is text, else an empty string; half characters, which no file can hold, become ``?``."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


_FIXED_SAMPLING = re.compile(r"(?:^|/)(?:o[1-9](?:-|$)|gpt-5(?!-chat))")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Options of a request that a model understands.

    Parameters
    ----------
    limit_name
        Name of the output limit: older and compatible servers know ``max_tokens`` only.
    temperature, seed
        Whether the option may be sent.
    structured
        How the form of the answer is asked for: by schema, as any JSON object, or in words only.
    thinks
        Whether hidden reasoning counts against the output limit, which then is four times as high.
    effort
        How hard the model is asked to think; None says nothing about it.
    """

    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True
    structured: Literal["schema", "object", "words"] = "schema"
    thinks: bool = False
    effort: str | None = None

    def without(self, option: str) -> Dialect | None:
        """Return the dialect that avoids ``option``, or None if it cannot be avoided any further."""
        if option == "temperature" and self.temperature:
            return replace(self, temperature=False)
        if option == "seed" and self.seed:
            return replace(self, seed=False)
        if option == "max_tokens" and self.limit_name == "max_tokens":
            return replace(self, limit_name="max_completion_tokens")
        if option == "max_completion_tokens" and self.limit_name == "max_completion_tokens":
            return replace(self, limit_name="max_tokens")
        if option in ("reasoning_effort", "reasoning") and self.effort is not None:
            return replace(self, effort=None)
        if option in ("response_format", "text", "tools", "tool_choice") and self.structured != "words":
            weaker: Literal["object", "words"] = (
                "object" if option in ("response_format", "text") and self.structured == "schema" else "words"
            )
            return replace(self, structured=weaker)
        return None


def dialect_of(model: str, effort: str | None = None) -> Dialect:
    """Return what is known beforehand about a model that shall think with some effort."""
    if _FIXED_SAMPLING.search(model):
        return Dialect(limit_name="max_completion_tokens", temperature=False, thinks=True, effort=effort)
    return Dialect(thinks=effort is not None, effort=effort)
