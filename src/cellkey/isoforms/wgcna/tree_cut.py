"""Dynamic hybrid cut of a tree (Langfelder, Zhang and Horvath 2008, Bioinformatics 24:719).

Bottom up, branches grow by merging. When two branches meet, each must be large enough, have a tight core and leave a
gap between the core and the place where they meet; a branch that does not is absorbed by the other. Objects left over
then go to the cluster that is nearest on average, among those of the branch on which they hang.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["HybridCut", "core_size", "hybrid_cut"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Block = Callable[[Ints, Ints], Array]
"""``block(rows, columns)`` returns dissimilarities between objects."""

CORE_SCATTER = (0.64, 0.73, 0.82, 0.91, 0.95)
"""Greatest scatter of a core by sensitivity 0 to 4, as a share of the height range; the least gap follows from it."""


@dataclass(frozen=True, slots=True)
class HybridCut:
    """How a tree is cut.

    Parameters
    ----------
    min_size
        Least number of objects of a cluster.
    deep_split
        Sensitivity 0 (few, clear clusters) to 4.
    cut_height
        No merge above this counts; None takes 99 % of the range of heights.
    assign_rest
        Give left-over objects to the nearest cluster.
    respect_tree
        Only among the clusters of the branch on which they hang.
    """

    min_size: int = 20
    deep_split: int = 2
    cut_height: float | None = None
    assign_rest: bool = True
    respect_tree: bool = True


@dataclass(slots=True)
class _Branch:
    """A branch: a cluster in growth (``members`` in order of joining), or several clusters under one roof."""

    members: list[int]
    size: int
    clusters: list[int] | None = None
    parent: int | None = None
    small_only: bool = False
    absorbed: bool = False

    @property
    def basic(self) -> bool:
        return self.clusters is None


@dataclass(frozen=True, slots=True)
class _Limits:
    min_size: int
    max_scatter: float
    min_gap: float
    cut_height: float


@dataclass(slots=True)
class _Growth:
    branches: list[_Branch] = field(default_factory=list)
    hangs_on: dict[int, int] = field(default_factory=dict)


def core_size(branch_size: int, min_size: int) -> int:
    """Return the number of first members that form the core of a branch."""
    base = min_size / 2 + 1
    return int(base + np.sqrt(branch_size - base)) if base < branch_size else branch_size


def hybrid_cut(tree: Array, block: Block, rule: HybridCut | None = None) -> Ints:
    """Return the cluster of every object, 1 for the largest, 0 for none.

    Parameters
    ----------
    tree
        (n - 1) x 4: two nodes, height, size; rows by height.
    block
        Reader of dissimilarities.
    """
    rule = rule or HybridCut()
    n = len(tree) + 1
    if len(tree) < 1:
        return np.zeros(n, dtype=np.intp)
    limits = _limits(tree[:, 2], rule)
    growth = _grow(tree, block, limits)
    labels, clusters = _label(growth, n, block, limits)
    if rule.assign_rest and clusters:
        _assign_rest(labels, growth, clusters, block, limits, respect_tree=rule.respect_tree)
    return _by_size(labels)


def _limits(heights: Array, rule: HybridCut) -> _Limits:
    n = len(heights)
    reference = float(heights[max(round(n * 0.05), 1) - 1])
    top = float(heights.max())
    cut = 0.99 * (top - reference) + reference if rule.cut_height is None else min(rule.cut_height, top)
    scatter = CORE_SCATTER[rule.deep_split]
    gap = (1 - scatter) * 0.75
    return _Limits(rule.min_size, reference + scatter * (cut - reference), gap * (cut - reference), cut)


def _grow(tree: Array, block: Block, limits: _Limits) -> _Growth:
    n = len(tree) + 1
    growth = _Growth()
    branch_of: dict[int, int] = {}
    for step, (left, right, height, _) in enumerate(tree):
        if height > limits.cut_height:
            break
        a, b = int(left), int(right)
        if a < n and b < n:
            branch_of[n + step] = _new(growth, _Branch([a, b], 2))
            growth.hangs_on[a] = growth.hangs_on[b] = branch_of[n + step]
        elif a < n or b < n:
            leaf, node = (a, b) if a < n else (b, a)
            at = branch_of[node]
            branch = growth.branches[at]
            branch.size += 1
            if branch.basic:
                branch.members.append(leaf)
            growth.hangs_on[leaf] = at
            branch_of[n + step] = at
        else:
            branch_of[n + step] = _meet(growth, branch_of[a], branch_of[b], float(height), block, limits)
    return growth


def _new(growth: _Growth, branch: _Branch) -> int:
    growth.branches.append(branch)
    return len(growth.branches) - 1


def _meet(growth: _Growth, a: int, b: int, height: float, block: Block, limits: _Limits) -> int:
    small, large = (a, b) if growth.branches[a].size <= growth.branches[b].size else (b, a)
    faults = {i: _faults(growth.branches[i], height, block, limits) for i in (small, large)}
    if faults[small] or faults[large]:
        if not faults[small]:
            small, large = large, small
        lesser, greater = growth.branches[small], growth.branches[large]
        greater.size += lesser.size
        lesser.parent, lesser.absorbed, lesser.small_only = large, True, faults[small] == {"size"}
        if greater.basic:
            greater.members += lesser.members
        return large
    roof = _Branch([], growth.branches[a].size + growth.branches[b].size, [])
    at = _new(growth, roof)
    for i in (small, large):
        own = growth.branches[i].clusters
        roof.clusters = [*(roof.clusters or []), *([i] if own is None else own)]
        growth.branches[i].parent = at
    return at


def _faults(branch: _Branch, height: float, block: Block, limits: _Limits) -> set[str]:
    if not branch.basic:
        return set()
    core = np.array(branch.members[: core_size(len(branch.members), limits.min_size)], dtype=np.intp)
    scatter = float(block(core, core).sum() / (len(core) * (len(core) - 1)))
    found = {"size"} if len(branch.members) < limits.min_size else set()
    if scatter > limits.max_scatter:
        found.add("scatter")
    if height - scatter < limits.min_gap:
        found.add("gap")
    return found


def _label(growth: _Growth, n: int, block: Block, limits: _Limits) -> tuple[Ints, dict[int, int]]:
    labels = np.zeros(n, dtype=np.intp)
    clusters: dict[int, int] = {}
    for i, branch in enumerate(growth.branches):
        if not branch.basic or branch.absorbed:
            continue
        # The cut stands for the merge that a branch without a parent never had.
        if branch.parent is None and _faults(branch, limits.cut_height, block, limits):
            continue
        clusters[i] = len(clusters) + 1
        labels[branch.members] = clusters[i]
    return labels, clusters


def _assign_rest(
    labels: Ints, growth: _Growth, clusters: dict[int, int], block: Block, limits: _Limits, *, respect_tree: bool
) -> None:
    members = {c: np.flatnonzero(labels == c) for c in clusters.values()}
    reach = {c: max(_diameter(m, block), limits.cut_height) for c, m in members.items()}
    decided = []
    for objects, at in _left_over(labels, growth):
        candidates = _candidates(growth, at, clusters, respect_tree=respect_tree)
        distance = [float(block(objects, members[c]).mean()) for c in candidates]
        if distance:
            nearest = int(np.argmin(distance))
            if distance[nearest] <= reach[candidates[nearest]]:
                decided.append((objects, candidates[nearest]))
    for objects, cluster in decided:
        labels[objects] = cluster


def _left_over(labels: Ints, growth: _Growth) -> list[tuple[Ints, int | None]]:
    """Objects without a cluster and the branch on which they hang; branches that were only too small stay together.

    Of small branches within each other the one begun last counts, as in the published program.
    """
    small_branch = np.full(len(labels), -1, dtype=np.intp)
    for i, branch in enumerate(growth.branches):
        if branch.small_only:
            small_branch[branch.members] = i
    small_branch[labels > 0] = -1
    together = [
        (np.flatnonzero(small_branch == i), growth.branches[i].parent) for i in np.unique(small_branch) if i >= 0
    ]
    alone = np.flatnonzero((labels == 0) & (small_branch < 0))
    return [*together, *((np.array([o]), growth.hangs_on.get(int(o))) for o in alone)]


def _candidates(growth: _Growth, at: int | None, clusters: dict[int, int], *, respect_tree: bool) -> list[int]:
    """Clusters that objects hanging on a branch may join."""
    if not respect_tree:
        return list(clusters.values())
    while at is not None and growth.branches[at].basic:
        if at in clusters:
            return [clusters[at]]
        at = growth.branches[at].parent
    if at is None:
        return []
    return [clusters[i] for i in growth.branches[at].clusters or [] if i in clusters]


def _diameter(members: Ints, block: Block) -> float:
    if len(members) < 2:
        return 0.0
    return float((block(members, members).sum(axis=1) / (len(members) - 1)).max())


def _by_size(labels: Ints) -> Ints:
    sizes = np.bincount(labels)
    order = sorted((c for c in range(1, len(sizes)) if sizes[c]), key=lambda c: (-sizes[c], np.argmax(labels == c)))
    place = np.zeros(len(sizes), dtype=np.intp)
    place[order] = np.arange(1, len(order) + 1)
    return place[labels]
