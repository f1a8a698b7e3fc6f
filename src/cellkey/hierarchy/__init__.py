"""Marker hierarchies: cell types as a tree, their markers, and where both come from.

Identity of a cell type is its path from the root, so labels may repeat and order never matters.
Nothing here knows of expression data; names of measured genes and proteins are plain lists of text.
"""

from cellkey.hierarchy.resolution import Resolution, no_marker_measured, resolve_names
from cellkey.hierarchy.tree import (
    CellType,
    Hierarchy,
    Path,
    UnknownNodeError,
    as_path,
    label_problem,
    path_text,
)

__all__ = [
    "CellType",
    "Hierarchy",
    "Path",
    "Resolution",
    "UnknownNodeError",
    "as_path",
    "label_problem",
    "no_marker_measured",
    "path_text",
    "resolve_names",
]
