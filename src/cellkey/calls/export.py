"""From routed labels to labels one can report: resolved, mixed, candidate or unknown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field

from cellkey.calls.route_table import UNRESOLVED
from cellkey.errors import MissingFieldError, did_you_mean
from cellkey.parameters import Parameters
from cellkey.records.vocabulary import CallStatus, ExportReason, RouteStatus

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["EXPORT_COLUMNS", "ExportRules", "export_labels", "sanitised"]

EXPORT_COLUMNS = (
    "annot_export_label", "annot_export_label_with_cluster", "annot_unresolved_candidate_label",
    "annot_unresolved_candidate_score", "annot_unresolved_candidate_raw_score", "annot_export_status",
    "annot_export_reason",
)
"""Columns that export adds, in written order."""


class ExportRules(Parameters):
    """Rules and thresholds of the reported labels.

    Attributes
    ----------
    label_with_cluster
        Add a label that ends with the cluster's name.
    unknown_on_low_confidence, unknown_confidence_levels
        Report groups of these confidence tiers as unknown.
    unknown_on_branch_conflict, unknown_on_low_absolute_support
        Report groups as unknown whose best type lies in another lineage, or whose raw support is too low.
    unknown_branch_raw_threshold
        Least branch-supported raw enrichment of a reported label; None asks for none.
    mixed_on_parent_mixing
        Report nearly tied calls as mixed.
    mixed_label_prefix, mixed_branch_separator
        Text of a mixed label.
    mixed_min_score, mixed_max_margin
        Both calls need this branch support; the lead must not be greater.
    mixed_between
        ``lineages``: the two calls must belong to different top-level types; ``nodes``: any two, as published.
    unresolved_candidate_min_score, unresolved_candidate_min_raw_score, unresolved_candidate_label_prefix
        Least score and raw enrichment of a candidate, and the text of its label.
    unknown_label
        Text of the unknown label.
    unknown_min_score, unknown_score_column
        Least value in a column of the route table; None asks for none.
    unknown_max_margin, unknown_margin_column
        The same for a margin: groups below it are unknown.
    rescue_unknown_with_blocked_candidates
        Whether any unknown group may be reported as a candidate, or only those without a lineage.
    candidate_status
        Status of a candidate; the first published release left it ``unknown``.
    """

    label_with_cluster: bool = True
    unknown_on_low_confidence: bool = True
    unknown_confidence_levels: tuple[Literal["high", "medium", "low", "none"], ...] = ("low", "none")
    unknown_on_branch_conflict: bool = False
    unknown_on_low_absolute_support: bool = False
    unknown_branch_raw_threshold: float | None = None
    mixed_on_parent_mixing: bool = True
    mixed_label_prefix: str = "mixed"
    mixed_branch_separator: str = "."
    mixed_min_score: float = 0.35
    mixed_max_margin: Annotated[float, Field(ge=0.0)] = 0.02
    mixed_between: Literal["lineages", "nodes"] = "lineages"
    unresolved_candidate_min_score: float = 1.0
    unresolved_candidate_min_raw_score: float = 0.2
    unresolved_candidate_label_prefix: str = "candidate"
    unknown_label: str = "unknown"
    unknown_min_score: float | None = None
    unknown_max_margin: float | None = None
    unknown_score_column: str = "annot_score"
    unknown_margin_column: str = "annot_final_call_margin"
    rescue_unknown_with_blocked_candidates: bool = True
    candidate_status: Literal["candidate", "unknown"] = "candidate"

    @classmethod
    def released(cls, **changes: object) -> Self:
        """Return the rules of HierAnnot 0.7."""
        return cls.parse({"mixed_between": "nodes", "candidate_status": "unknown", **changes})


def sanitised(name: str) -> str:
    """Return a name as it stands in joined labels: blanks, slashes and hyphens as single underscores.

    >>> sanitised("Stem/TA-like")
    'Stem_TA_like'
    """
    return re.sub(r"_+", "_", re.sub(r"[\s/\-]", "_", name.strip())).strip("_")


def export_labels(table: pd.DataFrame, rules: ExportRules | None = None) -> pd.DataFrame:
    """Return the route table with reported labels, one row per group in the same order.

    Rules apply in this order, later ones over earlier ones: resolved, mixed, unknown, candidate.

    Parameters
    ----------
    table
        From :func:`~cellkey.calls.route_table.route_table`; also after it was written and read again.
    rules
        The defaults if None.

    Returns
    -------
    A copy with the columns of :data:`EXPORT_COLUMNS`.

    Raises
    ------
    MissingFieldError
        If a rule names a column that the table does not hold.
    """
    rules = rules or ExportRules()
    result = table.copy()
    cluster = table["cluster_id"].astype(str).to_numpy(dtype=object)
    label = table["annot_label"].astype(str).to_numpy(dtype=object)
    joined = np.array([f"{sanitised(n)}_{c}" for n, c in zip(label, cluster, strict=True)], dtype=object)
    status = np.full(len(table), str(CallStatus.RESOLVED), dtype=object)
    reason = np.full(len(table), str(ExportReason.RESOLVED), dtype=object)

    def rename(mask: NDArray[np.bool_], text: NDArray[np.object_], state: str | None, why: str) -> None:
        label[mask] = text[mask]
        joined[mask] = [f"{t}_{c}" for t, c in zip(text[mask], cluster[mask], strict=True)]
        if state is not None:
            status[mask] = state
        reason[mask] = why

    pair, mixed = _mixed(table, rules)
    rename(mixed, pair, str(CallStatus.MIXED), str(ExportReason.FINAL_CALL_COMPETITION))
    unknown = _unknown(table, rules) & ~_parent_mixing(table, rules)
    nothing = np.full(len(table), rules.unknown_label, dtype=object)
    rename(unknown, nothing, str(CallStatus.UNKNOWN), str(ExportReason.UNKNOWN_RULE))
    considered, blocked, named = _candidates(table, rules, unknown)
    rename(blocked, named, rules.candidate_status, str(ExportReason.BLOCKED_STRONG_CANDIDATE))

    result["annot_export_label"] = label
    if rules.label_with_cluster:
        result["annot_export_label_with_cluster"] = joined
    best = table["annot_best_any_level_label"].astype(str).to_numpy(dtype=object)
    result["annot_unresolved_candidate_label"] = np.where(considered, best, "")
    for name in ("score", "raw_score"):
        values = _numbers(table, f"annot_best_any_level_{name}")
        result[f"annot_unresolved_candidate_{name}"] = np.where(considered, values, np.nan)
    result["annot_export_status"] = status
    result["annot_export_reason"] = reason
    return result


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    import pandas as pd

    if column not in table.columns:
        msg = f"the table holds no column {column!r}{did_you_mean(column, map(str, table.columns))}"
        raise MissingFieldError(msg)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)


def _text(table: pd.DataFrame, column: str) -> NDArray[np.object_]:
    return np.asarray(table[column].fillna("").astype(str), dtype=object)


def _flag(table: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    return np.asarray(table[column].astype(str).str.lower() == "true")


def _mixed(table: pd.DataFrame, rules: ExportRules) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Text of the mixed label, and which groups get it."""
    first, second = _text(table, "annot_label"), _text(table, "annot_second_best_call")
    own, other = _numbers(table, "annot_score"), _numbers(table, "annot_second_best_call_score")
    margin = _numbers(table, "annot_final_call_margin")
    with np.errstate(invalid="ignore"):
        tied = (margin <= rules.mixed_max_margin) & (own >= rules.mixed_min_score) & (other >= rules.mixed_min_score)
    # Competitors of the default routing always stand in another lineage; the published test compares names.
    tied &= (second != "") & (_text(table, "annot_final_top_branch") != second)
    both = _parent_mixing(table, rules)
    first = np.where(both, _text(table, "annot_mixed_primary"), first)
    second = np.where(both, _text(table, "annot_mixed_secondary"), second)
    text = np.array([
        f"{rules.mixed_label_prefix}_{sanitised(a).lower()}{rules.mixed_branch_separator}{sanitised(b).lower()}"
        for a, b in zip(first, second, strict=True)
    ], dtype=object)
    return text, (tied | both) if rules.mixed_on_parent_mixing else np.zeros(len(table), dtype=bool)


