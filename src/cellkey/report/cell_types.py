"""The cell types that a page names: all of the hierarchy where the run holds it, and those that tables name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from cellkey import _keys
from cellkey.hierarchy import builtin_names, get_builtin
from cellkey.plots.colours import hierarchy_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cellkey.report.reading import DatasetTables

__all__ = ["CellTypes", "cell_types"]

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


def cell_types(datasets: Iterable[DatasetTables]) -> CellTypes:
    """Return the cell types of all datasets of a run."""
    ontology: dict[str, str] = {}
    of_hierarchy: dict[str, None] = {}
    others: dict[str, None] = {}
    for dataset in datasets:
        for path, identifier in (*_of_hierarchy(dataset.cells), *_of_builtin(dataset.hierarchy)):
            of_hierarchy[path] = None
            if identifier:
                ontology[path] = identifier
        if "marker_scores" in dataset.tables:  # has every type of the hierarchy, scored or not
            of_hierarchy.update(dict.fromkeys(map(str, dataset.tables["marker_scores"]["path"].unique())))
        others.update(dict.fromkeys(_named_elsewhere(dataset)))
    paths = tuple(_in_tree_order([*of_hierarchy, *others]))
    return CellTypes(paths, ontology, _colours(paths, of_hierarchy))


def _named_elsewhere(dataset: DatasetTables) -> Iterator[str]:
    for table, column in (("decision_steps", "child_path"), ("marker_evidence", "path")):
        if table in dataset.tables:
            yield from (str(p) for p in dataset.tables[table][column].unique() if p)
    for name in ("consensus", "consensus_votes", "calls"):
        yield from (row["path"] for row in dataset.beside.get(name, ()) if row.get("path"))


def _colours(paths: Iterable[str], of_hierarchy: Iterable[str]) -> dict[str, str]:
    """Colours by path. What else a run names changes no colour of the hierarchy, so they agree between samples."""
    given = hierarchy_colours(p.split(_SEPARATOR) for p in of_hierarchy)
    own = hierarchy_colours(p.split(_SEPARATOR) for p in paths)
    return {p: given.get(key, own[key]) for p in paths for key in [tuple(p.split(_SEPARATOR))]}


def _of_hierarchy(file: Path | None) -> list[tuple[str, str]]:
    """Paths and Cell Ontology ids as the annotation recorded them in the file of the cells."""
    if file is None:
        return []
    try:
        with h5py.File(file, "r") as h5:
            text = h5[f"uns/{_keys.MARKER_MAP}"][()]
        nodes = json.loads(text)["nodes"]
        return [(str(n["path"]), str(n.get("ontology_id") or "")) for n in nodes]
    except (OSError, KeyError, TypeError, ValueError):
        return []


def _of_builtin(name: str) -> list[tuple[str, str]]:
    """Paths and Cell Ontology ids of a built-in hierarchy; none for any other name."""
    if name not in builtin_names():
        return []
    return [(n.path_text, n.ontology_id or "") for n in get_builtin(name).nodes]


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
