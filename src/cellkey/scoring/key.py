"""A hierarchy as a data set measures it: every listed name resolved to a column, or known to be missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cellkey.hierarchy.resolution import Resolution, resolve_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["MeasuredKey", "measure_key"]

Indices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeasuredKey:
    """A hierarchy with its markers as columns of a data set.

    Attributes
    ----------
    hierarchy
        The tree; all per-node tuples follow ``hierarchy.nodes``.
    var_names
        Names of the data set's columns, shape (genes,).
    resolution
        How each listed name was found.
    markers, anti_markers
        Columns of each node's markers and anti-markers, each column once, in listed order.
    missing_markers, missing_anti_markers
        Listed names that are not measured.
    usable
        Whether a column varies over the cells and may enter a score; shape (genes,).
    positions
        Column of each name; the first of equal ones.
    """

    hierarchy: Hierarchy
    var_names: NDArray[np.object_]
    resolution: Resolution
    markers: tuple[Indices, ...]
    anti_markers: tuple[Indices, ...]
    missing_markers: tuple[tuple[str, ...], ...]
    missing_anti_markers: tuple[tuple[str, ...], ...]
    usable: NDArray[np.bool_]
    positions: Mapping[str, int] = field(repr=False, compare=False)

    @property
    def n_nodes(self) -> int:
        """Number of cell types."""
        return len(self.hierarchy.nodes)

    @property
    def parents(self) -> NDArray[np.int64]:
        """Position of each node's parent, -1 for roots."""
        tree = self.hierarchy
        return np.array([-1 if n.parent_path is None else tree.index(n.parent_path) for n in tree.nodes])

    @property
    def levels(self) -> NDArray[np.int64]:
        """Level of each node; roots are 0."""
        return np.array([n.level for n in self.hierarchy.nodes])

    @property
    def n_listed(self) -> NDArray[np.int64]:
        """Number of listed markers per node."""
        return np.array([len(n.markers) for n in self.hierarchy.nodes])

    def used_columns(self) -> NDArray[np.intp]:
        """All columns that some node lists as marker, in column order."""
        return np.unique([i for part in self.markers for i in part]).astype(np.intp)

    def column(self, name: str) -> int | None:
        """Column that a listed name resolved to, or None."""
        found = self.resolution.found.get(name)
        if found is None:
            return None
        return self.positions.get(found)

    def names(self, columns: Iterable[int]) -> tuple[str, ...]:
        """Column names."""
        return tuple(str(self.var_names[i]) for i in columns)


def _first_positions(var_names: Sequence[str] | NDArray[np.object_]) -> dict[str, int]:
    names = [str(name) for name in var_names]
    # The first of equal names is set last.
    return dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))


def measure_key(
    hierarchy: Hierarchy,
    var_names: Sequence[str] | NDArray[np.object_],
    *,
    usable: NDArray[np.bool_] | None = None,
    var_columns: Mapping[str, Sequence[str]] | None = None,
    also: Iterable[str] = (),
    resolution: Resolution | None = None,
) -> MeasuredKey:
    """Resolve all names of a hierarchy in a data set.

    Parameters
    ----------
    hierarchy
        The tree of cell types.
    var_names
        Column names of the data set.
    usable
        Columns that vary; those that do not are listed as missing with the suffix ``(constant)``.
    var_columns
        Further names per column, such as ``gene_symbols``.
    also
        Further names to resolve, for example markers of requirements given on the command line.
    resolution
        The answer of :func:`~cellkey.hierarchy.resolution.resolve_names` for all of these names, if it is known.
    """
    names = np.asarray(var_names, dtype=object)
    listed = dict.fromkeys([*hierarchy.all_markers(), *also])
    if resolution is None:
        resolution = resolve_names(list(listed), [str(n) for n in names], var_columns=var_columns)
    positions = _first_positions(names)
    varies = np.ones(len(names), dtype=bool) if usable is None else usable

    def split(wanted: Sequence[str]) -> tuple[Indices, tuple[str, ...]]:
        columns: dict[int, None] = {}
        missing: list[str] = []
        for name in wanted:
            found = resolution.found.get(name)
            column = None if found is None else positions[found]
            if column is None:
                missing.append(name)
            elif not varies[column]:
                missing.append(f"{name} (constant)")
            else:
                columns[column] = None
        return tuple(columns), tuple(missing)

    def both(node: CellType) -> tuple[tuple[Indices, tuple[str, ...]], tuple[Indices, tuple[str, ...]]]:
        return split(node.markers), split(node.anti_markers)

    parts = [both(node) for node in hierarchy.nodes]
    return MeasuredKey(
        hierarchy=hierarchy,
        var_names=names,
        resolution=resolution,
        markers=tuple(p[0][0] for p in parts),
        anti_markers=tuple(p[1][0] for p in parts),
        missing_markers=tuple(p[0][1] for p in parts),
        missing_anti_markers=tuple(p[1][1] for p in parts),
        usable=varies,
        positions=positions,
    )
