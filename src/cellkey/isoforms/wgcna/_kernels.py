"""Compiled loop of the average-linkage tree."""

from __future__ import annotations

import numpy as np

from cellkey.kernels import njit

__all__ = ["merge_nearest"]


@njit(cache=True)
def merge_nearest(pairs, n, merges):  # type: ignore[no-untyped-def]
    """Merge features along chains of nearest neighbours, by average linkage.

    ``pairs``, condensed dissimilarities, are overwritten; ``merges``, (n - 1) x 4, takes two representatives, height
    and size of every merge.
    """
    size = np.ones(n, dtype=np.int64)
    chain = np.empty(n, dtype=np.int64)
    length = 0
    for step in range(n - 1):
        if length == 0:
            first = 0
            while size[first] == 0:
                first += 1
            chain[0] = first
            length = 1
        while True:
            x = chain[length - 1]
            # The previous element wins ties, so that chains end.
            y = -1
            best = np.inf
            if length > 1:
                y = chain[length - 2]
                i, j = min(x, y), max(x, y)
                best = pairs[n * i - i * (i + 1) // 2 + (j - i - 1)]
            for other in range(x):
                if size[other] > 0:
                    d = pairs[n * other - other * (other + 1) // 2 + (x - other - 1)]
                    if d < best:
                        best, y = d, other
            begin = n * x - x * (x + 1) // 2 - x - 1
            for other in range(x + 1, n):
                if size[other] > 0:
                    d = pairs[begin + other]
                    if d < best:
                        best, y = d, other
            if length > 1 and y == chain[length - 2]:
                break
            chain[length] = y
            length += 1
        length -= 2
        if x > y:
            x, y = y, x
        nx, ny = size[x], size[y]
        merges[step, 0] = x
        merges[step, 1] = y
        merges[step, 2] = best
        merges[step, 3] = nx + ny
        size[x] = 0
        size[y] = nx + ny
        for other in range(n):
            if size[other] > 0 and other != y:
                ix, jx = min(other, x), max(other, x)
                iy, jy = min(other, y), max(other, y)
                at_x = n * ix - ix * (ix + 1) // 2 + (jx - ix - 1)
                at_y = n * iy - iy * (iy + 1) // 2 + (jy - iy - 1)
                pairs[at_y] = (nx * pairs[at_x] + ny * pairs[at_y]) / (nx + ny)
