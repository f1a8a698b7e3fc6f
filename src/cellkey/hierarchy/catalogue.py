"""Built-in hierarchies: one file each under ``data/``, in the form users write themselves."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from cellkey.errors import HierarchyError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.records.schema import TableSchema

__all__ = [
    "DEFAULT",
    "builtin_for_tissue",
    "builtin_names",
    "builtin_schema",
    "builtin_text",
    "default_for",
    "get_builtin",
    "list_builtin",
]

DEFAULT: Final = "default"
"""Name of the hierarchy that is used when none is named."""

PROTEIN: Final = "protein"
"""Name of the one used for protein panels."""

_LARGEST_PROTEIN_PANEL: Final = 100


@cache
def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in hierarchies, the default first, then by name."""
    files = (resources.files("cellkey.hierarchy") / "data").iterdir()
    names = sorted(f.name.removesuffix(".json") for f in files if f.name.endswith(".json"))
    return (DEFAULT, *(n for n in names if n != DEFAULT))


def builtin_text(name: str) -> str:
    """Return the file of a built-in hierarchy, as it ships."""
    _check_name(name)
    return (resources.files("cellkey.hierarchy") / "data" / f"{name}.json").read_text(encoding="utf-8")


@cache
def get_builtin(name: str = DEFAULT) -> Hierarchy:
    """Return a built-in hierarchy.

    Raises
    ------
    HierarchyError
        If there is none of this name, with close matches.
    """
    from cellkey.hierarchy.reading import read_hierarchy

    _check_name(name)
    return read_hierarchy(name)


def default_for(values: str, n_vars: int) -> str:
    """Return the name of the hierarchy to use when none is named.

    Parameters
    ----------
    values
        ``"counts"``, ``"log-normalised"`` or ``"intensity"``.
    n_vars
        Number of variables. Intensities of at most 100 variables are taken for a protein panel, which tells
        types apart by one or two markers each.
    """
    return PROTEIN if values == "intensity" and n_vars <= _LARGEST_PROTEIN_PANEL else DEFAULT


def list_builtin(category: str | None = None) -> pd.DataFrame:
    """Return one row per built-in hierarchy; the columns are those of :func:`builtin_schema`.

    Parameters
    ----------
    category
        Only those of one kind: ``"general"``, ``"tissue"`` (maps of tissues for annotation), or those of the
        published programs, ``"tme"``, ``"immune"``, ``"brain"``, ``"solid_tissue"``, ``"tissue_detection"``.

    Raises
    ------
    HierarchyError
        If there is no such category.
    """
    trees = {name: get_builtin(name) for name in builtin_names()}
    kinds = {name: str(tree.metadata.get("category", "general")) for name, tree in trees.items()}
    if category is not None and category not in kinds.values():
        known = sorted(set(kinds.values()))
        msg = f"there is no category {category!r}{did_you_mean(category, known)} (categories: {', '.join(known)})"
        raise HierarchyError(msg)
    return builtin_schema().frame(
        {
            "name": name,
            "category": kinds[name],
            "tissue": str(tree.metadata.get("tissue", "")),
            "description": str(tree.metadata.get("description", "")),
            "version": str(tree.metadata.get("version", "")),
            "n_roots": len(tree.roots),
            "n_cell_types": len(tree),
            "n_levels": tree.depth,
            "n_markers": len(tree.all_markers()),
        }
        for name, tree in trees.items()
        if category in (None, kinds[name])
    )


def builtin_for_tissue(text: str) -> str:
    """Return the name of the built-in hierarchy of a tissue, or of that name.

    Raises
    ------
    HierarchyError
        If no built-in hierarchy has this name or fits this tissue.
    """
    from cellkey.hierarchy.matching import match_hierarchy

    wanted = text.strip().casefold()
    tissues = {name: str(get_builtin(name).metadata.get("tissue", "")) for name in builtin_names()}
    for name, tissue in tissues.items():
        if wanted in (name.casefold(), tissue.casefold()):
            return name
    return match_hierarchy(text)


def builtin_schema() -> TableSchema:
    """Return the schema of the list of built-in hierarchies."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "builtin_hierarchies.csv",
        "Hierarchies that ship with the package.",
        (
            Column("name", "string", "Name to give where a hierarchy is asked for."),
            Column("tissue", "string", "Tissue it is made for."),
            Column("description", "string", "What it covers."),
            Column("version", "string", "Version of its content."),
            Column("n_roots", "int", "Number of lineages."),
            Column("n_cell_types", "int", "Number of nodes."),
            Column("n_levels", "int", "Number of levels."),
            Column("n_markers", "int", "Number of different marker names."),
            Column("category", "string", "Kind: general, tissue, or that of the published programs."),
        ),
    )


def _check_name(name: str) -> None:
    if name not in builtin_names():
        known = builtin_names()
        hint = did_you_mean(name, known) or f"; built-in hierarchies are {', '.join(known)}"
        msg = f"there is no built-in hierarchy {name!r}{hint}"
        raise HierarchyError(msg)
