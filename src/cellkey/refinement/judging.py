"""What refinement needs of a scorer and its router, whichever they are.

A :class:`Judge` turns profiles of groups of cells into a :class:`Verdict`: scores, who passes its gate, and a call
per group. Diagnosis, splitting and relabelling work on verdicts alone, so another method takes part by offering a
judge of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cellkey.annotation.core import Annotation, annotate_profiles
from cellkey.calls.call import Call, calls_from_walks
from cellkey.routing.walk import walk_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.scoring.key import MeasuredKey
    from cellkey.scoring.marker_evidence import MarkerScoring

__all__ = ["Judge", "MarkerJudge", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scorer and its router say of groups of cells.

    Attributes
    ----------
    annotation
        Profiles, evidence and calls, for the tables.
    scores
        The scores that competed, groups x nodes.
    passed
        Whether a node passes its gate, groups x nodes.
    gaps
        Least score gap between siblings of each node's level, shape (nodes,).
    unit
        Score that counts as a clear signal; thresholds of refinement are multiples of it. 1 for marker scores.
    positive
        Share of positive cells per marker of the hierarchy, groups x markers.
    quantile
        Quantile of the positivity threshold that the scores rest on.
    """

    annotation: Annotation
    scores: NDArray[np.float64]
    passed: NDArray[np.bool_]
    gaps: NDArray[np.float64]
    unit: float
    positive: NDArray[np.float64]
    quantile: float

    @property
    def key(self) -> MeasuredKey:
        """The hierarchy as measured."""
        return self.annotation.key

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in natural order."""
        return self.annotation.evidence.groups

    @property
    def calls(self) -> dict[str, Call]:
        """Calls by group."""
        return {call.group: call for call in self.annotation.calls}

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
        a = self.annotation
        walk = walk_key(a.key, a.evidence.groups, a.rule, max_depth=a.gating.max_depth, roots=[root])[i]
        alone = replace(a.evidence, groups=(group,), n_cells=a.evidence.n_cells[[i]])
        ambiguity = [a.gating.at(level).max_ambiguity for level in range(a.key.hierarchy.depth)]
        return calls_from_walks([walk], alone, self.scores[[i]], ambiguity)[0]


class Judge(Protocol):
    """Scores profiles and calls the groups."""

    def __call__(self, profiles: ClusterProfiles, *, without: Collection[int] = ()) -> Verdict:
        """Return the verdict on ``profiles``.

        Parameters
        ----------
        without
            Columns to be treated as if they had not been measured.
        """
        ...


class MarkerJudge:
    """Judge by marker evidence: the same rules and parameters as in the annotation.

    Parameters
    ----------
    hierarchy, scoring, gating, var_columns, features
        As in :func:`~cellkey.annotation.core.annotate_profiles`.
    """

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

    def __call__(self, profiles: ClusterProfiles, *, without: Collection[int] = ()) -> Verdict:
        """Return the verdict on ``profiles``."""
        key = None if self._key is None else _without(self._key, without)
        if key is None and without:
            self._key = self(profiles).key
            key = _without(self._key, without)
        annotation = annotate_profiles(profiles, self._hierarchy, key=key, **self._settings)
        if not without:
            self._key = annotation.key
        return _marker_verdict(annotation)


def _marker_verdict(annotation: Annotation) -> Verdict:
    key = annotation.key
    level_gap = [annotation.gating.at(level).min_gap for level in range(key.hierarchy.depth)]
    return Verdict(
        annotation=annotation,
        scores=annotation.rule.scores,
        passed=annotation.rule.judgement.passed,
        gaps=np.array([level_gap[level] for level in key.levels]),
        unit=1.0,
        positive=annotation.evidence.details.statistics.positive[:, key.used_columns()],
        quantile=annotation.scoring.positive_quantile,
    )


def _without(key: MeasuredKey, columns: Collection[int]) -> MeasuredKey:
    """The key as if some columns had not been measured."""
    if not columns:
        return key
    left_out = set(columns)

    def strip(sets: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(c for c in part if c not in left_out) for part in sets)

    names = set(key.names(sorted(left_out)))
    found = {listed: name for listed, name in key.resolution.found.items() if name not in names}
    return replace(
        key, markers=strip(key.markers), anti_markers=strip(key.anti_markers),
        resolution=replace(key.resolution, found=found),
    )
