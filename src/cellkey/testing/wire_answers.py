"""Bodies of successful responses in every wire format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellkey.testing.scripted_model import count_tokens

if TYPE_CHECKING:
    from cellkey.testing.scripted_model import SeenRequest

__all__ = ["answer_body"]


def answer_body(
    request: SeenRequest,
    answer: dict[str, Any] | str | None,
    *,
    finish: str = "stop",
    usage: bool = True,
) -> tuple[dict[str, Any], int, int]:
    """Return the body, the tokens read and the tokens written.

    Parameters
    ----------
    request
        The request that is answered.
    answer
        An object in the form asked for, plain text, or None for content that is null.
    finish
        ``stop``, ``length`` or ``refused``.
    usage
        Whether tokens are reported.
    """
    text = answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer)
    n_in, n_out = count_tokens(request.text), count_tokens(text)
    body = {"messages": _messages, "responses": _responses}.get(request.kind, _chat)
    return body(request, answer, text, finish, (n_in, n_out) if usage else None), n_in, n_out


def _chat(
    request: SeenRequest,
    answer: dict[str, Any] | str | None,
    text: str,
    finish: str,
    usage: tuple[int, int] | None,
) -> dict[str, Any]:
    reason = {"stop": "stop", "length": "length", "refused": "content_filter"}[finish]
    content = None if answer is None else text
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request.body.get("model", ""),
        "system_fingerprint": "scripted",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "finish_reason": reason,
            }
        ],
    }
    if usage is not None:
        body["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
    return body


def _responses(
    request: SeenRequest,
    answer: dict[str, Any] | str | None,
    text: str,
    finish: str,
    usage: tuple[int, int] | None,
) -> dict[str, Any]:
    part = {"type": "refusal", "refusal": text} if finish == "refused" else {"type": "output_text", "text": text}
    output: list[dict[str, Any]] = [{"type": "reasoning", "summary": []}]
    if answer is not None:
        output.append({"type": "message", "role": "assistant", "content": [part]})
    body: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "incomplete" if finish == "length" else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if finish == "length" else None,
        "error": None,
        "model": request.body.get("model", ""),
        "output": output,
    }
    if usage is not None:
        body["usage"] = {
            "input_tokens": usage[0],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage[1],
            "output_tokens_details": {"reasoning_tokens": usage[1] // 2},
            "total_tokens": sum(usage),
        }
    return body


def _messages(
    request: SeenRequest,
    answer: dict[str, Any] | str | None,
    text: str,
    finish: str,
    usage: tuple[int, int] | None,
) -> dict[str, Any]:
    reason = {"stop": "end_turn", "length": "max_tokens", "refused": "refusal"}[finish]
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "..."}]
    if isinstance(answer, dict) and request.body.get("tools") and finish == "stop":
        content.append({"type": "tool_use", "id": "toolu_1", "name": request.form, "input": answer})
    elif answer is not None:
        content.append({"type": "text", "text": text})
    body: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": request.body.get("model", ""),
        "stop_reason": reason,
    }
    if usage is not None:
        # A quarter of the input counts as read from the cache, which this format reports apart.
        cached = usage[0] // 4
        body["usage"] = {
            "input_tokens": usage[0] - cached,
            "output_tokens": usage[1],
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
        }
    return body
