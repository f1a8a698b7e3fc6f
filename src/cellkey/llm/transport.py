"""How bytes travel: live over HTTP, replayed from a recording, or made by a function.

Everything above sees :class:`Transport` only, so the whole room runs without a network.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from cellkey.errors import InputError, MissingDependencyError
from cellkey.llm.failures import ConnectionFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import httpx

__all__ = [
    "HttpRequest",
    "HttpResponse",
    "LiveTransport",
    "MockTransport",
    "RecordedTransport",
    "Timeouts",
    "Transport",
    "is_loopback",
    "shown_url",
]

_KEPT_HEADERS = ("content-type", "retry-after", "request-id", "x-request-id")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request. Header values that are keys stay wrapped until the bytes are sent."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str | SecretStr] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP response; header names are lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait.

    =========  ==================================================================================
    connect    for the connection, TLS included
    read       for the next byte
    total      for the whole exchange: beats a peer that sends one byte now and then
    =========  ==================================================================================
    """

    connect: float = 10.0
    read: float = 120.0
    total: float = 300.0

    def within(self, seconds: float) -> Timeouts:
        """Return the timeouts cut to ``seconds``, so that an exchange cannot outlive its deadline."""
        cap = max(seconds, 0.001)
        return Timeouts(min(self.connect, cap), min(self.read, cap), min(self.total, cap))


class Transport(Protocol):
    """Sends a request and returns the response, or raises :class:`ConnectionFailedError`."""

    def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        """Exchange one request."""

    def close(self) -> None:
        """Give back connections and files."""


