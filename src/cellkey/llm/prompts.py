"""All texts that are sent to language models; they are files beside this module (``data/prompts``).

They hold instructions only. The system text of a role is fixed; what varies comes last, as one JSON block between
``<data>`` and ``</data>``, so that providers can reuse what they read before, and so that names from data can never
pass for instructions. A hash of all texts goes into records and into the keys of cached answers.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import resources
from typing import Any

__all__ = [
    "CONCLUDE",
    "GO_ON",
    "MANNERS",
    "MISSING",
    "data_block",
    "prompt_hash",
    "repair_text",
    "role_text",
    "system_text",
]

_ABOUT_MANY_CLUSTERS = ("merger", "subcluster_annotator")


@functools.cache
def _text(name: str) -> str:
    path = resources.files("cellkey.llm").joinpath(f"data/prompts/{name}.md")
    return path.read_text(encoding="utf-8").rstrip("\n")


def role_text(role: str) -> str:
    """Return the task of a role."""
    return f"{_text(role)}\n"


MISSING = _text("missing")
"""Asks for entries that an answer lacks; ``{missing}`` is a data block of their identifiers."""

CONCLUDE = _text("conclude")
"""Tells the booster that no further genes can be looked up."""

GO_ON = _text("go_on")
"""Puts off a conclusion of the booster that came before two requests."""

MANNERS = {name: _text(name) for name in ("breadth", "depth", "unseen")}
"""How the booster shall work: with rival types side by side, with one at a time, without the label in doubt."""


def system_text(role: str, form: str, schema: dict[str, Any]) -> str:
    """Return the fixed instructions of a role, with the form of its answer."""
    answer = _text("answer_many" if role in _ABOUT_MANY_CLUSTERS else "answer")
    filled = answer.format(form=form, schema=json.dumps(schema, separators=(",", ":")))
    return f"{_text('common')}\n{role_text(role)}{filled}"


def data_block(data: dict[str, Any]) -> str:
    """Return ``data`` as JSON between delimiters that no text inside it can forge."""
    text = json.dumps(data, ensure_ascii=False, indent=None, separators=(", ", ": "))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<data>\n{safe}\n</data>"


def repair_text(problems: str, form: str) -> str:
    """Return the message that asks for a usable answer."""
    return _text("repair").format(problems=problems, form=form)


@functools.cache
def prompt_hash() -> str:
    """Return a short hash of all texts, for records."""
    folder = resources.files("cellkey.llm").joinpath("data/prompts")
    texts = {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name.endswith(".md")}
    return hashlib.sha256(json.dumps(sorted(texts.items())).encode("utf-8")).hexdigest()[:16]
