"""Compiled loops that summarise every gene by group from one sort of its values; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["LEAST_POSITIVE", "profile_genes"]

AUTO, NONZERO, ALL = 0, 1, 2
"""Codes of the rules for the positivity threshold; see :mod:`cellkey.profiles.profile`."""
BASIS_CODES = {"auto": AUTO, "nonzero": NONZERO, "all": ALL}
STORED, BELOW, PASSED, RANKS, MIDDLE = 0, 1, 2, 3, 4
"""What is known of the values of a group that are not zero: their number, how many are negative, how many a walk in
ascending order has passed, twice the sum of their ranks, and (two) the places of the median."""
SIGN, HALF, LOWER = np.uint32(2**31), np.uint64(32), np.uint64(2**32 - 1)
LEAST_POSITIVE = float(np.finfo(np.float32).tiny)
"""Threshold of a gene without any positive value: it is positive nowhere, not everywhere."""


@njit(cache=True, nogil=True)
def _key(bits):  # type: ignore[no-untyped-def]
    """Unsigned integer whose order is that of the float32 with these ``bits``; in the upper half of 64."""
    return np.uint64(~bits if bits & SIGN else bits | SIGN) << HALF


@njit(cache=True, nogil=True)
def _bits_per_pass(n_bits, n):  # type: ignore[no-untyped-def]
    """Bits of a radix pass over ``n`` keys of ``n_bits``, 13 at most, with which all passes cost least."""
    width, least = 11, np.inf
    for n_passes in range(1, 4):
        bits = -(-n_bits // n_passes)
        cost = n_passes * (2.0 * n + (1 << bits))
        if bits <= 13 and cost < least:
            width, least = bits, cost
    return width


@njit(cache=True, nogil=True)
def _sort_by_key(packed, other, n):  # type: ignore[no-untyped-def]
    """Sort the first ``n`` of ``packed`` by their upper halves; ties keep their order.

    Returns the array that holds the result, ``packed`` or ``other``, and then the other one. Only the bits in which
    the keys may differ are looked at, in as many radix passes as are cheapest; short columns, which must be told
    apart by their lower halves, are sorted by comparison.
    """
    if n < 200:
        packed[:n].sort()
        return packed, other
    least, most = packed[0], packed[0]
    for i in range(n):
        least = min(least, packed[i])
        most = max(most, packed[i])
    base = least >> HALF << HALF
    n_bits = 0
    while (most - base) >> np.uint64(32 + n_bits):
        n_bits += 1
    if n_bits == 0:
        return packed, other
    width = _bits_per_pass(n_bits, n)
    mask = np.uint64((1 << width) - 1)
    place = np.empty(1 << width, dtype=np.int32)
    for low in range(0, n_bits, width):
        shift = np.uint64(32 + low)
        place[:] = 0
        for i in range(n):
            place[((packed[i] - base) >> shift) & mask] += 1
        at = np.int32(0)
        for digit in range(1 << width):
            count = place[digit]
            place[digit] = at
            at += count
        for i in range(n):
            digit = ((packed[i] - base) >> shift) & mask
            other[place[digit]] = packed[i]
            place[digit] += 1
        packed, other = other, packed
    return packed, other


@njit(cache=True, nogil=True)
def _order_by_value(values):  # type: ignore[no-untyped-def]
    """Positions of ``values`` (float32) in ascending order; ties keep their order."""
    n = len(values)
    bits = values.view(np.uint32)
    packed = np.empty(n, dtype=np.uint64)
    for i in range(n):
        packed[i] = _key(bits[i]) | np.uint64(i)
    packed, _ = _sort_by_key(packed, np.empty(n, dtype=np.uint64), n)
    order = np.empty(n, dtype=np.int64)
    for i in range(n):
        order[i] = np.int64(packed[i] & LOWER)
    return order


@njit(cache=True, nogil=True)
def _values_of(packed, values):  # type: ignore[no-untyped-def]
    """Write the float32 values that the upper halves of ``packed`` stand for."""
    bits = values.view(np.uint32)
    for i in range(len(values)):
        key = np.uint32(packed[i] >> HALF)
        bits[i] = key ^ SIGN if key & SIGN else ~key


@njit(cache=True, nogil=True)
def _stored_place(k, n_negative, n_zero):  # type: ignore[no-untyped-def]
    """Place among the non-zero values of the k-th of all values; -1 if that one is a zero."""
    if k < n_negative:
        return k
    return -1 if k < n_negative + n_zero else k - n_zero


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
def _first_from(values, threshold):  # type: ignore[no-untyped-def]
    """Place of the first of the sorted ``values`` at or above ``threshold``."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if np.float64(values[middle]) < threshold:
            low = middle + 1
        else:
            high = middle
    return low


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
    total = sizes.sum()
    if total == 0:
        return sums, medians, above, rank_sums, positive, thresholds, overall
    longest = 0
    for gene in range(n_genes):
        longest = max(longest, indptr[gene + 1] - indptr[gene])
    packed, other = np.empty(longest, dtype=np.uint64), np.empty(longest, dtype=np.uint64)
    values = np.empty(longest, dtype=np.float32)
    bits = data.view(np.uint32)
    known = np.zeros((n_groups, 6), dtype=np.int64)  # see the constants
    middle = np.zeros((n_groups, 2))
    cuts = np.zeros(n_quantiles, dtype=np.int64)

    for gene in range(n_genes):
        known[:] = 0
        n, n_negative = 0, 0
        for i in range(indptr[gene], indptr[gene + 1]):
            group, value = codes[rows[i]], data[i]
            if group >= 0 and value != 0:
                packed[n] = _key(bits[i]) | np.uint64(group)
                values[n] = value
                n += 1
                sums[gene, group] += value
                known[group, STORED] += 1
                if value < 0:
                    n_negative += 1
                    known[group, BELOW] += 1
        gene_sum = 0.0
        for g in range(n_groups):
            gene_sum += sums[gene, g]
        mean = gene_sum / total
        n_zero = total - n
        squares = n_zero * mean * mean
        for i in range(n):
            squares += (values[i] - mean) ** 2

        packed, other = _sort_by_key(packed, other, n)
        ordered = values[:n]
        _values_of(packed, ordered)
        for k in range(n_quantiles):
            thresholds[gene, k] = _threshold(ordered, n_negative, n_zero, quantiles[k], basis)
            cuts[k] = _first_from(ordered, thresholds[gene, k])
        for g in range(n_groups):
            below, absent = known[g, BELOW], sizes[g] - known[g, STORED]
            above[gene, g] = known[g, STORED] - below
            known[g, MIDDLE] = _stored_place((sizes[g] - 1) // 2, below, absent)
            known[g, MIDDLE + 1] = _stored_place(sizes[g] // 2, below, absent)
        middle[:] = 0.0

        # Midranks: negatives, then all zeros as one tie, then positives. The walk halts at every threshold.
        ties = np.float64(n_zero) ** 3 - n_zero
        at = 0
        while True:
            for k in range(n_quantiles):
                if cuts[k] == at:
                    for g in range(n_groups):
                        zeros = sizes[g] - known[g, STORED] if thresholds[gene, k] <= 0.0 else 0
                        positive[gene, k, g] = known[g, STORED] - known[g, PASSED] + zeros
            if at == n:
                break
            halt = n if at >= n_negative else n_negative
            for k in range(n_quantiles):
                if at < cuts[k] < halt:
                    halt = cuts[k]
            ties = _walk(packed, ordered, at, halt, n_zero if at >= n_negative else 0, known, middle, ties)
            at = halt

        for g in range(n_groups):
            zero_rank = n_negative + (n_zero + 1) / 2
            rank_sums[gene, g] = (sizes[g] - known[g, STORED]) * zero_rank + known[g, RANKS] / 2
            medians[gene, g] = middle[g, 0] + (middle[g, 1] - middle[g, 0]) * 0.5
        overall[gene, 0] = mean
        overall[gene, 1] = _quantile(ordered, n_negative, n_zero, 0.5)
        overall[gene, 2] = np.sqrt(squares / total)
        overall[gene, 3] = (n_negative + n_zero) / total
        overall[gene, 4] = ties
    return sums, medians, above, rank_sums, positive, thresholds, overall


@njit(cache=True, nogil=True)
def _walk(packed, ordered, first, halt, n_before, known, middle, ties):  # type: ignore[no-untyped-def]
    """Pass sorted values, ties together: add up the ranks of each group and pick up its medians.

    ``n_before`` is the number of zeros that come before them; returns ``ties`` with t^3 - t of each tie added.
    """
    while first < halt:
        last = first + 1
        while last < halt and ordered[last] == ordered[first]:
            last += 1
        if last - first > 1:
            t = np.float64(last - first)
            ties += t**3 - t
        twice_rank = 2 * n_before + first + last + 1
        for i in range(first, last):
            of_group = known[packed[i] & LOWER]
            place = of_group[PASSED]
            of_group[PASSED] = place + 1
            of_group[RANKS] += twice_rank
            if place == of_group[MIDDLE]:
                middle[packed[i] & LOWER, 0] = ordered[i]
            if place == of_group[MIDDLE + 1]:
                middle[packed[i] & LOWER, 1] = ordered[i]
        first = last
    return ties
