"""Cluster profiles: the small, exact summary of a large matrix that all scoring works on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellkey.kernels import is_first_use
from cellkey.profiles import _kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from cellkey.device import Device
    from cellkey.profiles.expression import Expression
    from cellkey.profiles.resampling import Resampler

    Labels = Sequence[str | None] | NDArray[np.object_] | pd.Categorical | pd.Series

__all__ = [
    "POSITIVE_QUANTILES", "ClusterProfiles", "assemble_profiles", "cell_groups", "gene_statistics", "group_sizes",
    "has_to_compile",
    "natural_key", "profile_clusters",
]

PositiveBasis = Literal["auto", "nonzero", "all"]

POSITIVE_QUANTILES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Quantiles of the positivity threshold that every profile holds, so that changing it needs no cells."""

_BLOCK_VALUES = 4_000_000  # non-zero values per block, or a 16th of all: about 50 MB of work space per thread
_BACKED_VALUES = 60_000_000  # a backed matrix is swept once per block, so blocks are larger


@dataclass(frozen=True, slots=True)
class ClusterProfiles:
    """Sufficient statistics of groups of cells, groups x genes.

    Attributes
    ----------
    groups
        Names of the groups in natural order (``2 < 2:0 < 10``).
    var_names
        Gene or marker names, object array, shape (genes,).
    n_cells
        Cells per group, int64.
    mean, median
        Of the values in the group, float64, groups x genes, on the scale of the expression.
    detection
        Share of the group's cells with a value above zero, float64, groups x genes.
    rank_z
        Tie-corrected Wilcoxon rank-sum Z of the group against all other cells, float64, groups x genes;
        0 for constant genes, for a group of one cell and for a group that holds all cells.
    overall_mean, overall_median, overall_std, zero_share
        Over all cells: mean, median, population standard deviation and share of values <= 0, shape (genes,).
    quantiles, thresholds, positive
        For each quantile of the positivity threshold: the threshold, quantiles x genes, and the share of
        cells at or above it, quantiles x groups x genes. For ``basis="auto"`` the threshold is the quantile
        of the non-zero values where fewer than half of all cells are at zero or below, else the larger of
        the quantile over all values and the smallest positive value ("expresses the marker"). A gene that no
        cell expresses is positive nowhere (but everywhere by ``all``, where zero reaches the quantile).
    basis
        Rule of the threshold: ``auto``, ``nonzero`` (quantile of non-zero values) or ``all``.
    info
        Plain facts for the record: layer, scale, fingerprint.
    """

    groups: tuple[str, ...]
    var_names: NDArray[np.object_]
    n_cells: NDArray[np.int64]
    mean: NDArray[np.float64]
    median: NDArray[np.float64]
    detection: NDArray[np.float64]
    rank_z: NDArray[np.float64]
    overall_mean: NDArray[np.float64]
    overall_median: NDArray[np.float64]
    overall_std: NDArray[np.float64]
    zero_share: NDArray[np.float64]
    quantiles: tuple[float, ...]
    thresholds: NDArray[np.float64]
    positive: NDArray[np.float64]
    basis: PositiveBasis = "auto"
    info: dict[str, str] = field(default_factory=dict)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.groups)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var_names)

    def at_quantile(self, quantile: float) -> int | None:
        """Position of ``quantile`` in :attr:`quantiles`, or None when the profile does not hold it."""
        hits = np.flatnonzero(np.isclose(self.quantiles, quantile, rtol=0, atol=1e-9))
        return int(hits[0]) if len(hits) else None

    def subset(self, genes: NDArray[np.intp]) -> ClusterProfiles:
        """Return the profile of some genes, in the order given."""
        two = ("mean", "median", "detection", "rank_z", "thresholds")
        one = ("var_names", "overall_mean", "overall_median", "overall_std", "zero_share")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: values[name][:, genes] for name in two}
        values |= {name: values[name][genes] for name in one}
        values["positive"] = self.positive[:, :, genes]
        return ClusterProfiles(**values)

    def of_groups(self, rows: Sequence[int]) -> ClusterProfiles:
        """Return the profile of some groups, in the order given; what is known of all cells stays."""
        at = np.asarray(rows, dtype=np.intp)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: values[name][at] for name in ("n_cells", "mean", "median", "detection", "rank_z")}
        values |= {"groups": tuple(self.groups[i] for i in at), "positive": self.positive[:, at]}
        return ClusterProfiles(**values)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key of a group name: numeric parts between ``:`` as numbers, others as text after them."""
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in name.split(":"))


def profile_clusters(
    expression: Expression,
    labels: Labels,
    var_names: Sequence[str] | NDArray[np.object_],
    *,
    quantiles: Sequence[float] = POSITIVE_QUANTILES,
    basis: PositiveBasis = "auto",
    n_jobs: int = 1,
    resampler: Resampler | None = None,
    progress: Callable[[float], None] | None = None,
    device: Device = "cpu",
) -> ClusterProfiles:
    """Summarise groups of cells in one gene-wise pass over the matrix.

    The non-zero values of each gene are sorted once; ranks, ties, medians, quantiles and positive shares of
    all groups follow from that order, with the zeros counted instead of stored. All numbers are exact and
    do not depend on the number of threads.

    Parameters
    ----------
    expression
        Cells x genes on the scoring scale.
    labels
        Group of each cell, shape (cells,); None or NaN leaves a cell out of all statistics. A pandas categorical
        takes least memory.
    var_names
        Gene names, shape (genes,).
    quantiles
        Quantiles of the positivity threshold to hold.
    basis
        Rule of the positivity threshold; see :class:`ClusterProfiles`.
    n_jobs
        Threads.
    resampler
        Collects profiles of resampled cells in the same pass; see :mod:`cellkey.profiles.resampling`.
    progress
        Called with the share of genes done.
    device
        ``"gpu"`` sorts and summarises on a CUDA device (extra ``gpu``), with the same results; see
        :mod:`cellkey.profiles._gpu`.

    Raises
    ------
    ValueError
        If lengths disagree or no cell has a group.
    """
    groups, codes = cell_groups(labels)
    if len(codes) != expression.n_obs or len(var_names) != expression.n_vars:
        msg = f"{len(codes)} labels and {len(var_names)} names for a {expression.shape} matrix"
        raise ValueError(msg)
    if not groups:
        msg = "no cell has a group"
        raise ValueError(msg)
    sizes = group_sizes(codes, len(groups))
    result = _empty(len(groups), expression.n_vars, len(quantiles))
    asked = np.asarray(quantiles, dtype=np.float64)
    if resampler is not None:
        resampler.begin(codes, groups, np.asarray(var_names, dtype=object), basis, device)

    def read(span: tuple[int, int]) -> sp.csc_matrix:
        block = _gene_block(expression, *span)
        if resampler is not None:
            resampler.add(block, span[0])
        return block

    def work(span: tuple[int, int]) -> int:
        start, stop = span
        for name, part in gene_statistics(read(span), codes, sizes, asked, basis).items():
            result[name][start:stop] = part
        return stop - start

    spans = list(_spans(expression, n_jobs))
    if device == "gpu":
        from cellkey.profiles._gpu import DeviceStatistics

        steps = DeviceStatistics(codes, sizes, asked, _kernels.BASIS_CODES[basis]).fill(result, read, spans, n_jobs)
    else:
        steps = _run(work, spans, n_jobs)
    done = 0
    for n_genes in steps:
        done += n_genes
        if progress is not None:
            progress(done / expression.n_vars)
    names = np.asarray(var_names, dtype=object)
    return assemble_profiles(result, groups, sizes, names, tuple(map(float, quantiles)), basis)


def gene_statistics(
    block: sp.csc_matrix,
    codes: NDArray[np.integer[Any]],
    sizes: NDArray[np.int64],
    quantiles: NDArray[np.float64],
    basis: PositiveBasis = "auto",
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of a block of genes (float32 CSC, all cells), which :func:`assemble_profiles` takes.

    ``codes`` is the group of each cell (-1: none) and ``sizes`` the cells of each group. Each array has one row
    per gene, so blocks of genes are stacked in their order.
    """
    parts = _kernels.profile_genes(
        block.data, block.indices.astype(np.int32, copy=False), block.indptr.astype(np.int64, copy=False),
        codes.astype(np.int32, copy=False), sizes, quantiles, _kernels.BASIS_CODES[basis],
    )
    return dict(zip(_PARTS, parts, strict=True))


