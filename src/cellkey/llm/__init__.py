"""Language models as one more source of calls: asked in writing, checked, accounted for.

Nothing here runs unless a provider is named. The room knows marker tables and labels, no AnnData.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey._lazy import lazy_names

if TYPE_CHECKING:
    from cellkey.llm.accounting import Call as Call
    from cellkey.llm.accounting import Origin as Origin
    from cellkey.llm.accounting import Price as Price
    from cellkey.llm.accounting import PriceTable as PriceTable
    from cellkey.llm.accounting import token_tracking as token_tracking
    from cellkey.llm.agreement import Agreement as Agreement
    from cellkey.llm.agreement import agreement_of as agreement_of
    from cellkey.llm.annotate import annotate_markers as annotate_markers
    from cellkey.llm.budget import Budget as Budget
    from cellkey.llm.cache import AnswerCache as AnswerCache
    from cellkey.llm.cache import default_cache_file as default_cache_file
    from cellkey.llm.client import ModelClient as ModelClient
    from cellkey.llm.comparison import Comparison as Comparison
    from cellkey.llm.comparison import ComparisonParameters as ComparisonParameters
    from cellkey.llm.comparison import compare_candidates as compare_candidates
    from cellkey.llm.evidence import Study as Study
    from cellkey.llm.evidence import evidence_of as evidence_of
    from cellkey.llm.journal import Journal as Journal
    from cellkey.llm.journal import read_calls as read_calls
    from cellkey.llm.knowledge import Knowledge as Knowledge
    from cellkey.llm.knowledge import bundled_knowledge as bundled_knowledge
    from cellkey.llm.lane import Lane as Lane
    from cellkey.llm.marker_selection import SelectionParameters as SelectionParameters
    from cellkey.llm.marker_selection import select_markers as select_markers
    from cellkey.llm.marker_tables import MARKERS as MARKERS
    from cellkey.llm.marker_tables import marker_table as marker_table
    from cellkey.llm.marker_tables import read_marker_table as read_marker_table
    from cellkey.llm.panels import MarkerPanel as MarkerPanel
    from cellkey.llm.panels import read_panels as read_panels
    from cellkey.llm.prompts import prompt_hash as prompt_hash
    from cellkey.llm.providers import PROVIDERS as PROVIDERS
    from cellkey.llm.providers import Provider as Provider
    from cellkey.llm.providers import provider_from as provider_from
    from cellkey.llm.result_tables import ANNOTATIONS as ANNOTATIONS
    from cellkey.llm.results import AnnotationResult as AnnotationResult
    from cellkey.llm.retry import Attempt as Attempt
    from cellkey.llm.retry import RetryPolicy as RetryPolicy
    from cellkey.llm.rule_checks import RuleChecks as RuleChecks
    from cellkey.llm.transport import LiveTransport as LiveTransport
    from cellkey.llm.transport import MockTransport as MockTransport
    from cellkey.llm.transport import RecordedTransport as RecordedTransport
    from cellkey.llm.transport import Timeouts as Timeouts
    from cellkey.llm.workflow import State as State
    from cellkey.llm.workflow import WorkflowParameters as WorkflowParameters

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "ANNOTATIONS": "result_tables",
    "MARKERS": "marker_tables",
    "PROVIDERS": "providers",
    "Agreement": "agreement",
    "AnnotationResult": "results",
    "AnswerCache": "cache",
    "Attempt": "retry",
    "Budget": "budget",
    "Call": "accounting",
    "Comparison": "comparison",
    "ComparisonParameters": "comparison",
    "Journal": "journal",
    "Knowledge": "knowledge",
    "Lane": "lane",
    "LiveTransport": "transport",
    "MarkerPanel": "panels",
    "MockTransport": "transport",
    "ModelClient": "client",
    "Origin": "accounting",
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
    "compare_candidates": "comparison",
    "default_cache_file": "cache",
    "evidence_of": "evidence",
    "marker_table": "marker_tables",
    "prompt_hash": "prompts",
    "provider_from": "providers",
    "read_calls": "journal",
    "read_marker_table": "marker_tables",
    "read_panels": "panels",
    "select_markers": "marker_selection",
    "token_tracking": "accounting",
})
