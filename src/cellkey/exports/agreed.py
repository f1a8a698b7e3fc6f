"""Cells with the labels of a consensus: those of the first run behind it, labelled anew in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.annotation.fields import colour_fields
from cellkey.calls.columns import level_labels, spread, tree_order
from cellkey.errors import InputError
from cellkey.hierarchy import builtin_names, get_builtin
from cellkey.records.run import read_manifest
from cellkey.records.run_tables import run_tables

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from cellkey.hierarchy.tree import Hierarchy

__all__ = ["cells_behind", "label_by_consensus", "tree_of_consensus"]

_CELLS = "coarse_clusters.h5ad"
_OF_THE_RUN = ("root", "conf", "score", "margin", "path", "status", "runner_up", "stop_reason", "ontology_term_id",
               "confidence", "level_")


def cells_behind(directory: Path) -> Path:
    """Return the file of cells of the first run that a consensus rests on and that kept its cells.

    Raises
    ------
    InputError
        If no run kept them where it was.
    """
    runs = [str(r) for r in read_manifest(directory).get("runs", [])]
    found = next((p for r in runs if (p := directory / r / _CELLS).is_file()), None)
    if found is None:
        where = f"{_CELLS} is in none of {', '.join(runs)}" if runs else "its sources are tables and columns, not runs"
        msg = f"{directory} holds no cells, and {where}: make the consensus again from runs that are there, with cells"
        raise InputError(msg)
    return found


def tree_of_consensus(directory: Path, of_run: Hierarchy) -> Hierarchy:
    """Return the hierarchy that labels were mapped to: that of the run, or a built-in one.

    Raises
    ------
    InputError
        If it is neither.
    """
    name = str(read_manifest(directory).get("hierarchy", ""))
    if name == of_run.name:
        return of_run
    if name in builtin_names():
        return get_builtin(name)
    msg = (f"{directory} was made with the hierarchy {name!r}, which is neither built in nor that of the run "
           f"({of_run.name!r}): export needs one of both")
    raise InputError(msg)


def label_by_consensus(adata: AnnData, directory: Path, tree: Hierarchy) -> None:
    """Give cells the labels of a consensus, in the fields of an annotation; what the run said of its own goes.

    Where runs with different clusters agreed, the clusters of the cells become the groups that were asked; cells that
    some run lacks have none and stay unassigned.

    Raises
    ------
    InputError
        If a cluster of the cells is not in the consensus.
    """
    tables = run_tables(directory, ("consensus", "consensus_cells"))
    table = tables["consensus"]
    if "consensus_cells" in tables:
        adata.obs[_keys.CLUSTER] = _groups(adata, tables["consensus_cells"], table)
    clusters = adata.obs[_keys.CLUSTER].astype("category")
    place = {str(c): i for i, c in enumerate(table["cluster_id"])}
    missing = [str(c) for c in clusters.cat.categories if str(c) not in place]
    if missing:
        msg = f"the consensus in {directory} does not hold cluster {missing[0]!r} of the cells: they are of another run"
        raise InputError(msg)
    of_category = np.array([*(place[str(c)] for c in clusters.cat.categories), -1], dtype=np.int64)
    columns = _columns(table, of_category[clusters.cat.codes.to_numpy()], tree)
    stale = [c for c in adata.obs if str(c).startswith(tuple(f"{_keys.LABEL}_{s}" for s in _OF_THE_RUN))]
    adata.obs = adata.obs.drop(columns=stale).assign(**columns)
    adata.uns.update(colour_fields(columns, tree))


def _groups(adata: AnnData, cells: pd.DataFrame, table: pd.DataFrame) -> pd.Categorical:
    """Group of each cell of those that were asked together."""
    import pandas as pd

    group = cells.set_index("cell_id")["cluster_id"].reindex(adata.obs_names.astype(str))
    return pd.Categorical(group, categories=table["cluster_id"].astype(str).unique())


def _columns(table: pd.DataFrame, codes: np.ndarray[Any, Any], tree: Hierarchy) -> dict[str, Any]:
    rank = tree_order(tree)
    paths = [tuple(p.split(" / ")) if p else () for p in table["path"]]
    levels = [level_labels(p, label, tree.depth) for p, label in zip(paths, table["label"], strict=True)]
    label = spread(codes, table["label"].tolist(), _keys.UNASSIGNED, rank)
    return {
        _keys.LABEL: label,
        _keys.FINAL: label,
        **{_keys.level(_keys.LABEL, i): spread(codes, [row[i] for row in levels], _keys.UNASSIGNED, rank)
           for i in range(tree.depth)},
        _keys.PATH: spread(codes, table["path"].tolist(), "", rank),
        f"{_keys.LABEL}_status": spread(codes, table["status"].tolist(), "unknown", {}),
        f"{_keys.LABEL}_stop_reason": spread(codes, table["stop_reason"].tolist(), "", {}),
        f"{_keys.LABEL}_runner_up": spread(codes, table["rival_label"].tolist(), "", rank),
        _keys.ONTOLOGY: spread(codes, table["ontology_term_id"].tolist(), "", {}),
        _keys.PROBABILITY: np.array([*table["confidence"].astype(float), np.nan])[codes],
    }
