"""Compiled loops that turn blocks of cells around and describe them on the way; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["merge_columns", "survey_rows", "tile_columns", "tile_rows", "turn_rows"]


@njit(cache=True, nogil=True)
def _mixed(x):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64: neighbouring numbers become unrelated ones."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def survey_rows(data, bits, indices, indptr, first_row, n_columns, totals, has_value):  # type: ignore[no-untyped-def]
    """Describe CSR rows in one sweep; fill ``totals`` and ``has_value`` of the rows.

    Returns minimum, maximum, number not finite, number not zero, whether any value has a fraction, and two sums
    (modulo 2^64) over hashes of every (row, column, value) that is not zero: they depend neither on the order of
    the entries nor on how they are divided into blocks. ``bits`` are the values as unsigned integers.
    """
    low, high, n_bad, n_fractions = _range_of(data)
    n_some = 0
    one, two = np.uint64(0), np.uint64(0)
    for row in range(len(indptr) - 1):
        values = data[indptr[row] : indptr[row + 1]]
        total = 0.0
        for value in values:
            total += np.float64(value)
        totals[row] = total
        base = np.uint64(first_row + row) * np.uint64(n_columns) + np.uint64(0x9E3779B97F4A7C15)
        found, first, second = _marks(
            values, bits[indptr[row] : indptr[row + 1]], indices[indptr[row] : indptr[row + 1]], base
        )
        has_value[row] |= found > 0
        n_some += found
        one += first
        two += second
    return low, high, n_bad, n_some, n_fractions > 0, one, two


@njit(cache=True, nogil=True)
def _range_of(values):  # type: ignore[no-untyped-def]
    """Return minimum and maximum of the finite values, number not finite and number with a fraction."""
    n_bad, n_fractions = 0, 0
    for value in values:
        n_bad += value - value != 0
        n_fractions += value != np.floor(value)
    low, high = np.inf, -np.inf
    for value in values:
        if n_bad == 0 or value - value == 0:
            low = value if value < low else low
            high = value if value > high else high
    return low, high, n_bad, n_fractions


@njit(cache=True, nogil=True)
def _marks(values, bits, indices, base):  # type: ignore[no-untyped-def]
    """Return how many values are not zero, and two sums over hashes of them and their places.

    A loop without branches over integers of one width, which the compiler turns into vector instructions.
    """
    found, one, two = np.uint64(0), np.uint64(0), np.uint64(0)
    for i in range(len(values)):
        some = np.uint64(values[i] != 0)
        place = _mixed(base + np.uint64(np.uint32(indices[i])))
        mark = _mixed(place ^ (np.uint64(bits[i]) * np.uint64(0xD6E8FEB86659FD93)))
        found += some
        one += some * mark
        two += some * (_mixed(mark ^ np.uint64(0xA0761D6478BD642F)) ^ place)
    return np.int64(found), one, two


@njit(cache=True, nogil=True)
def turn_rows(data, indices, indptr, n_columns, out_data, out_rows):  # type: ignore[no-untyped-def]
    """Turn CSR rows into CSC: fill values and rows, each in a type that holds them, and return column starts (int32).

    At most 2^31 values. Equal positions keep their order.
    """
    starts = np.zeros(n_columns + 1, dtype=np.int32)
    for i in range(len(indices)):
        starts[indices[i] + 1] += 1
    for column in range(n_columns):
        starts[column + 1] += starts[column]
    cursor = starts[:-1].copy()
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            column = indices[i]
            at = cursor[column]
            cursor[column] = at + 1
            out_data[at] = data[i]
            out_rows[at] = row
    return starts


@njit(cache=True, nogil=True)
def merge_columns(data, rows, starts, offset, cursor, out_data, out_rows):  # type: ignore[no-untyped-def]
    """Append the columns of one tile to those of a CSC block; ``cursor`` says where, and moves on.

    ``starts`` are the column starts relative to ``data``, ``offset`` the first row of the tile. Zeros are left
    out: the block must have room, and holds ``cursor`` values less its starts.
    """
    for column in range(len(cursor)):
        at = cursor[column]
        for i in range(starts[column], starts[column + 1]):
            if data[i] != 0:
                out_data[at] = data[i]
                out_rows[at] = offset + np.int32(rows[i])
                at += 1
        cursor[column] = at


@njit(cache=True, nogil=True)
def tile_rows(data, rows, starts, columns, n_rows):  # type: ignore[no-untyped-def]
    """Return some columns of a tile, in the order given, as CSR with ascending indices."""
    indptr = np.zeros(n_rows + 1, dtype=np.int64)
    for column in columns:
        for i in range(starts[column], starts[column + 1]):
            indptr[np.int64(rows[i]) + 1] += 1
    for row in range(n_rows):
        indptr[row + 1] += indptr[row]
    cursor = indptr[:-1].copy()
    out_data = np.empty(indptr[n_rows], dtype=data.dtype)
    indices = np.empty(indptr[n_rows], dtype=np.int32)
    for place in range(len(columns)):
        column = columns[place]
        for i in range(starts[column], starts[column + 1]):
            cell = np.int64(rows[i])
            at = cursor[cell]
            cursor[cell] = at + 1
            out_data[at] = data[i]
            indices[at] = place
    return out_data, indices, indptr


@njit(cache=True, nogil=True)
def tile_columns(data, rows, starts, columns):  # type: ignore[no-untyped-def]
    """Return some columns of a tile, in the order given, as CSC with int32 rows and starts."""
    out_starts = np.zeros(len(columns) + 1, dtype=np.int32)
    for place in range(len(columns)):
        column = columns[place]
        out_starts[place + 1] = out_starts[place] + starts[column + 1] - starts[column]
    out_data = np.empty(out_starts[-1], dtype=data.dtype)
    out_rows = np.empty(out_starts[-1], dtype=np.int32)
    for place in range(len(columns)):
        shift = starts[columns[place]] - out_starts[place]
        for i in range(out_starts[place], out_starts[place + 1]):
            out_data[i] = data[i + shift]
            out_rows[i] = rows[i + shift]
    return out_data, out_rows, out_starts
