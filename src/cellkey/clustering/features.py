"""Which variables take part in clustering: those that vary, and of many genes those that vary most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.clustering import _kernels
from cellkey.clustering._blocks import block_starts
from cellkey.clustering._sums import UNIT_CELLS, TreeSum, add_arrays, sum_over_cells
from cellkey.clustering._threads import n_threads
from cellkey.profiles.tiles import TiledExpression

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from cellkey.profiles.expression import Expression

__all__ = ["Moments", "choose_features", "excess_variance", "gene_moments", "moment_sums", "moments_from_sums"]

#: Variables whose population standard deviation is not above this are constant for all that matters.
MIN_SD = 1e-3
#: Panels up to this many features use all of them.
SMALL_PANEL = 500
_BLOCK_GENES = 1024


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and population standard deviation per variable (float64, shape (genes,)) over ``n_cells``
    cells."""

    n_cells: int
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def gene_moments(
    expression: Expression,
    columns: NDArray[np.intp] | None = None,
    rows: NDArray[np.intp] | None = None,
    block_cells: int = 8192,
) -> Moments:
    """Return mean and standard deviation of each variable in one pass over blocks of cells.

    Sums are taken in one order (:mod:`cellkey.clustering._sums`), so that sparse matrices give the same bits however
    they are stored and read. Dense values in memory are summed as deviations from the mean of the first block instead,
    so that a large mean costs no digits.
    """
    n_vars = expression.n_vars if columns is None else len(columns)
    n_cells = expression.n_obs if rows is None else len(rows)
    if isinstance(expression, TiledExpression) and rows is None:
        tiles = expression.map_tiles(lambda genes: genes, columns, n_threads())
        return moments_from_sums(n_cells, moment_sums(tiles, n_vars))
    if expression.storage == "csc" and expression.in_memory and rows is None:
        return _gene_major_moments(expression, columns)
    blocks = (block for _, block in expression.row_blocks(columns=columns, rows=rows, block_cells=block_cells))
    if expression.storage == "dense":
        return _dense_moments(blocks, n_vars)
    return moments_from_sums(n_cells, moment_sums(blocks, n_vars))


def moment_sums(blocks: Iterable[Any], n_vars: int) -> NDArray[np.float64]:
    """Return sums and sums of squares over sparse blocks of cells (CSR or CSC), variables x 2."""
    def add(sums: NDArray[np.float64], block: Any) -> None:
        if block.format == "csc":
            _kernels.gene_moments(block.data, block.indptr, sums)
        else:
            _kernels.accumulate_moments(block.data, block.indices, sums)

    return sum_over_cells(blocks, lambda: np.zeros((n_vars, 2)), add, add_arrays)


def moments_from_sums(n_cells: int, sums: NDArray[np.float64]) -> Moments:
    """Return the moments that follow from :func:`moment_sums` over all cells."""
    mean, mean_square = np.ascontiguousarray(sums.T) / max(n_cells, 1)
    return Moments(n_cells, mean, np.sqrt(np.maximum(mean_square - mean**2, 0.0)))


def _dense_moments(blocks: Iterable[Any], n_vars: int) -> Moments:
    shift: NDArray[np.float64] | None = None
    sums, n_cells = np.zeros((n_vars, 2)), 0
    for block in blocks:
        n_cells += block.shape[0]
        dense = block.astype(np.float64)
        if shift is None:
            shift = dense.mean(axis=0)
        dense -= shift
        sums[:, 0] += dense.sum(axis=0)
        sums[:, 1] += np.einsum("ij,ij->j", dense, dense)
    found = moments_from_sums(n_cells, sums)
    return found if shift is None else Moments(n_cells, found.mean + shift, found.sd)


def _gene_major_moments(expression: Expression, columns: NDArray[np.intp] | None) -> Moments:
    wanted = np.arange(expression.n_vars) if columns is None else np.asarray(columns)
    n_units = -(-expression.n_obs // UNIT_CELLS)
    found = np.zeros((len(wanted), 2))
    for start, stop in block_starts(len(wanted), _BLOCK_GENES):
        block = expression.columns(wanted[start:stop])
        sums = np.zeros((n_units, stop - start, 2))
        _kernels.unit_moments(block.data, block.indices, block.indptr, UNIT_CELLS, sums)
        tree = TreeSum(add_arrays)
        for unit in sums:
            tree.push(unit)
        found[start:stop] = tree.total()
    return moments_from_sums(expression.n_obs, found)


def excess_variance(moments: Moments) -> NDArray[np.float64]:
    """Return the variance of each gene above the trend of genes with the same mean, float64, shape (genes,).

    The trend is the running median of the variance over genes ordered by mean (a twentieth of the genes, at
    least 51), smoothed by a running mean of the same width. Most genes do not mark a cell type, so the
    trend is the variance that the measurement itself gives at this mean; what lies above it is biology (the
    reasoning of Lun, McCarthy & Marioni 2016, F1000Research 5:2122). Genes that do not vary have ``-inf``.
    """
    from scipy.ndimage import median_filter, uniform_filter1d

    variance = moments.sd**2
    varies = np.flatnonzero(moments.sd > MIN_SD)
    excess = np.full(len(variance), -np.inf)
    if len(varies) == 0:
        return excess
    order = varies[np.lexsort((variance[varies], moments.mean[varies]))]
    width = max(51, len(order) // 20) | 1
    trend = median_filter(np.log(variance[order]), size=width, mode="nearest")
    trend = uniform_filter1d(trend, width, mode="nearest")
    # Genes with one mean share one trend, so that equal genes rank equally whatever their order.
    _, same, count = np.unique(moments.mean[order], return_inverse=True, return_counts=True)
    trend = (np.bincount(same, weights=trend) / count)[same]
    excess[order] = variance[order] - np.exp(trend)
    return excess


def choose_features(
    moments: Moments,
    var_names: Sequence[str],
    *,
    n_top: int = 2000,
    allowed: NDArray[np.bool_] | None = None,
    always_use: Iterable[str] = (),
    chosen: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Return the positions of the features for clustering, ordered by name.

    Parameters
    ----------
    moments
        Of all variables, on the scale used for scoring.
    var_names
        Unique names, shape (genes,); they order the result and break ties.
    n_top
        Most features taken from more than 500 candidates, by :func:`excess_variance`; 0 takes all.
    allowed
        Variables that may be used (technical markers are not), shape (genes,).
    always_use
        Names of markers that are features whatever their rank, as long as they vary.
    chosen
        The caller's own choice, shape (genes,); no ranking then.

    Returns
    -------
    Variables with a standard deviation above 1e-3 only. May be empty.
    """
    usable = moments.sd > MIN_SD
    if allowed is not None:
        usable &= allowed
    names = np.asarray(var_names, dtype=str)
    if chosen is not None:
        usable &= chosen
    elif n_top and int(usable.sum()) > max(SMALL_PANEL, n_top if n_top > SMALL_PANEL else 0):
        usable &= _most_variable(moments, names, usable, n_top) | np.isin(names, list(always_use))
    positions = np.flatnonzero(usable)
    return positions[np.argsort(names[positions], kind="stable")]


def _most_variable(
    moments: Moments, names: NDArray[np.str_], usable: NDArray[np.bool_], n_top: int
) -> NDArray[np.bool_]:
    excess = np.where(usable, excess_variance(moments), -np.inf)
    top = np.lexsort((names, -excess))[:n_top]
    mask = np.zeros(len(names), dtype=bool)
    mask[top] = True
    return mask
