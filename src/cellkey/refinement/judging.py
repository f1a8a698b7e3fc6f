"""What refinement needs of a scorer and its router, whichever they are.

A :class:`Judge` turns profiles of groups of cells into a :class:`Verdict`: scores, who passes its gate, and a call
per group. Diagnosis, splitting and relabelling work on verdicts alone, so any method of
:data:`cellkey.annotation.registry.METHODS` takes part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellkey.annotation.core import Annotation, annotate_profiles
from cellkey.calls.call import Call, calls_from_walks
from cellkey.routing.walk import walk_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.calls.export import ExportRules
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.routing.branch_rule import BranchGating
    from cellkey.routing.walk import Rule
    from cellkey.scoring.enrichment_settings import EnrichmentScoring
    from cellkey.scoring.evidence import Evidence
    from cellkey.scoring.key import MeasuredKey
    from cellkey.scoring.marker_evidence import MarkerScoring

__all__ = ["EnrichmentJudge", "Judge", "MarkerJudge", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scorer and its router say of groups of cells.

    Attributes
    ----------
    profiles, evidence, rule
        What was judged, the scores, and who chooses among siblings.
    calls
        By group.
    scores
        The scores that competed, groups x nodes; minus infinity where a type cannot be scored.
    passed
        Whether a node passes its gate, groups x nodes.
    gaps
        Least score gap between siblings of each node's level, shape (nodes,).
    unit
        Score that counts as a clear signal; thresholds of refinement are multiples of it.
    max_depth, max_ambiguity
        Limits of the walk, the second by level.
    quantile
        Quantile of the positivity threshold.
    vote_threshold
        Lead that a cell's vote needs.
    annotation
        The same in the form of a run's annotation, for its tables.
    """

    profiles: ClusterProfiles
    evidence: Evidence
    rule: Rule
    calls: Mapping[str, Call]
    scores: NDArray[np.float64]
    passed: NDArray[np.bool_]
    gaps: NDArray[np.float64]
    unit: float
    max_depth: int | None
    max_ambiguity: tuple[int, ...]
    quantile: float
    vote_threshold: float
    annotation: Annotation

    @property
    def key(self) -> MeasuredKey:
        """The hierarchy as measured."""
        return self.evidence.key

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in natural order."""
        return self.evidence.groups

    @property
    def positive(self) -> NDArray[np.float64]:
        """Share of positive cells per marker of the hierarchy, groups x markers."""
        at = self.profiles.at_quantile(self.quantile) or 0
        return np.asarray(self.profiles.positive[at][:, self.key.used_columns()])

    def position(self, group: str) -> int:
        """Row of a group."""
        return self.groups.index(group)

    def children(self, node: int | None) -> tuple[int, ...]:
        """Positions of the children of a node; none for None."""
        return () if node is None else tuple(np.flatnonzero(self.key.parents == node).tolist())

    def ranked_children(self, group: int, node: int | None) -> list[int]:
        """Children by falling score, ties by path."""
        nodes = self.key.hierarchy.nodes
        return sorted(
            self.children(node), key=lambda k: (-round(float(self.scores[group, k]), 10), nodes[k].path_text)
        )

    def call_below(self, group: str, root: int) -> Call:
        """Return the call of a group when only the lineage of ``root`` is open to it."""
        i = self.position(group)
        walk = walk_key(self.key, self.groups, self.rule, max_depth=self.max_depth, roots=[root])[i]
        alone = replace(self.evidence, groups=(group,), n_cells=self.evidence.n_cells[[i]])
        return calls_from_walks([walk], alone, self.scores[[i]], self.max_ambiguity)[0]


class Judge(Protocol):
    """Scores profiles and calls the groups.

    ``relative`` says whether the scores of a group depend on which other groups there are.
    """

    relative: bool

    def __call__(self, profiles: ClusterProfiles) -> Verdict:
        """Return the verdict on ``profiles``."""
        ...


class MarkerJudge:
    """Judge by marker evidence: the same rules and parameters as in the annotation.

    Parameters
    ----------
    hierarchy, scoring, gating, var_columns, features
        As in :func:`~cellkey.annotation.core.annotate_profiles`.
    """

    relative = False

    def __init__(
        self,
        hierarchy: Hierarchy,
        *,
        scoring: MarkerScoring | None = None,
        gating: Mapping[str, Any] | None = None,
        var_columns: Mapping[str, Sequence[str]] | None = None,
        features: NDArray[np.bool_] | None = None,
    ) -> None:
        self._hierarchy = hierarchy
        self._settings: dict[str, Any] = {
            "scoring": scoring, "gating": gating, "var_columns": var_columns, "features": features
        }
        self._key: MeasuredKey | None = None

    def __call__(self, profiles: ClusterProfiles) -> Verdict:
        """Return the verdict on ``profiles``."""
        if self._key is None:
            self._key = annotate_profiles(profiles, self._hierarchy, **self._settings).key
        return _marker_verdict(annotate_profiles(profiles, self._hierarchy, key=self._key, **self._settings))


def _marker_verdict(annotation: Annotation) -> Verdict:
    gating, levels = annotation.gating, annotation.key.hierarchy.depth
    return Verdict(
        profiles=annotation.profiles,
        evidence=annotation.evidence,
        rule=annotation.rule,
        calls={call.group: call for call in annotation.calls},
        scores=annotation.rule.scores,
        passed=annotation.rule.judgement.passed,
        gaps=np.array([gating.at(level).min_gap for level in annotation.key.levels.tolist()]),
        unit=1.0,
        max_depth=gating.max_depth,
        max_ambiguity=tuple(gating.at(level).max_ambiguity for level in range(levels)),
        quantile=annotation.scoring.positive_quantile,
        vote_threshold=gating.per_cell_gap_threshold,
        annotation=annotation,
    )


class EnrichmentJudge:
    """Judge by hierarchical enrichment and branch support.

    Its scores compare clusters with each other, so parts are always judged among all clusters. The unit is the
    branch support from which on a call is of high confidence.

    Parameters
    ----------
    hierarchy
        Cell types and their markers.
    method
        ``enrichment`` or another method of its family.
    scoring, routing, export
        Parameters of the method; those of the method if None.
    settings
        Further arguments of :func:`~cellkey.annotation.core.annotate_profiles`: marker statistics fill the shared
        tables whatever method decides.
    """

    relative = True

    def __init__(
        self,
        hierarchy: Hierarchy,
        *,
        method: str = "enrichment",
        scoring: EnrichmentScoring | None = None,
        routing: BranchGating | None = None,
        export: ExportRules | None = None,
        **settings: Any,
    ) -> None:
        self._hierarchy = hierarchy
        self._method: dict[str, Any] = {"method": method, "scoring": scoring, "routing": routing, "export": export}
        self._settings = settings
        self._key: MeasuredKey | None = None

    def __call__(self, profiles: ClusterProfiles) -> Verdict:
        """Return the verdict on ``profiles``."""
        from cellkey.annotation.enrichment import call_by_enrichment, decided_by_enrichment

        if self._key is None:
            self._key = annotate_profiles(profiles, self._hierarchy, **self._settings).key
        key = self._key
        by_markers = annotate_profiles(profiles, self._hierarchy, key=key, **self._settings)
        found = call_by_enrichment(profiles, key, **self._method)
        annotation = decided_by_enrichment(by_markers, found)
        rule, gating = found.routes.rule, found.routes.gating
        threshold = gating.score_threshold
        return Verdict(
            profiles=profiles,
            evidence=annotation.evidence,
            rule=rule,
            calls={call.group: call for call in annotation.calls},
            scores=np.where(np.isfinite(rule.scores), rule.scores, -np.inf),
            passed=np.asarray(rule.judgement.passed),
            gaps=np.full(key.n_nodes, gating.margin_threshold),
            unit=threshold + max(abs(threshold), 0.05),
            max_depth=gating.max_depth,
            max_ambiguity=tuple(by_markers.gating.at(level).max_ambiguity for level in range(key.hierarchy.depth)),
            quantile=by_markers.scoring.positive_quantile,
            vote_threshold=by_markers.gating.per_cell_gap_threshold,
            annotation=annotation,
        )
