"""Runs that cannot begin, are interrupted, or reach the limits of an account."""

from __future__ import annotations

import json
import threading
import time

import pytest

from cellkey.errors import ServiceError
from cellkey.llm import Lane, MockTransport, ModelClient, provider_from
from cellkey.llm.accounting import Origin
from cellkey.llm.client import side_by_side
from cellkey.llm.failures import ModelNotFoundError
from cellkey.llm.messages import ChatRequest, Message
from cellkey.llm.run import annotate_table_file, asking_in
from cellkey.llm.setup import ModelSettings
from cellkey.llm.transport import HttpRequest, HttpResponse
from cellkey.testing import InstantClock, ModelServer

QUESTION = ChatRequest("Answer.", (Message("user", "Which cells?"),))
ANSWER = {"choices": [{"message": {"content": "T cells"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def client_of(handler, **options) -> ModelClient:
    provider = provider_from("http://127.0.0.1:9/v1", environment={})
    return ModelClient(provider, "gpt-4p", MockTransport(handler), **options)


def test_after_an_interrupt_nothing_further_is_sent() -> None:
    """Work that is under way finds its client stopped, so that a key press ends the spending."""
    sent = []

    def handle(request: HttpRequest) -> HttpResponse:
        sent.append(request)
        return HttpResponse(200, json.dumps(ANSWER).encode())

    client = client_of(handle)

    def work(item: int) -> str:
        if item == 1:
            raise KeyboardInterrupt
        return client.ask(QUESTION, Origin("annotator")).text

    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, [0, 1], 1, [client])
    assert len(sent) == 1
    with pytest.raises(ServiceError, match="interrupted"):
        client.ask(QUESTION.continued("a", "b"), Origin("annotator"))
    assert len(sent) == 1


def test_an_interrupted_run_says_what_it_spent_and_how_to_go_on(tmp_path) -> None:
    """The account of the calls is there, and the message names the directory and the option."""
    with ModelServer() as server:
        settings = ModelSettings(provider=server.url, model="m", cache="off")

        def interrupt() -> None:
            with asking_in(tmp_path / "named", settings):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match=r"named.*--resume"):
            interrupt()
    tracking = json.loads((tmp_path / "named" / "token_tracking.json").read_text())
    assert tracking["by_role"]["probe"]["calls"] == 1


def test_a_run_that_cannot_begin_leaves_its_place_empty(tmp_path, markers) -> None:
    """The corrected command works in the same directory, without any clearing up."""
    path = tmp_path / "m.csv"
    markers.to_csv(path, index=False)
    refused = ModelSettings(provider="http://127.0.0.1:9/v1", retries=0, cache="off")
    with pytest.raises(ServiceError, match="does a server run at this address"):
        annotate_table_file(path, tmp_path / "named", model=refused)
    assert not (tmp_path / "named").exists()
    with ModelServer() as server:
        good = refused.updated(provider=server.url)
        assert not annotate_table_file(path, tmp_path / "named", model=good).result.failed


def test_an_unknown_model_is_answered_with_those_that_there_are() -> None:
    """The list of the service, and the nearest name."""

    def handle(request: HttpRequest) -> HttpResponse:
        if request.method == "GET":
            return HttpResponse(200, json.dumps({"data": [{"id": "gpt-4o"}, {"id": "o3"}]}).encode())
        return HttpResponse(404, b'{"error": {"message": "no such model"}}')

    with pytest.raises(ModelNotFoundError, match=r"no such model; did you mean 'gpt-4o'\?; it has gpt-4o, o3"):
        client_of(handle).probe()


@pytest.mark.parametrize(("left", "waits"), [("0", True), ("3", False)])
def test_the_last_call_that_an_account_allows_makes_the_others_wait(left: str, waits: bool) -> None:
    """A window with nothing left holds the lane until it is reset, before the service has to refuse."""
    headers = {"x-ratelimit-remaining-requests": left, "x-ratelimit-reset-requests": "20s"}
    clock = InstantClock(1.7e9)
    client = client_of(
        lambda _request: HttpResponse(200, json.dumps(ANSWER).encode(), headers), clock=clock, lane=Lane(2, clock=clock)
    )
    began = clock.elapsed()
    for number in range(2):
        client.ask(QUESTION.continued(str(number), "more"), Origin("annotator"))
    assert (clock.elapsed() - began >= 20) is waits


def test_a_wait_for_the_next_attempt_ends_with_the_interrupt() -> None:
    """Nobody sits out a minute of Retry-After after having pressed the keys."""
    client = client_of(lambda _request: HttpResponse(429, b"{}", {"retry-after": "60"}))
    stopping = threading.Timer(0.2, client.stop, (ServiceError("interrupted"),))
    stopping.start()
    began = time.monotonic()
    with pytest.raises(ServiceError, match="interrupted"):
        client.ask(QUESTION, Origin("annotator"))
    assert time.monotonic() - began < 10
