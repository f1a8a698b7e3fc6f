"""Cell metadata for Seurat: one CSV file that ``AddMetaData`` takes, and the colours of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cellkey.exports.csv_rows import write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cellkey.exports.labelled import LabelledCells

__all__ = ["SETTINGS", "write"]

SETTINGS: Final[dict[str, str]] = {}

_COMPANIONS: Final = ("path", "status", "margin", "confidence", "runner_up", "stop_reason", "ontology_term_id")


def write(cells: LabelledCells, folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Write ``metadata.csv`` (first column: cell names) and ``colours.csv`` (column, label, colour).

    Columns have the prefix ``cellkey_``, so that they meet none of Seurat's. Missing values are written as ``NA``;
    factor levels for R are the rows of ``colours.csv``, in tree order.
    """
    obs = cells.adata.obs
    columns = {"cellkey_label": cells.labels, "cellkey_cluster": obs[cells.cluster_key]}
    columns |= {f"cellkey_level_{i}": obs[c] for i, c in enumerate(cells.levels)}
    columns |= {f"cellkey_{name}": obs[f"{cells.key}_{name}"] for name in _COMPANIONS if f"{cells.key}_{name}" in obs}
    texts = [_texts(values) for values in columns.values()]
    write_rows(folder / "metadata.csv", ("cell", *columns), zip(obs.index, *texts, strict=True))
    colours = [("cellkey_label", cells.colours("annotation")),
               *((f"cellkey_level_{i}", cells.colours(c)) for i, c in enumerate(cells.levels))]
    write_rows(folder / "colours.csv", ("column", "label", "colour"),
               ((column, label, colour) for column, known in colours for label, colour in known.items()))
    return ["in R: AddMetaData(object, read.csv('metadata.csv', row.names = 1))"]


def _texts(values: object) -> list[str]:
    column = np.asarray(values, dtype=object)
    return ["NA" if v is None or v != v else f"{v:.6g}" if isinstance(v, float) else str(v) for v in column]
