"""Profiles of new clusters, measured against the statistics of all cells and computed from their own cells only.

Means, medians and detection of a part need its cells alone. Whether a cell is positive is decided by the
thresholds over all cells, so that a pure part of a lineage is not compared with itself. Differential ranks of a
part are those against the other parts of the same cluster.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.profiles.profile import ClusterProfiles, natural_key, profile_clusters

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression
    from cellkey.refinement.cell_access import Cells

__all__ = ["joined_rank_z", "profile_merged", "profile_parts", "profiles_of_ids", "with_groups"]

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

    per_group: dict[str, Any] = {name: joined(name, 0) for name in _PER_GROUP}
    return replace(
        profiles, groups=tuple(names[i] for i in order), positive=joined("positive", 1), **per_group
    )


def joined_rank_z(profiles: ClusterProfiles, members: Collection[str]) -> NDArray[np.float64]:
    """Return the rank-sum Z of several clusters taken as one, exact where all were ranked among all cells.

    Rank sums add up and the tie correction is that of the gene, so with n cells of N

    .. math:: Z = \\sum_i Z_i \\sqrt{n_i (N - n_i)} / \\sqrt{n (N - n)}.

    Returns
    -------
    Shape (genes,); 0 if the clusters hold all cells.
    """
    rows = [profiles.groups.index(g) for g in sorted(members, key=natural_key)]
    sizes = profiles.n_cells[rows].astype(np.float64)
    n, total = float(sizes.sum()), float(profiles.n_cells.sum())
    if n >= total:
        return np.zeros(profiles.n_vars)
    weights = np.sqrt(sizes * (total - sizes))
    return np.asarray((weights @ profiles.rank_z[rows]) / np.sqrt(n * (total - n)))


def profile_merged(
    expression: Expression, name: str, origin: NDArray[np.object_], base: ClusterProfiles
) -> ClusterProfiles:
    """Summarise clusters that were united.

    Genes are ranked against all other cells where the union is made of whole clusters of the first clustering, and
    not at all elsewhere.

    Parameters
    ----------
    expression
        The cells of the union.
    name
        Its identifier.
    origin
        Cluster of its cells in the first clustering, shape (cells,).
    base
        Profiles of the first clustering.
    """
    merged = profile_parts(expression, np.full(len(origin), name, dtype=object), base, ranks=False)
    members, counts = np.unique(origin.astype(str), return_counts=True)
    whole = all(int(base.n_cells[base.groups.index(m)]) == n for m, n in zip(members, counts, strict=True))
    return replace(merged, rank_z=joined_rank_z(base, list(members))[None]) if whole else merged


def profiles_of_ids(
    ids: NDArray[np.object_], origin: NDArray[np.object_], base: ClusterProfiles, cells: Cells
) -> ClusterProfiles:
    """Return the profiles of refined clusters; only cells of clusters that were split or united are read.

    Parameters
    ----------
    ids, origin
        Cluster of each cell now and in the first clustering.
    base
        Profiles of the first clustering.
    """
    known = np.array([i is not None for i in ids])
    now = {str(i) for i in ids[known]}
    profiles = with_groups(base, None, removed=set(base.groups) - now)
    families: dict[str, list[str]] = {}
    for name in sorted(now - set(base.groups), key=natural_key):
        families.setdefault(name.rpartition(":")[0] if ":" in name and not name.endswith("m") else "", []).append(name)
    for parent, names in sorted(families.items()):
        if parent:
            inside = _cells_below(ids, known, parent)
            labels = _children_of(ids[inside], parent)
            parts = profile_parts(cells.expression(inside), labels, base)
            others = [g for g in parts.groups if g not in names]
            profiles = with_groups(profiles, with_groups(parts, None, removed=others))
        else:
            for name in names:
                rows = np.flatnonzero(ids == name)
                merged = profile_merged(cells.expression(rows), name, origin[rows], base)
                profiles = with_groups(profiles, merged)
    return profiles


def _cells_below(ids: NDArray[np.object_], known: NDArray[np.bool_], parent: str) -> NDArray[np.intp]:
    text = np.array([str(i) if k else "" for i, k in zip(ids, known, strict=True)])
    return np.flatnonzero(np.char.startswith(text, f"{parent}:"))


def _children_of(ids: NDArray[np.object_], parent: str) -> NDArray[np.object_]:
    """The part of ``parent`` that each identifier lies in, however often that was split again."""
    depth = parent.count(":") + 2
    return np.array([":".join(str(i).split(":")[:depth]) for i in ids], dtype=object)
