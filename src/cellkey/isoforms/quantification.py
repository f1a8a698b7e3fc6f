"""Transcript counts from tables, and from whatever a path is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellkey.errors import InputError
from cellkey.isoforms.quantifiers import read_quantification
from cellkey.isoforms.table_files import need_numbers, read_table_file
from cellkey.isoforms.transcript_cells import read_anndata
from cellkey.isoforms.transcript_counts import TranscriptCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["read_table", "read_transcript_counts"]


def read_transcript_counts(
    path: str | Path,
    *,
    read_length: float = 75.0,
    groupby: Sequence[str] = (),
    sample_key: str | None = None,
    layer: str | None = None,
    modality: str | None = None,
    gene_key: str | None = None,
    min_cells: int = 10,
) -> TranscriptCounts:
    """Read transcript counts from whatever ``path`` is.

    Parameters
    ----------
    path
        A directory of salmon, kallisto, RSEM or StringTie results (one folder or file per sample), a table
        (transcripts x samples; CSV, TSV, parquet), or an AnnData or MuData file of isoforms (samples or cells x
        transcripts).
    read_length
        Mean read length, needed to turn StringTie coverage into reads.
    groupby, sample_key, min_cells
        AnnData of cells: sum cells of one sample (and of one value of every ``groupby`` column) with at least
        ``min_cells`` cells.
    layer, modality, gene_key
        AnnData layer, MuData modality, and the ``var`` column that holds genes.
    """
    source = Path(path)
    if source.is_dir():
        return read_quantification(source, read_length=read_length)
    if not source.is_file():
        msg = f"{source}: no such file or directory"
        raise InputError(msg)
    if source.suffix in (".h5ad", ".h5mu"):
        return read_anndata(
            source,
            groupby=groupby,
            sample_key=sample_key,
            layer=layer,
            modality=modality,
            gene_key=gene_key,
            min_cells=min_cells,
        )
    return read_table(source)


def read_table(path: str | Path) -> TranscriptCounts:
    """Read a table with one row per transcript: ids (first column or ``transcript_id``), ``gene_id``, samples."""
    source = Path(path)
    table = read_table_file(source, "transcript counts", comment="#", low_memory=False)
    if table.shape[1] < 2 or table.empty:
        msg = (
            f"{source} has {len(table)} rows and {table.shape[1]} column(s); expected one row per transcript with its "
            "id and one column per sample (TSV, or CSV by suffix .csv)"
        )
        raise InputError(msg)
    id_column = "transcript_id" if "transcript_id" in table.columns else table.columns[0]
    known = ("gene_id", "gene", "length", "effective_length", "gene_name")
    drop = [c for c in known if c in table.columns and c != id_column]
    values = table.drop(columns=[id_column, *drop])
    need_numbers(values, str(source), "leave only sample columns and gene_id")
    gene = next((c for c in ("gene_id", "gene") if c in drop), None)
    return TranscriptCounts(
        counts=values.to_numpy(dtype=np.float64),
        transcript_ids=tuple(table[id_column].astype(str)),
        sample_ids=tuple(str(c) for c in values.columns),
        gene_ids=tuple(table[gene].astype(str)) if gene else None,
        lengths=table["length"].to_numpy(dtype=np.float64) if "length" in drop else None,
        source=f"table {source.name}",
    )
