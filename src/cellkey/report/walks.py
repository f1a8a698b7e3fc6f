"""The walks of clusters down the marker hierarchy as the page reads them: steps, candidates, why each lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cellkey.records.vocabulary import FailReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

__all__ = ["CANDIDATE", "outcome", "walks"]

CANDIDATE = ("type", "state", "score", "coverage", "on", "positive", "enrichment", "against", "outcome")
"""Fields of a candidate in the page; ``outcome`` is a position in the list of outcomes."""


def walks(steps: pd.DataFrame, clusters: Sequence[str], place: Mapping[str, int]) -> dict[str, Any]:
    """Return every step of every walk with all its candidates.

    Parameters
    ----------
    steps
        Rows of ``decision_steps``.
    clusters
        Clusters in the order of the page.
    place
        Position of each path in the list of cell types.

    Returns
    -------
    ``outcomes`` (words and sentence) and ``walks``: for each cluster a list of ``[parent label, candidates]``, the best
    candidate first. A candidate is a list of the fields in :data:`CANDIDATE`.
    """
    outcomes: dict[tuple[str, str], int] = {}
    found: dict[str, dict[int, list[Any]]] = {}
    for row in steps.to_dict("records"):
        step = found.setdefault(str(row["cluster_id"]), {}).setdefault(int(row["step_idx"]), [row["parent_label"], []])
        step[1].append(row)
    return {
        "walks": [
            [
                [str(parent), [_candidate(r, place, outcomes) for r in sorted(rows, key=_rank)]]
                for _, (parent, rows) in sorted(found.get(cluster, {}).items())
            ]
            for cluster in clusters
        ],
        "outcomes": list(outcomes),
    }


def _rank(row: Mapping[Any, Any]) -> tuple[bool, bool, float, str]:
    score = float(row["child_score"])
    lost = math.inf if math.isnan(score) else -score
    return not row["selected"], not row["child_passed_gate"], lost, str(row["child_label"])


def _candidate(row: Mapping[Any, Any], place: Mapping[str, int], outcomes: dict[tuple[str, str], int]) -> list[Any]:
    state = 2 if row["selected"] else int(bool(row["child_passed_gate"]))
    numbers = ("child_score", "child_coverage", "child_frac_markers_on", "child_pos_frac", "child_enrichment",
               "child_anti_penalty")
    return [
        place.get(str(row["child_path"]), str(row["child_label"])), state,
        *(_rounded(row[name]) for name in numbers), outcomes.setdefault(outcome(row), len(outcomes)),
    ]


def _rounded(value: Any) -> float | None:
    number = float(value)
    return round(number, 3) if math.isfinite(number) else None


_LOST = {
    FailReason.BELOW_GATE: "below its gate", FailReason.LOW_COVERAGE: "too few markers measured",
    FailReason.ANTI_MARKERS: "markers speak against it", FailReason.OUTSCORED: "outscored",
}
_CHECKS = {
    "frac_markers_on": "markers on", "pos_frac": "positive cells", "coverage": "markers measured",
    "enrichment": "shift", "branch_support": "branch support",
    "insufficient_markers_present": "too few markers measured", "no_markers_present": "no marker measured",
}


def outcome(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return in a few words and in a sentence what became of a candidate, from a row of ``decision_steps``."""
    gap = float(row["margin_to_runner_up"])
    if row["selected"]:
        return ("chosen" if math.isnan(gap) else f"chosen, {gap:.2f} ahead"), "The walk went on with this type."
    reason, detail = str(row["fail_reason"]), str(row["fail_detail"])
    if reason not in set(FailReason):
        return reason, detail
    known = FailReason(reason)
    if known is FailReason.OUTSCORED and not math.isnan(gap):
        return f"undecided: leads by {gap:.2f} only", known.meaning
    words = detail
    for name, shown in _CHECKS.items():
        words = words.replace(name, shown)
    words = words.replace("<", "\u00a0<\u00a0")
    said = words if known in (FailReason.BELOW_GATE, FailReason.LOW_COVERAGE) else f"{_LOST[known]}: {words}"
    return (said if words else _LOST[known]), f"{known.meaning} {detail}".strip()
