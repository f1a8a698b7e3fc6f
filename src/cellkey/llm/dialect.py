"""What one model of one service accepts, as far as it is known; learned from refusals and remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Dialect", "dialect_of"]

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