_PARTS = ("sums", "medians", "above", "rank_sums", "positive", "thresholds", "overall")


def has_to_compile() -> bool:
    """Whether the next profile compiles its loops first, which takes half a minute."""
    return is_first_use(_kernels.profile_genes)


def cell_groups(labels: Labels) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the groups in natural order and the position of each cell's group, -1 for None and NaN."""
    import pandas as pd

    values = getattr(labels, "array", labels)
    if not isinstance(values, pd.Categorical):
        values = np.asarray(labels, dtype=object)
        if pd.api.types.infer_dtype(values, skipna=True) != "string":  # 1 and 1.0 are one value, but two texts
            values = np.array([None if v is None or v != v else str(v) for v in values], dtype=object)
    found, different = pd.factorize(values)
    texts = [str(name) for name in different]
    groups = sorted(sorted(set(texts)), key=natural_key)
    position = {name: i for i, name in enumerate(groups)}
    codes = np.array([*(position[name] for name in texts), -1], dtype=np.int32)
    return tuple(groups), codes[found]


def group_sizes(codes: NDArray[np.int32], n_groups: int) -> NDArray[np.int64]:
    """Return the number of cells of each group."""
    return np.bincount(codes + 1, minlength=n_groups + 1)[1:].astype(np.int64)


def _empty(n_groups: int, n_genes: int, n_quantiles: int) -> dict[str, NDArray[np.float64]]:
    shapes = {
        "sums": (n_groups,), "medians": (n_groups,), "above": (n_groups,), "rank_sums": (n_groups,),
        "positive": (n_quantiles, n_groups), "thresholds": (n_quantiles,), "overall": (5,),
    }
    return {name: np.zeros((n_genes, *shape)) for name, shape in shapes.items()}


