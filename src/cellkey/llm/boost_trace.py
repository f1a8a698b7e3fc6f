"""What the booster asked about a cluster, what it was told, and what it concluded, as Markdown for readers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cellkey.llm.prompts import GO_ON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cellkey.llm.results import ClusterResult

__all__ = ["boost_trace"]

_DATA = re.compile(r"<data>\n(.*?)\n</data>", re.DOTALL)
_HEAD = ("gene", "log2FC", "in cluster", "elsewhere", "adjusted p", "strongest elsewhere", "in other clusters")


def boost_trace(result: ClusterResult) -> str:
    """Return the questions, the numbers and the conclusion of the boosting of a cluster."""
    turns = [t for t in result.turns if t.role == "booster"]
    lines = [f"# Boosting of cluster {_text(result.cluster)}", ""]
    for number, turn in enumerate(turns, start=1):
        if number > 1 and turn.messages:
            lines += _told(turn.messages[-1].text)
        lines += _answered(number, turn.parsed, turn.problems)
    before = result.case.before_boost.detailed_cell_type if result.case.before_boost else "the same"
    lines += ["## Outcome", "", f"{result.status}: {_text(result.label)} (before: {_text(before)})", ""]
    return "\n".join(lines)


def _answered(number: int, answer: Mapping[str, Any] | None, problems: str) -> list[str]:
    if answer is None:
        return [f"## Answer {number} could not be used", "", _text(problems), ""]
    request, final = answer.get("request"), answer.get("final")
    if request:
        lines = [f"## Request {number}", "", f"Genes: {_text(', '.join(request['genes']))}  "]
        beside = _text(", ".join(request.get("clusters") or ()))
        told = (("Beside clusters", beside), ("Hypothesis", request["hypothesis"]), ("Expected", request["expect"]))
        return [*lines, *(f"{name}: {_text(value)}  " for name, value in told if value), ""]
    if not final:
        return []
    ranked = ", ".join(s["name"] for s in final["ranked_subtypes"]) or "no name"
    facts = (
        ("General type", final["general_cell_type"]),
        ("Detailed types", ranked),
        ("Confidence", final["confidence"]),
        ("Reason", answer.get("reason", "")),
        ("Evidence", final["evidence"]),
    )
    return ["## Conclusion", "", *(f"{name}: {_text(value)}  " for name, value in facts if value), ""]


def _told(text: str) -> list[str]:
    """The numbers of a message as a table; messages that asked to mend an answer are left out."""
    if text == GO_ON:
        return ["It was sent back for further genes.", ""]
    block = _DATA.search(text)
    rows = json.loads(block[1]).get("numbers", []) if block else []
    if not rows:
        return []
    table = (_HEAD, ["---"] * len(_HEAD), *(tuple(_cells(row)) for row in rows))
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    return [*lines, ""]


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    yield _text(row["gene"])
    if "result" in row:
        yield from (_text(row["result"]), "", "", "")
    else:
        yield from (_text(row.get(name, "")) for name in ("log2FC", "in_cluster", "elsewhere", "p_adj"))
    best = row.get("strongest_elsewhere")
    yield f"{_text(best['cluster'])}: {_short(best)}" if best else ""
    others = row.get("in_other_clusters") or {}
    yield "; ".join(f"{_text(c)}: {_short(v)}" for c, v in others.items())


def _short(values: Mapping[str, Any] | str) -> str:
    if isinstance(values, str):
        return _text(values)
    parts = [f"log2FC {values['log2FC']}"] if "log2FC" in values else []
    return _text(", ".join([*parts, *([values["in_cluster"]] if "in_cluster" in values else [])]))


def _text(value: Any) -> str:
    """Text on one line that is nothing but text in Markdown."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", line)
