"""Compiled loops that scale values of sparse matrices and pick rows and columns; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = [
    "gather_columns", "gather_range", "gene_counts", "log_scaled", "log_scaled_rows", "select_columns", "small_logs",
    "take_rows",
]

SMALL = 8


@njit(cache=True, nogil=True)
def small_logs(scale):  # type: ignore[no-untyped-def]
    """Return ``log1p(k * scale)`` of the counts k from 0 to 7, factors x 8, float32: what most counts are."""
    out = np.empty((len(scale), SMALL), dtype=np.float32)
    for row in range(len(scale)):
        for k in range(SMALL):
            out[row, k] = np.log1p(k * scale[row])
    return out


@njit(cache=True, nogil=True)
def log_scaled(data, rows, scale, logs, place):  # type: ignore[no-untyped-def]
    """Return ``log1p(data * scale[rows])`` as float32.

    ``logs`` are the :func:`small_logs` of all different factors, and ``place`` says which is that of a row.
    """
    out = np.empty(len(data), dtype=np.float32)
    for i in range(len(data)):
        value = data[i]
        if 0 <= value < SMALL and value == np.int64(value):
            out[i] = logs[place[rows[i]], np.int64(value)]
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
    # Every value is written, and what is not kept written over: quicker than to look before, or to count first.
    out_data = np.empty(len(indices), dtype=data.dtype)
    out_indices = np.empty(len(indices), dtype=np.int32)
    at = 0
    for row in range(n_rows):
        for i in range(indptr[row], indptr[row + 1]):
            column = position[indices[i]]
            out_data[at] = data[i]
            out_indices[at] = column
            at += column >= 0
        starts[row + 1] = at
    return out_data[:at], out_indices[:at], starts


@njit(cache=True, nogil=True)
def take_rows(data, indices, indptr, rows):  # type: ignore[no-untyped-def]
    """Return some rows of a CSR matrix, in the order given: values, columns, starts."""
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    for place in range(len(rows)):
        starts[place + 1] = starts[place] + indptr[rows[place] + 1] - indptr[rows[place]]
    out_data = np.empty(starts[-1], dtype=data.dtype)
    out_indices = np.empty(starts[-1], dtype=indices.dtype)
    for place in range(len(rows)):
        first = np.int64(indptr[rows[place]])
        for i in range(starts[place], starts[place + 1]):
            at = first + i - starts[place]
            out_data[i] = data[at]
            out_indices[i] = indices[at]
    return out_data, out_indices, starts


@njit(cache=True, nogil=True)
def gene_counts(indices, indptr, n_columns):  # type: ignore[no-untyped-def]
    """Number of stored values of each gene of a CSR matrix; empty unless the indices ascend within every row."""
    counts = np.zeros(n_columns, dtype=np.int64)
    for row in range(len(indptr) - 1):
        before = -1
        for i in range(indptr[row], indptr[row + 1]):
            if indices[i] <= before:
                return counts[:0]
            before = indices[i]
            counts[before] += 1
    return counts


@njit(cache=True, nogil=True)
def gather_range(data, indices, indptr, start, cursor, out_data, out_rows):  # type: ignore[no-untyped-def]
    """Write genes ``start, start + 1, ...`` of a CSR matrix with sorted indices as CSC: values and their rows.

    ``cursor`` says where each gene begins. A binary search per cell finds its part, so many small blocks cost no more
    than one sweep.
    """
    stop = start + len(cursor)
    for row in range(len(indptr) - 1):
        end = indptr[row + 1]
        i = indptr[row] + np.searchsorted(indices[indptr[row] : end], start)
        while i < end and indices[i] < stop:
            column = indices[i] - start
            at = cursor[column]
            cursor[column] = at + 1
            out_data[at] = data[i]
            out_rows[at] = row
            i += 1
