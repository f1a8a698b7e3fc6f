"""Calls as columns, one value per cell: label, path, levels, status and what speaks for another label.

All text columns are categorical with the categories in the order of the tree, so that legends and tables list
relatives side by side; what is undecided comes after, ``Unassigned`` last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.calls.call import UNASSIGNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["companions", "in_order", "level_labels", "nearest_ontology_id", "path_text", "spread", "tree_order"]


def companions(
    prefix: str, calls: Sequence[Call], codes: NDArray[np.int64], hierarchy: Hierarchy
) -> dict[str, Any]:
    """Return the columns beside a label column.

    Parameters
    ----------
    prefix
        Name of the label column.
    calls
        One per group.
    codes
        Group of each cell, shape (cells,); -1 for cells without a group.
    hierarchy
        The tree; it alone decides how many columns there are, so that they are the same for all data.

    Returns
    -------
    ``<prefix>_level_0`` and so on: the label at each level, the deepest one repeated below; ``<prefix>_status``,
    ``<prefix>_stop_reason`` and ``<prefix>_runner_up`` (empty if no sibling was close) as categories;
    ``<prefix>_margin`` in score units.
    """
    rank = tree_order(hierarchy)
    levels = [level_labels(call.path, call.label, hierarchy.depth) for call in calls]
    columns: dict[str, Any] = {
        _keys.level(prefix, i): spread(codes, [row[i] for row in levels], UNASSIGNED, rank)
        for i in range(hierarchy.depth)
    }
    return columns | {
        f"{prefix}_status": spread(codes, [str(c.status) for c in calls], "unknown", {}),
        f"{prefix}_margin": np.array([*(c.confidence for c in calls), 0.0])[codes],
        f"{prefix}_runner_up": spread(codes, [c.runner_up for c in calls], "", rank),
        f"{prefix}_stop_reason": spread(codes, [str(c.stop_reason) for c in calls], "", {}),
    }


def level_labels(path: Sequence[str], label: str, depth: int) -> list[str]:
    """Return the label at each of ``depth`` levels; the deepest one repeats, an undecided or missing one throughout."""
    known = list(path) or [label]
    return [known[min(i, len(known) - 1)] for i in range(depth)]


def tree_order(hierarchy: Hierarchy) -> dict[str, int]:
    """Return the place of every label and of every path text in the tree, depth first."""
    rank: dict[str, int] = {}
    for i, node in enumerate(hierarchy.nodes):
        rank.setdefault(node.name, i)
        rank.setdefault(node.path_text, i)
    return rank


def spread(
    codes: NDArray[np.int64], values: Sequence[str], missing: str, rank: Mapping[str, int]
) -> pd.Categorical:
    """Return one value per cell as a category; the categories are those that occur, ordered by ``rank``."""
    import pandas as pd

    whole = np.array([*values, missing], dtype=object)[codes]
    return pd.Categorical(whole, categories=in_order(set(whole), rank))


def in_order(names: Iterable[str], rank: Mapping[str, int]) -> list[str]:
    """Return names by rank; unknown ones after all others by their text, ``Unassigned`` and nothing last."""
    return sorted(names, key=lambda n: (n in ("", UNASSIGNED), rank.get(n, len(rank)), n))


def path_text(call: Call) -> str:
    """The path as text; ``A~B`` where the lineage is undecided, nothing if unassigned."""
    return " / ".join(call.path) or (call.label if call.level == 0 else "")


def nearest_ontology_id(call: Call, hierarchy: Hierarchy) -> str:
    """Return the Cell Ontology id of the called type, or of its nearest ancestor that has one."""
    node = hierarchy.nodes[call.node] if call.node is not None else None
    while node is not None:
        if node.ontology_id:
            return node.ontology_id
        node = hierarchy.parent(node.path)
    return ""
