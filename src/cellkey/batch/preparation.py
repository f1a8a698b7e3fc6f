"""From a file to cells that can be clustered: the right matrix, gene symbols, filters. The file is never changed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from cellkey.batch.settings import BatchSettings

__all__ = ["PreparedCells", "prepare_cells"]

_ENSEMBL = re.compile(r"ENS[A-Z]{0,4}G\d{6,}(?:\.\d+)?")
_SYMBOL_COLUMNS = ("feature_name", "gene_symbols", "gene_symbol", "gene_name", "symbol")
_FEWEST_CELLS = 50
_FEWEST_GENES = 20
_WHOLE_TRANSCRIPTOME = 1000
"""With fewer genes than this the data are a panel, of which a cell may show only a few genes."""


@dataclass
class PreparedCells:
    """Filtered cells with gene symbols as names.

    Parameters
    ----------
    adata
        Kept cells x kept genes; ``X`` as in the file.
    layer
        Where the values for the analysis are: ``X`` or a layer.
    n_cells_input, n_genes_input
        Size of the file.
    notes
        What was found and done.
    """

    adata: AnnData
    layer: str
    n_cells_input: int
    n_genes_input: int
    notes: list[str] = field(default_factory=list)


def prepare_cells(path: Path, settings: BatchSettings) -> PreparedCells:
    """Read and filter the cells of a file.

    Counts of ``layers['counts']`` are preferred to ``X``; scaled values in ``X`` are replaced by ``raw``. Names
    that are Ensembl identifiers are replaced by symbols where ``var`` has them.

    Raises
    ------
    InputError
        If the file cannot be read or too little is left.
    """
    from cellkey.io.read import read_cells

    adata = read_cells(path)
    notes: list[str] = []
    size = (int(adata.n_obs), int(adata.n_vars))
    adata = _unscaled(adata, notes)
    layer = "counts" if "counts" in adata.layers else "X"
    _use_symbols(adata, notes)
    kept = _filtered(adata, layer, settings, notes)
    return PreparedCells(kept, layer, *size, notes)


def _matrix(adata: AnnData, layer: str) -> Any:
    return adata.X if layer == "X" else adata.layers[layer]


def _unscaled(adata: AnnData, notes: list[str]) -> AnnData:
    """Cells with ``raw`` in place of ``X`` where ``X`` holds scaled values."""
    if "counts" in adata.layers or adata.X is None or not _has_negative(adata.X):
        return adata
    if adata.raw is None or _has_negative(adata.raw.X):
        msg = "X holds negative values (scaled data) and neither layers['counts'] nor raw holds others"
        raise InputError(msg)
    notes.append("X holds scaled values; raw is used instead")
    plain = adata.raw.to_adata()
    plain.obs_names_make_unique()
    plain.var_names_make_unique()
    return plain


def _has_negative(X: Any) -> bool:
    values = X.data if hasattr(X, "indptr") else X
    return bool(values.size) and bool(np.min(values) < 0)


def _use_symbols(adata: AnnData, notes: list[str]) -> None:
    names = [str(n) for n in adata.var_names]
    if sum(_ENSEMBL.fullmatch(n) is not None for n in names) * 2 <= len(names):
        return
    column = next((c for c in _SYMBOL_COLUMNS if c in adata.var), None)
    if column is None:
        notes.append("genes are named by Ensembl identifiers and var has no column of symbols")
        adata.var_names = [n.split(".")[0] for n in names]
    else:
        symbols = adata.var[column].astype(str)
        missing = symbols.isin(["", "nan", "None"])
        adata.var["gene_id"] = names
        adata.var_names = np.where(missing, names, symbols)
        notes.append(f"gene symbols are taken from var[{column!r}]")
    adata.var_names_make_unique()


def _filtered(adata: AnnData, layer: str, settings: BatchSettings, notes: list[str]) -> AnnData:
    X = _matrix(adata, layer)
    is_panel = adata.n_vars < _WHOLE_TRANSCRIPTOME
    least = 1 if is_panel else settings.min_genes
    detected = X > 0
    keep_cells = np.asarray(detected.sum(axis=1)).ravel() >= least
    keep_genes = np.asarray(detected[keep_cells].sum(axis=0)).ravel() >= settings.min_cells_per_gene
    n_cells, n_genes = int(keep_cells.sum()), int(keep_genes.sum())
    if n_cells < _FEWEST_CELLS or n_genes < _FEWEST_GENES:
        msg = (
            f"{n_cells} cells with at least {least} detected genes and {n_genes} genes in at least "
            f"{settings.min_cells_per_gene} cells are left of {adata.n_obs} x {adata.n_vars}; at least "
            f"{_FEWEST_CELLS} cells and {_FEWEST_GENES} genes are needed"
        )
        raise InputError(msg)
    notes.append(f"{n_cells:,} of {adata.n_obs:,} cells and {n_genes:,} of {adata.n_vars:,} genes kept")
    return adata[keep_cells, keep_genes].copy()
