"""How well calls hold: on other cells of the same kind, and without any single marker.

The same scorer and the same rule that made a call make it again on every resample of the cells, and again with
every marker of its path taken away in turn. What counts is the path: a call holds at a level if the walk passes
the same type of that level, wherever it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from cellkey.profiles.means import ResampledMeans, means_from_profiles
from cellkey.routing.branch_rule import BranchRule
from cellkey.routing.branch_support import route_branches
from cellkey.routing.marker_gates import MarkerRule
from cellkey.routing.walk import walk_paths
from cellkey.scoring.enrichment import Background, score_enrichment
from cellkey.scoring.marker_evidence import differential_universe, score_markers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from cellkey.annotation.core import Annotation
    from cellkey.annotation.enrichment import EnrichmentCalls
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.profiles.resampling import Resamples
    from cellkey.routing.walk import Rule
    from cellkey.scoring.enrichment_settings import EnrichmentScoring
    from cellkey.scoring.evidence import Evidence
    from cellkey.scoring.key import MeasuredKey

__all__ = ["Settle", "Stability", "key_columns", "stability_of_enrichment", "stability_of_markers"]

Path = tuple[int, ...]
Nodes: TypeAlias = "NDArray[np.int64]"
Settle: TypeAlias = "Callable[[Sequence[str], Any, Nodes, Callable[[int], Nodes]], Nodes]"
"""Says where groups end up: from their names, the rule (with its scores), the nodes that their walks pass (groups x
levels, -1 past the end), and the same for walks to which one top-level type alone is open."""
_STACKED_VALUES = 2_000_000  # groups x columns that are scored at once: about 300 MB of work space


@dataclass(frozen=True, slots=True)
class Stability:
    """How well one call holds.

    Attributes
    ----------
    group, method
        The group, and the method that called it.
    path
        Nodes of the call from the top-level type down; empty if it has none.
    held
        Share (0 to 1) of the resamples whose walk passes each node of the path, shape (levels,). For a group
        without a path one value: the share without one. NaN if it could not be measured.
    without_marker
        Share (0 to 1) of the markers of the path down to each node without which the walk still passes it; NaN
        without markers. Shape (levels,); empty for a group without a path.
    fragile
        For each level, the marker whose loss costs most of the path among those without which the level does not
        hold; empty text if there is none.
    """

    group: str
    method: str
    path: Path
    held: NDArray[np.float64]
    without_marker: NDArray[np.float64]
    fragile: tuple[str, ...]


def key_columns(key: MeasuredKey) -> NDArray[np.int64]:
    """Return all columns that a score, a penalty, a requirement or a veto of the key looks at."""
    listed = {c for part in (*key.markers, *key.anti_markers) for c in part}
    named = {key.column(name) for name in key.resolution.listed}
    return np.array(sorted(listed | {c for c in named if c is not None}), dtype=np.int64)


def stability_of_markers(
    annotation: Annotation,
    resamples: Resamples,
    *,
    features: NDArray[np.bool_] | None = None,
    paths: Sequence[Path] | None = None,
    settle: Settle | None = None,
) -> list[Stability]:
    """Return the stability of calls by marker evidence.

    Parameters
    ----------
    annotation
        The calls by marker evidence, before another method replaced them.
    resamples
        Of the same groups and genes.
    features
        As in :func:`~cellkey.annotation.core.annotate_profiles`.
    paths
        Nodes of the calls, where they are not those of the walks.
    settle
        Says where groups end up; at the end of their walks if None.
    """
    walker = _MarkerWalker(annotation, features, settle)
    asked = [c.walk.path for c in annotation.calls] if paths is None else paths
    return _stability(annotation.profiles, annotation.key, asked, annotation.method, resamples, walker)


def stability_of_enrichment(
    profiles: ClusterProfiles,
    calls: EnrichmentCalls,
    resamples: Resamples,
    *,
    paths: Sequence[Path] | None = None,
    settle: Settle | None = None,
) -> list[Stability]:
    """Return the stability of calls by enrichment; see :func:`stability_of_markers`."""
    walker = _EnrichmentWalker(profiles, calls, settle)
    asked = [w.path for w in calls.routes.walks] if paths is None else paths
    return _stability(profiles, calls.evidence.key, asked, calls.method, resamples, walker)


class _Walker(Protocol):
    """Makes the calls of a method again; answers are nodes passed, by level, -1 past the end of a path."""

    def again(self, resamples: Resamples) -> Nodes:
        """Return the paths of all groups on all resamples, resamples x groups x levels."""
        ...

    def without(self, columns: NDArray[np.int64], groups: NDArray[np.intp]) -> Nodes:
        """Return the paths of some groups, each with one column taken for not measured, groups x levels."""
        ...


class _MarkerWalker:
    """Calls by marker evidence on as few columns as the scores look at, of many groups at once."""

    def __init__(self, annotation: Annotation, features: NDArray[np.bool_] | None, settle: Settle | None) -> None:
        a, self._settle = annotation, settle
        universe = differential_universe(a.key, a.scoring, features)
        self._columns = np.union1d(key_columns(a.key), universe)
        self._key = _restricted(a.key, self._columns)
        # The ranking keeps its universe although fewer columns are left.
        self._features, self._scoring = np.isin(self._columns, universe), a.scoring.updated(de_universe="all")
        self._limits = a.gating
        self._on = np.array([a.gating.at(level).on_limit for level in range(a.key.hierarchy.depth)])
        self._original = a.profiles.subset(self._columns)

    def again(self, resamples: Resamples) -> Nodes:
        held = resamples.of_genes(self._columns)
        found = np.full((*held.n_cells.shape, self._key.hierarchy.depth), -1, dtype=np.int64)
        for samples in self._blocks(held.n_resamples, len(held.groups)):
            profiles, sample, group = held.stacked(self._original, samples)
            found[sample, group] = self._paths(profiles)
        return found

    def without(self, columns: NDArray[np.int64], groups: NDArray[np.intp]) -> Nodes:
        hidden = np.searchsorted(self._columns, columns)
        parts = [self._paths(self._original.of_groups(groups[at].tolist()), hidden[at])
                 for at in self._blocks(len(groups), 1)]
        return np.concatenate(parts)

    def _blocks(self, n: int, rows_of_each: int) -> list[NDArray[np.intp]]:
        """The numbers below ``n`` in as few parts as the work space allows."""
        n_values = n * rows_of_each * len(self._columns)
        return np.array_split(np.arange(n), max(1, min(n, -(-n_values // _STACKED_VALUES))))

    def _paths(self, profiles: ClusterProfiles, hidden: NDArray[np.int64] | None = None) -> Nodes:
        evidence = score_markers(
            profiles, self._key, self._scoring, on_limits=self._on, features=self._features, hidden=hidden
        )
        rule = MarkerRule(evidence, self._limits)
        return _settled(self._settle, self._key, evidence.groups, rule, self._limits.max_depth)


class _EnrichmentWalker:
    """Calls by enrichment; its scores compare all groups with each other, so all are scored every time."""

    def __init__(self, profiles: ClusterProfiles, calls: EnrichmentCalls, settle: Settle | None) -> None:
        self._calls, self._settle = calls, settle
        self._key = calls.evidence.key
        self._profiles = profiles
        self._scoring: EnrichmentScoring = calls.evidence.details.parameters

    def again(self, resamples: Resamples) -> Nodes:
        found = np.full((*resamples.n_cells.shape, self._key.hierarchy.depth), -1, dtype=np.int64)
        means_of = ResampledMeans(self._profiles, resamples, also=key_columns(self._key))
        for b in range(resamples.n_resamples):
            # A group without a cell cannot be called, and must not be the background of others.
            present = np.flatnonzero(resamples.n_cells[b])
            found[b, present] = self._paths(score_enrichment(means_of(b), self._key, self._scoring))
        return found

    def without(self, columns: NDArray[np.int64], groups: NDArray[np.intp]) -> Nodes:
        found = np.full((len(groups), self._key.hierarchy.depth), -1, dtype=np.int64)
        background = Background.of(means_from_profiles(self._profiles), self._scoring)
        for column in np.unique(columns).tolist():
            key, at = _without(self._key, {column}), columns == column
            evidence = score_enrichment(background.means, key, self._scoring, background=background)
            found[at] = self._paths(evidence)[groups[at]]
        return found

    def _paths(self, evidence: Evidence) -> Nodes:
        gating = self._calls.routes.gating
        if self._settle is not None:
            return _settled(self._settle, self._key, evidence.groups, BranchRule(evidence, gating), gating.max_depth)
        walks = route_branches(evidence, gating).walks  # labels may be given up after the walk
        found = np.full((len(walks), self._key.hierarchy.depth), -1, dtype=np.int64)
        for row, walk in zip(found, walks, strict=True):
            row[: len(walk.path)] = walk.path
        return found


def _settled(
    settle: Settle | None, key: MeasuredKey, groups: Sequence[str], rule: Rule, max_depth: int | None
) -> Nodes:
    """Where groups end up."""

    def walked(roots: Sequence[int] | None = None) -> Nodes:
        return walk_paths(key, len(groups), rule, max_depth=max_depth, roots=roots)

    return walked() if settle is None else settle(groups, rule, walked(), lambda root: walked([root]))


def _stability(
    profiles: ClusterProfiles, key: MeasuredKey, paths: Sequence[Path], method: str, resamples: Resamples,
    walker: _Walker,
) -> list[Stability]:
    held = _held(paths, resamples, walker)
    lost = _losses(key, paths, walker)
    known = set(resamples.columns.tolist())
    found = []
    for group, path in enumerate(paths):
        measurable = all(c in known for node in path for c in (*key.markers[node], *key.anti_markers[node]))
        shares, fragile = _without_markers(key, path, lost[group])
        found.append(Stability(
            profiles.groups[group], method, path, held[group] if measurable else np.full(len(held[group]), np.nan),
            shares, fragile,
        ))
    return found


def _held(paths: Sequence[Path], resamples: Resamples, walker: _Walker) -> list[NDArray[np.float64]]:
    """Share of the resamples that pass each node of each path; a resample without cells of a group does not."""
    again = walker.again(resamples)
    present = resamples.n_cells > 0
    passed = [_levels_passed(again[:, g], path) for g, path in enumerate(paths)]
    return [(p & present[:, [g]]).sum(axis=0) / resamples.n_resamples for g, p in enumerate(passed)]


def _levels_passed(nodes: Nodes, path: Path) -> NDArray[np.bool_]:
    """Which levels of a path other walks pass as well, walks x levels; for no path whether they have none."""
    if not path:
        return nodes[:, :1] < 0
    return np.asarray(np.logical_and.accumulate(nodes[:, : len(path)] == np.array(path), axis=1))


def _losses(key: MeasuredKey, paths: Sequence[Path], walker: _Walker) -> list[dict[int, int]]:
    """For each path, how many of its levels are left without each of its markers."""
    behind = [{c for node in path for c in (*key.markers[node], *key.anti_markers[node])} for path in paths]
    left: list[dict[int, int]] = [{} for _ in paths]
    pairs = sorted((column, g) for g, columns in enumerate(behind) for column in columns)
    if pairs:
        again = walker.without(np.array([c for c, _ in pairs]), np.array([g for _, g in pairs], dtype=np.intp))
        for (column, g), nodes in zip(pairs, again, strict=True):
            left[g][column] = int(_levels_passed(nodes[None], paths[g]).sum())
    return left


def _without_markers(
    key: MeasuredKey, path: Path, left: dict[int, int]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    shares, fragile = [], []
    for level in range(len(path)):
        nodes = path[: level + 1]
        columns = sorted({c for node in nodes for c in (*key.markers[node], *key.anti_markers[node])})
        broken = [c for c in columns if left[c] <= level]
        shares.append(1.0 - len(broken) / len(columns) if columns else float("nan"))
        worst = min(broken, key=lambda c: (left[c], key.names([c])), default=None)
        fragile.append("" if worst is None else key.names([worst])[0])
    return np.array(shares, dtype=np.float64), tuple(fragile)


def _restricted(key: MeasuredKey, columns: NDArray[np.int64]) -> MeasuredKey:
    """The key on some of the columns, ascending."""
    place = {int(c): i for i, c in enumerate(columns)}

    def moved(sets: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(tuple(place[c] for c in part) for part in sets)

    return replace(
        key, var_names=key.var_names[columns], usable=key.usable[columns], markers=moved(key.markers),
        anti_markers=moved(key.anti_markers),
        positions={name: place[c] for name, c in key.positions.items() if c in place},
    )


def _without(key: MeasuredKey, columns: Collection[int]) -> MeasuredKey:
    """The key as if some columns had not been measured."""

    def strip(sets: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(tuple(c for c in part if c not in columns) for part in sets)

    names = set(key.names(sorted(columns)))
    found = {listed: name for listed, name in key.resolution.found.items() if name not in names}
    return replace(
        key, markers=strip(key.markers), anti_markers=strip(key.anti_markers),
        resolution=replace(key.resolution, found=found),
    )
