"""What responses mean: statuses, headers, bodies and token counts of all formats."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest

from cellkey.errors import BudgetExceededError, InputError
from cellkey.llm import failures as f
from cellkey.llm import provider_from
from cellkey.llm.anthropic_messages import AnthropicMessages
from cellkey.llm.cache import request_key
from cellkey.llm.chat_completions import ChatCompletions, OpenRouterCompletions
from cellkey.llm.messages import AnswerForm, ChatRequest, Finish, Message
from cellkey.llm.openai_responses import OpenAIResponses
from cellkey.llm.setup import ModelSettings
from cellkey.llm.transport import HttpResponse
from cellkey.llm.wire import Dialect, dialect_of, failure_of, json_body, retry_after

NOW = 1_700_000_000.0


def response(status: int, body: object = None, **headers: str) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (401, {"error": {"message": "bad key"}}, f.CredentialsError),
        (403, b"<html>", f.CredentialsError),
        (402, {"error": {"code": 402, "message": "credits"}}, f.QuotaError),
        (429, {"error": {"message": "slow down"}}, f.ThrottledError),
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, f.QuotaError),
        (404, {"error": {"message": "no such model"}}, f.ModelNotFoundError),
        (400, {"error": {"code": "context_length_exceeded", "message": "x"}}, f.ContextTooLongError),
        (400, {"error": {"message": "Unsupported value: 'temperature' does not support 0"}}, f.OptionUnsupportedError),
        (422, {"detail": "whatever"}, f.RequestRejectedError),
        (400, "just text", f.RequestRejectedError),
        (500, b"", f.ServerFailedError),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, f.ServerFailedError),
        (408, None, f.ServerFailedError),
        (418, None, f.RequestRejectedError),
    ],
)
def test_statuses(status: int, body: object, failure: type[Exception]) -> None:
    """Every status has one meaning, decided by numbers and codes, not by words that happen to occur."""
    assert type(failure_of(response(status, body), NOW)) is failure


def test_what_ends_a_run() -> None:
    """Credentials, model name and money end a run; nothing else does."""
    ending = [f.CredentialsError("x"), f.ModelNotFoundError("x"), f.QuotaError("x"), BudgetExceededError("x")]
    assert all(f.ends_run(e) for e in ending)
    assert not any(f.ends_run(e) for e in (f.ThrottledError("x"), f.ContentRefusedError("x"), f.EmptyAnswerError("x")))


@pytest.mark.parametrize(
    ("message", "param", "option"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'.",
            "max_tokens",
            "max_tokens",
        ),
        ("'max_tokens' is unknown; use 'max_completion_tokens'", None, "max_tokens"),
        ("Invalid schema", "response_format.json_schema", "response_format"),
        ("tool_choice is not supported", None, "tool_choice"),
    ],
)
def test_the_refused_option_is_found(message: str, param: str | None, option: str) -> None:
    """By the parameter named, else by the first option in the message."""
    error = failure_of(response(400, {"error": {"message": message, "param": param}}), NOW)
    assert isinstance(error, f.OptionUnsupportedError)
    assert error.option == option


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ratelimit-reset-requests": "1m2.5s"}, 62.5),
        ({"x-ratelimit-reset-tokens": "6ms", "x-ratelimit-remaining-tokens": "0"}, 0.006),
        ({"x-ratelimit-reset-tokens": "90s", "x-ratelimit-remaining-tokens": "7"}, None),
        ({"retry-after": "2", "x-ratelimit-reset": str(NOW + 10)}, 10.0),
        ({"x-ratelimit-reset": str(int((NOW + 10) * 1000))}, 10.0),
        (
            {
                "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:14:20Z",
                "anthropic-ratelimit-input-tokens-remaining": "0",
            },
            60.0,
        ),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_waits_that_services_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, dates, durations and quota windows; windows with something left do not count."""
    found = retry_after(headers, NOW)
    assert found == (pytest.approx(seconds, abs=1e-6) if seconds is not None else None)


