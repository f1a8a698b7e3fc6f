"""What was said about every cluster, as ``conversations.json`` holds it, and results read back from there.

The file keeps the whole state of a cluster, so that a finished run can be taken up again without the process that
made it: boosted on demand, scored by another model, grouped anew.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from cellkey.llm.agreement import Agreement, Verdict
from cellkey.llm.answers import AnnotationAnswer, ScoreAnswer, ValidationAnswer
from cellkey.llm.merging import Groups
from cellkey.llm.results import ClusterResult
from cellkey.llm.rule_checks import Finding, FindingKind
from cellkey.llm.workflow import Case, State, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.llm.answers import AnswerModel
    from cellkey.llm.asking import Turn
    from cellkey.llm.evidence import ClusterEvidence

__all__ = ["SCHEMA", "case_of", "case_record", "conversation", "result_of", "turn_record"]

SCHEMA = "conversations/2"

_PLAIN = ("annotations", "was_boosted", "is_disputed", "is_unanswered", "error", "notes")
_ANSWERS: dict[str, type[AnswerModel]] = {
    "proposal": AnnotationAnswer,
    "before_boost": AnnotationAnswer,
    "candidate": AnnotationAnswer,
    "validation": ValidationAnswer,
    "score": ScoreAnswer,
    "score_before_boost": ScoreAnswer,
}


def conversation(result: ClusterResult) -> dict[str, Any]:
    """Return everything about one cluster as plain values."""
    case = result.case
    return {
        "state": [asdict(t) for t in case.transitions],
        "before_boost": _answer(case.before_boost),
        "final": _answer(case.proposal),
        "case": case_record(case),
        "repeats": [case_record(c) for c in result.repeats],
        "agreement": asdict(result.agreement) if result.agreement is not None else None,
        "groups": asdict(result.groups) if result.groups is not None else None,
        "answered_by": result.answered_by,
        "turns": [*map(dict, result.earlier), *map(turn_record, result.turns)],
    }


def turn_record(turn: Turn) -> dict[str, Any]:
    """Return one exchange as plain values, with what it cost."""
    real = [c for c in turn.calls if not c.is_hit]
    return {
        "role": turn.role,
        "model": turn.model,
        "messages": [asdict(m) for m in turn.messages],
        "answer": turn.answer,
        "parsed": turn.parsed,
        "problems": turn.problems,
        "attempts": len(real),
        "cached": any(c.is_hit for c in turn.calls),
        "time": turn.calls[-1].timestamp if turn.calls else "",
        "usage": {
            "input_tokens": sum(c.input_tokens for c in real),
            "output_tokens": sum(c.output_tokens for c in real),
            "cost": sum(c.cost for c in real),
        },
    }


def case_record(case: Case) -> dict[str, Any]:
    """Return the state of a cluster as plain values; :func:`case_of` reads them."""
    return {
        "cluster": case.cluster,
        "state": case.state.value,
        **{name: getattr(case, name) for name in _PLAIN},
        **{name: _answer(getattr(case, name)) for name in _ANSWERS},
        "findings": [asdict(f) for f in case.findings],
        "transitions": [asdict(t) for t in case.transitions],
    }


def case_of(record: Mapping[str, Any]) -> Case:
    """Return the state of a cluster that :func:`case_record` wrote."""
    case = Case(str(record["cluster"]), State(record["state"]))
    for name in _PLAIN:
        setattr(case, name, record[name])
    for name, model in _ANSWERS.items():
        if record[name] is not None:
            setattr(case, name, model.model_validate(record[name]))
    case.findings = tuple(Finding(FindingKind(f["kind"]), f["text"], tuple(f["genes"])) for f in record["findings"])
    case.transitions = [
        Transition(State(t["before"]), State(t["after"]), t["reason"], t["time"]) for t in record["transitions"]
    ]
    return case


def result_of(content: Mapping[str, Any], evidence: ClusterEvidence) -> ClusterResult:
    """Return the result of a cluster that :func:`conversation` wrote.

    Its exchanges are kept as they were written; what they cost belongs to the run that made them.
    """
    agreement, groups = content["agreement"], content["groups"]
    result = ClusterResult(
        case_of(content["case"]),
        evidence,
        turns=(),
        calls=(),
        repeats=tuple(map(case_of, content["repeats"])),
        earlier=tuple(content["turns"]),
        groups=Groups(**groups) if groups is not None else None,
        answered_by=tuple(content["answered_by"]) if content["answered_by"] else None,
    )
    if agreement is None:
        return result
    return replace(result, agreement=Agreement(**{**agreement, "verdict": Verdict(agreement["verdict"])}))


def _answer(answer: AnswerModel | None) -> dict[str, Any] | None:
    return answer.model_dump(mode="json") if answer is not None else None
