"""Compiled loops that add up values by group, without sorting any; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit
from cellkey.profiles._tile_kernels import _range_of

__all__ = ["NONE", "NORMALISE", "ONLY_LOG", "add_cells", "add_genes", "scan_genes"]

NONE, ONLY_LOG, NORMALISE = 0, 1, 2
"""What becomes of a value x of a cell: x itself, log1p(x), or log1p(x * target / total of the cell)."""
_KNOWN = 64


@njit(cache=True, nogil=True)
def _add(of_gene, value, scaled):  # type: ignore[no-untyped-def]
    of_gene[0] += value
    of_gene[1] += scaled
    of_gene[2] += scaled > 0


@njit(cache=True, nogil=True)
def add_cells(data, indices, indptr, order, codes, how, target, totals, has_value, kept):  # type: ignore[no-untyped-def]
    """Add CSR rows to their groups, each read once; fill ``totals`` and ``has_value`` of these rows.

    Parameters are float values, ascending columns, row starts, the rows to take in their order, the group of each
    row (-1: it is described, but not added), what becomes of values and the total of a cell that is aimed at.

    ``kept`` (groups x genes x 3) receives the sum of the values as they are, the sum of the values on the scale asked
    for, as float32, and how many of those are above zero.

    Returns minimum, maximum, number not finite, number not zero, whether any value has a fraction, and twice 0 in the
    place of the hashes of :func:`~cellkey.profiles._tile_kernels.survey_rows`.
    """
    low, high, n_bad, n_some, n_fractions = np.inf, -np.inf, 0, 0, 0
    logs = np.empty(_KNOWN, dtype=np.float32)
    for row in order:
        values = data[indptr[row] : indptr[row + 1]]
        columns = indices[indptr[row] : indptr[row + 1]]
        least, most, bad, fractions = _range_of(values)
        low, high = min(low, least), max(high, most)
        n_bad += bad
        n_fractions += fractions
        total, some = 0.0, 0
        for value in values:
            total += np.float64(value)
            some += value != 0
        totals[row] = total
        has_value[row] = some > 0
        n_some += some
        if codes[row] < 0:
            continue
        group = kept[codes[row]]
        factor = 1.0
        if how == NORMALISE:
            factor = target / total if total > 0 else 0.0
        if how == NONE:
            for i in range(len(values)):
                _add(group[columns[i]], values[i], np.float32(values[i]))
        elif fractions or bad or least < 0:
            for i in range(len(values)):
                _add(group[columns[i]], values[i], np.float32(np.log1p(values[i] * factor)))
        else:  # counts: a cell holds few different ones, nearly all of them small
            for k in range(_KNOWN):
                if k > most:
                    break
                logs[k] = np.log1p(k * factor)
            for i in range(len(values)):
                small = values[i] < _KNOWN
                scaled = logs[np.int64(values[i])] if small else np.float32(np.log1p(values[i] * factor))
                _add(group[columns[i]], values[i], scaled)
    return low, high, n_bad, n_some, n_fractions > 0, 0, 0


@njit(cache=True, nogil=True)
def scan_genes(data, rows, totals, has_value):  # type: ignore[no-untyped-def]
    """Describe values of a block of genes as :func:`add_cells` does, and add them to the totals of their cells."""
    low, high, n_bad, n_fractions = _range_of(data)
    n_some = 0
    for i in range(len(data)):
        totals[rows[i]] += data[i]
        if data[i] != 0:
            has_value[rows[i]] = True
            n_some += 1
    return low, high, n_bad, n_some, n_fractions > 0, 0, 0


@njit(cache=True, nogil=True)
def add_genes(data, scaled, rows, indptr, codes, first, kept):  # type: ignore[no-untyped-def]
    """Add the genes ``first, first + 1, ...``, given as CSC, to the groups of their cells; see :func:`add_cells`."""
    for gene in range(len(indptr) - 1):
        for i in range(indptr[gene], indptr[gene + 1]):
            group = codes[rows[i]]
            if group >= 0:
                _add(kept[group, first + gene], data[i], scaled[i])
