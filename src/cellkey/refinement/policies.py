"""Policies: from a diagnosis to a plan, with or without a plan that a person wrote."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cellkey.errors import CellkeyWarning, NothingToDoError, ParameterError, Problem, did_you_mean
from cellkey.parameters import Parameters
from cellkey.records.vocabulary import LogSource, Recommendation
from cellkey.refinement.plan import Merge, Operation, Plan, Relabel, Rescore, Skip, Subcluster

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cellkey.calls.call import Call
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.refinement.diagnosis import Diagnosis

__all__ = [
    "Focus", "automatic_plan", "combine", "forced", "require_in_focus", "require_known", "within_focus",
]


class Focus(Parameters):
    """Which clusters may be touched.

    Attributes
    ----------
    labels
        Clusters that carry one of these labels or a subtype of it; labels or paths.
    clusters
        These clusters and their parts. With ``labels`` as well, both must hold.
    force
        Clusters to split whatever the diagnosis says.
    """

    labels: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    force: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether anything is left out."""
        return bool(self.labels or self.clusters)


def automatic_plan(
    diagnoses: Sequence[Diagnosis], hierarchy: Hierarchy, *, among: Collection[str] | None = None
) -> Plan:
    """Return the plan that follows from a diagnosis.

    Parameters
    ----------
    among
        Clusters that may be touched; all if None.
    """
    operations: list[Operation] = []
    for d in sorted(diagnoses, key=lambda d: d.priority):
        if among is not None and d.cluster not in among:
            continue
        if d.recommendation is Recommendation.SUBCLUSTER:
            operations.append(Subcluster(
                cluster_id=d.cluster, reason=d.reason, source=LogSource.AUTO, priority=d.priority
            ))
        elif d.recommendation is Recommendation.RELABEL and d.target is not None:
            label = hierarchy.nodes[d.target].path_text
            operations.append(Relabel(
                cluster_id=d.cluster, label=label, reason=d.reason, source=LogSource.AUTO, priority=d.priority
            ))
    return Plan(operations=tuple(operations))


def combine(automatic: Plan, manual: Plan) -> Plan:
    """Return both plans as one: what a person says of a cluster replaces what the diagnosis says of it."""
    spoken_for = {c for op in manual.operations for c in op.clusters}
    kept = [op for op in automatic.operations if not spoken_for & set(op.clusters)]
    order = (Merge,)
    operations = sorted([*manual.operations, *kept], key=lambda op: not isinstance(op, order))
    return manual.updated(operations=[op.model_dump() for op in operations])


def within_focus(calls: Mapping[str, Call], focus: Focus, hierarchy: Hierarchy) -> frozenset[str]:
    """Return the clusters that the focus selects.

    Raises
    ------
    NothingToDoError
        If the focus selects no cluster.
    """
    found = {c for c, call in calls.items() if _label_fits(call, focus.labels, hierarchy)}
    if focus.clusters:
        unknown = [c for c in focus.clusters if not any(_is_part(k, c) for k in calls)]
        for cluster in unknown:
            msg = f"the focus names cluster {cluster!r}, which does not exist{did_you_mean(cluster, calls)}"
            warnings.warn(msg, CellkeyWarning, stacklevel=2)
        found = {c for c in found if any(_is_part(c, wanted) for wanted in focus.clusters)}
    found |= set(focus.force) & set(calls)
    if not found:
        asked = ", ".join([*map(repr, focus.labels), *map(repr, focus.clusters)])
        msg = f"the focus ({asked}) selects no cluster: nothing to refine"
        raise NothingToDoError(msg)
    return frozenset(found)


def require_known(focus: Focus, calls: Mapping[str, Call], hierarchy: Hierarchy) -> None:
    """Check the labels of a focus, and the clusters to split.

    Raises
    ------
    ParameterError
        If a label is neither in the hierarchy nor carried by a cluster, or a cluster to split does not exist.
    """
    carried = {call.label for call in calls.values()}
    known = carried | {n.name for n in hierarchy.nodes} | {n.path_text for n in hierarchy.nodes}
    problems = [
        Problem(f"no cell type {label!r}{did_you_mean(label, known)}", "focus labels")
        for label in focus.labels if label not in known
    ]
    problems += [
        Problem(f"there is no cluster {cluster!r}{did_you_mean(cluster, calls)}", "force subcluster")
        for cluster in focus.force if not any(_is_part(c, cluster) for c in calls)
    ]
    if problems:
        msg = "the selection of clusters cannot be used"
        raise ParameterError(msg, problems)


def _label_fits(call: Call, labels: Iterable[str], hierarchy: Hierarchy) -> bool:
    wanted = list(labels)
    if not wanted or call.label in wanted:
        return True
    paths = [n.path for n in hierarchy.nodes for label in wanted if label in (n.name, n.path_text)]
    return any(call.path[: len(path)] == path for path in paths)


def _is_part(cluster: str, whole: str) -> bool:
    return cluster == whole or cluster.startswith((f"{whole}:", f"{whole}+"))


def forced(focus: Focus, clusters: Collection[str], min_cells: int) -> Plan:
    """Return the plan that splits the clusters a person named, however small."""
    wanted = [c for c in focus.force if c in clusters]
    return Plan(operations=tuple(
        Subcluster(cluster_id=c, min_cells=min_cells, reason="asked for by name", source=LogSource.MANUAL)
        for c in wanted
    ))


def require_in_focus(plan: Plan, among: Collection[str]) -> None:
    """Check that a written plan touches nothing outside the focus.

    Raises
    ------
    ParameterError
        With one problem per operation outside.
    """
    problems = [
        Problem(f"cluster {c!r} is outside the focus", op.op_type, "widen the focus or leave the operation out")
        for op in plan.operations if not isinstance(op, Skip | Rescore) for c in op.clusters if c not in among
    ]
    if problems:
        msg = "the plan names clusters that the focus leaves out"
        raise ParameterError(msg, problems)
