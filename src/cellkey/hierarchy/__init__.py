"""Marker hierarchies: cell types as a tree, their markers, and where both come from.

Identity of a cell type is its path from the root, so labels may repeat and order never matters.
Nothing here knows of expression data; names of measured genes and proteins are plain lists of text.
"""

from cellkey.hierarchy.catalogue import DEFAULT, builtin_names, get_builtin, list_builtin
from cellkey.hierarchy.cell_type import CellType, Path, as_path, label_problem, path_text
from cellkey.hierarchy.compiling import CompiledHierarchy, compile_for_panel
from cellkey.hierarchy.findings import Finding
from cellkey.hierarchy.identifiability import identifiability, separating_genes
from cellkey.hierarchy.matching import match_hierarchy, suggest_hierarchies
from cellkey.hierarchy.panel import panel_report
from cellkey.hierarchy.reading import lint_hierarchy, read_hierarchy
from cellkey.hierarchy.resolution import Resolution, no_marker_measured, resolve_names
from cellkey.hierarchy.show import tree_text
from cellkey.hierarchy.tables import TableOptions
from cellkey.hierarchy.tree import Hierarchy, UnknownNodeError
from cellkey.hierarchy.writing import format_hierarchy, write_hierarchy

__all__ = [
    "DEFAULT",
    "CellType",
    "CompiledHierarchy",
    "Finding",
    "Hierarchy",
    "Path",
    "Resolution",
    "TableOptions",
    "UnknownNodeError",
    "as_path",
    "builtin_names",
    "compile_for_panel",
    "format_hierarchy",
    "get_builtin",
    "identifiability",
    "label_problem",
    "lint_hierarchy",
    "list_builtin",
    "match_hierarchy",
    "no_marker_measured",
    "panel_report",
    "path_text",
    "read_hierarchy",
    "resolve_names",
    "separating_genes",
    "suggest_hierarchies",
    "tree_text",
    "write_hierarchy",
]