def _parent_mixing(table: pd.DataFrame, rules: ExportRules) -> NDArray[np.bool_]:
    """Groups undecided between two lineages that are both strong enough to be reported as mixed."""
    if not rules.mixed_on_parent_mixing or rules.mixed_between == "nodes":
        return np.zeros(len(table), dtype=bool)
    weaker = _numbers(table, "annot_secondary_compartment_score")
    with np.errstate(invalid="ignore"):
        return _flag(table, "annot_parent_mixing") & (weaker >= rules.mixed_min_score)


def _unknown(table: pd.DataFrame, rules: ExportRules) -> NDArray[np.bool_]:
    mask = np.zeros(len(table), dtype=bool)
    if rules.unknown_on_low_confidence:
        tiers = np.isin(_text(table, "annot_confidence"), rules.unknown_confidence_levels)
        usual = set(rules.unknown_confidence_levels) == {"low", "none"}
        mask |= tiers | (_flag(table, "annot_low_evidence") if usual or rules.mixed_between == "nodes" else False)
    if rules.unknown_on_branch_conflict:
        mask |= _flag(table, "annot_branch_conflict")
    if rules.unknown_on_low_absolute_support:
        mask |= _flag(table, "annot_low_absolute_support")
    limits = (
        ("annot_branch_supported_raw_score", rules.unknown_branch_raw_threshold),
        (rules.unknown_score_column, rules.unknown_min_score),
        (rules.unknown_margin_column, rules.unknown_max_margin),
    )
    for column, limit in limits:
        if limit is not None:
            with np.errstate(invalid="ignore"):
                mask |= _numbers(table, column) < limit
    return mask


def _candidates(
    table: pd.DataFrame, rules: ExportRules, unknown: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.object_]]:
    """Which groups are looked at, which of them have a strong candidate, and its label."""
    level = _numbers(table, "annot_level")
    open_status = np.isin(_text(table, "annot_status"), [RouteStatus.UNRESOLVED, RouteStatus.STOPPED])
    rootless = ~(level > 0) & (open_status | (_text(table, "annot_label") == UNRESOLVED))
    rootless &= ~_parent_mixing(table, rules)
    considered = rootless | unknown if rules.rescue_unknown_with_blocked_candidates else rootless
    best = _text(table, "annot_best_any_level_label")
    score, raw = _numbers(table, "annot_best_any_level_score"), _numbers(table, "annot_best_any_level_raw_score")
    with np.errstate(invalid="ignore"):
        strong = (score >= rules.unresolved_candidate_min_score) & (raw >= rules.unresolved_candidate_min_raw_score)
    prefix = rules.unresolved_candidate_label_prefix
    text = np.array([f"{prefix}_{sanitised(n).lower()}" for n in best], dtype=object)
    return considered, considered & strong & (best != UNRESOLVED), text