def shown_url(url: str) -> str:
    """Return ``url`` without user name, password and query, for messages and records."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def is_loopback(url: str) -> bool:
    """Return whether the host part of ``url`` is this machine (not merely a text that mentions it)."""
    host = (urlsplit(url).hostname or "").casefold()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, however much it looks like an address
        return False
    return address.is_loopback or address.is_unspecified


class LiveTransport:
    """Real HTTP with one pooled client, shared by all threads.

    The exchanges run on one event loop in a thread of their own: that is what makes a hard limit on the whole
    exchange possible, from name resolution to the last byte, however slowly the peer drips.

    Parameters
    ----------
    max_connections
        Size of the pool; as many as there are workers.
    """

    def __init__(self, max_connections: int = 16) -> None:
        self._httpx = _import_httpx()
        self._loop = asyncio.new_event_loop()
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}
        self._max_connections = max_connections
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="cellkey-http", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        if self._closed:
            msg = "the connection pool is closed"
            raise ConnectionFailedError(msg)
        outcome: HttpResponse | str = self._run(self._exchange(request, timeouts))
        if isinstance(outcome, str):
            # Raised here, outside of any handler, so that no frame or context that holds headers travels
            # along.
            msg = f"{shown_url(request.url)}: {outcome}"
            raise ConnectionFailedError(msg)
        return outcome

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._run(self._close_clients())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close_clients(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, url: str) -> httpx.AsyncClient:
        """Return the client for ``url``; loopback addresses never go through a proxy."""
        scheme, local = urlsplit(url).scheme, is_loopback(url)
        if (scheme, local) not in self._clients:
            n = self._max_connections
            limits = self._httpx.Limits(max_connections=n, max_keepalive_connections=n, keepalive_expiry=60)
            # Loading certificates takes a tenth of a second, which plain http on this machine has no use for.
            verify = scheme != "http" or not local
            self._clients[scheme, local] = self._httpx.AsyncClient(limits=limits, trust_env=not local, verify=verify)
        return self._clients[scheme, local]

    async def _exchange(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse | str:
        try:
            async with asyncio.timeout(timeouts.total):
                response = await self._post(request, timeouts)
        except TimeoutError:
            return f"no complete answer within {timeouts.total:g} s"
        except self._httpx.TimeoutException as error:
            return f"timed out ({type(error).__name__})"
        except self._httpx.ConnectError as error:
            return f"no connection ({error}): does a server run at this address?"
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            return f"{type(error).__name__}: {error}".rstrip(": ")
        headers = {k.lower(): v for k, v in response.headers.items()}
        return HttpResponse(response.status_code, response.content, headers)

    async def _post(self, request: HttpRequest, timeouts: Timeouts) -> httpx.Response:
        client = self._client(request.url)
        limits = self._httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=timeouts.total)
        return await client.request(
            request.method,
            request.url,
            content=request.body,
            headers=_revealed(request.headers),
            timeout=limits,
        )


def _revealed(headers: Mapping[str, str | SecretStr]) -> dict[str, str]:
    return {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in headers.items()}


def _import_httpx() -> Any:
    try:
        import httpx
    except ImportError:
        package = "httpx"
        raise MissingDependencyError(package, "llm", "asking a language model") from None
    return httpx


class MockTransport:
    """A transport that is a function from request to response; for tests, demonstrations and dry runs."""

    def __init__(self, handler: Callable[[HttpRequest], HttpResponse]) -> None:
        self._handler = handler

    def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        return self._handler(request)

    def close(self) -> None:
        return None


class RecordedTransport:
    """Replays exchanges from a file; records them first when a live transport is given.

    The recording holds addresses, bodies and answers, never request headers, so it holds no key. Several
    answers to the same request are replayed in the order in which they came; the last one is repeated.

    Parameters
    ----------
    path
        JSON-lines file of exchanges.
    live
        Transport that answers what the recording does not hold. Without it, an unknown request is an error.
    """

    def __init__(self, path: str | Path, live: Transport | None = None) -> None:
        self._path = Path(path)
        self._live = live
        self._lock = threading.Lock()
        self._served: dict[str, int] = {}
        self._exchanges = self._read()

    def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        key = _fingerprint(request)
        with self._lock:
            stored = self._exchanges.get(key, [])
            position = self._served.get(key, 0)
            self._served[key] = position + 1
        if position < len(stored) or (stored and self._live is None):
            return _response(stored[min(position, len(stored) - 1)])
        if self._live is None:
            msg = f"{shown_url(request.url)}: the recording {self._path} holds no answer to this request"
            raise ConnectionFailedError(msg)
        response = self._live.send(request, timeouts)
        with self._lock:
            stored = [*stored, _stored(key, request, response)]
            self._exchanges[key] = stored
            self._append(stored[-1])
        return response

    def close(self) -> None:
        if self._live is not None:
            self._live.close()

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        if not self._path.exists():
            if self._live is not None:
                return {}
            msg = f"recording {self._path} does not exist"
            raise InputError(msg)
        exchanges: dict[str, list[dict[str, Any]]] = {}
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                stored = json.loads(line)
                exchanges.setdefault(stored["key"], []).append(stored)
            except (json.JSONDecodeError, KeyError, TypeError):
                msg = f"recording {self._path}, line {number}: not a JSON object with 'key'"
                raise InputError(msg) from None
        return exchanges

    def _append(self, stored: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(stored, ensure_ascii=False) + "\n")


def _fingerprint(request: HttpRequest) -> str:
    path = urlsplit(request.url).path.encode()
    return hashlib.sha256(b"\0".join((request.method.encode(), path, request.body))).hexdigest()


def _stored(key: str, request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    kept = {k: v for k, v in response.headers.items() if k in _KEPT_HEADERS}
    return {
        "key": key,
        "url": shown_url(request.url),
        "request": _as_text(request.body),
        "status": response.status,
        "headers": kept,
        "body": _as_text(response.body),
    }


def _as_text(body: bytes) -> str | dict[str, str]:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode("ascii")}


def _response(stored: Mapping[str, Any]) -> HttpResponse:
    body = stored["body"]
    content = base64.b64decode(body["base64"]) if isinstance(body, dict) else body.encode("utf-8")
    return HttpResponse(int(stored["status"]), content, dict(stored["headers"]))
