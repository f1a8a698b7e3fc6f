"""Sums, means and detection of groups of cells in one sweep: what plain pseudobulk needs, and no more.

Ranks, medians and quantiles need the values of every gene sorted, which takes most of the time of
:func:`~cellkey.profiles.profile.profile_clusters`. Whoever can do without them asks for these sums instead; they are a
type of their own, so that nothing that needs more can be given them by mistake.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from cellkey.io.stored import Buffer, StoredMatrix
from cellkey.profiles import _sparse_kernels, _sum_kernels
from cellkey.profiles.cell_blocks import as_float, canonical_rows
from cellkey.profiles.expression import TARGET_SUM, Expression, factors_from_totals, major_parts, wide_enough
from cellkey.profiles.profile import cell_groups, group_sizes
from cellkey.profiles.survey import Sweep
from cellkey.profiles.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.profile import Labels
    from cellkey.profiles.survey import Survey

__all__ = ["GroupSums", "sum_groups"]

_HOW = {"none": _sum_kernels.NONE, "log1p": _sum_kernels.ONLY_LOG, "normalise": _sum_kernels.NORMALISE}
_BLOCK_VALUES = 2_000_000  # 16 MB, and as much again for the block that is being read


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Sums, means and detection of groups of cells.

    Attributes
    ----------
    groups
        Names of the groups in natural order (``2 < 2:0 < 10``).
    var_names
        Gene names, object array, shape (genes,).
    n_cells
        Cells per group, int64.
    sums
        Of the values as they are stored (counts: pseudobulk), float64, groups x genes.
    mean, detection
        Mean on the scoring scale and share of cells above zero, float64, groups x genes: those of
        :class:`~cellkey.profiles.profile.ClusterProfiles`, bit by bit.
    info
        Plain facts for the record: layer, values, transform.
    """

    groups: tuple[str, ...]
    var_names: NDArray[np.object_]
    n_cells: NDArray[np.int64]
    sums: NDArray[np.float64]
    mean: NDArray[np.float64]
    detection: NDArray[np.float64]
    info: dict[str, str] = field(default_factory=dict)


def sum_groups(
    X: Any,
    labels: Labels,
    var_names: Sequence[str] | NDArray[np.object_],
    *,
    transform: Literal["none", "log1p", "normalise"] = "none",
    n_jobs: int = 1,
    progress: Callable[[float], None] | None = None,
) -> tuple[GroupSums, Survey]:
    """Add up the cells of each group, and describe all values on the way.

    Every sum is taken in the order of cells: results depend neither on threads and blocks nor on how the matrix is
    stored. Two blocks of some two million values are held; a matrix that is stored by genes is read twice if its
    cells are to be normalised.

    Parameters
    ----------
    X
        Cells x genes: on disk (:class:`~cellkey.io.stored.StoredMatrix`), tiles, or in memory; any storage.
    labels
        Group of each cell, shape (cells,); None and NaN leave a cell out.
    var_names
        Gene names, shape (genes,).
    transform
        What brings values to the scoring scale: nothing, ``log1p``, or ``normalise`` (10,000 per cell, then ``log1p``).
    n_jobs
        Threads beside the one that reads.
    progress
        Called with the share of the matrix done.

    Returns
    -------
    The sums, and what the values look like (without digest).

    Raises
    ------
    ValueError
        If lengths disagree or no cell has a group.
    """
    groups, codes = cell_groups(labels)
    n_obs, n_vars = int(X.shape[0]), int(X.shape[1])
    if len(codes) != n_obs or len(var_names) != n_vars:
        msg = f"{len(codes)} labels and {len(var_names)} names for a {n_obs} x {n_vars} matrix"
        raise ValueError(msg)
    if not groups:
        msg = "no cell has a group"
        raise ValueError(msg)
    sweep = Sweep((n_obs, n_vars))
    kept = np.zeros((len(groups), n_vars, 3))
    by_genes = getattr(X, "format", "") == "csc"
    work = _ByGenes(X, codes, transform) if by_genes else _ByCells(X, codes, transform)
    work.add(sweep, kept, max(n_jobs, 1), progress or (lambda _: None))
    sizes = group_sizes(codes, len(groups))
    n = sizes[:, None].astype(np.float64)
    sums = GroupSums(
        groups, np.asarray(var_names, dtype=object), sizes, kept[:, :, 0].copy(), kept[:, :, 1] / n, kept[:, :, 2] / n
    )
    return sums, replace(sweep.survey(), digest="")


@dataclass(frozen=True, slots=True)
class _ByCells:
    """A matrix whose blocks are cells: one sweep in which each row finds its own total."""

    X: Any
    codes: NDArray[np.int32]
    transform: str

    def add(self, sweep: Sweep, kept: NDArray[np.float64], n_jobs: int, tell: Callable[[float], None]) -> None:
        n_obs = self.X.shape[0]
        running: list[Future[Any]] = []
        with ThreadPoolExecutor(n_jobs) as threads:
            for start, block in _cell_blocks(self.X):  # read while the block before is added
                _finish(running, sweep)
                stop = start + block.shape[0]
                codes = self.codes[start:stop]
                data = as_float(block.data)
                running = [
                    threads.submit(
                        _sum_kernels.add_cells, data, block.indices, block.indptr, rows, codes, _HOW[self.transform],
                        TARGET_SUM, sweep.totals[start:stop], sweep.has_value[start:stop], kept,
                    )
                    for rows in _shares(codes, block.indptr, n_jobs)
                ]
                tell(start / n_obs)
            _finish(running, sweep)


