"""The chat-completions format: spoken by OpenAI, OpenRouter, vLLM, Ollama, llama.cpp and most gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cellkey.llm.failures import ServerFailedError
from cellkey.llm.messages import ChatReply, Finish, Usage
from cellkey.llm.wire import as_count, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.wire import Dialect

__all__ = ["ChatCompletions", "OpenRouterCompletions", "bearer_headers"]


def bearer_headers(key: SecretStr | None) -> dict[str, str | SecretStr]:
    """Return the headers of a JSON request whose key is a bearer token."""
    headers: dict[str, str | SecretStr] = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = SecretStr(f"Bearer {key.get_secret_value()}")
    return headers


class ChatCompletions:
    """``POST /chat/completions``."""

    kind = "chat"
    path = "/chat/completions"

    def headers(self, key: SecretStr | None) -> dict[str, str | SecretStr]:
        return bearer_headers(key)

    def body(self, request: ChatRequest, model: str, dialect: Dialect) -> dict[str, Any]:
        turns = [{"role": m.role, "content": m.text} for m in request.messages]
        limit = request.max_tokens * (4 if dialect.thinks else 1)
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "system", "content": request.system}, *turns],
            dialect.limit_name: limit,
        }
        if dialect.effort is not None:
            body["reasoning_effort"] = dialect.effort
        if dialect.temperature and request.temperature is not None:
            body["temperature"] = request.temperature
        if dialect.seed and request.seed is not None:
            body["seed"] = request.seed
        if request.form is not None and dialect.structured == "schema":
            form = {"name": request.form.name, "strict": True, "schema": request.form.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif request.form is not None and dialect.structured == "object":
            body["response_format"] = {"type": "json_object"}
        return body

    def usage(self, payload: Mapping[str, Any]) -> Usage:
        return _usage(payload.get("usage"))

    def read(self, payload: Mapping[str, Any], model: str) -> ChatReply:
        choice = _first_choice(payload)
        message = choice.get("message")
        if not isinstance(message, dict):
            msg = "status 200 without a message"
            raise ServerFailedError(msg)
        refusal = text_of(message.get("refusal")).strip()
        return ChatReply(
            text=refusal or _text(message),
            model=text_of(payload.get("model")) or model,
            usage=self.usage(payload),
            finish=_finish(choice.get("finish_reason"), refusal),
            request_id=text_of(payload.get("id")),
            fingerprint=text_of(payload.get("system_fingerprint")),
        )


class OpenRouterCompletions(ChatCompletions):
    """Chat completions of a gateway that reports what a call cost when it is asked to."""

    def body(self, request: ChatRequest, model: str, dialect: Dialect) -> dict[str, Any]:
        return {**super().body(request, model, dialect), "usage": {"include": True}}


def _finish(reason: Any, refusal: str) -> Finish:
    if refusal or reason == "content_filter":
        return Finish.REFUSED
    return Finish.LENGTH if reason in ("length", "max_tokens") else Finish.STOP


def _first_choice(payload: Mapping[str, Any]) -> dict[str, Any]:
    error = payload.get("error")
    if error and not payload.get("choices"):
        detail = text_of(error.get("message")) if isinstance(error, dict) else text_of(error)
        msg = f"status 200 with an error: {detail[:300]}"
        raise ServerFailedError(msg)
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        msg = "status 200 without choices"
        raise ServerFailedError(msg)
    return choices[0]


def _text(message: Mapping[str, Any]) -> str:
    """Text of a message: plain, in parts, or the arguments of a tool call."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text_of(part.get("text")) for part in content if isinstance(part, dict))
    text = text_of(content)
    calls = message.get("tool_calls")
    if not text.strip() and isinstance(calls, list) and calls and isinstance(calls[0], dict):
        function = calls[0].get("function")
        return text_of(function.get("arguments")) if isinstance(function, dict) else ""
    return text


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict) or not (usage.get("prompt_tokens") or usage.get("completion_tokens")):
        return Usage(source="none")
    cost = usage.get("cost")
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        cached_tokens=_detail(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
        cost=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0 else None,
    )


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    return as_count(details.get(name)) if isinstance(details, dict) else 0
