"""The messages format of Anthropic: system text apart, the form of the answer as a tool that must be called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellkey.llm.failures import ServerFailedError
from cellkey.llm.messages import ChatReply, Finish, Usage
from cellkey.llm.wire import as_count, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.wire import Dialect

__all__ = ["AnthropicMessages"]

_FINISH = {
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "refusal": Finish.REFUSED,
}


class AnthropicMessages:
    """``POST /messages``."""

    kind = "messages"
    path = "/messages"
    version = "2023-06-01"

    def headers(self, key: SecretStr | None) -> dict[str, str | SecretStr]:
        headers: dict[str, str | SecretStr] = {
            "content-type": "application/json",
            "anthropic-version": self.version,
        }
        if key is not None:
            headers["x-api-key"] = key
        return headers

    def body(self, request: ChatRequest, model: str, dialect: Dialect) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens * (4 if dialect.thinks else 1),
            "system": request.system,
            "messages": [{"role": m.role, "content": m.text} for m in request.messages],
        }
        if dialect.temperature and request.temperature is not None:
            body["temperature"] = request.temperature
        if request.form is not None and dialect.structured == "schema":
            body["tools"] = [
                {
                    "name": request.form.name,
                    "description": "Give the answer in this form.",
                    "input_schema": request.form.schema,
                }
            ]
            body["tool_choice"] = {"type": "tool", "name": request.form.name}
        return body

    def usage(self, payload: Mapping[str, Any]) -> Usage:
        return _usage(payload.get("usage"))

    def read(self, payload: Mapping[str, Any], model: str) -> ChatReply:
        if payload.get("type") == "error" or (payload.get("error") and not payload.get("content")):
            error = payload.get("error")
            detail = text_of(error.get("message")) if isinstance(error, dict) else ""
            msg = f"status 200 with an error: {detail[:300]}"
            raise ServerFailedError(msg)
        content = payload.get("content")
        if not isinstance(content, list):
            msg = "status 200 without content"
            raise ServerFailedError(msg)
        return ChatReply(
            text=_text([part for part in content if isinstance(part, dict)]),
            model=text_of(payload.get("model")) or model,
            usage=self.usage(payload),
            finish=_FINISH.get(text_of(payload.get("stop_reason")), Finish.STOP),
            request_id=text_of(payload.get("id")),
        )


def _text(parts: list[dict[str, Any]]) -> str:
    """The tool's input if the tool was called, else all text; thinking is passed over."""
    for part in parts:
        if part.get("type") == "tool_use" and isinstance(part.get("input"), dict):
            return text_of(json.dumps(part["input"], ensure_ascii=False))
    return "".join(text_of(part.get("text")) for part in parts if part.get("type") == "text")


def _usage(usage: Any) -> Usage:
    """Tokens read from and written to the prompt cache come on top of ``input_tokens`` in this format."""
    if not isinstance(usage, dict) or not (usage.get("input_tokens") or usage.get("output_tokens")):
        return Usage(source="none")
    cached = as_count(usage.get("cache_read_input_tokens"))
    written = as_count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=as_count(usage.get("input_tokens")) + cached + written,
        output_tokens=as_count(usage.get("output_tokens")),
        cached_tokens=cached,
        cache_write_tokens=written,
    )
