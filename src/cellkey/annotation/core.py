"""From profiles to calls: measure the key, collect evidence, walk, vote. Arrays only, no cells but for votes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.calls.call import Call, calls_from_walks
from cellkey.routing.limits import Gating, merge_gating
from cellkey.routing.marker_gates import MarkerRule
from cellkey.routing.votes import vote
from cellkey.routing.walk import walk_key
from cellkey.scoring.key import MeasuredKey, measure_key
from cellkey.scoring.marker_evidence import MarkerScoring, score_markers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.annotation.enrichment import EnrichmentCalls
    from cellkey.annotation.stability import Stability
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.expression import Expression
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.routing.branch_rule import BranchRule
    from cellkey.scoring.evidence import Evidence

__all__ = ["Annotation", "annotate_profiles", "hold_votes"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Everything that was decided about the groups of one data set.

    ``compositions`` holds, by group, the outcome of the vote of its cells where one was held. ``method`` made
    the calls; ``enrichment`` holds the calls of enrichment where that was asked for, also beside others.
    ``stability`` says how well calls hold, method by method, where that was measured.
    """

    profiles: ClusterProfiles
    key: MeasuredKey
    evidence: Evidence
    rule: MarkerRule | BranchRule
    scoring: MarkerScoring
    gating: Gating
    calls: tuple[Call, ...]
    compositions: Mapping[str, Mapping[str, object]]
    method: str = "markers"
    enrichment: EnrichmentCalls | None = None
    stability: tuple[Stability, ...] = ()


def annotate_profiles(
    profiles: ClusterProfiles,
    hierarchy: Hierarchy,
    *,
    scoring: MarkerScoring | None = None,
    gating: Mapping[str, Any] | None = None,
    var_columns: Mapping[str, Sequence[str]] | None = None,
    features: NDArray[np.bool_] | None = None,
    key: MeasuredKey | None = None,
    resolution: Resolution | None = None,
) -> Annotation:
    """Call every group of cells.

    Parameters
    ----------
    profiles
        Must hold the quantile and threshold rule of ``scoring``.
    hierarchy
        Cell types and their markers, with the gating that the map carries.
    scoring
        Weights of the marker score; defaults if None.
    gating
        Settings that replace those of the hierarchy, in any written form.
    var_columns
        Further names of the genes, such as ``gene_symbols``.
    features
        Genes that take part in the ranking of differential markers.
    key
        The hierarchy as measured by profiles of the same data, which saves resolving the names again; made if
        None.
    resolution
        The names of the hierarchy and of the gates resolved in this data set, if that was done before.
    """
    scoring = scoring or MarkerScoring()
    limits = merge_gating(hierarchy.gating, gating, names=("marker map", "gating parameters"))
    if key is None:
        usable = profiles.overall_std > 0
        key = measure_key(
            hierarchy, profiles.var_names, usable=usable, var_columns=var_columns, also=limits.markers(),
            resolution=resolution,
        )
    on_limits = np.array([limits.at(level).on_limit for level in range(hierarchy.depth)])
    evidence = score_markers(profiles, key, scoring, on_limits=on_limits, features=features)
    rule = MarkerRule(evidence, limits)
    walks = walk_key(key, evidence.groups, rule, max_depth=limits.max_depth)
    ambiguity = [limits.at(level).max_ambiguity for level in range(hierarchy.depth)]
    calls = calls_from_walks(walks, evidence, rule.scores, ambiguity)
    return Annotation(profiles, key, evidence, rule, scoring, limits, tuple(calls), {})


def undecided(annotation: Annotation) -> dict[str, tuple[int, ...]]:
    """Return the groups whose cells may vote, with the candidates."""
    found = {}
    for call in annotation.calls:
        tied = call.walk.last.tied
        level = 0 if not call.walk.path else len(call.walk.path)
        if tied and len(tied) <= annotation.gating.at(level).max_ambiguity:
            found[call.group] = tied
    return found


def hold_votes(
    annotation: Annotation, expression: Expression, labels: NDArray[np.object_]
) -> dict[str, Mapping[str, object]]:
    """Let the cells of undecided groups vote, given the group of each; return the compositions by group."""
    position = {name: i for i, name in enumerate(annotation.evidence.groups)}
    compositions: dict[str, Mapping[str, object]] = {}
    for group, candidates in undecided(annotation).items():
        ballot = vote(
            expression, np.flatnonzero(labels == group), candidates, annotation.evidence,
            annotation.profiles.overall_mean, annotation.profiles.overall_std,
            threshold=annotation.gating.per_cell_gap_threshold,
        )
        compositions[group] = ballot.composition(annotation.rule.scores[position[group]])
    return compositions
