"""The key: a tree of cell types, each with the markers that speak for and against it.

Identity of a node is its path from the root, so labels may repeat in different branches. Values here are
immutable and compare by content; the order of siblings and of markers is kept for display but means nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cellkey.errors import HierarchyError, Problem, did_you_mean
from cellkey.hierarchy.cell_type import NODE_KEYS, CellType, Path, as_path, common_path, path_text
from cellkey.hierarchy.frozen import FrozenDict, freeze, thaw
from cellkey.hierarchy.resolution import resolve_names

__all__ = ["Hierarchy", "UnknownNodeError"]

_EMPTY: Final = FrozenDict()


class UnknownNodeError(HierarchyError, KeyError):
    """A path that is not in the hierarchy."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hierarchy:
    """A tree (or several) of cell types; an immutable value.

    Parameters
    ----------
    nodes
        All cell types. They are put in depth-first order, parents before children, siblings as listed.
    name
        Short name for records and messages.
    metadata
        What the map says of itself (version, tissue, description, ...); JSON values.
    gating
        Gating parameters that the map carries, as read.
    cell_states
        Rules for cell states that the map carries, as read.

    Raises
    ------
    HierarchyError
        If there is no node, a path appears twice, or a parent is missing; all problems at once.

    Examples
    --------
    >>> tree = cellkey.Hierarchy((
    ...     cellkey.CellType(("Immune Cells",), markers=("PTPRC",)),
    ...     cellkey.CellType(("Immune Cells", "T Cells"), markers=("CD3D", "CD3E")),
    ... ))
    >>> [n.name for n in tree.children("Immune Cells")]
    ['T Cells']
    """

    nodes: tuple[CellType, ...]
    name: str = ""
    metadata: Mapping[str, Any] = _EMPTY
    gating: Mapping[str, Any] = _EMPTY
    cell_states: Mapping[str, Any] = _EMPTY
    _children: Mapping[Path, tuple[CellType, ...]] = field(init=False, default_factory=dict)
    _positions: Mapping[Path, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        children = _children_by_parent(self.nodes)
        nodes = tuple(_depth_first(children))
        metadata = dict(self.metadata)
        inner_name = str(metadata.pop("name", ""))
        values = {
            "nodes": nodes,
            "_children": children,
            "_positions": {n.path: i for i, n in enumerate(nodes)},
            "name": self.name or inner_name,
            "metadata": freeze(metadata, "metadata"),
            "gating": freeze(self.gating, "gating"),
            "cell_states": freeze(self.cell_states, "cell_states"),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    # --- reading the tree ---

    @property
    def roots(self) -> tuple[CellType, ...]:
        """Nodes without a parent, as listed."""
        return self._children[()]

    @property
    def leaves(self) -> tuple[CellType, ...]:
        """Nodes without children, depth first."""
        return tuple(n for n in self.nodes if n.path not in self._children)

    @property
    def depth(self) -> int:
        """Number of levels; 1 for a flat list of types."""
        return max(n.level for n in self.nodes) + 1

    def children(self, path: str | Sequence[str] = ()) -> tuple[CellType, ...]:
        """Return the children of a node as listed; those of the empty path are the roots."""
        return self._children.get(self._checked(path), ())

    def siblings(self, path: str | Sequence[str]) -> tuple[CellType, ...]:
        """Return the other children of the node's parent; for a root, the other roots."""
        own = self[path].path
        return tuple(n for n in self._children[own[:-1]] if n.path != own)

    def parent(self, path: str | Sequence[str]) -> CellType | None:
        """Return the node above, None for a root."""
        above = self[path].parent_path
        return None if above is None else self[above]

    def ancestors(self, path: str | Sequence[str]) -> tuple[CellType, ...]:
        """Return the nodes above, root first, without the node itself."""
        own = self[path].path
        return tuple(self[own[:i]] for i in range(1, len(own)))

    def descendants(self, path: str | Sequence[str]) -> tuple[CellType, ...]:
        """Return all nodes below, depth first, without the node itself."""
        start = self.index(path)
        own = self.nodes[start].path
        end = start + 1
        while end < len(self.nodes) and self.nodes[end].path[: len(own)] == own:
            end += 1
        return self.nodes[start + 1 : end]

    def index(self, path: str | Sequence[str]) -> int:
        """Return the position of a node in :attr:`nodes`."""
        return self._positions[self[path].path]

    def find(self, name: str) -> tuple[CellType, ...]:
        """Return all nodes whose own label is ``name``; labels may repeat in different branches."""
        return tuple(n for n in self.nodes if n.name == name)

    def lowest_common_ancestor(self, paths: Iterable[str | Sequence[str]]) -> Path | None:
        """Return the deepest path that all ``paths`` start with (itself included), or None."""
        return common_path(self[p].path for p in paths) or None

    def all_markers(self) -> tuple[str, ...]:
        """Return every name that any node, anti-marker list, requirement or veto uses, each once, sorted."""
        names = {m for n in self.nodes for m in (*n.markers, *n.anti_markers)}
        return tuple(sorted(names.union(*self.required_markers().values())))

    def required_markers(self) -> dict[str, tuple[str, ...]]:
        """Return the markers that the gating names, keyed ``"root_veto_markers.<root>"``."""
        found: dict[str, tuple[str, ...]] = {}
        for setting in ("root_hard_requirements", "root_veto_markers"):
            rules = self.gating.get(setting)
            for root, rule in rules.items() if isinstance(rules, Mapping) else ():
                names = _rule_markers(rule)
                if names:
                    found[f"{setting}.{root}"] = names
        return found

    # --- deriving other trees ---

    def restrict(self, keep: Callable[[CellType], bool] | Collection[str]) -> Hierarchy:
        """Return the part of the tree that ``keep`` selects.

        Parameters
        ----------
        keep
            Either a predicate: nodes for which it holds stay, with all their ancestors, so that paths do
            not change. Or a panel, the names of the measured genes or proteins: markers and anti-markers that
            cannot be resolved in it are dropped, and with them the nodes whose whole branch has none left.

        Raises
        ------
        HierarchyError
            If nothing is left.
        """
        if callable(keep):
            return self._with_nodes([n for n in self.nodes if keep(n)])
        found = resolve_names(self.all_markers(), list(keep)).found
        slim = {
            n.path: replace(
                n,
                markers=tuple(m for m in n.markers if m in found),
                anti_markers=tuple(m for m in n.anti_markers if m in found),
            )
            for n in self.nodes
        }
        return self._with_nodes([n for n in slim.values() if n.markers], slim)

    def without(self, paths: Iterable[str | Sequence[str]]) -> Hierarchy:
        """Return the tree without the named nodes and all that stands below them."""
        gone = {self[p].path for p in paths}
        prefixes = {n.path: [n.path[: i + 1] for i in range(len(n.path))] for n in self.nodes}
        return self._with_nodes([n for n in self.nodes if gone.isdisjoint(prefixes[n.path])])

    def _with_nodes(self, kept: Sequence[CellType], source: Mapping[Path, CellType] | None = None) -> Hierarchy:
        if not kept:
            msg = f"no cell type of {self.name or 'the hierarchy'} is left after the restriction"
            raise HierarchyError(msg)
        wanted = {n.path[: i + 1] for n in kept for i in range(len(n.path))}
        nodes = tuple((source[n.path] if source else n) for n in self.nodes if n.path in wanted)
        return Hierarchy(nodes, self.name, self.metadata, self.gating, self.cell_states)

    # --- plain form ---

    def to_dict(self, *, wrapped: bool = False) -> dict[str, Any]:
        """Return the flat marker map as plain values; ``wrapped`` nests the roots in one ``children``."""
        about = {**({"name": self.name} if self.name else {}), **thaw(self.metadata)}
        head = {
            "_marker_map_metadata": about,
            "_gating_params": thaw(self.gating),
            "_cell_state_markers": thaw(self.cell_states),
        }
        settings = {k: v for k, v in head.items() if v}
        roots = {n.name: self._node_dict(n) for n in self.roots}
        return {**settings, "children": roots} if wrapped else {**settings, **roots}

    def _node_dict(self, node: CellType) -> dict[str, Any]:
        values: dict[str, Any] = {"markers": list(node.markers), **node.settings()}
        below = self._children.get(node.path, ())
        if below:
            values["children"] = {n.name: self._node_dict(n) for n in below}
        return {k: values[k] for k in NODE_KEYS if k in values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Hierarchy:
        """Return the hierarchy of a marker map given as plain values, in any form the reader accepts."""
        from cellkey.hierarchy.reading import read_hierarchy

        return read_hierarchy(values)

    @property
    def digest(self) -> str:
        """SHA-256 of the content, the same for every order of siblings and markers; for records."""
        rows = sorted(
            json.dumps(
                [n.path, {k: sorted(v) if isinstance(v, list) else v for k, v in n.settings().items()}],
                sort_keys=True,
            )
            for n in self.nodes
        )
        head = json.dumps([self.name, self.metadata, self.gating, self.cell_states], sort_keys=True)
        return hashlib.sha256("\n".join([head, *rows]).encode()).hexdigest()

    # --- protocol ---

    def __getitem__(self, path: str | Sequence[str]) -> CellType:
        key = as_path(path)
        try:
            return self.nodes[self._positions[key]]
        except KeyError:
            raise self._unknown(key) from None

    def __contains__(self, path: object) -> bool:
        if isinstance(path, CellType):
            return path.path in self._positions
        return isinstance(path, str | tuple | list) and as_path(path) in self._positions

    def __iter__(self) -> Iterator[CellType]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"Hierarchy({name}{len(self)} cell types, {len(self.roots)} roots, {self.depth} levels)"

    def _key(self) -> tuple[Any, ...]:
        return (frozenset(self.nodes), self.name, self.metadata, self.gating, self.cell_states)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Hierarchy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _checked(self, path: str | Sequence[str]) -> Path:
        key = as_path(path)
        return key if not key else self[key].path

    def _unknown(self, path: Path) -> UnknownNodeError:
        same_name = [n.path_text for n in self.nodes if path and n.name.casefold() == path[-1].casefold()]
        if same_name:
            hint = f"; did you mean {' or '.join(map(repr, same_name[:3]))}?"
        else:
            hint = did_you_mean(path_text(path), [n.path_text for n in self.nodes])
        msg = f"{path_text(path)!r} is not in the hierarchy {self.name}".rstrip() + hint
        return UnknownNodeError(msg)


def _children_by_parent(nodes: Iterable[CellType]) -> dict[Path, tuple[CellType, ...]]:
    """Group nodes by the path of their parent, keeping the listed order; the roots stand under ``()``."""
    listed = list(nodes)
    known = {n.path for n in listed}
    problems = [] if listed else [Problem("it holds no cell type")]
    grouped: dict[Path, list[CellType]] = {}
    seen: set[Path] = set()
    for node in listed:
        if node.path in seen:
            problems.append(Problem("this path appears more than once", node.path_text))
        seen.add(node.path)
        if node.parent_path is not None and node.parent_path not in known:
            problems.append(Problem("its parent is missing", node.path_text))
        grouped.setdefault(node.path[:-1], []).append(node)
    if problems:
        msg = "the hierarchy cannot be used"
        raise HierarchyError(msg, problems)
    return {path: tuple(group) for path, group in grouped.items()}


def _depth_first(children: Mapping[Path, tuple[CellType, ...]]) -> Iterator[CellType]:
    waiting = list(reversed(children[()]))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children.get(node.path, ())))


def _rule_markers(rule: Any) -> tuple[str, ...]:
    if not isinstance(rule, Mapping):
        return ()
    names: list[Any] = []
    for key in ("marker", "markers"):
        value = rule.get(key, ())
        names += [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
    return tuple(n for n in names if isinstance(n, str))
