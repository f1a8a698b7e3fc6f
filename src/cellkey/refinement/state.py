"""Where refinement stands: the cluster of each cell, what each cluster is called, and how it came to that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.records.vocabulary import RefinementAction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.refinement.judging import Judge, Verdict

__all__ = ["LogEntry", "State", "Touch", "start"]


@dataclass(frozen=True, slots=True)
class Touch:
    """The last thing that happened to a cluster."""

    action: RefinementAction = RefinementAction.KEEP
    iteration: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One action, as the refinement log tells it."""

    cluster: str
    action: RefinementAction
    old_label: str
    new_label: str
    confidence_before: float
    confidence_after: float
    n_cells: int
    reason: str
    source: str
    status: str
    seconds: float
    new_clusters: tuple[str, ...] = ()
    stability: float = float("nan")


@dataclass(frozen=True, slots=True)
class State:
    """All that refinement changes.

    Attributes
    ----------
    ids
        Cluster of each cell, object array; None for cells without one.
    profiles
        Of the clusters, against the statistics of all cells.
    verdict
        What the judge says of the profiles.
    calls
        What each cluster is called now; differs from the verdict where a cluster was relabelled, kept its
        parent's label, or a person decided.
    touches
        By cluster, the last action; clusters that nothing happened to are absent.
    pinned
        Clusters whose label a person set.
    exhausted
        Clusters that were tried to be split, with the outcome.
    stability
        By part, how well it came out again when subsets were split (0 to 1).
    origin
        Cluster of each cell in the first clustering; the groups of ``base``.
    base
        Profiles of the first clustering.
    """

    ids: NDArray[np.object_]
    origin: NDArray[np.object_]
    base: ClusterProfiles
    profiles: ClusterProfiles
    verdict: Verdict
    calls: Mapping[str, Call]
    touches: Mapping[str, Touch] = field(default_factory=dict)
    pinned: frozenset[str] = frozenset()
    exhausted: Mapping[str, str] = field(default_factory=dict)
    stability: Mapping[str, float] = field(default_factory=dict)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Clusters in natural order."""
        return self.profiles.groups

    @property
    def sizes(self) -> dict[str, int]:
        """Number of cells by cluster."""
        return dict(zip(self.profiles.groups, self.profiles.n_cells.tolist(), strict=True))

    def rows(self, cluster: str) -> NDArray[np.intp]:
        """Positions of a cluster's cells, ascending."""
        return np.flatnonzero(self.ids == cluster)

    def without(self, clusters: tuple[str, ...]) -> State:
        """Forget what is remembered of clusters that no longer exist."""
        gone = set(clusters)

        def kept(values: Mapping[str, object]) -> dict[str, object]:
            return {k: v for k, v in values.items() if k not in gone}

        return replace(
            self,
            calls=kept(self.calls), touches=kept(self.touches), pinned=self.pinned - gone,  # type: ignore[arg-type]
            exhausted=kept(self.exhausted), stability=kept(self.stability),  # type: ignore[arg-type]
        )


def start(ids: NDArray[np.object_], profiles: ClusterProfiles, judge: Judge) -> State:
    """Return the state before any refinement, from the first clustering and its profiles."""
    verdict = judge(profiles)
    origin = np.asarray(ids, dtype=object)
    return State(
        ids=origin.copy(), origin=origin, base=profiles, profiles=profiles, verdict=verdict, calls=verdict.calls
    )
