"""What a language model said about a cluster: the answer, the exchange, boosting before and after, tokens, cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellkey.report.markup import Markup, element, facts, folded, number, table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["answer_facts", "conversation", "spending_table"]

_GROUPS = ("broad", "detailed", "specific")
_LONGEST = 20_000
"""Characters of a message that are shown; the file of conversations holds all."""


def answer_facts(row: Mapping[str, str]) -> Markup:
    """Return what a model made of a cluster, from a row of ``annotations.csv``."""
    ranked = [row.get(f"subtype_{i}", "") for i in (1, 2, 3)]
    agreement = row.get("similarity", "")
    return facts(
        [
            ("model's label", row.get("cell_type", "")),
            ("general type", row.get("general_cell_type", "")),
            ("ranked types", "; ".join(filter(None, ranked))),
            ("state", row.get("cell_state", "")),
            ("mixed with", row.get("mixed_populations", "")),
            ("ontology", " ".join(filter(None, (row.get("ontology_id", ""), row.get("ontology_label", ""))))),
            ("outcome", row.get("status", "")),
            ("score", _score(row)),
            ("boosting", _boosting(row)),
            ("repeated runs", f"{row.get('n_repeats', '')}, similarity {agreement}" if agreement else ""),
            ("groups", " \u2192 ".join(filter(None, (row.get(f"{g}_group", "") for g in _GROUPS)))),
            ("evidence", row.get("evidence", "")),
            ("scorer", row.get("scorer_reason", "")),
            ("rule checks", row.get("checks", "") or "passed"),
            ("calls", row.get("calls", "")),
            ("tokens", f"{_count(row, 'input_tokens')} in, {_count(row, 'output_tokens')} out"),
            ("cost", f"${_float(row.get('cost_usd', '')):.4f}"),
            ("error", row.get("error", "")),
        ]
    )


def _score(row: Mapping[str, str]) -> str:
    score, word = row.get("score", ""), row.get("confidence", "")
    parts = [f"{number(_float(score))} of 100" if score else "", f"own confidence {word}" if word else ""]
    return ", ".join(filter(None, parts))


def _boosting(row: Mapping[str, str]) -> str:
    if row.get("boosted", "") != "True":
        return "no"
    before = row.get("label_before_boost", "")
    return f"yes: {before} \u2192 {row.get('cell_type', '')}" if before else "yes, label kept"


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _count(row: Mapping[str, str], name: str) -> str:
    return f"{int(_float(row.get(name, ''))):,}"


def conversation(content: Mapping[str, Any]) -> Markup:
    """Return the exchange about one cluster, turn by turn, and its answer before and after boosting."""
    turns = [t for t in content.get("turns", []) if isinstance(t, dict)]
    parts = [_turn(number_, turn) for number_, turn in enumerate(turns, start=1)]
    before, after = content.get("before_boost"), content.get("final")
    if before:
        columns = [element("div", element("h5", title), _block(_pretty(value))) for title, value in
                   (("before boosting", before), ("after boosting", after))]
        parts.append(element("div", *columns, class_="pair"))
    states = [f"{s.get('after', '')} ({s.get('reason', '')})" for s in content.get("state", []) if isinstance(s, dict)]
    way = element("p", " \u2192 ".join(states), class_="quiet") if states else Markup("")
    return Markup(way + "".join(parts))


def _turn(index: int, turn: Mapping[str, Any]) -> Markup:
    usage = turn.get("usage") or {}
    spent = f"{usage.get('input_tokens', 0):,} in, {usage.get('output_tokens', 0):,} out, ${usage.get('cost', 0.0):.4f}"
    note = " from the cache" if turn.get("cached") else ""
    role = element("b", f"{index}. {turn.get('role', '')}")
    title = element("span", role, f" {turn.get('model', '')}: {spent}{note}")
    said = [
        element("div", element("h5", str(m.get("role", ""))), _block(str(m.get("text", ""))))
        for m in turn.get("messages") or [] if isinstance(m, dict)
    ]
    answer = _pretty(turn["parsed"]) if turn.get("parsed") else str(turn.get("answer", ""))
    problems = element("p", str(turn["problems"]), class_="warning") if turn.get("problems") else Markup("")
    return folded(title, *said, element("h5", "answer"), _block(answer), problems, class_="turn")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _block(text: str) -> Markup:
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n\u2026 {len(text) - _LONGEST:,} more characters"
    return element("pre", shown)


def spending_table(tracking: Mapping[str, Any]) -> Markup:
    """Return calls, tokens and cost by role and by model, from ``token_tracking.json``."""
    if not tracking.get("total_calls"):
        return Markup("")
    parts = ("calls", "input_tokens", "output_tokens", "cost")
    rows = [_spent("all", "", {p: tracking.get(f"total_{p}", 0) for p in parts})]
    for part in ("role", "model", "dataset"):
        rows += [_spent(part, name, values) for name, values in (tracking.get(f"by_{part}") or {}).items()]
    return table(("by", "", "calls", "tokens in", "tokens out", "cost"), rows)


def _spent(part: str, name: str, values: Mapping[str, Any]) -> list[Any]:
    counts = [int(values.get(n, 0)) for n in ("calls", "input_tokens", "output_tokens")]
    return [part, name, *counts, f"${values.get('cost', 0.0):.4f}"]
