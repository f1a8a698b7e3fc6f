"""Compiled loops over sparse matrices; arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "gather_columns", "gather_range", "log_scaled", "log_scaled_rows", "profile_genes", "rows_sorted", "select_columns",
    "small_logs",
]

SMALL = 8
AUTO, NONZERO, ALL = 0, 1, 2
"""Codes of the rules for the positivity threshold; see :mod:`cellkey.profiles.profile`."""
LEAST_POSITIVE = float(np.finfo(np.float32).tiny)
"""Threshold of a gene without any positive value: it is positive nowhere, not everywhere."""


@njit(cache=True, nogil=True)
def small_logs(scale):  # type: ignore[no-untyped-def]
    """Return ``log1p(k * scale)`` of the counts k from 0 to 7, cells x 8, float32: what most counts are."""
    out = np.empty((len(scale), SMALL), dtype=np.float32)
    for row in range(len(scale)):
        for k in range(SMALL):
            out[row, k] = np.log1p(k * scale[row])
    return out


@njit(cache=True, nogil=True)
def log_scaled(data, rows, scale, logs):  # type: ignore[no-untyped-def]
    """Return ``log1p(data * scale[rows])`` as float32; ``logs`` from :func:`small_logs`."""
    out = np.empty(len(data), dtype=np.float32)
    for i in range(len(data)):
        value = data[i]
        if 0 <= value < SMALL and value == np.int64(value):
            out[i] = logs[rows[i], np.int64(value)]
        else:
            out[i] = np.log1p(value * scale[rows[i]])
    return out


@njit(cache=True, nogil=True)
def log_scaled_rows(data, indptr, scale):  # type: ignore[no-untyped-def]
    """Return ``log1p(data * scale[row])`` as float32 for CSR data.

    A cell holds few different counts, so each logarithm of a small count is taken once per cell.
    """
    out = np.empty(len(data), dtype=np.float32)
    known = np.empty(64, dtype=np.float32)
    known_for = np.full(64, -1, dtype=np.int64)
    for row in range(len(scale)):
        factor = scale[row]
        for i in range(indptr[row], indptr[row + 1]):
            value = data[i]
            if 0 <= value < 64 and value == np.int64(value):
                k = np.int64(value)
                if known_for[k] != row:
                    known[k] = np.log1p(value * factor)
                    known_for[k] = row
                out[i] = known[k]
            else:
                out[i] = np.log1p(value * factor)
    return out


@njit(cache=True, nogil=True)
def gather_columns(data, indices, indptr, position, n_columns):  # type: ignore[no-untyped-def]
    """Turn some columns of a CSR matrix into CSC; ``position[j]`` is the new column of gene j or -1."""
    starts = np.zeros(n_columns + 1, dtype=np.int64)
    for i in range(len(indices)):
        column = position[indices[i]]
        if column >= 0:
            starts[column + 1] += 1
    for column in range(n_columns):
        starts[column + 1] += starts[column]
    cursor = starts[:-1].copy()
    out_data = np.empty(starts[n_columns], dtype=data.dtype)
    out_rows = np.empty(starts[n_columns], dtype=np.int32)
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            column = position[indices[i]]
            if column >= 0:
                at = cursor[column]
                cursor[column] = at + 1
                out_data[at] = data[i]
                out_rows[at] = row
    return out_data, out_rows, starts


@njit(cache=True, nogil=True)
def select_columns(data, indices, indptr, position):  # type: ignore[no-untyped-def]
    """Keep some columns of a CSR block; ``position[j]`` is the new column of gene j or -1."""
    n_rows = len(indptr) - 1
    starts = np.zeros(n_rows + 1, dtype=np.int64)
    for row in range(n_rows):
        kept = 0
        for i in range(indptr[row], indptr[row + 1]):
            if position[indices[i]] >= 0:
                kept += 1
        starts[row + 1] = starts[row] + kept
    out_data = np.empty(starts[n_rows], dtype=data.dtype)
    out_indices = np.empty(starts[n_rows], dtype=np.int32)
    at = 0
    for i in range(len(indices)):
        column = position[indices[i]]
        if column >= 0:
            out_data[at] = data[i]
            out_indices[at] = column
            at += 1
    return out_data, out_indices, starts


@njit(cache=True, nogil=True)
def rows_sorted(indices, indptr):  # type: ignore[no-untyped-def]
    """Whether the column indices ascend within every row."""
    for row in range(len(indptr) - 1):
        for i in range(indptr[row] + 1, indptr[row + 1]):
            if indices[i] <= indices[i - 1]:
                return False
    return True


@njit(cache=True, nogil=True)
def gather_range(data, indices, indptr, start, stop):  # type: ignore[no-untyped-def]
    """Turn genes ``start..stop`` of a CSR matrix with sorted indices into CSC.

    Two binary searches per cell find its part, so many small blocks cost no more than one sweep.
    """
    n_rows = len(indptr) - 1
    low = np.empty(n_rows, dtype=np.int64)
    high = np.empty(n_rows, dtype=np.int64)
    starts = np.zeros(stop - start + 1, dtype=np.int64)
    for row in range(n_rows):
        part = indices[indptr[row] : indptr[row + 1]]
        low[row] = indptr[row] + np.searchsorted(part, start)
        high[row] = indptr[row] + np.searchsorted(part, stop)
        for i in range(low[row], high[row]):
            starts[indices[i] - start + 1] += 1
    for column in range(stop - start):
        starts[column + 1] += starts[column]
    cursor = starts[:-1].copy()
    out_data = np.empty(starts[stop - start], dtype=data.dtype)
    out_rows = np.empty(starts[stop - start], dtype=np.int32)
    for row in range(n_rows):
        for i in range(low[row], high[row]):
            column = indices[i] - start
            at = cursor[column]
            cursor[column] = at + 1
            out_data[at] = data[i]
            out_rows[at] = row
    return out_data, out_rows, starts


@njit(cache=True, nogil=True)
def _ordered_bits(values):  # type: ignore[no-untyped-def]
    """Unsigned integers whose order is the order of the float32 ``values``."""
    bits = values.view(np.uint32)
    out = np.empty(len(bits), dtype=np.uint64)
    for i in range(len(bits)):
        b = bits[i]
        if b & np.uint32(0x80000000):
            out[i] = np.uint64(np.uint32(~b))
        else:
            out[i] = np.uint64(b | np.uint32(0x80000000))
    return out


@njit(cache=True, nogil=True)
def _order_by_value(values):  # type: ignore[no-untyped-def]
    """Positions of ``values`` (float32) in ascending order; ties keep their order.

    A radix sort in three passes of 11 bits; short columns are sorted by comparison.
    """
    n = len(values)
    packed = _ordered_bits(values)
    for i in range(n):
        packed[i] = (packed[i] << np.uint64(32)) | np.uint64(i)
    if n < 512:
        packed.sort()
    else:
        other = np.empty(n, dtype=np.uint64)
        for shift in (np.uint64(32), np.uint64(43), np.uint64(54)):
            counts = np.zeros(2049, dtype=np.int64)
            for i in range(n):
                counts[((packed[i] >> shift) & np.uint64(2047)) + np.uint64(1)] += 1
            for b in range(2048):
                counts[b + 1] += counts[b]
            for i in range(n):
                digit = (packed[i] >> shift) & np.uint64(2047)
                other[counts[digit]] = packed[i]
                counts[digit] += 1
            packed, other = other, packed
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        order[i] = np.int64(packed[i] & np.uint64(0xFFFFFFFF))
    return order


@njit(cache=True, nogil=True)
def _at(values, n_negative, n_zero, k):  # type: ignore[no-untyped-def]
    """k-th smallest of sorted non-zero ``values`` with ``n_zero`` zeros in their place."""
    if k < n_negative:
        return np.float64(values[k])
    if k < n_negative + n_zero:
        return 0.0
    return np.float64(values[k - n_zero])


@njit(cache=True, nogil=True)
def _quantile(values, n_negative, n_zero, q):  # type: ignore[no-untyped-def]
    """Quantile with linear interpolation between order statistics."""
    n = len(values) + n_zero
    position = q * (n - 1)
    k = int(np.floor(position))
    below = _at(values, n_negative, n_zero, k)
    if k + 1 >= n:
        return below
    return below + (_at(values, n_negative, n_zero, k + 1) - below) * (position - k)


@njit(cache=True, nogil=True)
def _threshold(values, n_negative, n_zero, q, basis):  # type: ignore[no-untyped-def]
    """Value from which on a gene counts as positive in a cell."""
    n_values = len(values)
    n = n_values + n_zero
    share_not_above_zero = (n_negative + n_zero) / n
    dense = share_not_above_zero < 0.5
    if n_values > 0 and (basis == NONZERO or (basis == AUTO and dense)):
        return _quantile(values, n_negative, 0, q)
    if n_values == n_negative and basis != ALL:
        return LEAST_POSITIVE
    over_all = _quantile(values, n_negative, n_zero, q)
    return max(over_all, np.float64(values[n_negative])) if basis == AUTO else over_all


@njit(cache=True, nogil=True)
def _count_from(values, n_zero, threshold):  # type: ignore[no-untyped-def]
    """Number of cells at or above ``threshold``, zeros included."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if np.float64(values[middle]) < threshold:
            low = middle + 1
        else:
            high = middle
    zeros = n_zero if threshold <= 0.0 else 0
    return len(values) - low + zeros


