"""Labels of clusters joined to cells, by identifier and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.errors import InputError, MissingFieldError, Problem, did_you_mean
from cellkey.llm.identifiers import cluster_id

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["Joined", "add_labels"]

_COLUMNS = {
    "cell_type": "cell_type",
    "cell_type_general": "general_cell_type",
    "cell_type_detailed": "subtype_1",
    "cell_type_ontology_term_id": "ontology_id",
    "cell_type_status": "status",
}


@dataclass(frozen=True, slots=True)
class Joined:
    """How clusters met: in both, only among the cells, only in the table."""

    matched: tuple[str, ...]
    cells_only: tuple[str, ...]
    table_only: tuple[str, ...]


def add_labels(
    adata: AnnData, annotations: pd.DataFrame, cluster_key: str, *, prefix: str = "", overwrite: bool = False
) -> Joined:
    """Write labels of clusters into ``obs``, for every cell of a cluster.

    Parameters
    ----------
    adata
        Cells; changed in place.
    annotations
        Table of :data:`cellkey.llm.ANNOTATIONS`, one row per cluster.
    cluster_key
        Column of ``obs`` with the clusters of the table. Values are compared as text; nothing is matched by
        similarity, so cluster ``1`` never takes the label of ``10``.
    prefix
        Put before the names of the columns.
    overwrite
        Whether existing columns are replaced.

    Writes
    ------
    ``obs``: ``cell_type``, ``cell_type_general``, ``cell_type_detailed``, ``cell_type_ontology_term_id``,
    ``cell_type_status`` (categorical) and ``cell_type_score`` (float64). Cells of other clusters are ``Unknown``.
    ``uns``: ``<column>_colors`` of the first three, after the types of the default hierarchy that they stand for.

    Raises
    ------
    MissingFieldError
        If ``obs`` has no such column.
    InputError
        If columns exist already, the table names a cluster twice, or no cluster is in both.
    """
    import pandas as pd

    from cellkey.annotation.label_colours import column_colours
    from cellkey.hierarchy import get_builtin

    if cluster_key not in adata.obs:
        msg = f"obs has no column {cluster_key!r}{did_you_mean(cluster_key, map(str, adata.obs.columns))}"
        raise MissingFieldError(msg)
    names = [f"{prefix}{n}" for n in (*_COLUMNS, "cell_type_score")]
    taken = [] if overwrite else [n for n in names if n in adata.obs]
    if taken:
        msg = f"obs already has {', '.join(taken)}; give another prefix, or overwrite=True"
        raise InputError(msg)
    rows = annotations.assign(cluster=[cluster_id(c) for c in annotations["cluster"]])
    repeated = rows["cluster"][rows["cluster"].duplicated()].unique()
    if len(repeated):
        msg = "the table names clusters twice"
        raise InputError(msg, [Problem("more than one row", str(c)) for c in repeated])
    rows = rows.set_index("cluster")
    clusters = adata.obs[cluster_key].map(cluster_id).astype(object)
    joined = _joined(set(clusters) - {""}, set(rows.index))
    if not joined.matched:
        msg = (
            f"no cluster of obs[{cluster_key!r}] is in the table: cells have {', '.join(joined.cells_only[:5])}, "
            f"the table has {', '.join(joined.table_only[:5])}"
        )
        raise InputError(msg)
    for name, column in _COLUMNS.items():
        missing = {"cell_type_status": "unlabelled", "cell_type_ontology_term_id": ""}.get(name, "Unknown")
        values = clusters.map(rows[column]).fillna(missing).replace("", missing)
        adata.obs[f"{prefix}{name}"] = pd.Categorical(values.astype(str))
    named = {c: adata.obs[c] for c in names[:3]}
    terms = dict(zip(rows["cell_type"], rows["ontology_id"], strict=True))
    adata.uns.update(column_colours(named, get_builtin(), terms))
    adata.obs[f"{prefix}cell_type_score"] = clusters.map(rows["score"]).astype("float64").to_numpy()
    return joined


def _joined(cells: set[str], table: set[str]) -> Joined:
    return Joined(tuple(sorted(cells & table)), tuple(sorted(cells - table)), tuple(sorted(table - cells)))
