"""Calls on small panels of labelled data: what was measured of each, and for which share of its cells it is right.

Of every RNA data set only the genes of a panel are kept, as if nothing else had been measured: its cells are clustered
and called anew, with the hierarchy cut down to the panel. The panel is drawn from the hierarchy as one is designed:
three markers for each type, broad types first, then the next three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _observations import rows_of_calls
from _truth import load
from cellkey.annotation.cells import annotate
from cellkey.hierarchy.catalogue import get_builtin
from cellkey.hierarchy.compiling import compile_for_panel
from cellkey.hierarchy.resolution import resolve_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["observe_panels", "panel_of"]

_SIZES = (20, 50, 100, 200)
_MARKERS_PER_TYPE = 3


def panel_of(tree: Hierarchy, measured: Sequence[str], size: int) -> list[str]:
    """Return at most ``size`` measured genes: three markers for each type, broad types first, then the next three."""
    found = resolve_names(tree.all_markers(), measured).found
    own = [[found[m] for m in node.markers if m in found] for node in sorted(tree, key=lambda n: n.level)]
    rounds = range(0, max(map(len, own)), _MARKERS_PER_TYPE)
    return list(dict.fromkeys(g for k in rounds for genes in own for g in genes[k : k + _MARKERS_PER_TYPE]))[:size]


def observe_panels(name: str, tissue: str | None) -> list[dict[str, Any]]:
    """Return one row per level of every call on panels of a data set; none for proteins."""
    adata, truth = load(name)
    rows: list[dict[str, Any]] = []
    if "rescaled" in adata.layers:
        return rows
    for tree in map(get_builtin, filter(None, ("default", tissue))):
        for size in _SIZES:
            panel = panel_of(tree, list(adata.var_names), size)
            compiled = compile_for_panel(tree, panel).hierarchy
            result = annotate(adata[:, panel].copy(), compiled, method="both")
            where = {"data": name, "map": tree.name, "panel": size}
            rows += [{**where, **row} for row in rows_of_calls(result, tree, truth)]
    print(name, len(rows), flush=True)
    return rows
