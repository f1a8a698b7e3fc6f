"""Compiled searches for nearest neighbours; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["explore", "reverse_neighbors", "search_lists", "search_near_lists"]

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


@njit(cache=True, nogil=True)
def _insert(near, far, fresh, cell, distance):  # type: ignore[no-untyped-def]
    """Put a cell in its place among neighbours by distance, the last of which falls out."""
    at = len(near) - 1
    while at > 0 and far[at - 1] > distance:
        near[at], far[at], fresh[at] = near[at - 1], far[at - 1], fresh[at - 1]
        at -= 1
    near[at], far[at], fresh[at] = cell, distance, True


@njit(cache=True, nogil=True)
def search_near_lists(  # type: ignore[no-untyped-def]
    points, starts, order, first_list, last_list, enough, near, far, fresh
):
    """Fill ``near``, ``far`` and ``fresh`` (cells x k) for all cells in lists ``first_list..last_list``.

    ``order`` holds all lists by distance from each list (lists x lists, the own one first). Cells are compared with the
    first lists that hold ``enough`` cells together, and never with themselves; squared distances are taken from the
    first cell of the own list. Neighbours come out nearest first.
    """
    for own in range(first_list, last_list):
        for begin in range(starts[own], starts[own + 1], _TILE):
            end = min(begin + _TILE, starts[own + 1])
            n = end - begin
            origin = points[starts[own]].copy()
            tile, squares = _shifted(points[begin:end], origin)
            seen = 0
            for c in order[own]:
                # Of a crowded list a part is enough, around the own place where it is the own list.
                low = max(starts[c], begin - enough // 2) if c == own else starts[c]
                high = min(starts[c + 1], low + enough)
                members, member_squares = _shifted(points[low:high], origin)
                products = np.dot(tile, members.T)
                for i in range(n):
                    reach = far[begin + i]
                    limit = reach[-1]
                    for j in range(high - low):
                        squared = squares[i] + member_squares[j] - np.float32(2.0) * products[i, j]
                        if squared < limit and low + j != begin + i:
                            _insert(near[begin + i], reach, fresh[begin + i], low + j, squared)
                            limit = reach[-1]
                seen += high - low
                if seen > enough:
                    break


@njit(cache=True, nogil=True)
def reverse_neighbors(near, far, fresh, width, most):  # type: ignore[no-untyped-def]
    """Return the nearest ``most`` cells that have each cell among their first ``width``, which of these edges are
    fresh, and their number."""
    n_cells = len(near)
    back = np.zeros((n_cells, most), dtype=np.int32)
    distances = np.full((n_cells, most), np.inf, dtype=np.float32)
    is_fresh = np.zeros((n_cells, most), dtype=np.bool_)
    counts = np.zeros(n_cells, dtype=np.int32)
    for cell in range(n_cells):
        for a in range(width):
            other = near[cell, a]
            place = counts[other]
            if place < most:
                counts[other] += 1
            else:
                place = np.argmax(distances[other])
                if far[cell, a] >= distances[other, place]:
                    continue
            back[other, place] = cell
            distances[other, place] = far[cell, a]
            is_fresh[other, place] = fresh[cell, a]
    return back, is_fresh, counts


@njit(cache=True, nogil=True, fastmath=True)
def _squared_distance(points, a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for d in range(points.shape[1]):
        gap = points[a, d] - points[b, d]
        total += gap * gap
    return total


@njit(cache=True, nogil=True)
def explore(  # type: ignore[no-untyped-def]
    points, near, far, fresh, back, back_fresh, n_back, width, first, last, new_near, new_far, new_fresh
):
    """Look among the neighbours of neighbours of cells ``first..last`` for nearer ones.

    Parameters are the points (cells x dims, float32), the neighbours so far, nearest first, with squared distances and
    whether they were found in the last round (cells x k), :func:`reverse_neighbors` of these, how many neighbours to
    follow, and the same three for the next round. Paths of two old edges were walked before. The old round alone is
    read, so that cells may be shared out to threads.
    """
    k = near.shape[1]
    seen = np.zeros(len(points), dtype=np.int32)
    hops = np.empty(width + back.shape[1], dtype=np.int64)
    is_fresh = np.empty(len(hops), dtype=np.bool_)
    for cell in range(first, last):
        mark = cell + 1
        new_near[cell], new_far[cell], new_fresh[cell] = near[cell], far[cell], False
        seen[cell] = mark
        for a in range(k):
            seen[near[cell, a]] = mark
        hops[:width], is_fresh[:width] = near[cell, :width], fresh[cell, :width]
        n_hops = width + n_back[cell]
        for a in range(n_back[cell]):
            hops[width + a], is_fresh[width + a] = back[cell, a], back_fresh[cell, a]
        limit = new_far[cell, -1]
        for h in range(n_hops):
            hop = hops[h]
            for step in range(-1, width):  # the cell at the other end itself, then its neighbours
                other = hop if step < 0 else np.int64(near[hop, step])
                if seen[other] == mark or not (is_fresh[h] or (step >= 0 and fresh[hop, step])):
                    continue
                seen[other] = mark
                squared = _squared_distance(points, cell, other)
                if squared < limit:
                    _insert(new_near[cell], new_far[cell], new_fresh[cell], other, squared)
                    limit = new_far[cell, -1]
