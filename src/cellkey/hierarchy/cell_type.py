"""A cell type of a hierarchy, the markers that speak for and against it, and the path that is its identity."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cellkey.errors import HierarchyError, Problem
from cellkey.hierarchy.frozen import FrozenDict, freeze, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "NODE_KEYS", "PATH_SEPARATOR", "CellType", "Path", "as_path", "common_path", "label_problem", "path_of_text",
    "path_text",
]

Path: TypeAlias = tuple[str, ...]
"""Labels from the root to a node."""

PATH_SEPARATOR: Final = " / "

NODE_KEYS: Final = (
    "markers",
    "anti_markers",
    "children",
    "gating_overrides",
    "ontology_id",
    "description",
    "aliases",
    "source",
    "min_markers_present",
    "metadata",
)
"""Names of a node's own settings in a marker map, in written order."""

_RESERVED: Final = frozenset(NODE_KEYS) | {"Anti_markers", "subtypes", "positive_markers", "negative_markers"}
_EMPTY: Final = FrozenDict()


def path_text(path: Sequence[str]) -> str:
    """Return the labels of ``path`` joined by space, slash, space."""
    return PATH_SEPARATOR.join(path)


def as_path(path: str | Sequence[str]) -> Path:
    """Return a path as a tuple, from a tuple, a list or text such as ``"Immune Cells / Lymphoids"``."""
    return tuple(path.split(PATH_SEPARATOR)) if isinstance(path, str) else tuple(path)


def path_of_text(text: object) -> Path:
    """Return the path that a table holds as text; empty where it holds none."""
    return as_path(text) if isinstance(text, str) and text else ()


def common_path(paths: Iterable[Path]) -> Path:
    """Return the labels that all paths begin with: their lowest common ancestor, empty if there is none."""
    shared: list[str] = []
    for labels in zip(*paths, strict=False):
        if len(set(labels)) > 1:
            break
        shared.append(labels[0])
    return tuple(shared)


def label_problem(label: str) -> str:
    """Return why ``label`` cannot name a cell type, or an empty string."""
    if not isinstance(label, str) or not label.strip():
        return "a cell type without a name"
    if label != label.strip():
        return f"label {label!r} starts or ends with a space"
    if PATH_SEPARATOR in label:
        return f"label {label!r} holds ' / ', which separates the levels of a path"
    if "~" in label:
        return f"label {label!r} holds '~', which joins the two labels of an ambiguous call"
    if label.startswith("_"):
        return f"label {label!r} starts with '_', which marks settings"
    if label in _RESERVED:
        return f"label {label!r} is the name of a setting"
    if not label.isprintable():
        return f"label {label!r} holds a control character"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class CellType:
    """One node of a hierarchy.

    Parameters
    ----------
    path
        Labels from the root to this node; the identity of the node.
    markers, anti_markers
        Names of genes or proteins that speak for and against the type. Order means nothing.
    ontology_id
        Cell Ontology id such as ``"CL:0000084"``.
    gating_overrides
        Limits that replace those of the node's level, for example ``{"min_coverage": 0.2}``.
    description, aliases
        One sentence, and other names of the same type.
    source
        Where the marker list comes from.
    min_markers_present
        Fewest markers that must be measured for the node to be scored; None takes the method's own value.
    metadata
        Anything else that should travel with the node; JSON values.

    Examples
    --------
    >>> cell_type = cellkey.CellType(("Immune Cells", "T Cells"), markers=("CD3D", "CD3E"), anti_markers=("CD79A",))
    >>> cell_type.path_text, cell_type.level
    ('Immune Cells / T Cells', 1)
    """

    path: Path
    markers: tuple[str, ...] = ()
    anti_markers: tuple[str, ...] = ()
    ontology_id: str | None = None
    gating_overrides: Mapping[str, float | bool] = _EMPTY
    description: str = ""
    aliases: tuple[str, ...] = ()
    source: str = ""
    min_markers_present: int | None = None
    metadata: Mapping[str, Any] = _EMPTY

    def __post_init__(self) -> None:
        for name in ("path", "markers", "anti_markers", "aliases"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        for name in ("gating_overrides", "metadata"):
            object.__setattr__(self, name, freeze(getattr(self, name), name))
        problems = _node_problems(self)
        if problems:
            msg = f"cell type {path_text(self.path)!r} cannot be used"
            raise HierarchyError(msg, problems)

    @property
    def name(self) -> str:
        """The node's own label, the last of its path."""
        return self.path[-1]

    @property
    def level(self) -> int:
        """Number of nodes above; 0 for a root."""
        return len(self.path) - 1

    @property
    def parent_path(self) -> Path | None:
        """Path of the parent, None for a root."""
        return self.path[:-1] or None

    @property
    def lineage(self) -> str:
        """Label of the root this node stands under."""
        return self.path[0]

    @property
    def path_text(self) -> str:
        """The path as text, ``"Immune Cells / Lymphoids / T Cells"``."""
        return PATH_SEPARATOR.join(self.path)

    @property
    def is_grouping(self) -> bool:
        """Whether the node lists no markers of its own and only holds other nodes together."""
        return not self.markers

    def _key(self) -> tuple[Any, ...]:
        return (
            self.path,
            frozenset(self.markers),
            frozenset(self.anti_markers),
            self.ontology_id,
            self.gating_overrides,
            self.description,
            frozenset(self.aliases),
            self.source,
            self.min_markers_present,
            self.metadata,
        )

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, CellType) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, as plain JSON values without children."""
        values = {
            "markers": list(self.markers),
            "anti_markers": list(self.anti_markers),
            "gating_overrides": thaw(self.gating_overrides),
            "ontology_id": self.ontology_id,
            "description": self.description,
            "aliases": list(self.aliases),
            "source": self.source,
            "min_markers_present": self.min_markers_present,
            "metadata": thaw(self.metadata),
        }
        return {k: v for k, v in values.items() if v not in (None, "", [], {})}


def _node_problems(node: CellType) -> list[Problem]:
    problems = [Problem(p) for p in map(label_problem, node.path) if p]
    if not node.path:
        problems.append(Problem("the path is empty"))
    for name in ("markers", "anti_markers", "aliases"):
        values: tuple[str, ...] = getattr(node, name)
        nameless = [v for v in values if not isinstance(v, str) or not v.strip()]
        problems += [Problem(f"{v!r} is not a name", name) for v in nameless]
        repeated = sorted(str(v) for v, n in Counter(values).items() if n > 1)
        problems += [Problem(f"{v!r} is listed more than once", name) for v in repeated]
    against = set(node.anti_markers)
    both = [m for m in node.markers if m in against]
    problems += [Problem(f"{m!r} is listed both as marker and as anti-marker") for m in both]
    return problems
