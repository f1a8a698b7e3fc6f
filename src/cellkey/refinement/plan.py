"""The plan: what to do with which cluster. One validated model for automatic, written and combined plans."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field

from cellkey.errors import CellkeyWarning, ParameterError, Problem, did_you_mean
from cellkey.parameters import Parameters
from cellkey.profiles.profile import natural_key
from cellkey.records.vocabulary import LogSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cellkey.hierarchy.tree import Hierarchy

__all__ = [
    "OPERATIONS",
    "Merge",
    "Operation",
    "Override",
    "Plan",
    "Relabel",
    "Rescore",
    "Skip",
    "Subcluster",
    "find_label",
]


def _text(value: Any) -> Any:
    """Identifiers are text; a YAML or JSON file may hold them as whole numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _texts(value: Any) -> Any:
    if isinstance(value, str | int):
        value = [part.strip() for part in str(value).split(",")]
    return tuple(_text(v) for v in value) if isinstance(value, list | tuple) else value


def _name(value: str) -> str:
    """A label goes into tables, files and figures; free as it is, it must be one line that can be seen."""
    if not value.strip() or not value.isprintable():
        msg = "a label must be one line without control characters, and not blank"
        raise ValueError(msg)
    return value


Identifier = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Identifiers = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Label = Annotated[str, Field(min_length=1), AfterValidator(_name)]


