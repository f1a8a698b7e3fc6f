"""Cell groups for Xenium Explorer: a CSV file of ``cell_id``, ``group``, ``color`` for every level of the hierarchy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cellkey.errors import InputError, MissingFieldError, did_you_mean
from cellkey.exports.csv_rows import write_rows
from cellkey.plots.colours import UNASSIGNED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

SETTINGS: Final = {
    "cell_id": "column of obs with the cell ids of Xenium; cell_id if it is there, else the names of cells",
}


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``level_0.csv`` and so on, and ``label.csv`` with the final labels.

    Groups are read with the command "Cell groups" of Xenium Explorer. Cells without a label are in the group
    Unassigned, since the viewer expects every cell once.
    """
    obs = cells.adata.obs
    column = settings.get("cell_id", "cell_id")
    if "cell_id" in settings and column not in obs:
        msg = f"obs has no column {column!r}{did_you_mean(column, map(str, obs.columns))}"
        raise MissingFieldError(msg)
    ids = obs[column] if column in obs else obs.index.to_series()
    names = [v.decode() if isinstance(v, bytes) else str(v) for v in ids]
    if len(set(names)) < len(names):
        msg = f"cell ids repeat in {column!r}: export one sample at a time, or name another column with --set cell_id="
        raise InputError(msg)
    columns = {f"level_{i}": c for i, c in enumerate(cells.levels)}
    for name, key in {**columns, "label": cells.labels.name}.items():
        groups, colours = obs[key].astype(str), cells.colours(str(key))
        rows = ((cell, group, colours.get(group, UNASSIGNED)) for cell, group in zip(names, groups, strict=True))
        write_rows(folder / f"{name}.csv", ("cell_id", "group", "color"), rows)
    return [f"{len(columns)} levels, level_0.csv the broadest; cell ids from "
            + (f"obs[{column!r}]" if column in obs else "the names of the cells")]
