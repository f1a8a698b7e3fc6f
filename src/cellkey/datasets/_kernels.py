"""Compiled loops of the generators."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["draw_cells", "fill_alias_table"]


@njit(cache=True)
def fill_alias_table(weight, threshold, alias):  # type: ignore[no-untyped-def]
    """Fill Walker's alias table of weights with mean 1 (Vose 1991); ``weight`` is used up."""
    n = len(weight)
    small = np.empty(n, dtype=np.int64)
    large = np.empty(n, dtype=np.int64)
    n_small, n_large = 0, 0
    for i in range(n):
        if weight[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        a = small[n_small]
        b = large[n_large - 1]
        threshold[a] = weight[a]
        alias[a] = b
        weight[b] -= 1.0 - weight[a]
        if weight[b] < 1.0:
            n_large -= 1
            small[n_small] = b
            n_small += 1
    for i in range(n_small):
        threshold[small[i]] = 1.0
    for i in range(n_large):
        threshold[large[i]] = 1.0


@njit(cache=True, inline="always")
def _next(state):  # type: ignore[no-untyped-def]
    """Return the next state and 64 random bits (SplitMix64, Steele, Lea & Flood 2014)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@njit(cache=True, inline="always")
def _uniform(bits):  # type: ignore[no-untyped-def]
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def draw_cells(seed, first, n_cells, depth, threshold, alias):  # type: ignore[no-untyped-def]
    """Draw molecules of ``n_cells`` cells; return types and CSR parts with ascending genes.

    The randomness of a cell follows from ``seed`` and its number alone.
    """
    n_types, n_genes = threshold.shape
    kind = np.empty(n_cells, dtype=np.int64)
    indptr = np.zeros(n_cells + 1, dtype=np.int64)
    capacity = np.int64(n_cells * min(n_genes, depth) * 0.6) + n_genes
    data = np.empty(capacity, dtype=np.float32)
    indices = np.empty(capacity, dtype=np.int32)
    count = np.zeros(n_genes, dtype=np.int32)
    position = 0
    for cell in range(n_cells):
        state = seed * np.uint64(0x2545F4914F6CDD1D) + np.uint64(first + cell) * np.uint64(0xD6E8FEB86659FD93)
        state, bits = _next(state)
        kind[cell] = np.int64(bits % np.uint64(n_types))
        total = 0.0
        for _ in range(12):  # sum of 12 uniforms: close enough to normal for depths
            state, bits = _next(state)
            total += _uniform(bits)
        n_molecules = int(max(1.0, depth * np.exp(0.35 * (total - 6.0) - 0.061)))
        row_threshold, row_alias = threshold[kind[cell]], alias[kind[cell]]
        for _ in range(n_molecules):
            state, bits = _next(state)
            spread = _uniform(bits) * n_genes
            bucket = np.int64(spread)
            count[bucket if spread - bucket < row_threshold[bucket] else row_alias[bucket]] += 1
        if position + n_genes > len(data):
            grown = np.int64(len(data) * 1.5) + n_genes
            data, indices = _grown(data, grown), _grown(indices, grown)
        for gene in range(n_genes):
            if count[gene]:
                data[position] = count[gene]
                indices[position] = gene
                count[gene] = 0
                position += 1
        indptr[cell + 1] = position
    return kind, data[:position].copy(), indices[:position].copy(), indptr


@njit(cache=True)
def _grown(values, size):  # type: ignore[no-untyped-def]
    out = np.empty(size, dtype=values.dtype)
    out[: len(values)] = values
    return out
