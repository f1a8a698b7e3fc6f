"""How much a call depends on which cells were measured, and on any single marker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.refinement.lineage import part_call
from cellkey.refinement.profiling import with_groups
from cellkey.refinement.splitting import part_seed

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.profiles.profile import ClusterProfiles
    from cellkey.refinement.judging import Verdict
    from cellkey.refinement.operations import Workshop
    from cellkey.refinement.state import State

__all__ = ["CallStability", "call_stability"]

_MOST_CELLS = 20_000


@dataclass(frozen=True, slots=True)
class CallStability:
    """Stability of one call.

    Attributes
    ----------
    cells
        Share (0 to 1) of resamplings of the cells that give the same label; NaN if not measured.
    markers
        Share (0 to 1) of the markers behind the call without which the label is the same; NaN without markers.
    fragile
        The markers without which it is another.
    """

    cells: float
    markers: float
    fragile: tuple[str, ...] = ()


def call_stability(state: State, shop: Workshop, clusters: Collection[str] | None = None) -> dict[str, CallStability]:
    """Return the stability of calls.

    Cells of a cluster are drawn with replacement, and the markers' means, medians and positive shares taken again;
    the ranks of differential markers stay as they are. Markers are left out one at a time, as if they had not been
    measured: those of the types on the path and of their closest rivals.

    Parameters
    ----------
    clusters
        Which ones; all if None. Labels that a person set are not tried.
    """
    chosen = [c for c in state.clusters if (clusters is None or c in clusters) and c not in state.pinned]
    if shop.parameters.call_resamples == 0:
        return {}
    shop.tell("stability of calls")
    by_marker = _without_each_marker(state, shop, chosen)
    found = {}
    for cluster in chosen:
        tried, changed = by_marker[cluster]
        share = 1.0 - len(changed) / tried if tried else float("nan")
        found[cluster] = CallStability(_over_cells(state, shop, cluster), share, changed)
    return found


def _over_cells(state: State, shop: Workshop, cluster: str) -> float:
    rows = state.rows(cluster)
    columns = _columns(state.verdict)
    if len(rows) < 2 or not len(columns):
        return float("nan")
    expression = shop.cells.expression(rows)
    values = expression.columns(columns).toarray().astype(np.float64)
    values = values[np.lexsort(values.T[::-1])]  # draws must not depend on the order of the cells
    rng = np.random.default_rng(part_seed(shop.parameters.seed, f"call {cluster}"))
    if len(values) > _MOST_CELLS:
        values = values[np.sort(rng.permutation(len(values))[:_MOST_CELLS])]
    n_times = shop.parameters.call_resamples
    draws = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=n_times).astype(np.float64)
    fresh = _resampled(state, cluster, columns, values, draws)
    call = state.calls[cluster]
    if not shop.judge.relative:
        verdict = shop.judge(fresh)
        return float(np.mean([_same(verdict, name, cluster, call, state) for name in verdict.groups]))
    others = with_groups(_at_one_quantile(state), None, removed=[cluster])
    again = []
    for name in fresh.groups:  # one at a time: resamplings must not be each other's background
        one = replace(with_groups(fresh, None, removed=set(fresh.groups) - {name}), groups=(cluster,))
        again.append(_same(shop.judge(with_groups(others, one)), cluster, cluster, call, state))
    return float(np.mean(again))


def _at_one_quantile(state: State) -> ClusterProfiles:
    profiles = state.profiles
    at = profiles.at_quantile(state.verdict.quantile) or 0
    return replace(
        profiles, quantiles=(profiles.quantiles[at],), thresholds=profiles.thresholds[[at]],
        positive=profiles.positive[[at]],
    )


def _columns(verdict: Verdict) -> NDArray[np.intp]:
    """All columns that a score, a penalty or a requirement looks at."""
    key = verdict.key
    listed = {c for part in (*key.markers, *key.anti_markers) for c in part}
    named = {key.column(m) for m in key.resolution.listed}
    return np.array(sorted(listed | {c for c in named if c is not None}), dtype=np.intp)


def _resampled(
    state: State, cluster: str, columns: NDArray[np.intp], values: NDArray[np.float64], draws: NDArray[np.float64]
) -> ClusterProfiles:
    """Profiles whose groups are resamplings of one cluster."""
    profiles = state.profiles
    row, n_cells, n_times = profiles.groups.index(cluster), len(values), len(draws)
    at = profiles.at_quantile(state.verdict.quantile) or 0
    limits = profiles.thresholds[at, columns]

    def repeated(array: NDArray[np.float64], fresh: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        out = np.repeat(array[row][None], n_times, axis=0)
        if fresh is not None:
            out[:, columns] = fresh
        return out

    positive = repeated(profiles.positive[at], draws @ (values >= limits) / n_cells)
    median = repeated(profiles.median)
    for i, column in enumerate(columns):
        if profiles.zero_share[column] < 0.5:
            median[:, column] = _weighted_medians(values[:, i], draws)
    return replace(
        profiles,
        groups=tuple(f"{i}" for i in range(n_times)),
        n_cells=np.full(n_times, profiles.n_cells[row]),
        mean=repeated(profiles.mean, draws @ values / n_cells),
        median=median,
        detection=repeated(profiles.detection, draws @ (values > 0) / n_cells),
        rank_z=repeated(profiles.rank_z),
        quantiles=(profiles.quantiles[at],),
        thresholds=profiles.thresholds[[at]],
        positive=positive[None],
    )


def _weighted_medians(values: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(draws[:, order], axis=1)
    n = draws.sum(axis=1)
    low = np.argmax(reached > np.floor((n - 1) / 2)[:, None], axis=1)
    high = np.argmax(reached > np.ceil((n - 1) / 2)[:, None], axis=1)
    ordered = values[order]
    return np.asarray((ordered[low] + ordered[high]) / 2)


def _same(verdict: Verdict, name: str, cluster: str, call: Call, state: State) -> bool:
    """Whether a group gets the cluster's label, by the rule that gave the cluster its label."""
    own = state.verdict.calls[cluster]
    by_walk = (own.label, own.path) == (call.label, call.path) and ":" not in cluster
    new = verdict.calls[name] if by_walk else part_call(verdict, name, call)[0]
    return (new.label, new.path) == (call.label, call.path)