@njit(cache=True, nogil=True)
def profile_genes(data, rows, indptr, codes, sizes, quantiles, basis):  # type: ignore[no-untyped-def]
    """Group statistics of every gene of a CSC block, from one sort of its non-zero values.

    Parameters are float32 values, their rows, the column starts, the group of each row (-1 leaves the row
    out), the number of cells per group, the quantiles of the positivity threshold and the threshold rule.

    Returns, genes x groups: sums, medians, cells above zero, rank sums (midranks over all cells);
    genes x quantiles x groups: cells at or above the threshold; genes x quantiles: thresholds;
    genes x 5: mean, median, population standard deviation, share of cells not above zero and the tie sum
    of t^3 - t over all cells.
    """
    n_genes, n_groups, n_quantiles = len(indptr) - 1, len(sizes), len(quantiles)
    sums = np.zeros((n_genes, n_groups))
    medians = np.zeros((n_genes, n_groups))
    above = np.zeros((n_genes, n_groups), dtype=np.int64)
    rank_sums = np.zeros((n_genes, n_groups))
    positive = np.zeros((n_genes, n_quantiles, n_groups), dtype=np.int64)
    thresholds = np.zeros((n_genes, n_quantiles))
    overall = np.zeros((n_genes, 5))
    total = np.int64(0)
    for g in range(n_groups):
        total += sizes[g]
    if total == 0:
        return sums, medians, above, rank_sums, positive, thresholds, overall

    for gene in range(n_genes):
        values = np.empty(indptr[gene + 1] - indptr[gene], dtype=np.float32)
        groups = np.empty(len(values), dtype=np.int64)
        n = 0
        for i in range(indptr[gene], indptr[gene + 1]):
            group = codes[rows[i]]
            if group >= 0 and data[i] != 0:
                values[n] = data[i]
                groups[n] = group
                n += 1
        values, groups = values[:n], groups[:n]

        nonzero = np.zeros(n_groups, dtype=np.int64)
        gene_sum = 0.0
        for i in range(n):
            sums[gene, groups[i]] += values[i]
            nonzero[groups[i]] += 1
            if values[i] > 0:
                above[gene, groups[i]] += 1
        for g in range(n_groups):
            gene_sum += sums[gene, g]
        mean = gene_sum / total
        n_zero = total - n
        squares = n_zero * mean * mean
        for i in range(n):
            squares += (values[i] - mean) ** 2

        order = _order_by_value(values)
        ordered = values[order]
        n_negative = 0
        while n_negative < n and ordered[n_negative] < 0:
            n_negative += 1

        # Midranks: negatives, then all zeros as one tie, then positives.
        ties = np.float64(n_zero) ** 3 - n_zero
        zero_rank = n_negative + (n_zero + 1) / 2
        for g in range(n_groups):
            rank_sums[gene, g] = (sizes[g] - nonzero[g]) * zero_rank
        first = 0
        while first < n:
            last = first + 1
            while last < n and ordered[last] == ordered[first]:
                last += 1
            t = np.float64(last - first)
            shift = n_zero if first >= n_negative else 0
            rank = shift + first + (t + 1) / 2
            ties += t**3 - t
            for i in range(first, last):
                rank_sums[gene, groups[order[i]]] += rank
            first = last

        # The sorted values of each group, one group after the other.
        starts = np.zeros(n_groups + 1, dtype=np.int64)
        for g in range(n_groups):
            starts[g + 1] = starts[g] + nonzero[g]
        cursor = starts[:-1].copy()
        by_group = np.empty(n, dtype=np.float32)
        negative_of = np.zeros(n_groups, dtype=np.int64)
        for i in range(n):
            g = groups[order[i]]
            by_group[cursor[g]] = ordered[i]
            cursor[g] += 1
            if i < n_negative:
                negative_of[g] += 1
        for g in range(n_groups):
            if sizes[g] > 0:
                part = by_group[starts[g] : starts[g + 1]]
                medians[gene, g] = _quantile(part, negative_of[g], sizes[g] - nonzero[g], 0.5)
        for k in range(n_quantiles):
            threshold = _threshold(ordered, n_negative, n_zero, quantiles[k], basis)
            thresholds[gene, k] = threshold
            for g in range(n_groups):
                part = by_group[starts[g] : starts[g + 1]]
                positive[gene, k, g] = _count_from(part, sizes[g] - nonzero[g], threshold)

        overall[gene, 0] = mean
        overall[gene, 1] = _quantile(ordered, n_negative, n_zero, 0.5)
        overall[gene, 2] = np.sqrt(squares / total)
        overall[gene, 3] = (n_negative + n_zero) / total
        overall[gene, 4] = ties
    return sums, medians, above, rank_sums, positive, thresholds, overall
