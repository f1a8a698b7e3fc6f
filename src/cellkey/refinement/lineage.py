"""Labels of new clusters that respect where their cells come from, and labels that a person sets."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cellkey.calls.call import UNASSIGNED, Call, CallStatus
from cellkey.errors import ParameterError
from cellkey.hierarchy.cell_type import as_path
from cellkey.records.vocabulary import StopDetail, StopReason
from cellkey.refinement.plan import find_label
from cellkey.routing.walk import Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.refinement.judging import Verdict
    from cellkey.scoring.key import MeasuredKey

__all__ = ["LEAST_SCORE", "agree", "keeps_path", "nodes_of", "part_call", "with_label", "with_node"]

LEAST_SCORE = 0.5
"""A part is only given a deeper label than its parent's if that scores this share of a clear signal."""


def agree(first: Call, second: Call) -> bool:
    """Whether two labels do not contradict each other: equal, or one is an ancestor of the other."""
    if first.label == second.label and first.path == second.path:
        return True
    shorter, longer = sorted((first.path, second.path), key=len)
    return bool(shorter) and longer[: len(shorter)] == shorter


def part_call(verdict: Verdict, part: str, parent: Call) -> tuple[Call, str]:
    """Return the call of a part of a cluster, and a sentence where the origin of its cells decided.

    The part is judged from the lineage of its parent downward. It moves to another lineage only if that passes all
    its gates and beats the old one by the gap that two lineages must have. If the lineage of the parent fails its
    gate and no other one wins, the part keeps the parent's label. A label below the lineage is also kept where
    the part speaks less clearly than the whole but against nothing: every type on the path still passes and none
    is outscored by a sibling.
    """
    call, note = _part_call(verdict, part, parent)
    clear, doubt = _clear(verdict, call, parent) if call.path and call.node is not None else (call, "")
    return clear, "; ".join(filter(None, (note, doubt)))


def _part_call(verdict: Verdict, part: str, parent: Call) -> tuple[Call, str]:
    own = verdict.calls[part]
    known = {node.name for node in verdict.key.hierarchy.roots}
    if not parent.path or parent.path[0] not in known:
        return own, ""
    row = verdict.position(part)
    root = verdict.key.hierarchy.index(parent.path[:1])
    if own.path and own.path[0] != parent.path[0]:
        new = verdict.key.hierarchy.index(own.path[:1])
        lead = float(verdict.scores[row, new] - verdict.scores[row, root])
        if round(lead, 10) >= float(verdict.gaps[root]):
            return own, f"{own.path[0]!r} leads {parent.path[0]!r} by {lead:.2f}"
    if not verdict.passed[row, root]:
        return _kept(own, parent), f"{parent.path[0]!r} does not pass its gate here and no other type clearly wins"
    below = own if own.path and own.path[0] == parent.path[0] else verdict.call_below(part, root)
    if _keeps_label(verdict, row, below, parent):
        return _kept(below, parent), "nothing on the path is contradicted"
    note = "" if below is own else f"judged within {parent.path[0]!r}, where its cells come from"
    return below, note


def _clear(verdict: Verdict, call: Call, parent: Call) -> tuple[Call, str]:
    """The call without levels below the parent's label that hardly anything speaks for."""
    tree, row = verdict.key.hierarchy, verdict.position(call.group)
    known = len(parent.path) if call.path[: len(parent.path)] == parent.path else 1
    depth = len(call.path)
    while depth > max(known, 1) and verdict.scores[row, tree.index(call.path[:depth])] < LEAST_SCORE * verdict.unit:
        depth -= 1
    if depth == len(call.path):
        return call, ""
    given_up = call.path[-1]
    short = with_node(verdict, call, tree.index(call.path[:depth]))
    return short, f"{given_up!r} scores too little to be named"


def _keeps_label(verdict: Verdict, row: int, own: Call, parent: Call) -> bool:
    tree = verdict.key.hierarchy
    path, passes = nodes_of(tree, parent.path), nodes_of(tree, own.path)
    if path is None or passes is None:
        return False
    walked = np.full((1, tree.depth), -1)
    walked[0, : len(passes)] = passes
    return bool(keeps_path(verdict.key, path, walked, verdict.scores[[row]], verdict.passed[[row]])[0])