def _without_each_marker(
    state: State, shop: Workshop, clusters: Collection[str]
) -> dict[str, tuple[int, tuple[str, ...]]]:
    """For each cluster, how many markers were left out in turn, and those that its label needs."""
    key = state.verdict.key
    behind = {c: _markers_behind(state.verdict, state.calls[c]) for c in clusters}
    fragile: dict[str, list[str]] = {c: [] for c in clusters}
    for column in sorted({m for markers in behind.values() for m in markers}):
        affected = [c for c in clusters if column in behind[c]]
        left_out = () if shop.judge.relative else set(state.clusters) - set(affected)
        verdict = shop.judge(with_groups(state.profiles, None, removed=left_out), without=(column,))
        for c in affected:
            if not _same(verdict, c, c, state.calls[c], state):
                fragile[c].append(key.names([column])[0])
    return {c: (len(behind[c]), tuple(sorted(fragile[c]))) for c in clusters}


def _markers_behind(verdict: Verdict, call: Call) -> set[int]:
    key = verdict.key
    nodes = [key.hierarchy.index(call.path[: i + 1]) for i in range(len(call.path)) if call.node is not None]
    rivals = [step.choice.runner_up for step in call.walk.steps] + list(call.walk.last.tied)
    found = {c for k in {*nodes, *(r for r in rivals if r is not None)} for c in key.markers[k]}
    return found | {c for k in nodes for c in key.anti_markers[k]}
