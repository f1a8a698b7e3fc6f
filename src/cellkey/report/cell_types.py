"""The cell types that a page names: all of the hierarchy where the run holds it, and those that tables name."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from cellkey import _keys
from cellkey.errors import CellkeyError
from cellkey.hierarchy import builtin_names, get_builtin, read_hierarchy
from cellkey.plots.colours import hierarchy_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cellkey.hierarchy import Hierarchy
    from cellkey.report.reading import DatasetTables

__all__ = ["CellTypes", "cell_types", "hierarchy_of"]

_SEPARATOR = " / "


@dataclass(frozen=True)
class CellTypes:
    """Cell types in tree order: every parent before its subtypes.

    Attributes
    ----------
    paths
        As text, joined by ' / '.
    ontology
        Cell Ontology ids by path.
    colours
        By path.
    """

    paths: tuple[str, ...]
    ontology: dict[str, str]
    colours: dict[str, str]

    def rows(self) -> list[list[Any]]:
        """Name, position of the parent (-1 for none), colour and Cell Ontology id of each, for the page."""
        place = {p: i for i, p in enumerate(self.paths)}
        return [
            [p.split(_SEPARATOR)[-1], place.get(p.rpartition(_SEPARATOR)[0], -1), self.colours[p],
             self.ontology.get(p, "")]
            for p in self.paths
        ]


def cell_types(datasets: Iterable[DatasetTables], trees: Iterable[Hierarchy | None]) -> CellTypes:
    """Return the cell types of all datasets of a run and of their hierarchies."""
    ontology: dict[str, str] = {}
    of_hierarchy: dict[str, None] = {}
    others: dict[str, None] = {}
    for dataset, tree in zip(datasets, trees, strict=True):
        for node in tree.nodes if tree else ():
            of_hierarchy[node.path_text] = None
            if node.ontology_id:
                ontology[node.path_text] = node.ontology_id
        if "marker_scores" in dataset.tables:  # has every type of the hierarchy, scored or not
            of_hierarchy.update(dict.fromkeys(map(str, dataset.tables["marker_scores"]["path"].unique())))
        others.update(dict.fromkeys(_named_elsewhere(dataset)))
    paths = tuple(_in_tree_order([*of_hierarchy, *others]))
    return CellTypes(paths, ontology, _colours(paths, of_hierarchy))


def _named_elsewhere(dataset: DatasetTables) -> Iterator[str]:
    for table, column in (("decision_steps", "child_path"), ("marker_evidence", "path")):
        if table in dataset.tables:
            yield from (str(p) for p in dataset.tables[table][column].unique() if p)
    if "cluster_annotations" in dataset.tables:  # a path without a separator may be a name that a person gave
        yield from (p for p in dataset.tables["cluster_annotations"]["assigned_path"].astype(str) if _SEPARATOR in p)
    for name in ("consensus", "consensus_votes", "calls"):
        yield from (row["path"] for row in dataset.beside.get(name, ()) if row.get("path"))


def _colours(paths: Iterable[str], of_hierarchy: Iterable[str]) -> dict[str, str]:
    """Colours by path. What else a run names changes no colour of the hierarchy, so they agree between samples."""
    given = hierarchy_colours(p.split(_SEPARATOR) for p in of_hierarchy)
    own = hierarchy_colours(p.split(_SEPARATOR) for p in paths)
    return {p: given.get(key, own[key]) for p in paths for key in [tuple(p.split(_SEPARATOR))]}


def hierarchy_of(dataset: DatasetTables) -> Hierarchy | None:
    """Return the hierarchy that the cells of a dataset keep, else the built-in one that it names, else None."""
    try:
        if dataset.cells is not None:
            with h5py.File(dataset.cells, "r") as h5, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is doubtful in it was said when the cells were annotated
                return read_hierarchy(json.loads(h5[f"uns/{_keys.MARKER_MAP}"][()])["source"])
    except (CellkeyError, OSError, KeyError, TypeError, ValueError):
        pass
    return get_builtin(dataset.hierarchy) if dataset.hierarchy in builtin_names() else None


def _in_tree_order(paths: Iterable[str]) -> list[str]:
    """Depth first; siblings in the order in which they come; parents that nothing names are added."""
    children: dict[str, dict[str, None]] = {}
    for path in paths:
        parts = path.split(_SEPARATOR)
        for depth in range(len(parts)):
            above, own = _SEPARATOR.join(parts[:depth]), _SEPARATOR.join(parts[: depth + 1])
            children.setdefault(above, {})[own] = None
    found: list[str] = []
    stack = list(children.get("", {}))[::-1]
    while stack:
        path = stack.pop()
        found.append(path)
        stack.extend(list(children.get(path, {}))[::-1])
    return found
