"""Built-in hierarchies by name and by free text, and programs as text, dictionaries and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cellkey.compat.hierannot.programs import MarkerProgram, as_programs, described
from cellkey.errors import HierarchyError, did_you_mean
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

__all__ = [
    "BUILTIN_NAMES",
    "compose_hierarchy",
    "describe_builtin_hierarchy",
    "describe_hierarchy",
    "format_hierarchy_tree",
    "get_builtin_hierarchy",
    "get_builtin_programs",
    "hierarchy_from_dict",
    "hierarchy_to_dict",
    "list_builtin_hierarchies",
    "list_builtin_programs",
    "load_hierarchy",
    "match_builtin_hierarchy",
    "print_hierarchy_tree",
    "save_hierarchy",
    "suggest_builtin_hierarchies",
]

BUILTIN_NAMES: Final = (
    "immune_core", "solid_tissue_core", "brain_core", "tme_core", "colon_tme", "kidney_tme", "tonsil_tme",
    "breast_tme", "pancreas_tme", "liver_tme", "lung_tme", "skin_tme",
)
"""Hierarchies of the published package, in its order."""

_ABOUT = ("category", "tissue_scope", "description")
_OF_PROGRAM = ("category", "tissue_scope", "role", "lineage_module", "requires_ancestor_support",
               "fallback_to_parent")


def list_builtin_hierarchies() -> pd.DataFrame:
    """Return one row per built-in hierarchy: name, category, tissue_scope, description and numbers of programs."""
    import pandas as pd

    from cellkey.hierarchy.catalogue import get_builtin

    rows = []
    for name in BUILTIN_NAMES:
        tree = get_builtin(name)
        about = {key: str(tree.metadata.get(key, "")) for key in _ABOUT}
        rows.append({"name": name, **about, "n_root_programs": len(tree.roots), "n_total_programs": len(tree)})
    return pd.DataFrame(rows).sort_values(["category", "name"], ignore_index=True)


def get_builtin_hierarchy(name: str, copy: bool = True) -> list[MarkerProgram]:
    """Return the root programs of a built-in hierarchy; always a fresh copy.

    Raises
    ------
    HierarchyError
        If there is none of this name, with close matches.
    """
    del copy
    from cellkey.hierarchy.catalogue import get_builtin

    return as_programs(get_builtin(str(name)))


def describe_hierarchy(programs: Sequence[MarkerProgram]) -> pd.DataFrame:
    """Return name, level, parent, numbers of markers and children, and metadata of every program."""
    return described(programs)


def describe_builtin_hierarchy(name: str) -> pd.DataFrame:
    """Return the same for a built-in hierarchy, with its name in the column ``pack``."""
    return described(get_builtin_hierarchy(name)).assign(pack=name)


def list_builtin_programs(category: str | None = None, tissue_scope: str | None = None) -> pd.DataFrame:
    """Return one row per program of all built-in hierarchies, sorted by pack and name."""
    import pandas as pd

    rows = []
    for pack in BUILTIN_NAMES:
        for program in get_builtin_programs(pack):
            about = {key: program.metadata.get(key) for key in _OF_PROGRAM}
            rows.append({
                "pack": pack, "name": program.name, "description": program.description, **about,
                "n_positive_markers": len(program.positive_markers),
                "n_negative_markers": len(program.negative_markers), "n_children": len(program.children),
                "aliases": program.aliases,
            })
    table = pd.DataFrame(rows).sort_values(["pack", "name"], ignore_index=True)
    for column, wanted in (("category", category), ("tissue_scope", tissue_scope)):
        if wanted is not None:
            table = table[table[column] == wanted]
    return table.reset_index(drop=True)


def get_builtin_programs(pack_name: str, names: Sequence[str] | None = None) -> list[MarkerProgram]:
    """Return all programs of a built-in hierarchy, parents before subtypes, or those of some names.

    Raises
    ------
    HierarchyError
        If a name is not in the hierarchy.
    """
    found = list(_flat(get_builtin_hierarchy(pack_name)))
    if names is None:
        return found
    by_name = {p.name: p for p in found}
    unknown = [n for n in names if n not in by_name]
    if unknown:
        msg = f"{pack_name} has no program {unknown[0]!r}{did_you_mean(unknown[0], by_name)}"
        raise HierarchyError(msg)
    return [by_name[n] for n in names]


def _flat(programs: Iterable[MarkerProgram]) -> Iterable[MarkerProgram]:
    for program in programs:
        yield program
        yield from _flat(program.children)


def compose_hierarchy(*pack_names: str, deduplicate_roots: bool = True) -> list[MarkerProgram]:
    """Return the roots of several built-in hierarchies; of roots with one name the first is kept."""
    roots: dict[str, MarkerProgram] = {}
    listed: list[MarkerProgram] = []
    for name in pack_names:
        for root in get_builtin_hierarchy(name):
            listed.append(root)
            roots.setdefault(root.name, root)
    return list(roots.values()) if deduplicate_roots else listed


def match_builtin_hierarchy(query: str, fallback: str = "tme_core", fuzzy_cutoff: float = 0.75) -> str:
    """Return the name of the built-in hierarchy that best fits a description, else ``fallback``."""
    from cellkey.hierarchy.matching import match_hierarchy

    return str(match_hierarchy(query, fallback=fallback, fuzzy_cutoff=fuzzy_cutoff, mode="hierannot-0.7"))


def suggest_builtin_hierarchies(query: str, top_k: int = 5, fuzzy_cutoff: float = 0.75) -> pd.DataFrame:
    """Return the built-in hierarchies ranked by how well they fit a description."""
    from cellkey.hierarchy.matching import suggest_hierarchies

    return suggest_hierarchies(query, top_k=top_k, fuzzy_cutoff=fuzzy_cutoff, mode="hierannot-0.7")


def format_hierarchy_tree(programs: Sequence[MarkerProgram], indent: str = "  ") -> str:
    """Return the programs as text, one line each: name, numbers of markers for and against, children."""
    lines = []
    for row in (row for program in programs for row in program.iter_nodes()):
        counts = f"+{row['n_positive_markers']}, -{row['n_negative_markers']}, children={row['n_children']}"
        lines.append(f"{indent * (row['level'] - 1)}- {row['name']} ({counts})")
    return "\n".join(lines)


def print_hierarchy_tree(programs: Sequence[MarkerProgram], indent: str = "  ") -> None:
    """Print the programs as text."""
    print(format_hierarchy_tree(programs, indent))


def hierarchy_to_dict(programs: Sequence[MarkerProgram]) -> list[dict[str, Any]]:
    """Return the programs as plain values."""
    return [program.to_dict() for program in programs]


def hierarchy_from_dict(values: Sequence[dict[str, Any]]) -> list[MarkerProgram]:
    """Return programs from plain values."""
    return [MarkerProgram.from_dict(value) for value in values]


def save_hierarchy(programs: Sequence[MarkerProgram], path: str | Path, indent: int = 2) -> None:
    """Write the programs as a JSON list, UTF-8."""
    write_text(path, json.dumps(hierarchy_to_dict(programs), indent=indent, ensure_ascii=False) + "\n")


def load_hierarchy(path: str | Path) -> list[MarkerProgram]:
    """Read programs from a JSON list.

    Raises
    ------
    HierarchyError
        If the file holds something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        msg = f"{path} is not valid JSON: line {error.lineno}: {error.msg}"
        raise HierarchyError(msg) from None
    if not isinstance(values, list):
        msg = f"{path} must hold a list of programs, but holds {type(values).__name__}"
        raise HierarchyError(msg)
    return hierarchy_from_dict(values)


