"""Which marker hierarchy a dataset is read with, and by which rule it was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellkey.hierarchy import Hierarchy

__all__ = ["ChosenHierarchy", "hierarchy_for"]


@dataclass(frozen=True, slots=True)
class ChosenHierarchy:
    """A hierarchy and why it was taken; without one, the built-in default for the kind of data is used."""

    hierarchy: Hierarchy | None
    reason: str


def hierarchy_for(tissue: str, given: str | None = None) -> ChosenHierarchy:
    """Return the hierarchy for a dataset, with the rule that chose it.

    1. The hierarchy that was named (a file or a built-in name).
    2. The built-in hierarchy that the name of the tissue asks for, see
       :func:`~cellkey.hierarchy.matching.match_hierarchy`.
    3. None: the built-in default for the kind of data, ``default`` or, for protein panels, ``protein``.
    """
    from cellkey.errors import HierarchyError
    from cellkey.hierarchy import get_builtin, read_hierarchy
    from cellkey.hierarchy.matching import match_hierarchy

    if given is not None:
        return ChosenHierarchy(read_hierarchy(given), f"marker hierarchy {given!r} was named")
    try:
        name = match_hierarchy(tissue)
    except HierarchyError:
        reason = f"no built-in marker hierarchy fits the tissue {tissue!r}: the default for the kind of data is used"
        return ChosenHierarchy(None, reason)
    return ChosenHierarchy(get_builtin(name), f"built-in marker hierarchy {name!r} fits the tissue {tissue!r}")