@pytest.mark.parametrize("body", [b"<html>", b'{"a": ', b"[1]", b'"x"', b"", b"\xff"])
def test_bodies_that_are_no_json_object(body: bytes) -> None:
    """They count as failures of the server, to be tried again."""
    with pytest.raises(f.ServerFailedError):
        json_body(HttpResponse(200, body))


CHAT = {
    "id": "x",
    "model": "m-2024",
    "choices": [{"message": {"content": "hi", "refusal": None}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 5},
        "cost": 0.0125,
    },
}


def test_chat_completions_are_read() -> None:
    """Cached tokens are part of the prompt tokens; a reported cost is kept."""
    reply = ChatCompletions().read(CHAT, "m")
    assert (reply.text, reply.model, reply.finish) == ("hi", "m-2024", Finish.STOP)
    usage = reply.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, usage.cost) == (
        100,
        20,
        40,
        5,
        0.0125,
    )


@pytest.mark.parametrize(
    ("message", "finish", "text", "kind"),
    [
        ({"content": None}, "stop", "", Finish.STOP),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, 3]}, "stop", "ab", Finish.STOP),
        (
            {"content": "", "tool_calls": [{"function": {"arguments": '{"a": 1}'}}]},
            "tool_calls",
            '{"a": 1}',
            Finish.STOP,
        ),
        ({"content": "cut"}, "length", "cut", Finish.LENGTH),
        ({"content": None, "refusal": "no"}, "stop", "no", Finish.REFUSED),
        ({"content": "x"}, "content_filter", "x", Finish.REFUSED),
        ({"content": "half \ud800 character"}, "stop", "half ? character", Finish.STOP),
        ({}, None, "", Finish.STOP),
    ],
)
def test_messages_of_all_shapes(message: dict, finish: str | None, text: str, kind: Finish) -> None:
    """No field is taken for granted."""
    reply = ChatCompletions().read({"choices": [{"message": message, "finish_reason": finish}]}, "m")
    assert (reply.text, reply.finish, reply.model, reply.usage.source) == (text, kind, "m", "none")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{}]},
        {"error": {"message": "x"}},
        {"error": "x", "choices": None},
        {"choices": "x"},
    ],
)
def test_bodies_without_a_message_are_failures(payload: dict) -> None:
    """An error object under status 200 is an error."""
    with pytest.raises(f.ServerFailedError):
        ChatCompletions().read(payload, "m")


def test_messages_format_counts_cached_tokens_on_top() -> None:
    """Thinking is passed over, and the tool's input is the answer."""
    payload = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "t", "input": {"a": 1}}],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 90,
            "cache_creation_input_tokens": 7,
        },
    }
    reply = AnthropicMessages().read(payload, "m")
    assert (reply.text, reply.finish) == ('{"a": 1}', Finish.STOP)
    assert (reply.usage.input_tokens, reply.usage.cached_tokens, reply.usage.cache_write_tokens) == (107, 90, 7)
    for stop, finish in (("max_tokens", Finish.LENGTH), ("refusal", Finish.REFUSED)):
        assert AnthropicMessages().read({"content": [], "stop_reason": stop}, "m").finish is finish


@pytest.mark.parametrize(
    "payload", [{}, {"content": "text"}, {"type": "error", "error": {"message": "x"}}, {"type": "error", "error": None}]
)
def test_messages_format_failures(payload: dict) -> None:
    """The same care as for chat completions."""
    with pytest.raises(f.ServerFailedError):
        AnthropicMessages().read(payload, "m")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": "many"}, [], "x"])
def test_missing_usage_is_said_to_be_missing(usage: object) -> None:
    """Null, text and other types are no counts."""
    assert ChatCompletions().usage({"usage": usage}).source == "none" or usage == {"prompt_tokens": "many"}


REQUEST = ChatRequest("system", (Message("user", "hello"),), AnswerForm("score-1", {"type": "object"}), 100, 0.0, 7)


