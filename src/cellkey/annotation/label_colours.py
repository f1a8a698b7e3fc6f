"""Colours of labels of any origin: what a label stands for in a hierarchy decides, so that all sources agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.calls.label_mapping import LabelMapper, MappedLabel
from cellkey.plots.colours import UNASSIGNED, hierarchy_colours, lineage_colours, path_colour
from cellkey.records.vocabulary import LabelMatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.hierarchy import Hierarchy

__all__ = ["column_colours", "label_colours"]


def label_colours(labels: Mapping[str, str], hierarchy: Hierarchy) -> dict[str, tuple[str, MappedLabel]]:
    """Return the colour of each label, and the type of the hierarchy that it stands for.

    Parameters
    ----------
    labels
        Cell Ontology id by label, empty where none is known. ``A~B``, between which no decision was made, counts as
        ``A``.
    hierarchy
        Gives the colours of its types to the labels that name them (by name, alias or Cell Ontology id).

    Notes
    -----
    A label that is a kind of a type has a shade of its colour. One that is found nowhere has a colour that no lineage
    of the hierarchy has; it follows from the label, and from others like it only where they compete for a colour.
    """
    by_path = hierarchy_colours(n.path for n in hierarchy.nodes)
    by_name: dict[str, tuple[str, ...]] = {}
    for node in hierarchy.nodes:
        by_name.setdefault(node.name, node.path)
    mapper = LabelMapper(hierarchy)

    def place(label: str, term: str) -> MappedLabel:
        first = label.split("~")[0]
        path = by_name.get(first)
        return MappedLabel(label, path, LabelMatch.NAME) if path else mapper(first, term)

    places = {label: place(label, term) for label, term in labels.items()}
    foreign = (label for label, found in places.items() if found.match is LabelMatch.UNMAPPED)
    own = lineage_colours(foreign, taken={by_path[n.path] for n in hierarchy.roots})

    def colour(label: str, found: MappedLabel) -> str:
        if found.match is LabelMatch.BROADER:
            return path_colour((found.path[-1], label), {found.path[-1]: by_path[found.path]})
        return by_path[found.path] if found.path else own.get(label, UNASSIGNED)

    return {label: (colour(label, found), found) for label, found in places.items()}


def column_colours(
    columns: Mapping[str, Any], hierarchy: Hierarchy, terms: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return ``uns["<column>_colors"]`` for categorical columns of labels, as scanpy reads them.

    Parameters
    ----------
    columns
        Categorical values by column.
    hierarchy
        See :func:`label_colours`.
    terms
        Cell Ontology ids by label.
    """
    names = {c: [str(n) for n in getattr(v, "cat", v).categories] for c, v in columns.items()}
    found = label_colours({n: (terms or {}).get(n, "") for own in names.values() for n in own}, hierarchy)
    return {_keys.colours(c): np.array([found[n][0] for n in own], dtype="U7") for c, own in names.items()}
