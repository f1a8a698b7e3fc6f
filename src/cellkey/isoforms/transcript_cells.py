"""Transcript counts from AnnData and MuData, with cells summed by sample and cell type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import InputError, MissingFieldError, did_you_mean
from cellkey.isoforms.transcript_counts import TranscriptCounts
from cellkey.isoforms.validation import first_few

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_anndata"]


def read_anndata(
    path: str | Path,
    *,
    groupby: Sequence[str] = (),
    sample_key: str | None = None,
    layer: str | None = None,
    modality: str | None = None,
    gene_key: str | None = None,
    min_cells: int = 10,
) -> TranscriptCounts:
    """Read an AnnData (or a modality of a MuData) of isoforms; cells are summed by ``sample_key`` and ``groupby``."""
    adata = _open(Path(path), modality)
    matrix = adata.X if layer is None else _layer(adata, layer, path)
    samples = adata.obs.copy()
    if groupby or sample_key:
        matrix, samples = _pseudobulk(matrix, samples, [k for k in (sample_key, *groupby) if k], min_cells, path)
    else:
        samples = samples.drop(columns=[c for c in ("sample_id",) if c in samples.columns])
        samples.insert(0, "sample_id", [str(i) for i in samples.index])
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    genes = _genes(adata.var, gene_key, path)
    transcripts = adata.var["transcript_id"] if "transcript_id" in adata.var.columns else adata.var_names
    return TranscriptCounts(
        counts=np.ascontiguousarray(dense.T, dtype=np.float64),
        transcript_ids=tuple(map(str, transcripts)),
        sample_ids=tuple(samples["sample_id"]),
        gene_ids=genes,
        gene_names=_gene_names(adata.var, gene_key),
        samples=_plain_columns(samples.reset_index(drop=True)),
        source=f"AnnData {Path(path).name}",
    )


def _open(path: Path, modality: str | None):  # type: ignore[no-untyped-def]
    import anndata

    if path.suffix == ".h5ad":
        return anndata.read_h5ad(path)
    import h5py

    with h5py.File(path) as handle:
        names = sorted(handle["mod"])
        chosen = modality or (names[0] if len(names) == 1 else None)
        if chosen not in names:
            msg = f"{path} has the modalities {', '.join(names)}; name the one of isoforms (modality={modality!r})"
            raise InputError(msg)
        return anndata.io.read_elem(handle["mod"][chosen])


def _layer(adata, layer: str, path: str | Path):  # type: ignore[no-untyped-def]
    if layer not in adata.layers:
        msg = f"{path} has no layer {layer!r}{did_you_mean(layer, adata.layers)}; layers are {first_few(adata.layers)}"
        raise MissingFieldError(msg)
    return adata.layers[layer]


def _genes(var: pd.DataFrame, gene_key: str | None, path: str | Path) -> tuple[str, ...] | None:
    if gene_key is not None and gene_key not in var.columns:
        msg = (
            f"{path}: no var column {gene_key!r}{did_you_mean(gene_key, var.columns)}; "
            f"columns are {first_few(var.columns)}"
        )
        raise MissingFieldError(msg)
    name = gene_key or next((c for c in ("gene_id", "gene", "gene_name", "gene_symbol") if c in var.columns), None)
    return tuple(var[name].astype(str)) if name else None


def _gene_names(var: pd.DataFrame, gene_key: str | None) -> tuple[str, ...] | None:
    name = next((c for c in ("gene_name", "gene_symbol") if c in var.columns and c != gene_key), None)
    return tuple(var[name].astype(str)) if name and ("gene_id" in var.columns or gene_key) else None


def _pseudobulk(matrix, obs: pd.DataFrame, keys: list[str], min_cells: int, path: str | Path):  # type: ignore[no-untyped-def]
    """Sum cells per combination of keys; numeric columns are averaged, constant text columns kept."""
    from scipy.sparse import csr_matrix

    absent = [k for k in keys if k not in obs.columns]
    if absent:
        msg = (
            f"{path}: no obs column {absent[0]!r}{did_you_mean(absent[0], obs.columns)}; "
            f"columns are {first_few(obs.columns, 10)}"
        )
        raise MissingFieldError(msg)
    groups = obs.groupby(keys, observed=True, sort=True).indices
    kept = {k if isinstance(k, tuple) else (k,): rows for k, rows in groups.items() if len(rows) >= min_cells}
    if not kept:
        sizes = sorted((len(r) for r in groups.values()), reverse=True)[:3]
        msg = f"{path}: no combination of {keys} has {min_cells} cells, the largest have {sizes}; lower --min-cells"
        raise InputError(msg)
    rows = np.concatenate(list(kept.values()))
    group = np.repeat(np.arange(len(kept)), [len(r) for r in kept.values()])
    indicator = csr_matrix((np.ones(len(rows)), (group, rows)), shape=(len(kept), len(obs)))
    table = pd.DataFrame([_summed_row(obs.iloc[members], keys, key) for key, members in kept.items()])
    return indicator @ matrix, table


def _summed_row(cells: pd.DataFrame, keys: list[str], key: tuple[object, ...]) -> dict[str, object]:
    """What is known of a sum of cells: its keys, means of numbers, and text that all of its cells share."""
    row: dict[str, object] = {"sample_id": "|".join(map(str, key)), "n_cells": len(cells)}
    for column in cells.columns:
        if column in keys:
            row[column] = key[keys.index(column)]
        elif pd.api.types.is_numeric_dtype(cells[column]):
            row[column] = float(cells[column].mean())
        elif len(cells[column].dropna().unique()) == 1:
            row[column] = cells[column].iloc[0]
    return row


def _plain_columns(samples: pd.DataFrame) -> pd.DataFrame:
    """Categories as text, so that the table can be stored and read anywhere."""
    categories = samples.select_dtypes("category")
    return samples.assign(**{str(n): c.astype(object).where(c.notna(), None) for n, c in categories.items()})
