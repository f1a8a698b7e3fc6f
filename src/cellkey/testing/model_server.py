"""A language-model server on this machine that answers by rules, breaks on demand, and counts what it served.

It speaks chat completions, OpenAI's responses and Anthropic's messages over real sockets with keep-alive, so that
everything between a client and the wire is tested: time limits, resets, reuse of connections, cut bodies.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from cellkey.testing.faults import ANSWER_FAULTS, REFUSALS, Fault, FaultPlan, every_nth
from cellkey.testing.scripted_model import ScriptedModel, SeenRequest, read_request
from cellkey.testing.wire_answers import answer_body

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fault", "FaultPlan", "ModelServer", "Served", "every_nth"]


@dataclass(frozen=True, slots=True)
class Served:
    """One request as the server remembers it.

    ``reported`` says whether the response told the client about its tokens in a readable form.
    """

    role: str
    cluster: str
    fault: Fault | None
    status: int
    input_tokens: int
    output_tokens: int
    reported: bool
    connection: int
    text: str
    time: float


class ModelServer:
    """Serves on a free port of 127.0.0.1 from ``with`` until its end.

    Parameters
    ----------
    model
        Makes the answers.
    plan
        Decides which requests fail, and how.
    latency
        Seconds before each answer.
    port
        0 for any free port.
    """

    def __init__(
        self,
        model: ScriptedModel | None = None,
        plan: FaultPlan | None = None,
        latency: float = 0.0,
        port: int = 0,
    ) -> None:
        self.model = model or ScriptedModel()
        self.plan = plan
        self.latency = latency
        self.silence = 30.0
        self.served: list[Served] = []
        self.running = 0
        self.peak = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._asked: Counter[str] = Counter()
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and drop all connections."""
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.drop_connections()

    def totals(self) -> dict[str, int]:
        """Return the number of requests, and the tokens that were reported to clients."""
        with self.lock:
            told = [s for s in self.served if s.reported]
            return {
                "calls": len(self.served),
                "input_tokens": sum(s.input_tokens for s in told),
                "output_tokens": sum(s.output_tokens for s in told),
            }

    def connections(self) -> int:
        """Return the number of TCP connections that carried requests."""
        with self.lock:
            return len({s.connection for s in self.served})

    def fault_for(self, request: SeenRequest) -> Fault | None:
        """Count a request and return what shall go wrong with it."""
        with self.lock:
            self._asked[request.role] += 1
            return self.plan(request, self._asked[request.role]) if self.plan and request.role != "probe" else None

    def remember(self, served: Served) -> None:
        """Note a request."""
        with self.lock:
            self.served.append(served)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: ModelServer

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        self._numbers = itertools.count(1)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def next_number(self) -> int:
        return next(self._numbers)

    def drop_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.next_number()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            self._send(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        elif self.path == "/__log":
            owner = self.server.owner
            self._send(200, {**owner.totals(), "connections": owner.connections(), "peak": owner.peak})
        else:
            self._send(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.path.endswith(("/v1/chat/completions", "/v1/messages", "/v1/responses")):
            self._send(404, {"error": {"message": f"no such address {self.path}"}})
            return
        owner = self.server.owner
        request = read_request(self.path, body)
        fault = owner.fault_for(request)
        with owner.lock:
            owner.running += 1
            owner.peak = max(owner.peak, owner.running)
        try:
            self._serve(owner, request, fault)
        finally:
            with owner.lock:
                owner.running -= 1

    def _serve(self, owner: ModelServer, request: SeenRequest, fault: Fault | None) -> None:
        if owner.latency:
            owner.ended.wait(owner.latency)
        if fault in REFUSALS:
            status, error, headers = REFUSALS[fault](request)
            self._note(request, fault, status, (0, 0), reported=False)
            self._send(status, {"error": error, "type": "error"}, headers)
        elif fault in _WIRE_FAULTS:
            self._note(request, fault, 0, (0, 0), reported=False)
            _WIRE_FAULTS[fault](self, request)
        else:
            self._answer(owner, request, fault)

    def _answer(self, owner: ModelServer, request: SeenRequest, fault: Fault | None) -> None:
        if fault is Fault.SLOW:
            owner.ended.wait(0.1)
        answer = owner.model.answer(request)
        finish = {Fault.CUT_ANSWER: "length", Fault.REFUSED: "refused"}.get(fault, "stop") if fault else "stop"
        spoilt = ANSWER_FAULTS[fault](answer) if fault in ANSWER_FAULTS else answer
        usage = fault is not Fault.NO_USAGE
        body, n_in, n_out = answer_body(request, spoilt, finish=finish, usage=usage)
        self._note(request, fault, 200, (n_in, n_out), reported=usage)
        self._send(200, body)

    def _note(
        self,
        request: SeenRequest,
        fault: Fault | None,
        status: int,
        tokens: tuple[int, int],
        *,
        reported: bool,
    ) -> None:
        self.server.owner.remember(
            Served(
                request.role,
                request.cluster,
                fault,
                status,
                *tokens,
                reported,
                self.number,
                request.text,
                time.monotonic(),
            )
        )

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self.send_bytes(status, json.dumps(body).encode(), headers)

    def send_bytes(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        announced: int | None = None,
        kind: str = "application/json",
    ) -> None:
        """Send a response; ``announced`` is the length that the header claims."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data) if announced is None else announced))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        if announced is not None:
            self.wfile.flush()
            self.close_connection = True

    def reset(self) -> None:
        """Drop the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _drip(handler: _Handler, _request: SeenRequest) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(300):
            if handler.server.owner.ended.wait(0.05):
                break
            handler.wfile.write(b"a")
    handler.close_connection = True


def _silent(handler: _Handler, _request: SeenRequest) -> None:
    handler.server.owner.ended.wait(handler.server.owner.silence)
    handler.close_connection = True


def _cut_body(handler: _Handler, request: SeenRequest) -> None:
    data = json.dumps(answer_body(request, handler.server.owner.model.answer(request))[0]).encode()
    handler.send_bytes(200, data[: len(data) // 2], announced=len(data))


def _broken_json(handler: _Handler, request: SeenRequest) -> None:
    data = json.dumps(answer_body(request, handler.server.owner.model.answer(request))[0]).encode()
    handler.send_bytes(200, data[: len(data) // 2])


_WIRE_FAULTS: dict[Fault | None, Callable[[_Handler, SeenRequest], None]] = {
    Fault.RESET: lambda h, _r: h.reset(),
    Fault.SILENT: _silent,
    Fault.DRIP: _drip,
    Fault.HTML: lambda h, _r: h.send_bytes(200, b"<html><body>Bad gateway</body></html>", kind="text/html"),
    Fault.CUT_BODY: _cut_body,
    Fault.BROKEN_JSON: _broken_json,
    Fault.ERROR_OBJECT: lambda h, _r: h.send_bytes(200, b'{"error": {"message": "upstream failed"}}'),
}


def main() -> None:
    """Serve until interrupted; the first line printed is the base URL."""
    parser = argparse.ArgumentParser(description="A scripted language-model server on this machine.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    with (
        ModelServer(latency=options.latency, port=options.port) as server,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
