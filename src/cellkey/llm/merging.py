"""Grouping the labels of many clusters at three levels of detail, joined by cluster identifier only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellkey.errors import ServiceError
from cellkey.llm.asking import Turn, ask_once
from cellkey.llm.client import ModelClient, Origin, side_by_side
from cellkey.llm.evidence import Study, plain_text
from cellkey.llm.identifiers import natural_key
from cellkey.llm.prompts import MISSING, data_block
from cellkey.llm.roles import MERGER
from cellkey.llm.rule_checks import lineage_of_label
from cellkey.llm.terms import CellTypeTerms, match_term, normalised_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellkey.llm.answers import MergeAnswer

__all__ = ["Groups", "MergeOutcome", "merge_by_model", "merge_by_ontology", "resolved_share"]

_PER_CALL = 40
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of one cluster, from few to many."""

    broad: str
    detailed: str
    specific: str


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """Groups by cluster; clusters that the model never placed are absent, with a warning."""

    groups: dict[str, Groups]
    warnings: tuple[str, ...] = ()


def merge_by_model(
    client: ModelClient,
    labels: Mapping[str, tuple[str, str]],
    study: Study,
    on_turn: Callable[[Turn], None] = lambda _turn: None,
    workers: int = 4,
) -> MergeOutcome:
    """Ask a model to group labels.

    Parameters
    ----------
    client
        Whom to ask.
    labels
        General and detailed label by cluster.
    study
        Context for records and the prompt.
    on_turn
        Told of every exchange.
    workers
        Calls at once; each groups at most 40 clusters.

    Notes
    -----
    Every answer is joined by identifier: entries for clusters that were not asked about are dropped, the
    first of several entries for one cluster counts, and missing ones are asked for again.
    """
    order = sorted(labels, key=natural_key)
    batches = [order[start : start + _PER_CALL] for start in range(0, len(order), _PER_CALL)]

    def merge(batch: list[str]) -> dict[str, Groups] | ServiceError:
        try:
            return _merge_batch(client, {c: labels[c] for c in batch}, study, on_turn)
        except ServiceError as error:
            return error

    outcomes = side_by_side(merge, batches, min(len(batches), workers), [client])
    groups: dict[str, Groups] = {}
    warnings = list(dict.fromkeys(f"labels not grouped: {o}" for o in outcomes if isinstance(o, ServiceError)))
    for outcome in outcomes:
        if not isinstance(outcome, ServiceError):
            groups.update(outcome)
    missing = [c for c in order if c not in groups]
    if missing and not warnings:
        warnings.append(f"the model did not group clusters {', '.join(missing)}")
    return MergeOutcome(_consistent(groups, labels), tuple(warnings))


def _merge_batch(
    client: ModelClient,
    labels: Mapping[str, tuple[str, str]],
    study: Study,
    on_turn: Callable[[Turn], None],
) -> dict[str, Groups]:
    origin = Origin(MERGER.name, study.dataset, study.tissue)
    rows = {c: {"general": plain_text(g, 120), "detailed": plain_text(d, 120)} for c, (g, d) in labels.items()}
    request = MERGER.request(
        data_block({"study": study.described(), "labels_by_cluster": rows}), max_tokens=256 + 64 * len(rows)
    )
    groups: dict[str, Groups] = {}
    for _ in range(_TRIES):
        asked = ask_once(client, MERGER, origin, request, on_turn)
        _take(asked.answer, labels, groups)
        missing = [c for c in labels if c not in groups]
        if not missing:
            break
        request = asked.continued(MISSING.format(missing=data_block({"clusters": missing})))
    return groups


def _take(answer: MergeAnswer, labels: Mapping[str, Any], groups: dict[str, Groups]) -> None:
    for row in answer.groups:
        if row.cluster in labels and row.cluster not in groups:
            groups[row.cluster] = Groups(row.broad, row.detailed, row.specific)


def _consistent(groups: dict[str, Groups], labels: Mapping[str, tuple[str, str]]) -> dict[str, Groups]:
    """Give equal labels equal groups, and clusters of one detailed group one broad group; the first one decides."""
    by_label: dict[tuple[str, str], Groups] = {}
    broad: dict[str, str] = {}
    repaired = {}
    for cluster in sorted(groups, key=natural_key):
        label = (normalised_label(labels[cluster][0]), normalised_label(labels[cluster][1]))
        own = by_label.setdefault(label, groups[cluster])
        repaired[cluster] = Groups(
            broad.setdefault(normalised_label(own.detailed), own.broad), own.detailed, own.specific
        )
    return repaired


def resolved_share(labels: Mapping[str, tuple[str, str]], terms: CellTypeTerms) -> float:
    """Return the share of clusters whose detailed label is a term of the ontology."""
    found = [match_term(detailed, terms) is not None for _, detailed in labels.values()]
    return sum(found) / len(found) if found else 0.0


def merge_by_ontology(labels: Mapping[str, tuple[str, str]], terms: CellTypeTerms) -> MergeOutcome:
    """Group labels without a model: broad by lineage, detailed by the general type's term, specific as it is."""
    groups = {}
    for cluster in sorted(labels, key=natural_key):
        general, detailed = labels[cluster]
        general_term, detailed_term = match_term(general, terms), match_term(detailed, terms)
        general_name = general_term.label if general_term else general
        groups[cluster] = Groups(
            lineage_of_label(detailed) or lineage_of_label(general) or general_name,
            general_name,
            detailed_term.label if detailed_term and detailed_term.exact else detailed,
        )
    return MergeOutcome(groups)