@dataclass(frozen=True, slots=True)
class _ByGenes:
    """A matrix whose blocks are genes: a sweep for the totals of cells, and one for the sums."""

    X: Any
    codes: NDArray[np.int32]
    transform: str

    def add(self, sweep: Sweep, kept: NDArray[np.float64], n_jobs: int, tell: Callable[[float], None]) -> None:
        n_vars = self.X.shape[1]
        for first, block in _gene_blocks(self.X):
            sweep.note(_sum_kernels.scan_genes(as_float(block.data), block.indices, sweep.totals, sweep.has_value))
            tell(first / n_vars / 2)
        factors = Expression(self.X, scale=self._factors(sweep.totals))
        with ThreadPoolExecutor(n_jobs) as threads:
            running: list[Future[Any]] = []
            for first, block in _gene_blocks(self.X):
                _finish(running)
                data = as_float(block.data)
                scaled = data.astype(np.float32, copy=False) if factors.scale is None else (
                    _sparse_kernels.log_scaled(data, block.indices, factors.scale, *factors.small_logs()))
                edges = np.linspace(0, block.shape[1], n_jobs + 1).astype(np.int64)
                running = [
                    threads.submit(_sum_kernels.add_genes, data, scaled, block.indices, block.indptr[low : high + 1],
                                   self.codes, first + low, kept)
                    for low, high in pairwise(edges)
                ]
                tell(0.5 + first / n_vars / 2)
            _finish(running)

    def _factors(self, totals: NDArray[np.float64]) -> NDArray[np.float64] | None:
        if self.transform != "normalise":
            return None if self.transform == "none" else np.ones(len(totals))
        return factors_from_totals(totals)


def _finish(running: list[Future[Any]], sweep: Sweep | None = None) -> None:
    """Wait for all, so that no group is in two hands, and no memory is read into that is still looked at."""
    for task in running:
        found = task.result()
        if sweep is not None:
            sweep.note(found)


def _shares(codes: NDArray[np.int32], indptr: NDArray[Any], n_jobs: int) -> list[NDArray[np.intp]]:
    """Rows of a block for each thread, about equal in values: whole groups, one after the other.

    Rows of one group side by side keep its sums near the processor; within a group they keep their order.
    """
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order], append=codes.max(initial=0) + 1))  # last row of each group
    done = np.cumsum(np.diff(indptr)[order])[ends]
    thread = np.minimum(done * n_jobs // max(int(done[-1]) + 1, 1), n_jobs - 1) if len(done) else done
    cuts = ends[np.flatnonzero(np.diff(thread))] + 1
    return [part for part in np.split(order, cuts) if len(part)]


def _cell_blocks(X: Any) -> Iterator[tuple[int, sp.csr_matrix]]:
    """Blocks of cells as canonical CSR; each lasts until the second after it is asked for."""
    n_obs = int(X.shape[0])
    n_values = int(getattr(X, "nnz", np.prod(X.shape)))
    step = int(max(1, min(65_536, _BLOCK_VALUES / max(n_values / max(n_obs, 1), 1.0))))
    if isinstance(X, TileStore):
        for cells, block in X.blocks(None, None):
            yield int(cells[0]), canonical_rows(block)
    elif isinstance(X, np.ndarray) or sp.issparse(X):
        for start in range(0, n_obs, step):
            stop = min(start + step, n_obs)
            yield start, canonical_rows(X[start:stop] if isinstance(X, np.ndarray) else _view(X, start, stop))
    else:
        stored = X if isinstance(X, StoredMatrix) else StoredMatrix(getattr(X, "group", X))
        for start, block in stored.row_blocks(step, [Buffer(), Buffer()]):
            yield start, canonical_rows(block)


def _gene_blocks(X: Any) -> Iterator[tuple[int, sp.csc_matrix]]:
    """Blocks of genes as canonical CSC; see :func:`_cell_blocks`."""
    if sp.issparse(X):
        step = int(max(1, _BLOCK_VALUES / max(X.nnz / max(X.shape[1], 1), 1.0)))
        spans = ((start, min(start + step, X.shape[1])) for start in range(0, X.shape[1], step))
        blocks: Iterator[tuple[int, Any]] = ((start, _view(X, start, stop)) for start, stop in spans)
    else:
        stored = X if isinstance(X, StoredMatrix) else StoredMatrix(getattr(X, "group", X))
        blocks = stored.column_blocks(_BLOCK_VALUES, [Buffer(), Buffer()])
    for start, block in blocks:
        whole = sp.csc_matrix(wide_enough(block))
        if not whole.has_canonical_format:
            whole = whole.copy()
            whole.sum_duplicates()
        yield start, whole


def _view(X: Any, start: int, stop: int) -> Any:
    """Rows of CSR or columns of CSC without a copy of their values."""
    shape = (stop - start, X.shape[1]) if X.format == "csr" else (X.shape[0], stop - start)
    return type(X)(major_parts(X, start, stop), shape=shape, copy=False)