def test_request_bodies() -> None:
    """Each option under the name that the format knows."""
    body = ChatCompletions().body(REQUEST, "m", Dialect())
    assert body == {
        "model": "m",
        "max_tokens": 100,
        "temperature": 0.0,
        "seed": 7,
        "messages": [{"role": "system", "content": "system"}, {"role": "user", "content": "hello"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "score-1", "strict": True, "schema": {"type": "object"}},
        },
    }
    assert OpenRouterCompletions().body(REQUEST, "m", Dialect())["usage"] == {"include": True}
    body = AnthropicMessages().body(REQUEST, "m", Dialect())
    assert (body["system"], body["max_tokens"], body["tool_choice"]["name"]) == ("system", 100, "score-1")
    assert "seed" not in body


def test_reasoning_models_get_room_to_think_and_no_temperature() -> None:
    """Known beforehand, so that no call is wasted on finding out."""
    for model in ("o3", "o4-mini", "gpt-5-mini", "openai/gpt-5"):
        body = ChatCompletions().body(REQUEST, model, dialect_of(model))
        assert body["max_completion_tokens"] == 400
        assert "temperature" not in body
    for model in ("gpt-4o-2024-08-06", "gpt-5-chat-latest", "claude-sonnet-4-5", "solo3"):
        assert dialect_of(model) == Dialect()


def test_dialects_weaken_step_by_step() -> None:
    """Schema, any object, words only; then nothing is left to leave out."""
    dialect: Dialect | None = Dialect()
    seen = []
    while dialect is not None:
        seen.append(dialect.structured)
        dialect = dialect.without("response_format")
    assert seen == ["schema", "object", "words"]
    assert Dialect().without("model") is None


def test_responses_are_asked_for_and_read() -> None:
    """The form, the effort and the limit are where this format has them; thinking is counted and passed over."""
    request = ChatRequest("Be brief.", (Message("user", "Who?"),), AnswerForm("annotation-1", {"type": "object"}), 100)
    body = OpenAIResponses().body(request, "o4-mini", dialect_of("o4-mini", "medium"))
    assert body["reasoning"] == {"effort": "medium"}
    assert body["max_output_tokens"] == 400
    assert body["text"]["format"]["name"] == "annotation-1"
    assert (body["store"], "temperature" in body) == (False, False)
    payload = {
        "id": "resp_7",
        "model": "o4-mini-2025",
        "status": "completed",
        "output": [
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "content": [{"type": "output_text", "text": t} for t in ("T ", "cell")]},
        ],
        "usage": {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 25},
        },
    }
    reply = OpenAIResponses().read(payload, "o4-mini")
    assert (reply.text, reply.model, reply.finish) == ("T cell", "o4-mini-2025", Finish.STOP)
    assert reply.request_id == "resp_7"
    usage = reply.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (100, 60, 30, 25)
    cut = {**payload, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert OpenAIResponses().read(cut, "m").finish is Finish.LENGTH
    filtered = {**payload, "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    assert OpenAIResponses().read(filtered, "m").finish is Finish.REFUSED


@pytest.mark.parametrize("payload", [{}, {"output": None}, {"status": "failed", "error": {"message": "broken"}}])
def test_responses_without_output_are_failures_of_the_server(payload: dict[str, Any]) -> None:
    """They are tried again, like a 500."""
    with pytest.raises(f.ServerFailedError):
        OpenAIResponses().read(payload, "m")


def test_effort_chooses_format_patience_and_key_of_the_answer() -> None:
    """Only OpenAI has the format; others get an option, and where there is none the user is told."""
    at = {"base_url": "http://127.0.0.1:9/v1", "environment": {}}
    plain, low = provider_from("openai", **at), provider_from("openai", **at, effort="low")
    assert (plain.wire.kind, low.wire.kind) == ("chat", "responses")
    services = (plain, low, provider_from("openai", **at, effort="high"))
    assert len({request_key(ChatRequest("s", ()), service, "m") for service in services}) == 3
    vllm = provider_from("vllm", environment={}, effort="low")
    assert vllm.wire.body(ChatRequest("s", ()), "m", dialect_of("m", "low"))["reasoning_effort"] == "low"
    with pytest.raises(InputError, match="no option for the effort"):
        provider_from("anthropic", **at, key="k", effort="low")
    assert ModelSettings(reasoning_effort="high").timeouts.read == 600
    assert ModelSettings().timeouts.read == 120
