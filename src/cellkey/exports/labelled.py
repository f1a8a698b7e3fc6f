"""Labelled cells as every export needs them: labels, levels, evidence and colours, whichever step came last."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey import _keys
from cellkey.errors import InputError
from cellkey.exports.agreed import cells_behind, label_by_consensus, tree_of_consensus
from cellkey.hierarchy.tree import Hierarchy
from cellkey.records.run_tables import run_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

__all__ = ["LabelledCells", "open_labelled"]

_CELLS = ("refined.h5ad", "output.h5ad", "coarse_clusters.h5ad")
_TABLES = ("cluster_annotations", "marker_evidence", "decision_steps")
_DECIDED = "resolved"


@dataclass(frozen=True)
class LabelledCells:
    """Cells with their labels.

    Attributes
    ----------
    adata
        The cells, as in the file of the run.
    hierarchy
        The tree that they were labelled by.
    name
        Of the run or file, for titles.
    tables
        Tables of the run by name, those of the refined clusters under the plain names; empty for a file.
    facts
        Parameters of the annotation.
    """

    adata: AnnData
    hierarchy: Hierarchy
    name: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_refined(self) -> bool:
        """Whether labels come from refinement."""
        return _keys.REFINED_LABEL in self.adata.obs

    @property
    def key(self) -> str:
        """Column of the labels that companions and levels belong to."""
        return _keys.REFINED_LABEL if self.is_refined else _keys.LABEL

    @property
    def cluster_key(self) -> str:
        """Column of the clusters that were called."""
        return _keys.REFINED_CLUSTER if self.is_refined else _keys.CLUSTER

    @property
    def labels(self) -> pd.Series:
        """Final label of each cell, categorical in the order of the tree."""
        labels: pd.Series = self.adata.obs[_keys.FINAL].astype("category")
        return labels

    @property
    def levels(self) -> list[str]:
        """Columns of the levels, broadest first."""
        columns = [_keys.level(self.key, i) for i in range(self.hierarchy.depth)]
        return [c for c in columns if c in self.adata.obs]

    def paths(self) -> list[tuple[str, ...]]:
        """Path of each cell as labels; empty where no path was decided on."""
        texts = self.adata.obs[f"{self.key}_path"].astype("category")
        known = [p if p in self.hierarchy else () for p in (
            tuple(str(t).split(" / ")) if t else () for t in texts.cat.categories)]
        codes = texts.cat.codes.to_numpy()
        return [known[c] if c >= 0 else () for c in codes]

    def status(self) -> pd.Series:
        """What the label of each cell stands for: resolved, mixed, candidate or unknown."""
        status: pd.Series = self.adata.obs[f"{self.key}_status"].astype(str)
        return status

    def margin(self) -> pd.Series | None:
        """Lead of each cell's label over its closest rival, in units of the score; None for a consensus."""
        found: pd.Series | None = self.adata.obs.get(f"{self.key}_margin")
        return found

    def confidence(self) -> pd.Series | None:
        """Probability (0 to 1) that the label of each cell's cluster is right; None where it was not measured."""
        found: pd.Series | None = self.adata.obs.get(f"{self.key}_confidence")
        return found

    def ontology_ids(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the Cell Ontology id of each cell, and whether it is that of the label itself.

        An ancestor's id is taken where the label has none. Undecided and unknown cells have no id: it is empty.
        """
        ids, exact = np.full(self.adata.n_obs, "", dtype=object), np.zeros(self.adata.n_obs, dtype=bool)
        found: dict[tuple[str, ...], tuple[str, bool]] = {(): ("", False)}
        status = self.status().to_numpy()
        for i, path in enumerate(self.paths()):
            if path not in found:
                found[path] = self._nearest_id(path)
            if status[i] == _DECIDED:
                ids[i], exact[i] = found[path]
        return ids, exact

    def _nearest_id(self, path: tuple[str, ...]) -> tuple[str, bool]:
        for depth in range(len(path), 0, -1):
            term = self.hierarchy[path[:depth]].ontology_id
            if term:
                return term, depth == len(path)
        return "", False

    def colours(self, column: str) -> dict[str, str]:
        """Colour by category of a column; empty if it has none."""
        key = _keys.colours(column)
        if key not in self.adata.uns or column not in self.adata.obs:
            return {}
        names = map(str, self.adata.obs[column].astype("category").cat.categories)
        return dict(zip(names, map(str, self.adata.uns[key]), strict=False))

    def coordinates(self) -> dict[str, np.ndarray[Any, Any]]:
        """Two coordinates per cell of every embedding, and of positions in the tissue, by name of ``obsm``.

        Embeddings are those that are meant to be looked at: all but principal components, and these too where
        there is nothing else.
        """
        all_of_them = {str(k): np.asarray(v, dtype=np.float64)[:, :2] for k, v in self.adata.obsm.items()
                       if str(k).startswith(("X_", "spatial")) and getattr(v, "ndim", 0) == 2 and v.shape[1] >= 2
                       and not hasattr(v, "columns")}
        seen = {k: v for k, v in all_of_them.items() if k != "X_pca"}
        return seen or all_of_them

    def evidence(self, cluster: str) -> pd.DataFrame:
        """Markers of the assigned type of a cluster that are on, the most enriched first."""
        rows = self.tables.get("marker_evidence")
        call = self.call(cluster)
        if rows is None or call is None:
            return pd.DataFrame()
        wanted = (rows["cluster_id"] == cluster) & (rows["path"] == call["assigned_path"])
        own: pd.DataFrame = rows[wanted & rows["is_on"] & (rows["role"] == "positive")]
        return own.sort_values("enrichment", ascending=False, kind="stable")

    def call(self, cluster: str) -> pd.Series | None:
        """Row of a cluster in the table of calls."""
        table = self.tables.get("cluster_annotations")
        rows = table if table is None else table[table["cluster_id"] == cluster]
        return None if rows is None or rows.empty else rows.iloc[0]


def open_labelled(run: str | Path) -> LabelledCells:
    """Open a run directory, a consensus of runs that kept their cells, or a file of cells that cellkey labelled.

    Raises
    ------
    InputError
        If there are no labelled cells, with what is there and what to do.
    """
    from cellkey.io.read import read_cells

    path = Path(run)
    agreed = (path / "consensus.csv").is_file() and not (path / "cluster_annotations.csv").is_file()
    file = cells_behind(path) if agreed else path
    if path.is_dir() and not agreed and not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        found = next((path / name for name in _CELLS if (path / name).is_file()), None)
        if found is None:
            why = "it was written with --skip-cells" if (path / "manifest.json").is_file() else "it is no run directory"
            msg = f"{path} holds no labelled cells (expected output.h5ad): {why}; run 'cellkey annotate' without it"
            raise InputError(msg)
        file = found
    adata = read_cells(file)
    stored = adata.uns.get(_keys.MARKER_MAP)
    missing = [c for c in (_keys.FINAL, f"{_keys.LABEL}_path", f"{_keys.LABEL}_status") if c not in adata.obs]
    if stored is None or missing:
        lacks = ", ".join([*(f"obs[{c!r}]" for c in missing), *([] if stored else [f"uns[{_keys.MARKER_MAP!r}]"])])
        msg = f"{file} holds no labels of this version: it lacks {lacks}; run 'cellkey annotate' on it first"
        raise InputError(msg)
    refined = _keys.REFINED_LABEL in adata.obs
    tree = Hierarchy.from_dict(json.loads(str(stored))["source"])
    if agreed:
        tree = tree_of_consensus(path, tree)
        label_by_consensus(adata, path, tree)
    return LabelledCells(
        adata, tree, path.resolve().name or file.stem,
        run_tables(path, _TABLES, current=refined) if path.is_dir() else {}, dict(adata.uns.get(_keys.PARAMS, {})),
    )
