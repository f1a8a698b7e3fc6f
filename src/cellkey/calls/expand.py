"""Labels of clusters to labels of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey.errors import MissingFieldError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["DEFAULT_COLUMNS", "expand_to_cells"]

DEFAULT_COLUMNS = ("annot_export_label", "annot_export_status")
_LABEL, _WITH_CLUSTER = "annot_export_label", "annot_export_label_with_cluster"
_STATUS = ("annot_export_status", "annot_status")


def expand_to_cells(
    assignments: pd.Series,
    summary: pd.DataFrame,
    *,
    cluster_key: str = "cluster",
    columns: Sequence[str] | None = None,
    prefix: str | None = None,
    with_cluster: bool = True,
    fill_unassigned: bool = True,
    unassigned_label: str = "unassigned",
    unassigned_status: str = "not_analyzed",
) -> pd.DataFrame:
    """Return one row per cell with its cluster and the columns of that cluster.

    Clusters are matched as text. Cells of clusters that the summary does not hold, and cells without a
    cluster, get ``unassigned_label`` and ``unassigned_status``.

    Parameters
    ----------
    assignments
        Cluster of each cell; the index is kept.
    summary
        Export table, one row per cluster, with ``cluster_id``.
    cluster_key
        Name of the cluster column of the result.
    columns
        Columns of the summary to add; label and status by default. The label with the cluster's name comes
        along with the label unless ``with_cluster`` is off.
    prefix
        Put ``<prefix>_`` in place of ``annot_`` in the names of the added columns.

    Raises
    ------
    MissingFieldError
        If the summary lacks a column.
    """
    import pandas as pd

    wanted = list(DEFAULT_COLUMNS if columns is None else columns)
    if with_cluster and _LABEL in wanted and _WITH_CLUSTER not in wanted and _WITH_CLUSTER in summary:
        wanted.insert(wanted.index(_LABEL) + 1, _WITH_CLUSTER)
    for name in ("cluster_id", *wanted):
        if name not in summary.columns:
            msg = f"the summary has no column {name!r}{did_you_mean(name, map(str, summary.columns))}"
            raise MissingFieldError(msg)
    missing = assignments.isna().to_numpy()
    cluster = assignments.astype(object).where(~assignments.isna(), None).map(lambda v: None if v is None else str(v))
    keyed = summary.set_index(summary["cluster_id"].astype(str))[wanted]
    rows = keyed.reindex(cluster.to_numpy(dtype=object)).set_axis(assignments.index, axis=0)
    unknown = ~cluster.isin(keyed.index).to_numpy() | missing
    if fill_unassigned and unknown.any():
        texts = cluster.fillna("").to_numpy(dtype=object)
        for name in wanted:
            if name == _LABEL:
                rows.loc[unknown, name] = unassigned_label
            elif name == _WITH_CLUSTER:
                rows.loc[unknown, name] = [f"{unassigned_label}_{c}".rstrip("_") for c in texts[unknown]]
            elif name in _STATUS:
                rows.loc[unknown, name] = unassigned_status
    if prefix:
        rows = rows.rename(columns={c: f"{prefix}_{c.removeprefix('annot_')}" for c in wanted})
    return pd.concat([cluster.rename(cluster_key), rows], axis=1)
