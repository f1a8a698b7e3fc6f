"""What a panel of measured genes or proteins leaves of a hierarchy, known before any cell is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.hierarchy.cell_type import CellType
    from cellkey.hierarchy.resolution import Resolution
    from cellkey.hierarchy.tree import Hierarchy
    from cellkey.records.schema import TableSchema

__all__ = ["panel_report", "panel_schema"]


def panel_schema() -> TableSchema:
    """Return the schema of the table that tells what a panel leaves of each cell type."""
    from cellkey.records.schema import Column, TableSchema

    return TableSchema(
        "panel_report.csv",
        "What the measured genes or proteins leave of each cell type.",
        (
            Column("path", "string", "Cell type, from the root."),
            Column("level", "int", "Number of nodes above."),
            Column("n_markers", "int", "Listed markers; names of one variable count once."),
            Column("n_measured", "int", "Variables that stand for them."),
            Column("coverage", "float", "Measured share of the markers; 1 for a group without markers of its own."),
            Column("measured", "list", "Variables of the markers."),
            Column("missing", "list", "Markers without a variable."),
            Column("alike", "list", "Siblings with the same measured markers: the panel cannot tell them apart."),
        ),
    )


def panel_report(hierarchy: Hierarchy, resolution: Resolution) -> pd.DataFrame:
    """Return one row per cell type with its measured markers and the siblings it cannot be told from.

    Parameters
    ----------
    hierarchy
        The key.
    resolution
        Of ``hierarchy.all_markers()`` in the measured variables.

    Returns
    -------
    pandas.DataFrame
        Columns of :func:`panel_schema`, in the order of the hierarchy.
    """
    rows = []
    for node in hierarchy:
        measured = resolution.variables(node.markers)
        n_markers = len(node.markers) - len(resolution.repeated(node.markers))
        rows.append(
            {
                "path": node.path_text,
                "level": node.level,
                "n_markers": n_markers,
                "n_measured": len(measured),
                "coverage": len(measured) / n_markers if n_markers else 1.0,
                "measured": measured,
                "missing": resolution.unresolved(node.markers),
                "alike": [s.name for s in hierarchy.siblings(node.path) if _alike(node, s, resolution)],
            }
        )
    return panel_schema().frame(rows)


def _alike(node: CellType, sibling: CellType, resolution: Resolution) -> bool:
    if not node.markers or not sibling.markers:
        return False
    return all(
        set(resolution.variables(one)) == set(resolution.variables(other))
        for one, other in ((node.markers, sibling.markers), (node.anti_markers, sibling.anti_markers))
    )
