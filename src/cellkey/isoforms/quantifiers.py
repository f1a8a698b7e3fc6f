"""Transcript counts from the files of salmon, kallisto, RSEM and StringTie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellkey.errors import InputError
from cellkey.isoforms.table_files import need_numbers, read_table_file
from cellkey.isoforms.transcript_counts import TranscriptCounts
from cellkey.isoforms.validation import first_few

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_quantification"]

Array = NDArray[np.float64]


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
    effective = []
    first = _read_file(quantifier, files[0])
    for file in files:
        table = first if file == files[0] else _read_file(quantifier, file)
        _same_transcripts(quantifier, table, file, first, files[0])
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


def _read_file(quantifier: _Quantifier, file: Path) -> pd.DataFrame:
    """Read the results of one sample, sorted by transcript."""
    table = read_table_file(file, f"{quantifier.name} results")
    missing = [c for c in (quantifier.transcript, quantifier.count, quantifier.length) if c not in table.columns]
    if missing:
        msg = (
            f"{file}: no column {', '.join(missing)}; a {quantifier.name} "
            f"file has them, found {first_few(table.columns)}"
        )
        raise InputError(msg)
    need_numbers(table[[quantifier.count, quantifier.length]], str(file), "the file was cut or changed")
    return table.sort_values(quantifier.transcript, kind="stable").reset_index(drop=True)


def _same_transcripts(
    quantifier: _Quantifier, table: pd.DataFrame, file: Path, first: pd.DataFrame, first_file: Path
) -> None:
    ids, expected = table[quantifier.transcript], first[quantifier.transcript]
    if not ids.equals(expected):
        msg = (
            f"{file} and {first_file} name different transcripts, "
            f"for example {first_few(sorted(map(str, set(ids) ^ set(expected))), 3)}; "
            "quantify all samples against one annotation"
        )
        raise InputError(msg)