class _Operation(Parameters):
    """What all operations say: why, who asked for it, and in which order it comes."""

    reason: str = ""
    source: LogSource = LogSource.MANUAL
    priority: int = 0

    clusters_field: ClassVar[str] = "cluster_id"

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters it works on."""
        value = getattr(self, self.clusters_field, ())
        return (value,) if isinstance(value, str) else tuple(value)


class Override(_Operation):
    """Give all cells of a cluster a label, whatever the scores say."""

    op_type: Literal["override"] = "override"
    cluster_id: Identifier
    label: Label


class Merge(_Operation):
    """Unite clusters under one identifier (the smallest with ``+m``) and one label."""

    op_type: Literal["merge"] = "merge"
    source_clusters: Annotated[Identifiers, Field(min_length=2)]
    target_label: Label

    clusters_field: ClassVar[str] = "source_clusters"


class Subcluster(_Operation):
    """Split a cluster; settings that are not given are those of the refinement parameters."""

    op_type: Literal["subcluster"] = "subcluster"
    cluster_id: Identifier
    resolution: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    n_pcs: Annotated[int, Field(ge=2, le=500)] | None = None
    neighbors_k: Annotated[int, Field(ge=1, le=1000)] | None = None
    focus_markers: Identifiers = ()
    min_cells: Annotated[int, Field(ge=1)] | None = None
    min_split_stability: Annotated[float, Field(ge=0.0, le=1.0)] | None = None


class Relabel(_Operation):
    """Give a cluster the label of another cell type of the hierarchy; the identifier stays."""

    op_type: Literal["relabel"] = "relabel"
    cluster_id: Identifier
    label: Label


class Rescore(_Operation):
    """Score again: only changed clusters (``smart``), all (``full``), or none."""

    op_type: Literal["rescore"] = "rescore"
    mode: Literal["none", "smart", "full"] = "smart"
    recompute_de: bool = False

    clusters_field: ClassVar[str] = ""


class Skip(_Operation):
    """Leave a cluster alone, whatever the automatic policy says."""

    op_type: Literal["skip"] = "skip"
    cluster_id: Identifier


Operation = Override | Merge | Subcluster | Relabel | Rescore | Skip
OPERATIONS: dict[str, type[_Operation]] = {
    "override": Override, "merge": Merge, "subcluster": Subcluster, "relabel": Relabel, "rescore": Rescore,
    "skip": Skip,
}
"""Kinds of operations in the order in which they are carried out."""

_Kind = TypeVar("_Kind", bound=_Operation)


class Plan(Parameters):
    """Operations on clusters, in the order in which they will be carried out.

    Attributes
    ----------
    version
        Of the file format.
    description
        Free text.
    metadata
        Where the plan comes from; plays no part in what is done nor in the checksum.
    auto_policy
        Settings of the automatic part, for plans that are combined with it.
    operations
        What to do.
    """

    version: Literal["1.0"] = "1.0"
    description: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    auto_policy: dict[str, Any] = Field(default_factory=dict)
    operations: tuple[Annotated[Operation, Discriminator("op_type")], ...] = ()

    @property
    def reviewer(self) -> str:
        """Who decided, as the metadata say; empty if they do not."""
        return str(self.metadata.get("reviewer") or "")

    def of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """Operations of one kind, by priority, then by cluster."""
        chosen = [op for op in self.operations if isinstance(op, kind)]
        return tuple(sorted(chosen, key=lambda op: (op.priority, [natural_key(c) for c in op.clusters])))

    @property
    def changes(self) -> tuple[Operation, ...]:
        """Operations that can change something (all but ``skip`` and ``rescore``)."""
        return tuple(op for op in self.operations if not isinstance(op, Skip | Rescore))

    def checksum(self) -> str:
        """Return a hash of what the plan does: equal plans have equal sums, whenever and however written."""
        rows = [op.model_dump(mode="json", exclude={"priority", "reason", "source"}) for op in self.operations]
        text = json.dumps(sorted(json.dumps(r, sort_keys=True) for r in rows))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def check(self, sizes: Mapping[str, int], hierarchy: Hierarchy, *, min_cells: int = 0) -> None:
        """Check the plan against the clusters and the hierarchy it is for.

        Parameters
        ----------
        sizes
            Number of cells by cluster.
        hierarchy
            Where labels to take must stand.
        min_cells
            Fewest cells of a cluster to split, where the operation names none.

        Raises
        ------
        ParameterError
            For clusters that do not exist, labels the hierarchy does not know and clusters with two operations;
            all at once, with close matches.
        """
        problems = [*self._unknown_clusters(sizes), *self._unknown_labels(hierarchy), *self._conflicts()]
        if problems:
            msg = f"the plan does not fit these clusters: {len(problems)} problem(s)"
            raise ParameterError(msg, problems)
        for label in [*(op.label for op in self.of(Override)), *(op.target_label for op in self.of(Merge))]:
            if label != "Unassigned" and not any(label in (n.name, n.path_text) for n in hierarchy.nodes):
                hint = did_you_mean(label, {n.name for n in hierarchy.nodes})
                msg = f"the label {label!r} is not in the hierarchy{hint}; it is used as written"
                warnings.warn(msg, CellkeyWarning, stacklevel=2)
        for op in self.of(Subcluster):
            least = min_cells if op.min_cells is None else op.min_cells
            if sizes[op.cluster_id] < least:
                msg = (f"cluster {op.cluster_id!r} has {sizes[op.cluster_id]} cells, fewer than the {least} needed for"
                       " a split (min_cells)")
                warnings.warn(msg, CellkeyWarning, stacklevel=2)

    def _unknown_clusters(self, sizes: Mapping[str, int]) -> Iterable[Problem]:
        few = f"clusters: {', '.join(sorted(sizes, key=natural_key)[:12])}"
        for op in self.operations:
            for cluster in op.clusters:
                if cluster not in sizes:
                    hint = did_you_mean(cluster, sizes)
                    yield Problem(f"there is no cluster {cluster!r}{hint}", op.op_type, "" if hint else few)

    def _unknown_labels(self, hierarchy: Hierarchy) -> Iterable[Problem]:
        for op in self.of(Relabel):
            try:
                find_label(hierarchy, op.label)
            except ParameterError as error:
                yield Problem(str(error), f"relabel of cluster {op.cluster_id!r}", "an override takes any label")
        for name in [*(op.label for op in self.of(Override)), *(op.target_label for op in self.of(Merge))]:
            if len(hierarchy.find(name)) > 1:
                paths = ", ".join(repr(n.path_text) for n in hierarchy.find(name))
                yield Problem(f"the label {name!r} stands for several cell types", "", f"write the path: {paths}")

    def _conflicts(self) -> Iterable[Problem]:
        named = Counter(c for op in self.operations for c in op.clusters)
        for cluster, times in sorted(named.items()):
            if times > 1:
                kinds = [op.op_type for op in self.operations if cluster in op.clusters]
                yield Problem(f"cluster {cluster!r} has {times} operations ({', '.join(kinds)})", "", "leave one")


def find_label(hierarchy: Hierarchy, label: str) -> int:
    """Return the position of the node that a path or a label names.

    Raises
    ------
    ParameterError
        If there is none (with close matches), or several nodes carry the label.
    """
    hits = [i for i, n in enumerate(hierarchy.nodes) if label in (n.path_text, n.name)]
    exact = [i for i in hits if hierarchy.nodes[i].path_text == label]
    if len(exact) == 1 or len(hits) == 1:
        return (exact or hits)[0]
    if hits:
        paths = ", ".join(repr(hierarchy.nodes[i].path_text) for i in hits)
        msg = f"the label {label!r} stands for several cell types: write the path ({paths})"
        raise ParameterError(msg)
    known = {n.name for n in hierarchy.nodes} | {n.path_text for n in hierarchy.nodes}
    msg = f"the hierarchy has no cell type {label!r}{did_you_mean(label, known)}"
    raise ParameterError(msg)
