"""Compiled loops of resampling: the statistics of many weighted copies of the cells from one sort of each gene."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit
from cellkey.profiles._kernels import ALL, AUTO, LEAST_POSITIVE, NONZERO, _order_by_value, _stored_place
from cellkey.profiles._tile_kernels import _mixed

__all__ = ["DETECTION", "MEAN", "MEDIAN", "POSITIVE", "RANK_Z", "draw_weights", "resample_genes"]

MEAN, MEDIAN, DETECTION, POSITIVE, RANK_Z = 0, 1, 2, 3, 4
"""Position of each statistic in the result of :func:`resample_genes`."""

# P(Poisson(1) <= k) for k = 0, 1, ...; more than 12 copies of one cell do not occur in 10^10 draws.
_TABLE = np.cumsum(np.exp(-1.0) / np.cumprod(np.array([1.0, 1.0, *range(2, 13)])))


@njit(cache=True, nogil=True)
def draw_weights(keys, seed, n_times, table=_TABLE):  # type: ignore[no-untyped-def]
    """Return how often each cell occurs in each resample: Poisson(1), cells x resamples, uint8.

    ``keys`` (uint64, one per cell) stand for the cells: equal keys give equal draws in whatever order they come.
    """
    weights = np.empty((len(keys), n_times), dtype=np.uint8)
    for cell in range(len(keys)):
        state = _mixed(keys[cell] ^ _mixed(seed))
        for b in range(n_times):
            state += np.uint64(0x9E3779B97F4A7C15)
            u = np.float64(_mixed(state) >> np.uint64(11)) / 9007199254740992.0
            k = 0
            while k < len(table) and u >= table[k]:
                k += 1
            weights[cell, b] = k
    return weights


@njit(cache=True, nogil=True)
def resample_genes(  # type: ignore[no-untyped-def]
    data, rows, indptr, codes, weights, sizes, quantile, basis, limits
):
    """Group statistics of every gene of a CSC block for every resample.

    Each number equals that of :func:`cellkey.profiles._kernels.profile_genes` on a matrix in which every cell
    is repeated as often as its weight says. The zeros are counted, not visited.

    Parameters are float32 values, their rows, the column starts, the group of each row (-1 leaves it out), the
    weights (cells x resamples, uint8), the cells per group (groups x resamples), the quantile of the positivity
    threshold and its rule, and the thresholds (genes x resamples) where they are those of other cells as well; an
    array without rows has them made from these cells.

    Returns, float32: statistics x genes x groups x resamples in the order of the constants above, zeros where a
    resample holds no cell of a group; and 5 x genes x resamples: mean, median, population standard deviation,
    share of cells not above zero, threshold.
    """
    n_genes, n_groups, n_times = len(indptr) - 1, sizes.shape[0], sizes.shape[1]
    result = np.zeros((5, n_genes, n_groups, n_times), dtype=np.float32)
    overall = np.zeros((5, n_genes, n_times), dtype=np.float32)
    n_cells = sizes.sum(axis=0)
    if n_times == 0:
        return result, overall
    for gene in range(n_genes):
        _resample_gene(
            data[indptr[gene] : indptr[gene + 1]], rows[indptr[gene] : indptr[gene + 1]], codes, weights, sizes,
            n_cells, quantile, basis, limits[gene : gene + 1], result[:, gene], overall[:, gene],
        )
    return result, overall


@njit(cache=True, nogil=True)
def _resample_gene(  # type: ignore[no-untyped-def]
    data, rows, codes, weights, sizes, n_cells, quantile, basis, limits, result, overall
):
    n_groups, n_times = sizes.shape
    values, groups, copies = _sorted_values(data, rows, codes, weights)
    n = len(values)
    n_negative = 0
    while n_negative < n and values[n_negative] < 0:
        n_negative += 1
    sums, stored, negative, squares, centre = _moments(values, groups, copies, n_negative, len(weights), n_groups)
    n_stored, n_below = stored.sum(axis=0), negative.sum(axis=0)
    n_zero = n_cells - n_stored
    total = sums.sum(axis=0)
    for b in range(n_times):
        if n_cells[b] > 0:
            mean = total[b] / n_cells[b]
            variance = (squares[b] + n_zero[b] * centre * centre) / n_cells[b] - (mean - centre) ** 2
            overall[0, b] = mean
            overall[2, b] = np.sqrt(max(variance, 0.0))
            overall[3, b] = (n_below[b] + n_zero[b]) / n_cells[b]

    # Which of the sorted values are the quantiles; the walk below picks them up as it passes.
    places = np.full((4, n_times), -1, dtype=np.int64)
    shares = np.zeros((2, n_times))
    over_stored = np.zeros(n_times, dtype=np.bool_)
    for b in range(n_times):
        if n_cells[b] == 0:
            continue
        dense = (n_below[b] + n_zero[b]) / n_cells[b] < 0.5
        over_stored[b] = n_stored[b] > 0 and (basis == NONZERO or (basis == AUTO and dense))
        zeros = 0 if over_stored[b] else n_zero[b]
        for i, q, absent in ((0, quantile, zeros), (1, 0.5, n_zero[b])):
            m = n_stored[b] + absent
            position = q * (m - 1)
            k = int(np.floor(position))
            places[2 * i, b] = _stored_place(k, n_below[b], absent)
            places[2 * i + 1, b] = _stored_place(min(k + 1, m - 1), n_below[b], absent)
            shares[i, b] = position - k
    found, medians, rank_sums, ties = _walk(
        values, groups, copies, n_negative, n_zero, places, sizes, stored, negative
    )
    thresholds = np.zeros(n_times)
    for b in range(n_times):
        thresholds[b] = found[0, b] + (found[1, b] - found[0, b]) * shares[0, b]
        overall[1, b] = found[2, b] + (found[3, b] - found[2, b]) * shares[1, b]
        if basis != ALL and not over_stored[b] and n_stored[b] == n_below[b]:
            thresholds[b] = LEAST_POSITIVE
        elif basis == AUTO and not over_stored[b]:
            i = n_negative
            while copies[i, b] == 0:
                i += 1
            thresholds[b] = max(thresholds[b], np.float64(values[i]))
        if len(limits):
            thresholds[b] = limits[0, b]
        overall[4, b] = thresholds[b]
    positive = _counts_from(values, groups, copies, thresholds, n_groups)
    for g in range(n_groups):
        for b in range(n_times):
            m = np.float64(sizes[g, b])
            if m == 0:
                continue
            absent = m - stored[g, b]
            result[MEAN, g, b] = sums[g, b] / m
            result[MEDIAN, g, b] = medians[g, b]
            result[DETECTION, g, b] = (stored[g, b] - negative[g, b]) / m
            result[POSITIVE, g, b] = (positive[g, b] + (absent if thresholds[b] <= 0.0 else 0.0)) / m
            ranks = rank_sums[g, b] + absent * (n_below[b] + (n_zero[b] + 1) / 2)
            result[RANK_Z, g, b] = _rank_z(ranks, m, np.float64(n_cells[b]), ties[b])


@njit(cache=True, nogil=True)
def _sorted_values(data, rows, codes, weights):  # type: ignore[no-untyped-def]
    """The non-zero values of grouped cells in ascending order, with their groups and weights.

    The weights are copied into the order of the values, because the passes that follow are many and a cell's
    weights are somewhere in memory.
    """
    values = np.empty(len(data), dtype=np.float32)
    cells = np.empty(len(data), dtype=np.int64)
    n = 0
    for i in range(len(data)):
        if data[i] != 0 and codes[rows[i]] >= 0:
            values[n] = data[i]
            cells[n] = rows[i]
            n += 1
    order = _order_by_value(values[:n])
    values, cells = values[:n][order], cells[:n][order]
    copies = np.empty((n, weights.shape[1]), dtype=np.uint8)
    for i in range(n):
        for b in range(weights.shape[1]):
            copies[i, b] = weights[cells[i], b]
    return values, codes[cells], copies


@njit(cache=True, nogil=True)
def _moments(values, groups, copies, n_negative, n_cells, n_groups):  # type: ignore[no-untyped-def]
    """Sums, numbers of non-zero and of negative values by group; squares about a fixed centre over all."""
    n, n_times = copies.shape
    sums = np.zeros((n_groups, n_times))
    stored = np.zeros((n_groups, n_times), dtype=np.int64)
    negative = np.zeros((n_groups, n_times), dtype=np.int64)
    squares = np.zeros(n_times)
    centre = 0.0
    for i in range(n):
        centre += np.float64(values[i])
    centre /= max(n_cells, 1)
    for i in range(n):
        value, g, w = np.float64(values[i]), groups[i], copies[i]
        deviation = (value - centre) ** 2
        for b in range(n_times):
            sums[g, b] += w[b] * value
            stored[g, b] += w[b]
            squares[b] += w[b] * deviation
        if i < n_negative:
            for b in range(n_times):
                negative[g, b] += w[b]
    return sums, stored, negative, squares, centre


@njit(cache=True, nogil=True)
def _median_places(sizes, stored, negative):  # type: ignore[no-untyped-def]
    """Places of the two middle values among each group's non-zero values; -1 where the middle is a zero."""
    n_groups, n_times = sizes.shape
    places = np.full((2, n_groups, n_times), -1, dtype=np.int64)
    wanted = np.zeros(n_groups, dtype=np.bool_)
    for g in range(n_groups):
        for b in range(n_times):
            m = sizes[g, b]
            if m > 0:
                absent = m - stored[g, b]
                places[0, g, b] = _stored_place((m - 1) // 2, negative[g, b], absent)
                places[1, g, b] = _stored_place(m // 2, negative[g, b], absent)
                wanted[g] = wanted[g] or places[0, g, b] >= 0 or places[1, g, b] >= 0
    return places, wanted


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    values, groups, copies, n_negative, n_zero, places, sizes, stored, negative
):
    """Pass the sorted values once: pick up quantiles and medians, and sum midranks and ties."""
    n, (n_groups, n_times) = len(values), sizes.shape
    found = np.zeros((len(places), n_times))
    wanted = places.max() >= 0
    middle, middle_wanted = _median_places(sizes, stored, negative)
    halves = np.zeros((2, n_groups, n_times))
    rank_sums = np.zeros((n_groups, n_times))
    ties = np.zeros(n_times)
    for b in range(n_times):
        ties[b] = np.float64(n_zero[b]) ** 3 - n_zero[b]
    passed = np.zeros(n_times, dtype=np.int64)
    passed_of = np.zeros((n_groups, n_times), dtype=np.int64)
    tied = np.zeros(n_times, dtype=np.int64)
    rank = np.zeros(n_times)
    first = 0
    while first < n:
        value = values[first]
        last = first
        tied[:] = 0
        while last < n and values[last] == value:
            w = copies[last]
            for b in range(n_times):
                tied[b] += w[b]
            last += 1
        above = 0 if first < n_negative else 1
        for b in range(n_times):
            t = np.float64(tied[b])
            rank[b] = passed[b] + above * n_zero[b] + (t + 1) / 2
            ties[b] += t * t * t - t
        if wanted:
            for k in range(len(places)):
                for b in range(n_times):
                    if passed[b] <= places[k, b] and places[k, b] < passed[b] + tied[b]:
                        found[k, b] = value
        for i in range(first, last):
            g, w = groups[i], copies[i]
            for b in range(n_times):
                rank_sums[g, b] += w[b] * rank[b]
            if middle_wanted[g]:
                for b in range(n_times):
                    end = passed_of[g, b] + w[b]
                    if passed_of[g, b] <= middle[0, g, b] and middle[0, g, b] < end:
                        halves[0, g, b] = value
                    if passed_of[g, b] <= middle[1, g, b] and middle[1, g, b] < end:
                        halves[1, g, b] = value
                    passed_of[g, b] = end
        for b in range(n_times):
            passed[b] += tied[b]
        first = last
    return found, (halves[0] + halves[1]) / 2, rank_sums, ties


@njit(cache=True, nogil=True)
def _counts_from(values, groups, copies, thresholds, n_groups):  # type: ignore[no-untyped-def]
    """Cells with a stored value at or above the threshold of each resample, by group."""
    n_times = len(thresholds)
    counts = np.zeros((n_groups, n_times), dtype=np.int64)
    lowest = thresholds.min()
    for i in range(len(values) - 1, -1, -1):
        value = np.float64(values[i])
        if value < lowest:
            break
        g, w = groups[i], copies[i]
        for b in range(n_times):
            counts[g, b] += w[b] if value >= thresholds[b] else 0
    return counts


@njit(cache=True, nogil=True)
def _rank_z(ranks, m, total, ties):  # type: ignore[no-untyped-def]
    """Wilcoxon rank-sum Z with tie correction; 0 for a single cell, a constant gene and a group of all cells."""
    if m < 2 or total <= m:
        return 0.0
    correction = 1.0 - ties / (total**3 - total)
    variance = correction * m * (total - m) * (total + 1) / 12.0
    if variance <= 0 or correction <= 1e-12:
        return 0.0
    return (ranks - m * (total + 1) / 2.0) / np.sqrt(variance)
