"""Modules of features: power, overlap, tree, cut, and merging by eigengene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.eigengenes import eigengene
from cellkey.isoforms.wgcna.adjacency import advised_power, choose_power, soft_threshold_table
from cellkey.isoforms.wgcna.overlap import average_linkage, block_of, condensed_dissimilarity
from cellkey.isoforms.wgcna.tree_cut import HybridCut, hybrid_cut

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.isoforms.backend_settings import WgcnaParameters

__all__ = ["Detection", "blocks_of", "detect", "fallback_power", "merge_by_eigengene"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Detection:
    """Modules of features.

    Parameters
    ----------
    labels
        Module of every feature, 1 for the largest, 0 (grey) for none.
    thresholds
        Scale-free fit by power, with the chosen one marked.
    merges
        One mapping per merge of modules.
    blocks
        Number of features of every block.
    tree
        Average-linkage tree (merges x 4, as of SciPy) where there was one block, else None.
    leaves
        Position of the feature of every leaf of the tree.
    """

    labels: Ints
    power: float
    r2: float
    reached: bool
    thresholds: pd.DataFrame
    merges: tuple[dict[str, Any], ...] = ()
    blocks: tuple[int, ...] = ()
    tree: Array | None = None
    leaves: Ints | None = None


def detect(values: Array, parameters: WgcnaParameters, seed: int = 0) -> Detection:
    """Return the modules of features x samples; constant features stay grey."""
    rows = unit_rows(values)
    varying = np.flatnonzero(np.einsum("ij,ij->i", rows, rows) > 0.5)
    rows = rows[varying]
    powers = parameters.powers if parameters.power is None else (parameters.power,)
    table = soft_threshold_table(rows, powers, parameters.network_type)
    chosen = choose_power(table, parameters.min_scale_free_r2, fallback_power(parameters, values.shape[1]))
    labels = np.zeros(len(rows), dtype=np.intp)
    blocks = blocks_of(rows, parameters.max_block_size, seed)
    tree = None
    for members in blocks:
        own, tree = _block_modules(rows[members], chosen.power, parameters)
        labels[members] = np.where(own > 0, own + labels.max(), 0)
    labels, merges = merge_by_eigengene(rows, labels, parameters.merge_cut_height)
    full = np.zeros(len(values), dtype=np.intp)
    full[varying] = labels
    one = len(blocks) == 1 and tree is not None
    return Detection(
        full,
        chosen.power,
        chosen.r2,
        chosen.reached,
        chosen.table,
        merges,
        tuple(len(b) for b in blocks),
        tree if one else None,
        varying if one else None,
    )


def fallback_power(parameters: WgcnaParameters, n_samples: int) -> int | None:
    """Return the power for data that are never scale-free, or None for the best fit."""
    return advised_power(n_samples, parameters.network_type) if parameters.power_fallback == "samples" else None


def _block_modules(rows: Array, power: float, parameters: WgcnaParameters) -> tuple[Ints, Array | None]:
    """Modules of a block and its tree; None for a block too small for one."""
    n = len(rows)
    if n < 4:
        return np.zeros(n, dtype=np.intp), None
    pairs = condensed_dissimilarity(rows, power, parameters.network_type)
    tree = average_linkage(pairs.copy(), n)
    rule = HybridCut(
        min_size=max(2, min(parameters.min_module_size, n // 2)),
        deep_split=parameters.deep_split,
        cut_height=parameters.cut_height,
        assign_rest=parameters.pam_stage,
        respect_tree=parameters.pam_respects_tree,
    )
    return hybrid_cut(tree, lambda a, b: block_of(pairs, n, a, b), rule), tree


def blocks_of(rows: Array, max_size: int, seed: int) -> list[Ints]:
    """Return blocks of at most ``max_size`` rows that keep similar rows together (k-means, then nearest centres)."""
    n = len(rows)
    if n <= max_size:
        return [np.arange(n)]
    from sklearn.cluster import MiniBatchKMeans

    k = min(max(10 * -(-n // max_size), 20), n)
    model = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=4096).fit(rows)
    owner, centres = model.labels_, model.cluster_centers_
    sizes = np.bincount(owner, minlength=k)
    left = [int(c) for c in np.argsort(-sizes, kind="stable") if sizes[c]]
    blocks: list[Ints] = []
    while left:
        seed_cluster = left[0]
        near = sorted(left, key=lambda c: (float(np.linalg.norm(centres[c] - centres[seed_cluster])), c))
        taken: list[int] = []
        total = 0
        for c in near:
            if not taken or total + sizes[c] <= max_size:
                taken.append(c)
                total += int(sizes[c])
        left = [c for c in left if c not in taken]
        members = np.flatnonzero(np.isin(owner, taken))
        blocks += [np.asarray(part) for part in np.array_split(members, -(-len(members) // max_size))]
    return blocks


def merge_by_eigengene(rows: Array, labels: Ints, cut_height: float) -> tuple[Ints, tuple[dict[str, Any], ...]]:
    """Merge modules whose eigengenes cluster below ``cut_height`` (one minus correlation), until nothing changes.

    Returns
    -------
    labels, history
        Modules by size (1 is the largest), and one mapping per merge.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    labels = labels.copy()
    history: list[dict[str, Any]] = []
    while True:
        names = [int(c) for c in np.unique(labels) if c > 0]
        if len(names) < 2:
            break
        profiles = np.array([eigengene(rows[labels == c]).values for c in names])
        r = np.clip(profiles @ profiles.T, -1.0, 1.0)
        tree = linkage(squareform(np.maximum(1.0 - r, 0.0), checks=False), "average")
        groups = fcluster(tree, cut_height, "distance")
        if len(set(groups)) == len(names):
            break
        for g in np.unique(groups):
            together = [names[i] for i in np.flatnonzero(groups == g)]
            if len(together) > 1:
                at = [names.index(c) for c in together]
                history.append(
                    {
                        "step": len(history) + 1,
                        "correlation": float(min(r[i, j] for i in at for j in at)),
                        "sizes": [int((labels == c).sum()) for c in together],
                    }
                )
                labels[np.isin(labels, together)] = together[0]
    sizes = {c: int((labels == c).sum()) for c in np.unique(labels) if c > 0}
    order = sorted(sizes, key=lambda c: (-sizes[c], int(np.argmax(labels == c))))
    place = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.intp)
    for i, c in enumerate(order):
        place[c] = i + 1
    return place[labels], tuple(history)
