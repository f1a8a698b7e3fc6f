"""Profiles of new clusters, measured against the statistics of all cells and computed from their own cells only.

Means, medians and detection of a part need its cells alone. Whether a cell is positive is decided by the
thresholds over all cells, so that a pure part of a lineage is not compared with itself. Differential ranks of a
part are those against the other parts of the same cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cellkey.profiles.profile import ClusterProfiles, natural_key, profile_clusters
from cellkey.profiles.resampling import Resamples, resample_groups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression
    from cellkey.refinement.cell_access import Cells

__all__ = [
    "joined_rank_z", "profile_merged", "profile_parts", "profiles_of_ids", "resamples_of_ids", "resamples_with_groups",
    "with_groups",
]

_Grouped = TypeVar("_Grouped", ClusterProfiles, Resamples)
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
    ranked = ranks and _ranked(own.n_groups, int(own.n_cells.sum()))
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


def _ranked(n_groups: int, n_cells: int) -> bool:
    return n_groups > 1 and n_cells >= _CELLS_FOR_RANKS


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
    return _regrouped(profiles, added, removed, dict.fromkeys(_PER_GROUP, 0) | {"positive": 1})


def resamples_with_groups(
    resamples: Resamples, added: Resamples | None, *, removed: Collection[str] = ()
) -> Resamples:
    """Return resamples without the groups ``removed`` and with those of ``added``, in natural order."""
    return _regrouped(resamples, added, removed, dict.fromkeys((*_PER_GROUP, "positive"), 1))


def _regrouped(held: _Grouped, added: _Grouped | None, removed: Collection[str], axes: Mapping[str, int]) -> _Grouped:
    left_out = set(removed)
    kept = [i for i, g in enumerate(held.groups) if g not in left_out]
    names = [held.groups[i] for i in kept] + ([] if added is None else list(added.groups))
    order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))

    def joined(name: str, axis: int) -> NDArray[Any]:
        own = np.take(getattr(held, name), kept, axis=axis)
        whole = own if added is None else np.concatenate([own, getattr(added, name)], axis=axis)
        return np.take(whole, order, axis=axis)

    changes: dict[str, Any] = {name: joined(name, axis) for name, axis in axes.items()}
    return replace(held, groups=tuple(names[i] for i in order), **changes)


def joined_rank_z(held: ClusterProfiles | Resamples, members: Collection[str]) -> NDArray[np.float64]:
    """Return the rank-sum Z of several clusters taken as one, exact where all were ranked among all cells.

    Rank sums add up and the tie correction is that of the gene, so with n cells of N

    .. math:: Z = \\sum_i Z_i \\sqrt{n_i (N - n_i)} / \\sqrt{n (N - n)}.

    Returns
    -------
    Shape (genes,), of resamples (resamples, genes); 0 if the clusters hold all cells.
    """
    rows = [held.groups.index(g) for g in sorted(members, key=natural_key)]
    sizes = held.n_cells[..., rows].astype(np.float64)
    n, total = sizes.sum(axis=-1), held.n_cells.sum(axis=-1, dtype=np.float64)
    weights = np.sqrt(sizes * (total[..., None] - sizes))
    summed = (weights[..., None, :] @ held.rank_z[..., rows, :].astype(np.float64))[..., 0, :]
    spread = np.sqrt(n * (total - n))[..., None]
    return np.asarray(np.divide(summed, spread, out=np.zeros_like(summed), where=spread > 0))


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
    members = _whole_members(origin, base)
    return replace(merged, rank_z=joined_rank_z(base, members)[None]) if members else merged


def _whole_members(origin: NDArray[np.object_], base: ClusterProfiles) -> list[str]:
    """Clusters of the first clustering that a union is made of; none if it holds but a part of one."""
    members, counts = np.unique(origin.astype(str), return_counts=True)
    whole = all(int(base.n_cells[base.groups.index(m)]) == n for m, n in zip(members, counts, strict=True))
    return [str(m) for m in members] if whole else []


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
    profiles = with_groups(base, None, removed=_gone(ids, base.groups))
    for made in _new_clusters(ids, base.groups):
        expression = cells.expression(made.rows)
        if made.is_union:
            added = profile_merged(expression, made.names[0], origin[made.rows], base)
        else:
            parts = profile_parts(expression, made.labels, base)
            added = with_groups(parts, None, removed=set(parts.groups) - set(made.names))
        profiles = with_groups(profiles, added)
    return profiles


def resamples_of_ids(
    ids: NDArray[np.object_],
    origin: NDArray[np.object_],
    base: ClusterProfiles,
    resamples: Resamples,
    cells: Cells,
    keys: NDArray[np.uint64],
) -> Resamples:
    """Return the resamples of refined clusters, made by the rules of :func:`profiles_of_ids`.

    Parameters
    ----------
    ids, origin, base
        As there.
    resamples
        Of the first clustering.
    keys
        :func:`~cellkey.io.names.cell_keys` of all cells.
    """
    found = resamples_with_groups(resamples, None, removed=_gone(ids, base.groups))
    for made in _new_clusters(ids, base.groups):
        added = resample_groups(cells.expression(made.rows), made.labels, keys[made.rows], resamples)
        members = _whole_members(origin[made.rows], base) if made.is_union else []
        if members:
            added = replace(added, rank_z=joined_rank_z(resamples, members)[:, None].astype(np.float32))
        elif not _ranked(len(added.groups), len(made.rows)):
            added = replace(added, rank_z=np.zeros_like(added.rank_z))
        found = resamples_with_groups(
            found, resamples_with_groups(added, None, removed=set(added.groups) - set(made.names))
        )
    return found


@dataclass(frozen=True, slots=True)
class _NewClusters:
    """Clusters that the first clustering does not know: parts of one split, or one union.

    Attributes
    ----------
    names
        Those that exist now.
    rows, labels
        Cells that are profiled together, and their group: of a split all parts, also those that were split again.
    """

    names: tuple[str, ...]
    rows: NDArray[np.intp]
    labels: NDArray[np.object_]

    @property
    def is_union(self) -> bool:
        return _is_union(self.names[0])


def _is_union(name: str) -> bool:
    return ":" not in name or name.endswith("m")


def _gone(ids: NDArray[np.object_], groups: Collection[str]) -> set[str]:
    return set(groups) - {str(i) for i in ids if i is not None}


def _new_clusters(ids: NDArray[np.object_], groups: Collection[str]) -> Iterator[_NewClusters]:
    known = np.array([i is not None for i in ids])
    families: dict[str, list[str]] = {}
    for name in sorted({str(i) for i in ids[known]} - set(groups), key=natural_key):
        families.setdefault(name if _is_union(name) else name.rpartition(":")[0], []).append(name)
    for family, names in sorted(families.items()):
        if _is_union(names[0]):
            rows = np.flatnonzero(ids == family)
            yield _NewClusters((family,), rows, np.full(len(rows), family, dtype=object))
        else:
            rows = _cells_below(ids, known, family)
            yield _NewClusters(tuple(names), rows, _children_of(ids[rows], family))


def _cells_below(ids: NDArray[np.object_], known: NDArray[np.bool_], parent: str) -> NDArray[np.intp]:
    text = np.array([str(i) if k else "" for i, k in zip(ids, known, strict=True)])
    return np.flatnonzero(np.char.startswith(text, f"{parent}:"))


def _children_of(ids: NDArray[np.object_], parent: str) -> NDArray[np.object_]:
    """The part of ``parent`` that each identifier lies in, however often that was split again."""
    depth = parent.count(":") + 2
    return np.array([":".join(str(i).split(":")[:depth]) for i in ids], dtype=object)
