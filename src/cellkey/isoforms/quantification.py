"""Transcript counts from the files of quantifiers, from tables and from AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import InputError, MissingFieldError, did_you_mean
from cellkey.isoforms.validation import first_few

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TranscriptCounts", "read_anndata", "read_quantification", "read_table", "read_transcript_counts"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TranscriptCounts:
    """Estimated reads of transcripts in samples.

    Parameters
    ----------
    counts
        Transcripts x samples, float64.
    transcript_ids, sample_ids
        Rows and columns.
    gene_ids, gene_names
        Gene and its symbol per transcript where the source names them, else None.
    lengths, effective_lengths
        Transcript length, and its mean effective length over samples, where the source has them.
    samples
        Sample table where the source has one (AnnData), with ``sample_id``.
    source
        What was read, for the record.
    """

    counts: Array
    transcript_ids: tuple[str, ...]
    sample_ids: tuple[str, ...]
    gene_ids: tuple[str, ...] | None = None
    gene_names: tuple[str, ...] | None = None
    lengths: Array | None = None
    effective_lengths: Array | None = None
    samples: pd.DataFrame | None = None
    source: str = ""


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
    name = source.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        from cellkey.isoforms.parquet import read_parquet

        table = read_parquet(source)
    else:
        table = pd.read_csv(source, sep="," if name.endswith(".csv") else "\t", comment="#", low_memory=False)
    if table.shape[1] < 2:
        msg = (
            f"{source} has {table.shape[1]} column(s); expected transcript ids "
            "and one column per sample (TSV, or CSV by suffix .csv)"
        )
        raise InputError(msg)
    id_column = "transcript_id" if "transcript_id" in table.columns else table.columns[0]
    drop = [
        c
        for c in ("gene_id", "gene", "length", "effective_length", "gene_name")
        if c in table.columns and c != id_column
    ]
    values = table.drop(columns=[id_column, *drop])
    text = [c for c in values.columns if not pd.api.types.is_numeric_dtype(values[c])]
    if text:
        bad = pd.to_numeric(values[text[0]], errors="coerce").isna()
        first = values[text[0]][bad].iloc[0] if bad.any() else values[text[0]].iloc[0]
        msg = (
            f"{source}, column {text[0]!r}: values must be numbers, found "
            f"{first!r}; leave only sample columns and gene_id"
        )
        raise InputError(msg)
    gene = next((c for c in ("gene_id", "gene") if c in drop), None)
    return TranscriptCounts(
        counts=values.to_numpy(dtype=np.float64),
        transcript_ids=tuple(table[id_column].astype(str)),
        sample_ids=tuple(str(c) for c in values.columns),
        gene_ids=tuple(table[gene].astype(str)) if gene else None,
        lengths=table["length"].to_numpy(dtype=np.float64) if "length" in drop else None,
        source=f"table {source.name}",
    )


@dataclass(frozen=True, slots=True)
class _Quantifier:
    """Output of one program: file pattern and columns."""

    name: str
    patterns: tuple[str, ...]
    transcript: str
    count: str
    length: str
    effective: str | None = None
    gene: str | None = None


_QUANTIFIERS = (
    _Quantifier(
        "salmon", ("*/quant.sf", "*/quant.sf.gz", "*.quant.sf", "*.sf"), "Name", "NumReads", "Length", "EffectiveLength"
    ),
    _Quantifier(
        "kallisto",
        ("*/abundance.tsv", "*/abundance.tsv.gz", "*.abundance.tsv"),
        "target_id",
        "est_counts",
        "length",
        "eff_length",
    ),
    _Quantifier(
        "RSEM",
        ("*.isoforms.results", "*.isoforms.results.gz", "*/*.isoforms.results"),
        "transcript_id",
        "expected_count",
        "length",
        "effective_length",
        "gene_id",
    ),
    _Quantifier("StringTie", ("*/t_data.ctab", "*/t_data.ctab.gz"), "t_name", "cov", "length", None, "gene_id"),
)


def read_quantification(directory: str | Path, *, read_length: float = 75.0) -> TranscriptCounts:
    """Read a directory of quantifier results, one folder (or prefixed file) per sample.

    StringTie reports coverage; reads are coverage times length over ``read_length``.

    Raises
    ------
    InputError
        If no known file is found, a column is missing, or samples name different transcripts.
    """
    root = Path(directory)
    for quantifier in _QUANTIFIERS:
        files = sorted({f for pattern in quantifier.patterns for f in root.glob(pattern)})
        if files:
            return _read_all(root, quantifier, files, read_length)
    expected = "; ".join(f"{q.name} {q.patterns[0]}" for q in _QUANTIFIERS)
    msg = (
        f"{root} holds no quantifier results; looked for {expected}; found "
        f"{first_few(sorted(p.name for p in root.iterdir()))}"
    )
    raise InputError(msg)


def _sample_of(root: Path, file: Path) -> str:
    if file.parent != root:
        return file.parent.name
    name = file.name.removesuffix(".gz")
    for suffix in (".isoforms.results", ".quant.sf", ".abundance.tsv", ".sf"):
        name = name.removesuffix(suffix)
    return name


def _read_all(root: Path, quantifier: _Quantifier, files: list[Path], read_length: float) -> TranscriptCounts:
    columns: dict[str, Array] = {}
    effective, first, first_file = [], None, files[0]
    for file in files:
        table = pd.read_csv(file, sep="\t")
        missing = [c for c in (quantifier.transcript, quantifier.count, quantifier.length) if c not in table.columns]
        if missing:
            msg = (
                f"{file}: no column {', '.join(missing)}; a {quantifier.name} "
                f"file has them, found {first_few(table.columns)}"
            )
            raise InputError(msg)
        table = table.sort_values(quantifier.transcript, kind="stable").reset_index(drop=True)
        if first is None:
            first = table
        elif not table[quantifier.transcript].equals(first[quantifier.transcript]):
            other = set(table[quantifier.transcript]) ^ set(first[quantifier.transcript])
            msg = (
                f"{file} and {first_file} name different transcripts, "
                f"for example {first_few(sorted(map(str, other)), 3)}; "
                "quantify all samples against one annotation"
            )
            raise InputError(msg)
        counts = table[quantifier.count].to_numpy(dtype=np.float64)
        if quantifier.name == "StringTie":
            counts = counts * table[quantifier.length].to_numpy(dtype=np.float64) / read_length
        sample = _sample_of(root, file)
        if sample in columns:
            msg = f"{root}: two files for the sample {sample!r}, {file} is the second; keep one"
            raise InputError(msg)
        columns[sample] = counts
        if quantifier.effective:
            effective.append(table[quantifier.effective].to_numpy(dtype=np.float64))
    assert first is not None
    genes = tuple(first[quantifier.gene].astype(str)) if quantifier.gene and quantifier.gene in first.columns else None
    return TranscriptCounts(
        counts=np.column_stack(list(columns.values())),
        transcript_ids=tuple(first[quantifier.transcript].astype(str)),
        sample_ids=tuple(columns),
        gene_ids=genes,
        lengths=first[quantifier.length].to_numpy(dtype=np.float64),
        effective_lengths=np.mean(effective, axis=0) if effective else None,
        source=f"{quantifier.name} results of {len(files)} samples",
    )


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
    records = []
    for key, members in kept.items():
        part = obs.iloc[members]
        record: dict[str, object] = {"sample_id": "|".join(map(str, key)), "n_cells": len(members)}
        for column in obs.columns:
            if column in keys:
                record[column] = key[keys.index(column)]
            elif pd.api.types.is_numeric_dtype(part[column]):
                record[column] = float(part[column].mean())
            elif len(part[column].dropna().unique()) == 1:
                record[column] = part[column].iloc[0]
        records.append(record)
    table = pd.DataFrame(records)
    return indicator @ matrix, table


def _plain_columns(samples: pd.DataFrame) -> pd.DataFrame:
    """Categories as text, so that the table can be stored and read anywhere."""
    categories = samples.select_dtypes("category")
    return samples.assign(**{str(n): c.astype(object).where(c.notna(), None) for n, c in categories.items()})
