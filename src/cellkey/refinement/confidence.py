"""How well the calls of refined clusters hold, and how probably they are right: as for those of the annotation.

The cells of a split or united cluster are drawn as often as they were in the first clustering, so that only their
groups change. In every resample the scorer and the gates make the calls again; a part of a split is judged within its
lineage, by the rule that named it. A label that a person set is measured like any other: the number says how well the
data support it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.annotation.confidence import columns_to_hold, confidence_by_group, confidence_table
from cellkey.annotation.stability import Stability, stability_of_enrichment, stability_of_markers
from cellkey.io.names import cell_keys
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.resampling import Resampler, Resamples
from cellkey.records.tables import REFINED_CONFIDENCE
from cellkey.refinement.lineage import LEAST_SCORE, keeps_path, nodes_of
from cellkey.refinement.profiling import resamples_of_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.annotation.stability import Nodes, Path
    from cellkey.refinement.cell_access import Cells
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.refinement.state import State

__all__ = ["Confidence", "measure_confidence"]


class Confidence:
    """Stability and confidence of the calls of a state.

    Attributes
    ----------
    table
        Table ``refined_confidence``; None if nothing was measured.
    stability
        By cluster; labels that the hierarchy does not hold are absent.
    """

    def __init__(self, table: pd.DataFrame | None = None, stability: Sequence[Stability] = ()) -> None:
        self.table = table
        self.stability = {s.group: s for s in stability}

    def by_cluster(self) -> Mapping[str, float]:
        """Probability that the label of each cluster is right; empty if nothing was measured."""
        return {} if self.table is None or self.table.empty else confidence_by_group(
            self.table, str(self.table["method"].iloc[0]))


def measure_confidence(
    state: State, cells: Cells, names: Sequence[str], parameters: RefinementParameters, resamples: Resamples | None
) -> Confidence:
    """Return the confidence of all calls of a state.

    Parameters
    ----------
    names
        Names of the cells.
    parameters
        ``call_resamples`` says how many resamples to draw where none are given; 0 measures nothing.
    resamples
        Of the first clustering, as the annotation stored them. They are taken if they are of the same clusters and
        positivity threshold; otherwise the cells are read once to draw them.
    """
    if parameters.call_resamples == 0:
        return Confidence()
    keys = cell_keys(names)
    if resamples is None or not _fits(resamples, state):
        resamples = _drawn(state, cells, keys, parameters)
    own = resamples_of_ids(state.ids, state.origin, state.base, resamples, cells, keys)
    tree, settle = state.verdict.key.hierarchy, _Settled(state)
    nodes = {c: nodes_of(tree, state.calls[c].path) for c in state.clusters}
    paths = [nodes[c] or () for c in state.clusters]
    annotation = replace(state.verdict.annotation, calls=tuple(state.calls[c] for c in state.clusters))
    enrichment = annotation.enrichment
    if enrichment is not None and enrichment.method == annotation.method:
        found = stability_of_enrichment(annotation.profiles, enrichment, own, paths=paths, settle=settle)
    else:
        found = stability_of_markers(annotation, own, features=cells.features, paths=paths, settle=settle)
    kept = tuple(s for s in found if nodes[s.group] is not None)
    table = confidence_table(replace(annotation, stability=kept), own.n_resamples)
    return Confidence(REFINED_CONFIDENCE.conform(table), kept)


def _fits(resamples: Resamples, state: State) -> bool:
    quantile = state.verdict.quantile
    return resamples.groups == state.base.groups and abs(resamples.quantile - quantile) < 1e-9


def _drawn(state: State, cells: Cells, keys: NDArray[np.uint64], parameters: RefinementParameters) -> Resamples:
    """Resamples of the first clustering, from a pass over the cells."""
    base, key = state.base, state.verdict.key
    resampler = Resampler(
        keys, columns_to_hold(key.resolution, base.var_names), n_resamples=parameters.call_resamples,
        seed=parameters.seed, quantile=state.verdict.quantile,
    )
    whole = cells.expression(np.arange(cells.n_obs))
    profile_clusters(whole, state.origin, base.var_names, quantiles=(0.5,), basis=base.basis, resampler=resampler)
    return resampler.result()


class _Settled:
    """Where clusters end up in a resample: parts of a split within their lineage, all others at the end of the walk.

    These are the rules of :func:`~cellkey.refinement.lineage.part_call`. A part that bears its parent's label, because
    its own walk did not lead there, keeps it here too as long as the rule keeps it; of other parents no more is known
    than the lineage, and a lineage that does not pass its gate is not held.
    """

    def __init__(self, state: State) -> None:
        self._key = state.verdict.key
        tree = self._key.hierarchy
        self._gaps, self._least = state.verdict.gaps, LEAST_SCORE * state.verdict.unit
        self._lineage = {
            c: tree.index(call.path[:1]) for c, call in state.calls.items()
            if ":" in c and c not in state.pinned and call.path[:1] in tree
        }
        self._kept: dict[Path, set[str]] = {}
        for c in self._lineage:
            path = nodes_of(tree, state.calls[c].path)
            if path and path != tuple(state.calls[c].walk.path):
                self._kept.setdefault(path, set()).add(c)

    def __call__(
        self, groups: Sequence[str], rule: Any, walked: Nodes, walked_below: Callable[[int], Nodes]
    ) -> Nodes:
        found = walked.copy()
        scores = np.where(np.isfinite(rule.scores), rule.scores, -np.inf)  # a type without a score loses
        lineage = np.array([self._lineage.get(g, -1) for g in groups])
        for root in np.unique(lineage[lineage >= 0]).tolist():
            rows = np.flatnonzero(lineage == root)
            new = walked[rows, 0]
            with np.errstate(invalid="ignore"):
                lead = np.where(new < 0, -np.inf, scores[rows, new] - scores[rows, root])
            inside = (new != root) & ~(np.round(lead, 10) >= self._gaps[root])
            if inside.any():
                found[rows[inside]] = walked_below(root)[rows[inside]]
        untrimmed = found.copy()
        self._trim(found, np.flatnonzero(lineage >= 0), scores)
        for path, parts in self._kept.items():
            rows = np.flatnonzero([g in parts for g in groups])
            rows = rows[self._keeps(path, untrimmed[rows], scores[rows], rule.judgement.passed[rows])]
            found[rows] = -1
            found[rows, : len(path)] = path
        return found

    def _keeps(
        self, path: Path, own: Nodes, scores: NDArray[np.float64], passed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether parts keep their parent's label: its lineage fails and none wins, or nothing speaks against it."""
        fails = ~passed[:, path[0]] & np.isin(own[:, 0], (-1, path[0]))
        return np.asarray(fails | keeps_path(self._key, path, own, scores, passed))

    def _trim(self, found: Nodes, rows: NDArray[np.intp], scores: NDArray[np.float64]) -> None:
        """Give up the deepest levels of paths that hardly anything speaks for."""
        for level in range(found.shape[1] - 1, 0, -1):
            here = rows[found[rows, level] >= 0]
            last = here[(found[here, level + 1] < 0) if level + 1 < found.shape[1] else slice(None)]
            weak = last[scores[last, found[last, level]] < self._least]
            found[weak, level] = -1
