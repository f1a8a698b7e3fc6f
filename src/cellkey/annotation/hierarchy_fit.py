r"""How well a hierarchy explains the clusters of a data set, on a scale from chance to 1.

Every cluster's call gives support :math:`r / (r + 1/2)` for its branch-supported raw enrichment :math:`r`, and 0
where nothing is called. The mean over clusters is compared with what the same hierarchy reaches when gene labels
are permuted among genes of similar expression:

.. math:: fit = \max\left(0, \frac{S - \bar S_{permuted}}{1 - \bar S_{permuted}}\right)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.records.enrichment_tables import HIERARCHY_FIT
from cellkey.routing.branch_support import route_branches
from cellkey.scoring.controls import expression_bins
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.enrichment_settings import EnrichmentScoring, resolve_panel
from cellkey.scoring.key import MeasuredKey, measure_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.profiles.means import ClusterMeans
    from cellkey.routing.branch_rule import BranchGating

__all__ = ["HierarchyFit", "hierarchy_fit", "rank_hierarchies"]

_HALF = 0.5  # raw enrichment at which a call counts half: markers e**0.5 = 1.6 times their controls


@dataclass(frozen=True, slots=True)
class HierarchyFit:
    """Fit of one hierarchy; the columns of ``hierarchy_fit.csv`` say what each value means."""

    name: str
    fit: float
    p_value: float
    explained: float
    explained_by_chance: float
    fraction_resolved: float
    fraction_unresolved: float
    measured_markers: float
    n_clusters: int
    n_permutations: int

    def row(self) -> dict[str, Any]:
        """Return the values by column, without the rank."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def hierarchy_fit(
    means: ClusterMeans,
    hierarchy: Hierarchy,
    *,
    key: MeasuredKey | None = None,
    parameters: EnrichmentScoring | None = None,
    routing: BranchGating | None = None,
    n_permutations: int = 20,
    seed: int = 0,
) -> HierarchyFit:
    """Return how well a hierarchy explains cluster means.

    Parameters
    ----------
    means
        Cluster means on a log scale.
    hierarchy
        Cell types and markers.
    key
        The hierarchy as measured, if that is known.
    parameters, routing
        Of scoring and routing; defaults if None.
    n_permutations
        Permutations of gene labels; 20 tell a fit from chance at p = 0.05.
    seed
        Of the permutations.
    """
    key = key or measure_key(hierarchy, means.genes)
    parameters = parameters or EnrichmentScoring()
    observed = _support(means, key, parameters, routing)
    panel = resolve_panel(means, parameters)
    bins = expression_bins(means.bulk, panel.n_bins, low_limit=panel.low_limit if panel.collapse_low_tail else None)
    rng = np.random.default_rng(seed)
    by_name = np.argsort(means.genes.astype(str), kind="stable")
    chance = np.array([
        _support(_permuted(means, bins, by_name, rng), key, parameters, routing).mean() for _ in range(n_permutations)
    ])
    explained = float(observed.mean()) if len(observed) else 0.0
    by_chance = float(chance.mean()) if len(chance) else 0.0
    listed = [m for node in hierarchy.nodes for m in node.markers]
    measured = sum(len(s) for s in key.markers)
    return HierarchyFit(
        name=hierarchy.name,
        fit=float(max(0.0, (explained - by_chance) / (1.0 - by_chance))),
        p_value=float((1 + (np.round(chance, 10) >= round(explained, 10)).sum()) / (1 + len(chance))),
        explained=explained,
        explained_by_chance=by_chance,
        fraction_resolved=float((observed > 0).mean()) if len(observed) else 0.0,
        fraction_unresolved=float((observed == 0).mean()) if len(observed) else 0.0,
        measured_markers=measured / max(len(listed), 1),
        n_clusters=len(observed),
        n_permutations=n_permutations,
    )


def rank_hierarchies(
    means: ClusterMeans, hierarchies: Sequence[Hierarchy] | Mapping[str, Hierarchy], **options: Any
) -> pd.DataFrame:
    """Return the fit of several hierarchies, best first; options as in :func:`hierarchy_fit`."""
    named: dict[str, Hierarchy] = (
        dict(hierarchies) if isinstance(hierarchies, Mapping) else {h.name: h for h in hierarchies}
    )
    fits = [replace(hierarchy_fit(means, tree, **options), name=name) for name, tree in named.items()]
    fits.sort(key=lambda f: (-round(f.fit, 10), f.name))
    return HIERARCHY_FIT.frame([f.row() | {"rank": i} for i, f in enumerate(fits, 1)])


def _support(
    means: ClusterMeans, key: MeasuredKey, parameters: EnrichmentScoring, routing: BranchGating | None
) -> NDArray[np.float64]:
    """Support of each cluster's call, 0 to below 1."""
    evidence = score_enrichment(means, key, parameters)
    routes = route_branches(evidence, routing)
    raw = np.nan_to_num(routes.at_node(evidence["routing_raw"]), nan=0.0)
    raw = np.maximum(raw, 0.0)
    return np.asarray(raw / (raw + _HALF))


def _permuted(
    means: ClusterMeans, bins: NDArray[np.int64], by_name: NDArray[np.intp], rng: np.random.Generator
) -> ClusterMeans:
    """Means with the labels of genes permuted within bins of expression; genes in another order do not matter."""
    order = by_name[np.argsort(bins[by_name], kind="stable")]
    shuffled = order[np.lexsort((rng.random(len(order)), bins[order]))]
    source = np.empty(len(order), dtype=np.intp)
    source[order] = shuffled
    detection = None if means.detection is None else means.detection[:, source]
    error = None if means.error is None else means.error[:, source]
    return replace(means, values=means.values[:, source], detection=detection, error=error)
