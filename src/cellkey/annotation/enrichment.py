"""Annotation by enrichment: the same profiles and walker, its own evidence, rule and reported labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.annotation.registry import METHODS
from cellkey.calls.call import calls_from_walks
from cellkey.calls.export import ExportRules, export_labels
from cellkey.calls.route_table import CandidateBy, route_table
from cellkey.records.vocabulary import CallStatus, ScoreStatus
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import Routes, route_branches

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.annotation.core import Annotation
    from cellkey.annotation.methods import MethodPlan
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.scoring.enrichment_settings import EnrichmentScoring
    from cellkey.scoring.evidence import Evidence
    from cellkey.scoring.key import MeasuredKey

__all__ = ["EnrichmentCalls", "call_by_enrichment", "control_notes", "decided_by_enrichment", "enrichment_of"]

_FEW_CONTROLS = 5
_NOT_PART_OF_THE_SCORE = ("de_component", "anti_penalty", "coverage_penalty")


@dataclass(frozen=True, slots=True)
class EnrichmentCalls:
    """What enrichment decided: evidence, walks, and the table of routed and reported labels."""

    method: str
    evidence: Evidence
    routes: Routes
    rules: ExportRules
    table: pd.DataFrame


def call_by_enrichment(
    profiles: ClusterProfiles,
    key: MeasuredKey,
    *,
    method: str = "enrichment",
    scoring: EnrichmentScoring | None = None,
    routing: BranchGating | None = None,
    export: ExportRules | None = None,
) -> EnrichmentCalls:
    """Score, route and report every group of the profiles.

    Parameters
    ----------
    profiles
        On the scale of the scoring layer.
    key
        The hierarchy, measured on the profiles.
    method
        Name of a method of the enrichment family.
    scoring, routing, export
        Parameters; those of the method if None.
    """
    chosen = METHODS[method]
    evidence = chosen.score(profiles, key, scoring or chosen.defaults)
    routes = route_branches(evidence, routing or BranchGating(**chosen.routing))
    rules = export or ExportRules(**chosen.export)
    by: CandidateBy = "branch" if evidence.details.parameters.rescue_by_level else "decision"
    table = export_labels(route_table(routes, candidate_by=by), rules)
    return EnrichmentCalls(method, evidence, routes, rules, table)


def decided_by_enrichment(annotation: Annotation, calls: EnrichmentCalls) -> Annotation:
    """Return the annotation with the calls of enrichment in place of those by marker evidence.

    Marker statistics stay as they are, because tables and figures show them; the score becomes branch
    support, and parts that do not enter it become missing.
    """
    evidence, routes = calls.evidence, calls.routes
    missing = {name: np.full(evidence.score.shape, np.nan) for name in _NOT_PART_OF_THE_SCORE}
    shared = replace(
        annotation.evidence, method=calls.method, score=evidence.score,
        components={**annotation.evidence.components, **missing},
    )
    ambiguity = [annotation.gating.at(level).max_ambiguity for level in range(annotation.key.hierarchy.depth)]
    found = calls_from_walks(routes.walks, shared, evidence.score, ambiguity)
    status = calls.table["annot_export_status"].tolist()
    named = tuple(replace(c, status=CallStatus(s)) for c, s in zip(found, status, strict=True))
    return replace(annotation, evidence=shared, rule=routes.rule, calls=named, method=calls.method, enrichment=calls)


def control_notes(calls: EnrichmentCalls) -> tuple[str, ...]:
    """Say where enrichment rests on few control genes or could not be computed, as sentences."""
    details = calls.evidence.details
    scored = [s is ScoreStatus.OK or s is ScoreStatus.FEWER_CONTROLS for s in details.status]
    few = [n for n, ok in zip(details.positive.median_controls, scored, strict=True) if ok and n < _FEW_CONTROLS]
    notes = []
    if few or not any(scored):
        notes.append(
            f"Enrichment compares markers with other genes of similar expression, and {len(few)} of {sum(scored)} cell "
            f"types have fewer than {_FEW_CONTROLS} of them: this panel of {details.panel.n_genes} consists mostly of "
            "markers, for which the method 'markers' is made."
        )
    left = len(scored) - sum(scored)
    if left:
        notes.append(f"Enrichment could not score {left} of {len(scored)} cell types; enrichment_scores.csv says why.")
    return tuple(notes)


def enrichment_of(annotation: Annotation, plan: MethodPlan) -> EnrichmentCalls | None:
    """Return the calls of the plan's enrichment method, None if it has none."""
    if plan.enrichment is None:
        return None
    return call_by_enrichment(
        annotation.profiles, annotation.key, method=plan.enrichment.name, scoring=plan.enrichment_scoring,
        routing=plan.routing, export=plan.export,
    )
