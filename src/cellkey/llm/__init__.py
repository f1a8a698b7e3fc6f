"""Language models as one more source of calls: asked in writing, checked, accounted for.

Nothing here runs unless a provider is named. The room knows marker tables and labels, no AnnData.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellkey.llm.accounting import Call, Price, PriceTable, token_tracking
    from cellkey.llm.agreement import Agreement, agreement_of
    from cellkey.llm.annotate import annotate_markers
    from cellkey.llm.budget import Budget
    from cellkey.llm.cache import AnswerCache, default_cache_file
    from cellkey.llm.client import ModelClient, Origin
    from cellkey.llm.evidence import Study
    from cellkey.llm.journal import Journal, read_calls
    from cellkey.llm.knowledge import Knowledge, bundled_knowledge
    from cellkey.llm.lane import Lane
    from cellkey.llm.marker_selection import SelectionParameters, select_markers
    from cellkey.llm.marker_tables import MARKERS, marker_table, read_marker_table
    from cellkey.llm.prompts import prompt_hash
    from cellkey.llm.providers import PROVIDERS, Provider, provider_from
    from cellkey.llm.result_tables import ANNOTATIONS
    from cellkey.llm.results import AnnotationResult
    from cellkey.llm.retry import Attempt, RetryPolicy
    from cellkey.llm.rule_checks import RuleChecks
    from cellkey.llm.transport import LiveTransport, MockTransport, RecordedTransport, Timeouts
    from cellkey.llm.workflow import State, WorkflowParameters

_HOMES = {
    "ANNOTATIONS": "result_tables",
    "MARKERS": "marker_tables",
    "PROVIDERS": "providers",
    "Agreement": "agreement",
    "AnnotationResult": "results",
    "AnswerCache": "cache",
    "Attempt": "retry",
    "Budget": "budget",
    "Call": "accounting",
    "Journal": "journal",
    "Knowledge": "knowledge",
    "Lane": "lane",
    "LiveTransport": "transport",
    "MockTransport": "transport",
    "ModelClient": "client",
    "Origin": "client",
    "Price": "accounting",
    "PriceTable": "accounting",
    "Provider": "providers",
    "RecordedTransport": "transport",
    "RetryPolicy": "retry",
    "RuleChecks": "rule_checks",
    "SelectionParameters": "marker_selection",
    "State": "workflow",
    "Study": "evidence",
    "Timeouts": "transport",
    "WorkflowParameters": "workflow",
    "agreement_of": "agreement",
    "annotate_markers": "annotate",
    "bundled_knowledge": "knowledge",
    "default_cache_file": "cache",
    "marker_table": "marker_tables",
    "prompt_hash": "prompts",
    "provider_from": "providers",
    "read_calls": "journal",
    "read_marker_table": "marker_tables",
    "select_markers": "marker_selection",
    "token_tracking": "accounting",
}

__all__ = [
    "ANNOTATIONS",
    "MARKERS",
    "PROVIDERS",
    "Agreement",
    "AnnotationResult",
    "AnswerCache",
    "Attempt",
    "Budget",
    "Call",
    "Journal",
    "Knowledge",
    "Lane",
    "LiveTransport",
    "MockTransport",
    "ModelClient",
    "Origin",
    "Price",
    "PriceTable",
    "Provider",
    "RecordedTransport",
    "RetryPolicy",
    "RuleChecks",
    "SelectionParameters",
    "State",
    "Study",
    "Timeouts",
    "WorkflowParameters",
    "agreement_of",
    "annotate_markers",
    "bundled_knowledge",
    "default_cache_file",
    "marker_table",
    "prompt_hash",
    "provider_from",
    "read_calls",
    "read_marker_table",
    "select_markers",
    "token_tracking",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"cellkey.llm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
