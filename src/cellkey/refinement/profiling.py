"""Profiles of new clusters, measured against the statistics of all cells and computed from their own cells only.

Means, medians and detection of a part need its cells alone. Whether a cell is positive is decided by the
thresholds over all cells, so that a pure part of a lineage is not compared with itself. Differential ranks of a
part are those against the other parts of the same cluster.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.profiles.profile import ClusterProfiles, natural_key, profile_clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression

__all__ = ["joined_rank_z", "profile_parts", "with_groups"]

_CELLS_FOR_RANKS = 100
_GENES = 512
_PER_GROUP = ("n_cells", "mean", "median", "detection", "rank_z")


def profile_parts(
    expression: Expression, labels: NDArray[np.object_], reference: ClusterProfiles, *, ranks: bool = True
) -> ClusterProfiles:
    """Summarise parts of one cluster against the statistics of all cells.

    Parameters
    ----------
    expression
        The cluster's cells x all genes, on the scale of ``reference``.
    labels
        Part of each cell, shape (cells,).
    reference
        Profiles of the whole data set, for the thresholds and the overall statistics.
    ranks
        Whether to rank genes between the parts; otherwise, and below 2 parts or 100 cells, all Z are 0.

    Returns
    -------
    Profiles whose groups are the parts; thresholds and overall statistics are those of ``reference``.
    """
    own = profile_clusters(expression, labels, reference.var_names, quantiles=(0.5,), basis=reference.basis)
    code_of = {g: i for i, g in enumerate(own.groups)}
    codes = np.array([code_of[str(v)] for v in labels], dtype=np.int64)
    ranked = ranks and own.n_groups > 1 and int(own.n_cells.sum()) >= _CELLS_FOR_RANKS
    return replace(
        reference,
        groups=own.groups,
        n_cells=own.n_cells,
        mean=own.mean,
        median=own.median,
        detection=own.detection,
        rank_z=own.rank_z if ranked else np.zeros_like(own.rank_z),
        positive=_positive_shares(expression, codes, own.n_cells, reference.thresholds),
    )


def _positive_shares(
    expression: Expression, codes: NDArray[np.int64], sizes: NDArray[np.int64], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of each group's cells at or above given thresholds, quantiles x groups x genes."""
    n_quantiles, n_genes = thresholds.shape
    n_groups = len(sizes)
    counts = np.zeros((n_quantiles, n_groups, n_genes))
    for start in range(0, n_genes, _GENES):
        genes = np.arange(start, min(start + _GENES, n_genes))
        block = expression.columns(genes)
        gene = np.repeat(np.arange(len(genes)), np.diff(block.indptr))
        place = codes[block.indices] * len(genes) + gene
        stored = np.bincount(place, minlength=n_groups * len(genes)).reshape(n_groups, len(genes))
        for q in range(n_quantiles):
            limit = thresholds[q, genes]
            hit = block.data.astype(np.float64) >= limit[gene]
            found = np.bincount(place[hit], minlength=n_groups * len(genes)).reshape(n_groups, len(genes))
            zeros = np.where(limit[None] <= 0.0, sizes[:, None] - stored, 0)
            counts[q][:, genes] = found + zeros
    return counts / sizes[None, :, None]


def with_groups(
    profiles: ClusterProfiles, added: ClusterProfiles | None, *, removed: Collection[str] = ()
) -> ClusterProfiles:
    """Return profiles without the groups ``removed`` and with those of ``added``, in natural order."""
    left_out = set(removed)
    kept = [i for i, g in enumerate(profiles.groups) if g not in left_out]
    names = [profiles.groups[i] for i in kept] + ([] if added is None else list(added.groups))
    order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))

    def joined(name: str, axis: int) -> NDArray[np.float64]:
        own = np.take(getattr(profiles, name), kept, axis=axis)
        whole = own if added is None else np.concatenate([own, getattr(added, name)], axis=axis)
        return np.take(whole, order, axis=axis)

    return replace(
        profiles,
        groups=tuple(names[i] for i in order),
        positive=joined("positive", 1),
        **{name: joined(name, 0) for name in _PER_GROUP},
    )


def joined_rank_z(profiles: ClusterProfiles, members: Collection[str], totals: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the rank-sum Z of several groups taken as one, exact where all were ranked among the same cells.

    Rank sums add up and the tie correction is that of the gene, so with n cells of N

    .. math:: Z = \\sum_i Z_i \\sqrt{n_i (N - n_i)} / \\sqrt{n (N - n)}.

    Parameters
    ----------
    members
        The groups.
    totals
        Number of cells among which each group was ranked.

    Returns
    -------
    Shape (genes,); 0 if the groups were ranked among different cells or make up all of them.
    """
    rows = [profiles.groups.index(g) for g in sorted(members, key=natural_key)]
    among = {totals[g] for g in members}
    sizes = profiles.n_cells[rows].astype(np.float64)
    n = sizes.sum()
    total = float(next(iter(among)))
    if len(among) > 1 or n >= total:
        return np.zeros(profiles.n_vars)
    weights = np.sqrt(sizes * (total - sizes))
    return np.asarray((weights @ profiles.rank_z[rows]) / np.sqrt(n * (total - n)))
