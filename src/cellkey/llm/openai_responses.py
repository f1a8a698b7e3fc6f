"""The responses format of OpenAI: instructions apart, typed output, and how hard a model shall think."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.llm.chat_completions import bearer_headers
from cellkey.llm.failures import ServerFailedError
from cellkey.llm.messages import ChatReply, Finish, Usage
from cellkey.llm.wire import as_count, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from cellkey.llm.messages import ChatRequest
    from cellkey.llm.wire import Dialect

__all__ = ["OpenAIResponses"]


class OpenAIResponses:
    """``POST /responses``. The service is asked to store nothing."""

    kind = "responses"
    path = "/responses"

    def headers(self, key: SecretStr | None) -> dict[str, str | SecretStr]:
        return bearer_headers(key)

    def body(self, request: ChatRequest, model: str, dialect: Dialect) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "instructions": request.system,
            "input": [{"role": m.role, "content": m.text} for m in request.messages],
            "max_output_tokens": request.max_tokens * (4 if dialect.thinks else 1),
            "store": False,
        }
        if dialect.effort is not None:
            body["reasoning"] = {"effort": dialect.effort}
        if dialect.temperature and request.temperature is not None:
            body["temperature"] = request.temperature
        if request.form is not None and dialect.structured == "schema":
            form = {"name": request.form.name, "strict": True, "schema": request.form.schema}
            body["text"] = {"format": {"type": "json_schema", **form}}
        elif request.form is not None and dialect.structured == "object":
            body["text"] = {"format": {"type": "json_object"}}
        return body

    def usage(self, payload: Mapping[str, Any]) -> Usage:
        usage = payload.get("usage")
        if not isinstance(usage, dict) or not (usage.get("input_tokens") or usage.get("output_tokens")):
            return Usage(source="none")
        read, written = usage.get("input_tokens_details"), usage.get("output_tokens_details")
        return Usage(
            input_tokens=as_count(usage.get("input_tokens")),
            output_tokens=as_count(usage.get("output_tokens")),
            cached_tokens=as_count(read.get("cached_tokens")) if isinstance(read, dict) else 0,
            reasoning_tokens=as_count(written.get("reasoning_tokens")) if isinstance(written, dict) else 0,
        )

    def read(self, payload: Mapping[str, Any], model: str) -> ChatReply:
        error, output = payload.get("error"), payload.get("output")
        if error or payload.get("status") == "failed":
            detail = text_of(error.get("message")) if isinstance(error, dict) else text_of(error)
            msg = f"status 200 with an error: {detail[:300]}"
            raise ServerFailedError(msg)
        if not isinstance(output, list):
            msg = "status 200 without output"
            raise ServerFailedError(msg)
        parts = [p for item in output if isinstance(item, dict) for p in _parts(item)]
        refusal = "".join(text_of(p.get("refusal")) for p in parts if p.get("type") == "refusal").strip()
        return ChatReply(
            text=refusal or "".join(text_of(p.get("text")) for p in parts if p.get("type") == "output_text"),
            model=text_of(payload.get("model")) or model,
            usage=self.usage(payload),
            finish=_finish(payload, refusal),
            request_id=text_of(payload.get("id")),
        )


def _parts(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Content of a message; items that tell of thinking have none that is an answer."""
    content = item.get("content") if item.get("type") == "message" else None
    return [p for p in content if isinstance(p, dict)] if isinstance(content, list) else []


def _finish(payload: Mapping[str, Any], refusal: str) -> Finish:
    details = payload.get("incomplete_details")
    reason = text_of(details.get("reason")) if isinstance(details, dict) else ""
    if refusal or reason == "content_filter":
        return Finish.REFUSED
    return Finish.LENGTH if payload.get("status") == "incomplete" else Finish.STOP
