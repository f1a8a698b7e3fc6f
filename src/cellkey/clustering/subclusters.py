"""Parting the cells of one cluster, without touching other cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellkey.clustering.communities import number_by_size
from cellkey.clustering.parameters import SubclusteringParameters
from cellkey.clustering.pca import Components
from cellkey.clustering.pipeline import Clustering, cluster_cells, cluster_components
from cellkey.profiles.expression import Expression, take_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


__all__ = ["SplitOutcome", "Subclustering", "merge_small_groups", "subcluster", "subcluster_components"]

_BLOCK_CELLS = 8192
SplitOutcome = Literal["split", "too_few_cells", "too_few_features", "one_group", "fragmented"]


@dataclass(frozen=True, slots=True, eq=False)
class Subclustering:
    """How a cluster was parted, or why not.

    Parameters
    ----------
    labels
        ``"0"``, ``"1"``, ... by decreasing size, shape (members,); all ``"0"`` unless the outcome is
        ``"split"``.
    outcome
        ``"split"``, or why the cluster stays whole: ``"too_few_cells"``, ``"too_few_features"``,
        ``"one_group"`` or ``"fragmented"``.
    reason
        One sentence with the numbers that decided.
    n_found
        Groups before small ones were joined to others.
    clustering
        The underlying clustering; None when it was not tried.
    """

    labels: NDArray[np.str_]
    outcome: SplitOutcome
    reason: str
    n_found: int
    clustering: Clustering | None

    @property
    def n_parts(self) -> int:
        """Number of parts; 1 when the cluster stays whole."""
        return len(np.unique(self.labels))


def subcluster(
    expression: Expression,
    var_names: Sequence[str],
    members: NDArray[np.intp],
    *,
    params: SubclusteringParameters | None = None,
    always_use: Iterable[str] = (),
    allowed: NDArray[np.bool_] | None = None,
    chosen: NDArray[np.bool_] | None = None,
) -> Subclustering:
    """Part the cells ``members`` of one cluster by features that vary among them.

    Features are chosen, scaled and clipped inside the cluster: what varies between clusters is mostly
    constant within one. Variables that are constant inside it take no part.

    Parameters
    ----------
    members
        Positions of the cells; their order does not matter.
    allowed, chosen, always_use
        As in :func:`~cellkey.clustering.cluster_cells`; ``chosen`` restricts the split to focus markers.

    Returns
    -------
    Labels in the order of ``members``. More groups than ``max(2, n_cells * 0.5 / min_subcluster_cells)``
    are rejected as fragmentation; smaller groups than ``min_subcluster_cells`` join the group with the
    nearest centre.
    """
    params = params or SubclusteringParameters()
    members = np.asarray(members, dtype=np.intp)
    if len(members) < params.min_cells:
        return _too_few_cells(len(members), params)
    order = np.argsort(members, kind="stable")
    inside, rows = _only(expression, members[order])
    found = cluster_cells(
        inside, var_names, params=params, always_use=always_use, allowed=allowed, chosen=chosen, rows=rows
    )
    back = np.empty(len(order), dtype=np.intp)
    back[order] = np.arange(len(order))
    return _judge(found, params, back)


def subcluster_components(
    scores: NDArray[np.float32],
    members: NDArray[np.intp],
    *,
    params: SubclusteringParameters | None = None,
) -> Subclustering:
    """Part the cells ``members`` by components computed for all cells; quicker and coarser than
    :func:`subcluster`."""
    params = params or SubclusteringParameters()
    members = np.asarray(members, dtype=np.intp)
    if len(members) < params.min_cells:
        return _too_few_cells(len(members), params)
    inside = scores[members]
    inside = inside - inside.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = inside.var(axis=0, dtype=np.float64)
    components = Components(inside, np.eye(inside.shape[1]), variance, float(variance.sum()))
    found = cluster_components(components, np.empty(0, dtype=np.intp), params=params)
    return _judge(found, params, np.arange(len(members)))


def _only(expression: Expression, members: NDArray[np.intp]) -> tuple[Expression, NDArray[np.intp] | None]:
    """Values to read and the cells of them to use; a block of cells is taken out once instead of in every pass."""
    if len(members) == expression.n_obs and (members == np.arange(len(members))).all():
        return expression, None
    if type(expression) is Expression and expression.in_memory and len(members) <= _BLOCK_CELLS:
        scale = None if expression.scale is None else expression.scale[members]
        return Expression(take_cells(expression.X, members), scale=scale), None
    return expression, members


def _too_few_cells(n_cells: int, params: SubclusteringParameters) -> Subclustering:
    reason = f"{n_cells} cells, fewer than the {params.min_cells} needed for a split"
    return Subclustering(_whole(n_cells), "too_few_cells", reason, 1, None)


def _judge(found: Clustering, params: SubclusteringParameters, back: NDArray[np.intp]) -> Subclustering:
    n_cells, n_found = len(found.labels), found.n_clusters
    if found.components is None or found.components.scores.shape[1] < 2:
        reason = "fewer than 3 features vary inside the cluster"
        return Subclustering(_whole(n_cells), "too_few_features", reason, 1, found)
    limit = max(2, int(n_cells * 0.5 / params.min_subcluster_cells))
    if n_found > limit:
        reason = f"{n_found} groups found, more than the {limit} that {n_cells} cells support"
        return Subclustering(_whole(n_cells), "fragmented", reason, n_found, found)
    labels = merge_small_groups(found.labels, found.components.scores, params.min_subcluster_cells)
    n_parts = len(np.unique(labels))
    if n_parts == 1:
        joined = f" ({n_found} groups found, all but one smaller than {params.min_subcluster_cells} cells)"
        return Subclustering(
            _whole(n_cells),
            "one_group",
            "the cells form one group" + (joined if n_found > 1 else ""),
            n_found,
            found,
        )
    reason = f"parted into {n_parts} groups"
    if n_found > n_parts:
        reason += f" after joining {n_found - n_parts} smaller than {params.min_subcluster_cells} cells"
    return Subclustering(number_by_size(labels[back].astype(np.int64)), "split", reason, n_found, found)


def merge_small_groups(labels: NDArray[np.str_], scores: NDArray[np.float32], min_cells: int) -> NDArray[np.str_]:
    """Join groups smaller than ``min_cells`` to the group with the nearest centre; renumber by size.

    Centres are means of components over the groups that are large enough; without any of those, everything
    is one group. Ties go to the larger group.
    """
    groups, inverse, counts = np.unique(labels.astype(np.int64), return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts >= min_cells)
    if len(large) == 0:
        return _whole(len(labels))
    sums = np.zeros((len(groups), scores.shape[1]))
    np.add.at(sums, inverse, scores.astype(np.float64))
    centres = sums / counts[:, None]
    target = np.arange(len(groups))
    for small in np.flatnonzero(counts < min_cells):
        distances = ((centres[large] - centres[small]) ** 2).sum(axis=1)
        target[small] = large[np.lexsort((large, -counts[large], distances))[0]]
    return number_by_size(target[inverse])


def _whole(n_cells: int) -> NDArray[np.str_]:
    return np.full(n_cells, "0")
