"""What a language model said about a cluster: the answer, the exchange, boosting before and after, tokens, cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cellkey.report.markup import number

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["answer_facts", "conversation", "spending"]

_GROUPS = ("broad", "detailed", "specific")
_LONGEST = 20_000
"""Characters of a message that are shown; the file of conversations holds all."""


def answer_facts(row: Mapping[str, str]) -> list[list[str]]:
    """Return names and values of what a model made of a cluster, from a row of ``annotations.csv`` or
    ``subclusters.csv``; the latter tells no checks and no costs."""
    ranked = [row.get(f"subtype_{i}", "") for i in (1, 2, 3)]
    agreement = row.get("similarity", "")
    tokens = f"{_count(row, 'input_tokens')} in, {_count(row, 'output_tokens')} out"
    listed = [
        ("model's label", row.get("cell_type", "")),
        ("general type", row.get("general_cell_type", "")),
        ("ranked types", "; ".join(filter(None, ranked))),
        ("state", row.get("cell_state", "")),
        ("mixed with", row.get("mixed_populations", "")),
        ("ontology", " ".join(filter(None, (row.get("ontology_id", ""), row.get("ontology_label", ""))))),
        ("outcome", row.get("status", "")),
        ("score", _score(row)),
        ("boosting", _boosting(row) if "boosted" in row else ""),
        ("repeated runs", f"{row.get('n_repeats', '')}, similarity {agreement}" if agreement else ""),
        ("groups", " \u2192 ".join(filter(None, (row.get(f"{g}_group", "") for g in _GROUPS)))),
        ("evidence", row.get("evidence", "") or row.get("reason", "")),
        ("key markers", row.get("key_markers", "").replace(",", ", ")),
        ("scorer", row.get("scorer_reason", "")),
        ("rule checks", row["checks"] or "passed" if "checks" in row else ""),
        ("calls", row.get("calls", "")),
        ("tokens", tokens if "input_tokens" in row else ""),
        ("cost", f"${_float(row.get('cost_usd', '')):.4f}" if "cost_usd" in row else ""),
        ("error", row.get("error", "")),
    ]
    return [[name, value] for name, value in listed if value not in ("", "nan")]


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


def conversation(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the exchange about one cluster, turn by turn, and its answer before and after boosting."""
    turns = [_turn(t) for t in content.get("turns", []) if isinstance(t, dict)]
    before, after = content.get("before_boost"), content.get("final")
    answers = [["answer before boosting", _pretty(before)], ["answer after boosting", _pretty(after)]] if before else [
        ["answer", _pretty(after)]] if after else []
    states = [s for s in content.get("state", []) if isinstance(s, dict)]
    path = [f"{s.get('after', '')}: {s.get('reason', '')}" for s in states]
    return {"turns": turns, "answers": answers, "states": path}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    usage = turn.get("usage") or {}
    spent = f"{int(usage.get('input_tokens', 0)):,} tokens in, {int(usage.get('output_tokens', 0)):,} out"
    messages = [m for m in turn.get("messages") or [] if isinstance(m, dict)]
    return {
        "role": str(turn.get("role", "")),
        "model": str(turn.get("model", "")),
        "spent": f"{spent}, ${float(usage.get('cost', 0.0) or 0.0):.4f}" + (", cached" if turn.get("cached") else ""),
        "said": [[str(m.get("role", "")), _short(str(m.get("text", "")))] for m in messages],
        "answer": _short(_pretty(turn["parsed"]) if turn.get("parsed") else str(turn.get("answer", ""))),
        "problems": str(turn.get("problems") or ""),
    }


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n\u2026 {len(text) - _LONGEST:,} more characters"


def spending(tracking: Mapping[str, Any]) -> list[list[Any]]:
    """Return calls, tokens and cost in all, by role, by model and by dataset, from ``token_tracking.json``."""
    if not tracking.get("total_calls"):
        return []
    parts = ("calls", "input_tokens", "output_tokens", "cost")
    rows = [_spent("all", "", {p: tracking.get(f"total_{p}", 0) for p in parts})]
    for part in ("role", "model", "dataset"):
        rows += [_spent(part, name, values) for name, values in (tracking.get(f"by_{part}") or {}).items()]
    return rows


def _spent(part: str, name: str, values: Mapping[str, Any]) -> list[Any]:
    counts = [int(values.get(n, 0)) for n in ("calls", "input_tokens", "output_tokens")]
    return [part, name, *counts, f"${values.get('cost', 0.0):.4f}"]
