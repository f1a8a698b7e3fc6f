"""Compiled exact search for nearest neighbours that leaves out what cannot be near; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["search_lists"]

_TILE = 128


@njit(cache=True, nogil=True)
def _keep(near, far, worst, row, cell, distance):  # type: ignore[no-untyped-def]
    """Put a cell in the place of the farthest of those kept, and find the new farthest."""
    k = near.shape[1]
    near[row, worst[row]] = cell
    far[row, worst[row]] = distance
    at = 0
    for j in range(1, k):
        if far[row, j] > far[row, at]:
            at = j
    worst[row] = at


@njit(cache=True, nogil=True)
def _shifted(points, origin):  # type: ignore[no-untyped-def]
    """Points relative to ``origin``, and their squared lengths."""
    moved = np.empty_like(points)
    squares = np.empty(len(points), dtype=np.float32)
    for i in range(len(points)):
        total = np.float32(0.0)
        for d in range(len(origin)):
            gap = points[i, d] - origin[d]
            moved[i, d] = gap
            total += gap * gap
        squares[i] = total
    return moved, squares


@njit(cache=True, nogil=True)
def search_lists(points, starts, centres, radii, first_list, last_list, k, near):  # type: ignore[no-untyped-def]
    """Fill ``near`` (cells x k) with the nearest cells of all cells in lists ``first_list..last_list``.

    Parameters are points (cells x dims, float32) ordered by list, the starts of lists, the centres of lists (lists x
    dims), and the largest distance of a member from its centre. Distances are taken from the centre of the own list,
    so that groups far from the origin lose no digits.

    By the triangle inequality no member of a list is nearer to a cell than its distance from the centre less the
    radius. Lists are visited by that bound, and the search ends when it exceeds the k-th distance found; a thousandth
    is added for the rounding of float32.
    """
    n_lists = len(centres)
    for own in range(first_list, last_list):
        origin = centres[own].copy()
        others, other_squares = _shifted(centres, origin)
        turned_centres = np.ascontiguousarray(others.T)
        for begin in range(starts[own], starts[own + 1], _TILE):
            end = min(begin + _TILE, starts[own + 1])
            n = end - begin
            tile, squares = _shifted(points[begin:end], origin)
            bounds = np.dot(tile, turned_centres)
            least = np.full(n_lists, np.inf, dtype=np.float32)
            for i in range(n):
                for c in range(n_lists):
                    squared = squares[i] + other_squares[c] - np.float32(2.0) * bounds[i, c]
                    low = np.sqrt(max(squared, np.float32(0.0))) * np.float32(0.999) - radii[c]
                    bounds[i, c] = low
                    least[c] = min(least[c], low)
            least[own] = -np.inf
            order = np.argsort(least)
            far = np.full((n, k), np.inf, dtype=np.float32)
            worst = np.zeros(n, dtype=np.int64)
            found = near[begin:end]
            reach = np.float32(np.inf)
            for place in range(n_lists):
                c = order[place]
                if least[c] > reach:
                    break
                needed = False
                for i in range(n):
                    low = bounds[i, c]
                    if low <= 0.0 or low * low * np.float32(0.999) <= far[i, worst[i]]:
                        needed = True
                        break
                if not needed:
                    continue
                low_cell, high_cell = starts[c], starts[c + 1]
                members, member_squares = _shifted(points[low_cell:high_cell], origin)
                products = np.dot(tile, members.T)
                for i in range(n):
                    limit = far[i, worst[i]]
                    own_square = squares[i]
                    for j in range(high_cell - low_cell):
                        squared = own_square + member_squares[j] - np.float32(2.0) * products[i, j]
                        if squared < limit:
                            _keep(found, far, worst, i, low_cell + j, squared)
                            limit = far[i, worst[i]]
                widest = np.float32(0.0)
                for i in range(n):
                    widest = max(widest, far[i, worst[i]])
                reach = np.sqrt(widest) * np.float32(1.001)