def _gene_block(expression: Expression, start: int, stop: int) -> sp.csc_matrix:
    return expression.columns(np.arange(start, stop))


def _spans(expression: Expression, n_jobs: int) -> Iterator[tuple[int, int]]:
    """Ranges of genes whose values fit the work space."""
    n_obs, n_vars = expression.shape
    stored = getattr(expression.X, "nnz", None)
    if stored is None:
        stored = n_obs * n_vars
    limit = expression.block_values or (
        max(_BLOCK_VALUES, stored // 16) if expression.in_memory else _BACKED_VALUES // max(n_jobs, 1)
    )
    width = max(1, min(n_vars, int(limit / max(stored / max(n_vars, 1), 1))))
    if expression.in_memory and n_jobs > 1:
        width = max(1, min(width, -(-n_vars // (4 * n_jobs))))
    for start in range(0, n_vars, width):
        yield start, min(start + width, n_vars)


def _run(work: Callable[[tuple[int, int]], int], spans: list[tuple[int, int]], n_jobs: int) -> Iterator[int]:
    if n_jobs <= 1 or len(spans) < 2:
        yield from map(work, spans)
        return
    with ThreadPoolExecutor(n_jobs) as pool:
        yield from pool.map(work, spans)


def assemble_profiles(
    parts: dict[str, NDArray[np.float64]],
    groups: tuple[str, ...],
    sizes: NDArray[np.int64],
    var_names: NDArray[np.object_],
    quantiles: tuple[float, ...],
    basis: PositiveBasis,
) -> ClusterProfiles:
    """Return the profiles from the statistics of all genes, genes x groups; see :func:`gene_statistics`."""
    n = sizes.astype(np.float64)[:, None]
    overall = parts["overall"]
    return ClusterProfiles(
        groups=groups,
        var_names=var_names,
        n_cells=sizes,
        mean=parts["sums"].T / n,
        median=np.ascontiguousarray(parts["medians"].T),
        detection=parts["above"].T / n,
        rank_z=_rank_z(parts["rank_sums"].T, sizes, overall[:, 4]),
        overall_mean=overall[:, 0].copy(),
        overall_median=overall[:, 1].copy(),
        overall_std=overall[:, 2].copy(),
        zero_share=overall[:, 3].copy(),
        quantiles=quantiles,
        thresholds=np.ascontiguousarray(parts["thresholds"].T),
        positive=np.ascontiguousarray(parts["positive"].transpose(1, 2, 0)) / n[None],
        basis=basis,
    )


def _rank_z(
    rank_sums: NDArray[np.float64], sizes: NDArray[np.int64], ties: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Wilcoxon rank-sum Z with tie correction, normal approximation, no continuity correction."""
    total = float(sizes.sum())
    n = sizes.astype(np.float64)[:, None]
    correction = 1.0 - ties / (total**3 - total) if total > 1 else np.zeros_like(ties)
    variance = correction[None] * n * (total - n) * (total + 1) / 12.0
    centred = rank_sums - n * (total + 1) / 2.0
    z = np.zeros_like(centred)
    # Rounding leaves a correction of about 1e-16 for constant genes; their Z is 0 by definition.
    usable = (variance > 0) & (correction[None] > 1e-12)
    np.divide(centred, np.sqrt(variance, where=usable, out=np.ones_like(variance)), out=z, where=usable)
    z[sizes < 2] = 0.0  # a single cell has no spread to test against
    return z