def nodes_of(hierarchy: Hierarchy, path: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the nodes of a path from the top-level type down; None if the hierarchy does not hold it."""
    parts = [path[:depth] for depth in range(1, len(path) + 1)]
    return tuple(map(hierarchy.index, parts)) if all(part in hierarchy for part in parts) else None


def keeps_path(
    key: MeasuredKey, path: tuple[int, ...], own: NDArray[np.int64], scores: NDArray[np.float64],
    passed: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which parts keep the path of their parent: they stop short of its end, and nothing speaks against it.

    Nothing does if every type on the path passes and none is outscored by a sibling that passes.

    Parameters
    ----------
    path
        Nodes from the top-level type down.
    own
        Nodes that the walks of the parts pass, parts x levels, -1 past the end.
    scores, passed
        Of the parts, parts x nodes.
    """
    depth = (own >= 0).sum(axis=1)
    on_it = (own[:, : len(path)] == path) | (np.arange(len(path)) >= depth[:, None])
    kept = (depth < len(path)) & on_it.all(axis=1) & passed[:, list(path)].all(axis=1)
    parents = key.parents
    for above, node in pairwise(path):
        siblings = np.flatnonzero((parents == above) & (np.arange(key.n_nodes) != node))
        rivals = np.where(passed[:, siblings], scores[:, siblings], -np.inf).max(axis=1, initial=-np.inf)
        kept &= rivals <= scores[:, node]
    return np.asarray(kept)


def _kept(own: Call, parent: Call) -> Call:
    """The parent's label for a part, with the trace of the part's own walk."""
    return replace(
        parent, group=own.group, n_cells=own.n_cells, walk=own.walk, runner_up=own.runner_up,
        runner_up_score=own.runner_up_score, tied=own.tied, stop_reason=own.stop_reason, stop_detail=own.stop_detail,
    )


def with_node(verdict: Verdict, call: Call, node: int) -> Call:
    """Return the call after moving the whole cluster to a cell type of the hierarchy.

    The confidence is the lead over the best other sibling where that is less than before. A type that cannot be scored
    here, since none of its markers is measured, has score and lead 0.
    """
    tree = verdict.key.hierarchy
    row = verdict.position(call.group)
    above = tree.parent(tree.nodes[node].path)
    scores = verdict.scores[row]
    siblings = [k for k in verdict.children(None if above is None else tree.index(above.path))
                if k != node and np.isfinite(scores[k])]
    scored = bool(np.isfinite(scores[node]))
    score = float(scores[node]) if scored else 0.0
    runner_up = max(siblings, key=lambda k: float(scores[k]), default=None)
    lead = score if runner_up is None or not scored else score - float(scores[runner_up])
    path = tuple(tree.index(tree.nodes[node].path[:depth]) for depth in range(1, tree.nodes[node].level + 2))
    has_children = bool(verdict.children(node))
    stop = StopReason.NO_CHILDREN_PASS if has_children else StopReason.LEAF_REACHED
    detail = StopDetail.NO_CHILD_PASSED if has_children else StopDetail.LEAF_REACHED
    same_line = bool(call.path) and tree.nodes[node].path[: len(call.path)] == call.path
    return replace(
        call,
        label=tree.nodes[node].name,
        path=tree.nodes[node].path,
        level=tree.nodes[node].level,
        status=CallStatus.RESOLVED,
        score=score,
        root_label=tree.nodes[node].lineage,
        confidence=min(lead, call.confidence) if same_line and not call.tied else lead,
        stop_reason=stop,
        stop_detail=detail,
        node=node,
        runner_up="" if runner_up is None else tree.nodes[runner_up].name,
        runner_up_score=None if runner_up is None else float(scores[runner_up]),
        tied=(),
        walk=Walk(call.group, path, call.walk.steps, stop, detail),
    )


def with_label(verdict: Verdict, call: Call, label: str) -> Call:
    """Return the call after a person set a label; one that the hierarchy does not know stands on its own."""
    node = _node_of(verdict.key.hierarchy, label)
    if node is not None:
        return with_node(verdict, call, node)
    if label == UNASSIGNED:
        return replace(
            call, label=label, path=(), level=-1, status=CallStatus.UNKNOWN, score=0.0, root_label=label,
            confidence=0.0, node=None, stop_reason=StopReason.NO_ROOT_PASSED, stop_detail=StopDetail.NO_ROOT_PASSED,
        )
    path = as_path(label)
    return replace(
        call, label=path[-1], path=path, level=len(path) - 1, status=CallStatus.RESOLVED, root_label=path[0],
        score=0.0, confidence=0.0, node=None, stop_reason=StopReason.LEAF_REACHED,
        stop_detail=StopDetail.LEAF_REACHED, tied=(),
    )


def _node_of(hierarchy: Hierarchy, label: str) -> int | None:
    try:
        return find_label(hierarchy, label)
    except ParameterError:
        return None
