"""Compiled loops of the clustering steps; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = [
    "accumulate_moments",
    "add_cross_products",
    "candidate_distances",
    "centred",
    "fill_scaled",
    "fill_scaled_genes",
    "fuzzy_weights",
    "gene_moments",
    "row_sums",
    "scan_values",
    "unit_moments",
]


@njit(cache=True, nogil=True)
def scan_values(values):  # type: ignore[no-untyped-def]
    """Return minimum, maximum, number not finite, number not zero, and whether any has a fraction."""
    low, high = np.inf, -np.inf
    n_bad, n_some, n_fractions = 0, 0, 0
    for value in values:
        if value - value != 0.0:  # NaN or infinite
            n_bad += 1
        else:
            low = min(low, value)
            high = max(high, value)
        n_some += value != 0.0
        n_fractions += value != np.floor(value)
    return low, high, n_bad, n_some, n_fractions > 0


@njit(cache=True, nogil=True)
def row_sums(data, indptr):  # type: ignore[no-untyped-def]
    """Return the sum of each CSR row, float64."""
    out = np.zeros(len(indptr) - 1)
    for row in range(len(out)):
        total = 0.0
        for a in range(indptr[row], indptr[row + 1]):
            total += np.float64(data[a])
        out[row] = total
    return out


@njit(cache=True, nogil=True)
def fill_scaled(data, indices, indptr, mean, sd, lower, upper, out):  # type: ignore[no-untyped-def]
    """Write CSR rows into ``out`` (rows x features), clipped and scaled to mean 0 and deviation 1."""
    n_features = out.shape[1]
    empty = np.empty(n_features)
    for j in range(n_features):
        empty[j] = (min(max(0.0, lower[j]), upper[j]) - mean[j]) / sd[j]
    for row in range(len(indptr) - 1):
        line = out[row]
        line[:] = empty
        for a in range(indptr[row], indptr[row + 1]):
            j = indices[a]
            line[j] = (min(max(np.float64(data[a]), lower[j]), upper[j]) - mean[j]) / sd[j]


@njit(cache=True, nogil=True)
def fill_scaled_genes(data, indices, indptr, mean, sd, lower, upper, out):  # type: ignore[no-untyped-def]
    """Write CSC columns into ``out`` (rows x features): the same values as :func:`fill_scaled`."""
    n_features = out.shape[1]
    empty = np.empty(n_features)
    for j in range(n_features):
        empty[j] = (min(max(0.0, lower[j]), upper[j]) - mean[j]) / sd[j]
    for row in range(len(out)):
        out[row] = empty
    for j in range(n_features):
        for a in range(indptr[j], indptr[j + 1]):
            out[indices[a], j] = (min(max(np.float64(data[a]), lower[j]), upper[j]) - mean[j]) / sd[j]


@njit(cache=True, nogil=True)
def gene_moments(data, indptr, moments):  # type: ignore[no-untyped-def]
    """Add the values of a CSC block to ``moments`` (genes x 2), as :func:`accumulate_moments` does for CSR."""
    for gene in range(len(indptr) - 1):
        total, squares = moments[gene, 0], moments[gene, 1]
        for i in range(indptr[gene], indptr[gene + 1]):
            value = np.float64(data[i])
            total += value
            squares += value * value
        moments[gene, 0] = total
        moments[gene, 1] = squares


@njit(cache=True, nogil=True)
def unit_moments(data, rows, indptr, size, moments):  # type: ignore[no-untyped-def]
    """Add the values of CSC columns to ``moments`` (units x genes x 2), where a unit has ``size`` cells."""
    for gene in range(len(indptr) - 1):
        for i in range(indptr[gene], indptr[gene + 1]):
            value = np.float64(data[i])
            line = moments[rows[i] // size, gene]
            line[0] += value
            line[1] += value * value


@njit(cache=True, nogil=True)
def accumulate_moments(data, indices, moments):  # type: ignore[no-untyped-def]
    """Add the values of a CSR block to ``moments`` (genes x 2): sum and sum of squares, in the order of cells."""
    for i in range(len(data)):
        gene = indices[i]
        value = np.float64(data[i])
        moments[gene, 0] += value
        moments[gene, 1] += value * value


@njit(cache=True, nogil=True)
def add_cross_products(data, indices, indptr, lower, upper, out):  # type: ignore[no-untyped-def]
    """Add ``x_i * x_j`` of every row to ``out[i, j]`` for ``lower <= i < upper`` and ``j >= i``.

    Rows must have ascending indices. Handling a few ``i`` at a time keeps ``out`` in the cache, and every
    entry is summed in row order whatever the tile, so that tiles may run on any number of threads.
    """
    for row in range(len(indptr) - 1):
        stop = indptr[row + 1]
        first = indptr[row] + np.searchsorted(indices[indptr[row] : stop], lower)
        for a in range(first, stop):
            i = indices[a]
            if i >= upper:
                break
            value = data[a]
            line = out[i]
            for b in range(a, stop):
                line[indices[b]] += value * data[b]


@njit(cache=True, nogil=True)
def centred(products, mean, n_cells):  # type: ignore[no-untyped-def]
    """Return the whole covariance from sums of products (their upper triangle) and the mean, a tile at a time."""
    n = len(mean)
    out = np.empty((n, n))
    for top in range(0, n, 64):
        for left in range(top, n, 64):
            for i in range(top, min(top + 64, n)):
                for j in range(max(left, i), min(left + 64, n)):
                    value = products[i, j] / n_cells - mean[i] * mean[j]
                    out[i, j] = value
                    out[j, i] = value
    return out


@njit(cache=True, nogil=True)
def fuzzy_weights(distances, n_steps=64):  # type: ignore[no-untyped-def]
    """Return edge weights of UMAP's fuzzy neighbour sets, cells x neighbours, float32.

    For each cell, ``rho`` is the distance to the nearest neighbour that is not at distance zero, and
    ``sigma`` solves ``sum_j exp(-max(0, d_j - rho) / sigma) = log2(k + 1)`` where k counts the neighbours
    without the cell itself (McInnes, Healy & Melville 2018, algorithm 3).
    """
    n_cells, k = distances.shape
    target = np.log2(k + 1.0)
    floor_all = 1e-3 * np.mean(distances)
    out = np.empty((n_cells, k), dtype=np.float32)
    for cell in range(n_cells):
        d = distances[cell]
        rho = 0.0
        for j in range(k):
            if d[j] > 0.0:
                rho = d[j]
                break
        low, high, sigma = 0.0, np.inf, 1.0
        for _ in range(n_steps):
            total = 0.0
            for j in range(k):
                gap = d[j] - rho
                total += np.exp(-gap / sigma) if gap > 0.0 else 1.0
            if abs(total - target) < 1e-5:
                break
            if total > target:
                high = sigma
                sigma = (low + high) / 2.0
            else:
                low = sigma
                sigma = sigma * 2.0 if high == np.inf else (low + high) / 2.0
        smallest = 1e-3 * np.mean(d) if rho > 0.0 else floor_all
        sigma = max(sigma, smallest)
        for j in range(k):
            gap = d[j] - rho
            out[cell, j] = 1.0 if gap <= 0.0 or sigma == 0.0 else np.exp(-gap / sigma)
    return out


@njit(cache=True, nogil=True)
def candidate_distances(points, cells, candidates):  # type: ignore[no-untyped-def]
    """Return squared distances of cells to candidates, float64; infinite for the cell itself and for
    ``-1``."""
    n, k = candidates.shape
    n_dims = points.shape[1]
    out = np.empty((n, k))
    for row in range(n):
        own = points[cells[row]]
        for j in range(k):
            other = candidates[row, j]
            if other < 0 or other == cells[row]:
                out[row, j] = np.inf
                continue
            total = 0.0
            for d in range(n_dims):
                gap = np.float64(own[d]) - np.float64(points[other, d])
                total += gap * gap
            out[row, j] = total
    return out
