"""Whether two parts of a cluster are two populations, or one that a line was drawn through.

Communities of a graph cut any elongated cloud of cells, and cut a gradient of staining or sequencing depth at much
the same place every time. Two populations differ from that in having few cells between them. So the cells of two
parts are laid out along the axis that tells the parts apart best, and the density between the parts is compared
with the lower of the two peaks.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["join_unseparated", "separation", "valley_depth"]

_BINS = 512
_BANDWIDTH = 0.8  # of the normal reference rule: two peaks want less smoothing than one


def separation(scores: NDArray[np.floating], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return how empty the space between two parts is: 0 no valley at all, 1 no cell in between.

    The axis (difference of means over the variance within the parts, per component) is found on one half of the
    cells and the other half is laid out along it, and the other way round, so that chance differences of many
    components do not open a gap.

    Parameters
    ----------
    scores
        Components, cells x components.
    first, second
        Members of the two parts, shape (cells,).
    """
    members = np.flatnonzero(first | second)
    points = scores[members].astype(np.float64)
    side = first[members]
    fold = _halves(points, side)
    place = np.empty(len(members))
    for half in (0, 1):
        learn = fold != half
        low, high = points[learn & ~side], points[learn & side]
        if len(low) == 0 or len(high) == 0:
            return 0.0
        spread = (low.var(axis=0) * len(low) + high.var(axis=0) * len(high)) / learn.sum()
        axis = (high.mean(axis=0) - low.mean(axis=0)) / np.maximum(spread, 1e-9 * max(spread.max(), 1e-12))
        start, end = (low @ axis).mean(), (high @ axis).mean()
        place[~learn] = (points[~learn] @ axis - start) / max(end - start, 1e-12)
    return valley_depth(place)


def _halves(points: NDArray[np.float64], side: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Two halves of each part, by an order of the cells that does not depend on the file."""
    order = np.lexsort(points.T[::-1])
    fold = np.empty(len(points), dtype=np.int64)
    for value in (False, True):
        members = order[side[order] == value]
        fold[members] = np.arange(len(members)) % 2
    return fold


def valley_depth(place: NDArray[np.float64]) -> float:
    """Return 1 minus the density at the lowest point between 0 and 1 over that of the lower peak beside it."""
    inside = np.clip(place, -1.0, 2.0)
    quartiles = np.percentile(inside, [25, 75])
    spread = min(float(inside.std()), float(quartiles[1] - quartiles[0]) / 1.349) or float(inside.std())
    if spread <= 0:
        return 0.0
    width = _BANDWIDTH * 1.06 * spread * len(inside) ** -0.2
    counts, edges = np.histogram(inside, bins=_BINS, range=(-1.0, 2.0))
    step = edges[1] - edges[0]
    reach = int(np.ceil(4 * width / step))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    density = np.convolve(counts.astype(np.float64), kernel, mode="full")[reach : reach + _BINS]
    centres = (edges[:-1] + edges[1:]) / 2
    between = np.flatnonzero((centres > 0.0) & (centres < 1.0))
    lowest = between[np.argmin(density[between])]
    peak = min(density[: lowest + 1].max(), density[lowest:].max())
    return float(1.0 - density[lowest] / peak) if peak > 0 else 0.0


def join_unseparated(
    scores: NDArray[np.floating],
    labels: NDArray[np.str_],
    least: float,
    may_join: Callable[[str, str], bool],
) -> tuple[NDArray[np.str_], dict[frozenset[str], float]]:
    """Join parts that no valley separates, the least separated pair first.

    Parameters
    ----------
    scores, labels
        Components and parts of the cells.
    least
        Separation below which a pair is joined.
    may_join
        Asked with the names of two original parts; a pair of joined parts may be joined if all their original
        parts may.

    Returns
    -------
    Parts after joining, named by their first original part, and the separations of the pairs that are left.
    """
    parts = {str(p): [str(p)] for p in np.unique(labels)}
    members = {p: labels == p for p in parts}
    found: dict[frozenset[str], float] = {}
    while len(parts) > 1:
        for pair in combinations(sorted(parts), 2):
            if frozenset(pair) not in found:
                found[frozenset(pair)] = separation(scores, members[pair[0]], members[pair[1]])
        open_pairs = [
            (round(found[frozenset(pair)], 10), pair)
            for pair in combinations(sorted(parts), 2)
            if found[frozenset(pair)] < least and all(may_join(a, b) for a in parts[pair[0]] for b in parts[pair[1]])
        ]
        if not open_pairs:
            break
        first, second = min(open_pairs)[1]
        parts[first] += parts.pop(second)
        members[first] |= members.pop(second)
        found = {pair: value for pair, value in found.items() if not pair & {first, second}}
    joined = labels.copy()
    for name, mask in members.items():
        joined[mask] = name
    return joined, found
