"""The labelled cells of a dataset as an AnnData file that plain scanpy reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey import _keys
from cellkey.batch.labels import UNKNOWN, as_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from cellkey.annotation.result import AnnotationResult
    from cellkey.batch.labels import ClusterLabel
    from cellkey.batch.preparation import PreparedCells

__all__ = ["labelled_cells"]

_NAMES = ("cell_type", "cell_type_general", "cell_type_detailed")
_TEXT = (*_NAMES, "cell_type_ontology_term_id", "cell_type_status")
_SOURCES = ("cell_type_by_markers", "cell_type_by_model")


def labelled_cells(
    prepared: PreparedCells,
    result: AnnotationResult,
    labels: Mapping[str, ClusterLabel],
    provenance: Mapping[str, Any],
    *,
    level: str = "detailed",
) -> AnnData:
    """Return a new AnnData with the labels.

    ``X`` holds the values of the input for the kept cells and genes, ``layers['log1p_norm']`` the normalised
    ones where they were made. ``obs`` gets ``leiden`` and ``cluster`` (categories of text), ``cell_type`` and its
    relatives (categories), ``cell_type_score`` (float64); ``obsm`` ``X_pca`` and ``X_umap`` (float32); ``var``
    ``highly_variable``; ``uns`` ``rank_genes_groups``, ``cell_type_annotation`` (one row per cluster),
    ``batch_params``, ``stage_h_marker_map`` (JSON text) and ``<column>_colors`` for the columns of names. Columns of
    the input with these names are kept with the ending ``_input``.
    """
    from anndata import AnnData

    from cellkey.annotation.fields import marker_map_text
    from cellkey.annotation.label_colours import column_colours

    source = prepared.adata
    obs = _obs(source.obs, result, labels, level)
    adata = AnnData(source.X, obs=obs, var=source.var.copy())
    for name, values in source.layers.items():
        adata.layers[name] = values
    for name, values in source.obsm.items():
        adata.obsm[name] = values
    _add_normalised(adata, prepared, result)
    _add_embeddings(adata, result)
    adata.uns["cell_type_annotation"] = _table(labels, level)
    adata.uns["batch_params"] = json.dumps(dict(provenance), ensure_ascii=False, default=str)
    adata.uns[_keys.MARKER_MAP] = marker_map_text(result.annotation)
    terms = {label.detailed: label.ontology_id for label in labels.values()}
    named = {c: obs[c] for c in (*_NAMES, *_SOURCES) if c in obs}
    adata.uns.update(column_colours(named, result.annotation.key.hierarchy, terms))
    if len(labels) > 1:
        from cellkey.annotation.differential import rank_genes_groups

        adata.uns["rank_genes_groups"] = rank_genes_groups(result.annotation.profiles, result.facts)
        adata.uns["rank_genes_groups"]["params"]["groupby"] = "leiden"
    return adata


def _obs(before: Any, result: AnnotationResult, labels: Mapping[str, ClusterLabel], level: str) -> Any:
    import pandas as pd

    clusters = ["" if c is None else str(c) for c in result.labels]
    columns = as_columns(labels, level)
    position = {c: i for i, c in enumerate(columns["cluster"])}
    codes = np.array([position.get(c, -1) for c in clusters])
    both = any(columns["cell_type_by_model"])
    text = (*_TEXT, *_SOURCES) if both else _TEXT
    ours: dict[str, Any] = {
        "leiden": pd.Categorical.from_codes(codes, categories=pd.Index(columns["cluster"], dtype=object))
    }
    ours["cluster"] = ours["leiden"]
    for name in text:
        missing = {"cell_type_status": "unlabelled", "cell_type_ontology_term_id": ""}.get(name, UNKNOWN)
        values = np.array([*columns[name], missing], dtype=object)[codes]
        ours[name] = pd.Categorical(values, categories=sorted(set(values)))
    ours["cell_type_score"] = np.array([*columns["cell_type_score"], np.nan])[codes]
    renamed = before.rename(columns={c: f"{c}_input" for c in before.columns if c in ours})
    return renamed.assign(**ours)


def _add_normalised(adata: AnnData, prepared: PreparedCells, result: AnnotationResult) -> None:
    if result.facts["transform"] != "normalise":
        return
    import scipy.sparse as sp

    from cellkey.clustering import cell_factors

    X = prepared.adata.X if prepared.layer == "X" else prepared.adata.layers[prepared.layer]
    factors = cell_factors(X)
    if sp.issparse(X):
        scaled = sp.diags_array(factors) @ sp.csr_array(X, dtype=np.float64)
        adata.layers["log1p_norm"] = sp.csr_matrix(scaled.log1p(), dtype=np.float32)
    else:
        adata.layers["log1p_norm"] = np.log1p(np.asarray(X, dtype=np.float64) * factors[:, None]).astype(np.float32)


def _add_embeddings(adata: AnnData, result: AnnotationResult) -> None:
    adata.var["highly_variable"] = False
    grouping = result.clustering
    if grouping is None:
        return
    flags = np.zeros(adata.n_vars, dtype=bool)
    flags[grouping.features] = True
    adata.var["highly_variable"] = flags
    if grouping.components is not None:
        adata.obsm["X_pca"] = np.asarray(grouping.components.scores, dtype=np.float32)
    if result.umap is not None:
        adata.obsm["X_umap"] = np.asarray(result.umap, dtype=np.float32)


def _table(labels: Mapping[str, ClusterLabel], level: str) -> Any:
    import pandas as pd

    frame = pd.DataFrame(as_columns(labels, level))
    frame.index = pd.Index(frame["cluster"].astype(object), name=None)
    return frame
