"""The walk down the key: from the roots towards the leaves, one recorded step at a time.

The walker knows neither how evidence was made nor what makes a candidate good. A :class:`Rule` chooses among
the children of the current node; the walker descends, stops and writes down what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cellkey.records.vocabulary import StopDetail, StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cellkey.records.vocabulary import FailReason
    from cellkey.scoring.key import MeasuredKey

__all__ = ["Candidate", "Choice", "Rule", "Step", "Walk", "walk_key", "walk_paths"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node as it was judged in one step."""

    node: int
    passed: bool
    score: float
    fail_reason: FailReason | None = None
    fail_detail: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rule decides in one step.

    Attributes
    ----------
    candidates
        All candidates with their judgement.
    selected
        The node to go on with; None to stop.
    best
        The leading candidate, also when the step is undecided; None if none qualifies.
    runner_up
        The closest other candidate.
    margin
        Score of ``best`` minus that of ``runner_up``; None without a runner-up.
    contested
        Whether the runner-up itself qualified.
    tied
        Candidates too close to choose between, best first; empty if the step is decided.
    stop, detail
        Why the walk ends here; None when it goes on.
    """

    candidates: tuple[Candidate, ...]
    selected: int | None = None
    best: int | None = None
    runner_up: int | None = None
    margin: float | None = None
    contested: bool = False
    tied: tuple[int, ...] = ()
    stop: StopReason | None = None
    detail: StopDetail | None = None


class Rule(Protocol):
    """Chooses among ``candidates``: positions of nodes, siblings of one level."""

    def selected(self, candidates: Sequence[int], level: int) -> NDArray[np.int64]:
        """Return the candidate that each group goes on with, -1 where it stops; shape (groups,)."""
        ...

    def choose(self, group: int, parent: int | None, candidates: Sequence[int], level: int) -> Choice:
        """Return the same for one group with the judgement of all candidates."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded step: the parent (None for the roots), and what the rule decided."""

    index: int
    parent: int | None
    choice: Choice


@dataclass(frozen=True, slots=True)
class Walk:
    """The whole walk of one group: positions of the nodes passed, the steps, and why it ended."""

    group: str
    path: tuple[int, ...]
    steps: tuple[Step, ...]
    stop: StopReason
    detail: StopDetail

    @property
    def node(self) -> int | None:
        """The node reached, None if no root was accepted."""
        return self.path[-1] if self.path else None

    @property
    def last(self) -> Choice:
        """The decision of the last step."""
        return self.steps[-1].choice


def walk_key(
    key: MeasuredKey,
    groups: Sequence[str],
    rule: Rule,
    *,
    max_depth: int | None = None,
    roots: Sequence[int] | None = None,
) -> list[Walk]:
    """Walk every group down the key.

    Parameters
    ----------
    key
        The measured hierarchy.
    groups
        Names of the groups; the rule is asked by their position.
    rule
        Chooses in each step.
    max_depth
        Deepest level that may be assigned; None for no limit.
    roots
        Top-level nodes that are candidates; None for all.

    Returns
    -------
    One walk per group, in the order given.
    """
    children = _open_children(key, roots)
    return [_walk_group(name, i, children, rule, max_depth) for i, name in enumerate(groups)]


def walk_paths(
    key: MeasuredKey,
    n_groups: int,
    rule: Rule,
    *,
    max_depth: int | None = None,
    roots: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Return the nodes that each group passes, groups x levels and -1 past the end, without the decisions.

    They are those of :func:`walk_key`; all groups of one node step down together.
    """
    children = _open_children(key, roots)
    paths = np.full((n_groups, key.hierarchy.depth), -1, dtype=np.int64)
    here = np.full(n_groups, -1, dtype=np.int64)
    walking = np.ones(n_groups, dtype=bool)
    for level in range(paths.shape[1] if max_depth is None else min(max_depth + 1, paths.shape[1])):
        for parent in np.unique(here[walking]).tolist():
            below = children.get(None if parent < 0 else parent)
            if below:
                rows = walking & (here == parent)
                paths[rows, level] = rule.selected(below, level)[rows]
        here = paths[:, level]
        walking = here >= 0
    return paths


def _open_children(key: MeasuredKey, roots: Sequence[int] | None) -> dict[int | None, list[int]]:
    """Children of every node; of the whole only those that are candidates."""
    children = _children(key)
    if roots is not None:
        children[None] = [node for node in children[None] if node in set(roots)]
    return children


def _walk_group(
    name: str, group: int, children: dict[int | None, list[int]], rule: Rule, max_depth: int | None
) -> Walk:
    path: list[int] = []
    steps: list[Step] = []
    while True:
        parent = path[-1] if path else None
        below = children.get(parent, [])
        if not below:
            return Walk(name, tuple(path), tuple(steps), StopReason.LEAF_REACHED, StopDetail.LEAF_REACHED)
        if max_depth is not None and len(path) > max_depth:
            return Walk(name, tuple(path), tuple(steps), StopReason.MAX_DEPTH, StopDetail.MAX_DEPTH)
        choice = rule.choose(group, parent, below, len(path))
        steps.append(Step(len(steps), parent, choice))
        if choice.selected is None:
            if choice.stop is None or choice.detail is None:
                msg = "a rule must either select a candidate or say why it stops"
                raise RuntimeError(msg)
            return Walk(name, tuple(path), tuple(steps), choice.stop, choice.detail)
        path.append(choice.selected)


def _children(key: MeasuredKey) -> dict[int | None, list[int]]:
    found: dict[int | None, list[int]] = {}
    for node, parent in enumerate(key.parents.tolist()):
        found.setdefault(None if parent < 0 else parent, []).append(node)
    return found
