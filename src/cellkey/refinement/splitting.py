"""Splitting one cluster, and asking whether the split would come out again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellkey.clustering.communities import number_by_size
from cellkey.clustering.subclusters import subcluster, subcluster_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.clustering.parameters import SubclusteringParameters
    from cellkey.profiles.expression import Expression
    from cellkey.refinement.cell_access import Cells
    from cellkey.refinement.parameters import RefinementParameters
    from cellkey.refinement.plan import Subcluster

__all__ = ["Parts", "find_parts", "part_seed", "parts_by_votes", "split_stability"]

_SUBSET_SHARE = 0.8
_FINER = 1.5
_MOST_CELLS = 20_000  # per subset: agreement is known well enough from these


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts found inside one cluster, before anything asks whether they deserve to be told apart.

    Attributes
    ----------
    labels
        ``"0"``, ``"1"``, ... by decreasing size, shape (cells,); None if the cells form one group or are too few.
    scores
        Components that the parts were found in, cells x components; None without parts.
    expression
        The cells on the scoring scale; None if they were not read.
    settings
        Of the clustering inside the cluster.
    reason
        One sentence with the numbers that decided.
    """

    labels: NDArray[np.str_] | None
    scores: NDArray[np.float32] | None
    expression: Expression | None
    settings: SubclusteringParameters
    reason: str


def part_seed(seed: int, cluster: str) -> int:
    """Return a seed of the cluster's own, so that the order of work does not matter."""
    digest = hashlib.blake2b(f"{seed}\x1f{cluster}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % (2**31 - 1)


def find_parts(
    cells: Cells,
    rows: NDArray[np.intp],
    operation: Subcluster,
    parameters: RefinementParameters,
    *,
    always_use: tuple[str, ...] = (),
    chosen: NDArray[np.bool_] | None = None,
) -> Parts:
    """Cluster the cells of one cluster.

    Parameters
    ----------
    rows
        Positions of the cluster's cells, ascending.
    operation
        Settings of this split; what it does not give is taken from ``parameters``.
    always_use
        Names of genes that take part whatever their variance.
    chosen
        Mask of focus markers; the parts are then found by these alone.
    """
    settings = parameters.subclustering(
        min_cells=parameters.min_cells if operation.min_cells is None else operation.min_cells,
        seed=part_seed(parameters.seed, operation.cluster_id),
        resolution=operation.resolution, n_pcs=operation.n_pcs, neighbors_k=operation.neighbors_k,
    )
    if len(rows) < settings.min_cells:
        reason = f"{len(rows)} cells, fewer than the {settings.min_cells} needed for a split"
        return Parts(None, None, None, settings, reason)
    expression = cells.expression(rows)
    here = np.arange(len(rows))
    if parameters.space == "stored" and cells.components is not None and chosen is None:
        found = subcluster_components(cells.components[rows], here, params=settings)
    else:
        names = [str(v) for v in cells.var_names]
        found = subcluster(
            expression, names, here, params=settings, always_use=always_use, allowed=cells.features, chosen=chosen
        )
    if found.outcome != "split" or found.clustering is None or found.clustering.components is None:
        return Parts(None, None, expression, settings, found.reason)
    return Parts(found.labels, found.clustering.components.scores, expression, settings, found.reason)


def parts_by_votes(found: Parts, support: NDArray[np.float64], names: tuple[str, ...]) -> Parts:
    """Part the cells of a cluster by the type that their own markers speak for.

    Protein panels and small panels often tell two types apart by a single marker, which is lost among the other
    variables when cells are clustered.

    Parameters
    ----------
    found
        Of :func:`find_parts`, for its settings and the values of the cells.
    support
        Mean z of each candidate's markers, cells x candidates.
    names
        Of the candidates.
    """
    winners = support.argmax(axis=1)
    large = [k for k in range(len(names)) if int((winners == k).sum()) >= found.settings.min_subcluster_cells]
    if len(large) < 2:
        return Parts(None, None, found.expression, found.settings, f"{found.reason}; nor do single markers part them")
    kept = np.asarray(large)[support[:, large].argmax(axis=1)]
    reason = f"{found.reason}; by the markers of {' and '.join(repr(names[k]) for k in large)} {len(large)} groups"
    return Parts(number_by_size(kept), support[:, large].astype(np.float32), found.expression, found.settings, reason)


def split_stability(
    scores: NDArray[np.float32], labels: NDArray[np.str_], settings: SubclusteringParameters, n_resamples: int
) -> tuple[float, dict[str, float]]:
    """Cluster random subsets again and compare; finer parts within a part do not count as disagreement.

    Parameters
    ----------
    scores
        Components of the cells, cells x components.
    labels
        The split, shape (cells,).
    settings
        Of the clustering inside the cluster, with its seed.
    n_resamples
        Number of subsets of four fifths of the cells.

    Returns
    -------
    Mean adjusted Rand index (NaN without subsets) between the split and the parts found again, each part found
    standing for the part of the split that most of its cells belong to; and for each part the mean Jaccard index
    with its counterpart.
    """
    from sklearn.metrics import adjusted_rand_score

    names, codes = np.unique(labels, return_inverse=True)
    if n_resamples == 0:
        return float("nan"), {str(p): float("nan") for p in names}
    order = np.lexsort(scores.T[::-1])  # subsets must not depend on the order of the cells
    rng = np.random.default_rng(settings.seed)
    size = min(max(int(_SUBSET_SHARE * len(labels)), 2), _MOST_CELLS)
    # A subset is clustered somewhat finer: with fewer cells two populations merge earlier, and finer parts do no harm.
    free = settings.updated(min_cells=2, min_subcluster_cells=1, resolution=settings.resolution * _FINER)
    agreement = np.zeros(n_resamples)
    overlap = np.zeros((n_resamples, len(names)))
    for i in range(n_resamples):
        subset = np.sort(order[rng.permutation(len(labels))[:size]])
        again = subcluster_components(scores, subset, params=free).labels
        counterpart = _counterparts(codes[subset], again, len(names))
        agreement[i] = adjusted_rand_score(codes[subset], counterpart)
        overlap[i] = _jaccard(codes[subset], counterpart, len(names))
    return float(agreement.mean()), {str(p): float(v) for p, v in zip(names, overlap.mean(axis=0), strict=True)}


def _counterparts(codes: NDArray[np.int64], again: NDArray[np.str_], n_parts: int) -> NDArray[np.int64]:
    """For each cell, the part of the split that most cells of its new part belong to."""
    _, found = np.unique(again, return_inverse=True)
    table = np.zeros((int(found.max()) + 1, n_parts), dtype=np.int64)
    np.add.at(table, (found, codes), 1)
    return np.asarray(table.argmax(axis=1)[found])


def _jaccard(first: NDArray[np.int64], second: NDArray[np.int64], n_parts: int) -> NDArray[np.float64]:
    values = np.zeros(n_parts)
    for part in range(n_parts):
        a, b = first == part, second == part
        values[part] = (a & b).sum() / max(int((a | b).sum()), 1)
    return values
