"""How the transcripts of a switch differ in structure: ends, inner exons, coding sequence, type, length."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellkey.errors import InputError, MissingFieldError
from cellkey.isoforms.parquet import read_parquet, write_parquet
from cellkey.isoforms.table_files import biotype_of, gtf_rows, read_table_file
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FLAGS", "LENGTHS", "Transcript", "annotate_switch_pairs", "compare_transcripts", "read_transcripts"]

FLAGS = (
    "first_exon_changed",
    "last_exon_changed",
    "internal_exon_difference",
    "cds_changed",
    "utr_changed",
    "biotype_switch",
    "coding_status_change",
)
LENGTHS = ("transcript_length_delta", "cds_length_delta")
_SHARED = "shared_exon_fraction"
_PAIR = ("gene_id", "transcript_id_1", "transcript_id_2")

Interval = tuple[int, int]


@dataclass(slots=True)
class Transcript:
    """Structure of a transcript; exons and coding parts in genomic order, both ends included."""

    transcript_id: str
    strand: str = "+"
    biotype: str = ""
    exons: list[Interval] = field(default_factory=list)
    coding: list[Interval] = field(default_factory=list)

    @property
    def ordered(self) -> list[Interval]:
        """Exons from 5' to 3'."""
        return sorted(self.exons, reverse=self.strand == "-")

    @property
    def untranslated(self) -> set[Interval]:
        """Parts of exons that are not coding."""
        parts: set[Interval] = set()
        for start, end in self.exons:
            at = start
            for a, b in sorted(self.coding):
                if b < start or a > end:
                    continue
                if a > at:
                    parts.add((at, a - 1))
                at = max(at, b + 1)
            if at <= end:
                parts.add((at, end))
        return parts


def _length(parts: Iterable[Interval]) -> int:
    return sum(b - a + 1 for a, b in parts)


def compare_transcripts(a: Transcript, b: Transcript) -> dict[str, Any]:
    """Return what differs between two transcripts; lengths in bases, shared exons as a Jaccard index."""
    first, second = a.ordered, b.ordered
    both_code = bool(a.coding) and bool(b.coding)
    union = set(first) | set(second)
    return {
        "first_exon_changed": first[:1] != second[:1],
        "last_exon_changed": first[-1:] != second[-1:],
        "internal_exon_difference": set(first[1:-1]) != set(second[1:-1]),
        "cds_changed": both_code and set(a.coding) != set(b.coding),
        "utr_changed": both_code and a.untranslated != b.untranslated,
        "biotype_switch": a.biotype != b.biotype,
        "coding_status_change": bool(a.coding) != bool(b.coding),
        "transcript_length_delta": abs(_length(a.exons) - _length(b.exons)),
        "cds_length_delta": abs(_length(a.coding) - _length(b.coding)),
        _SHARED: len(set(first) & set(second)) / len(union) if union else 0.0,
    }


def read_transcripts(
    gtf: str | Path, wanted: set[str] | None = None, *, cache: str | Path | None = None
) -> dict[str, Transcript]:
    """Return transcripts of a GTF by id.

    Parameters
    ----------
    wanted
        Ids to keep; None keeps all.
    cache
        Parquet copy of the rows that matter; reused when it is newer than the GTF.
    """
    rows = _rows(Path(gtf), None if cache is None else Path(cache))
    if wanted is not None:
        rows = rows[rows["transcript_id"].isin(wanted)]
    found: dict[str, Transcript] = {}
    columns = [rows[c].tolist() for c in ("transcript_id", "feature", "start", "end", "strand", "biotype")]
    for name, feature, start, end, strand, biotype in zip(*columns, strict=True):
        own = found.setdefault(name, Transcript(name, strand))
        own.biotype = own.biotype or biotype
        if feature == "exon":
            own.exons.append((start, end))
        elif feature == "CDS":
            own.coding.append((start, end))
    return found


def _rows(gtf: Path, cache: Path | None) -> pd.DataFrame:
    if cache is not None and cache.is_file() and gtf.is_file() and cache.stat().st_mtime > gtf.stat().st_mtime:
        return read_parquet(cache)
    records = [
        (found["transcript_id"], fields[2], int(fields[3]), int(fields[4]), fields[6], biotype_of(found))
        for fields, found in gtf_rows(gtf, ("transcript", "exon", "CDS"))
        if "transcript_id" in found
    ]
    table = pd.DataFrame(records, columns=["transcript_id", "feature", "start", "end", "strand", "biotype"])
    if not len(table):
        msg = f"annotation {gtf}: no transcript, exon or CDS rows with a transcript_id; expected a GTF"
        raise InputError(msg)
    if cache is not None:
        write_parquet(table, cache)
    return table


def annotate_switch_pairs(
    gtf: str | Path, pairs: str | Path, output: str | Path, *, cache: str | Path | None = None
) -> tuple[Path, Path]:
    """Write the structural differences of transcript pairs; return the table per transcript and the one per pair.

    A transcript collects its pairs: a difference if any has it, the greatest length change, the least shared share.
    Transcripts that the annotation lacks have empty fields.

    Raises
    ------
    InputError
        If a file is missing or the pairs lack a column.
    """
    table = read_table_file(pairs, "switch pairs")
    missing = [c for c in _PAIR if c not in table.columns]
    if missing:
        msg = f"switch pairs {pairs}: no column {', '.join(missing)}; columns are {', '.join(map(str, table.columns))}"
        raise MissingFieldError(msg)
    table = table[list(_PAIR)].astype(str)
    wanted = set(table["transcript_id_1"]) | set(table["transcript_id_2"])
    known = read_transcripts(gtf, wanted, cache=cache)
    columns = (*FLAGS, *LENGTHS, _SHARED)
    records = []
    for gene, first, second in table.itertuples(index=False):
        both = first in known and second in known
        found = compare_transcripts(known[first], known[second]) if both else dict.fromkeys(columns)
        records.append({"gene_id": gene, "transcript_id_1": first, "transcript_id_2": second, **found})
    by_pair = pd.DataFrame(records, columns=[*_PAIR, *columns])
    target = Path(output)
    second_path = target.with_name(f"{target.stem}_pairs{target.suffix}")
    _write(_per_transcript(by_pair), target)
    _write(by_pair, second_path)
    return target, second_path


def _per_transcript(pairs: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat(
        [pairs.rename(columns={c: "transcript_id"}) for c in ("transcript_id_1", "transcript_id_2")], ignore_index=True
    )
    rows = []
    for (gene, transcript), part in both.groupby(["gene_id", "transcript_id"], sort=True):
        known = part.dropna(subset=[_SHARED])
        row: dict[str, Any] = {"transcript_id": transcript, "gene_id": gene}
        for name in FLAGS:
            row[name] = bool(known[name].astype(bool).any()) if len(known) else None
        for name in LENGTHS:
            row[name] = int(known[name].max()) if len(known) else None
        row[_SHARED] = float(known[_SHARED].min()) if len(known) else None
        rows.append(row)
    return pd.DataFrame(rows, columns=["transcript_id", "gene_id", *FLAGS, *LENGTHS, _SHARED])


def _write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        write_parquet(table, path)
    else:
        write_text(path, table.to_csv(sep="," if path.suffix == ".csv" else "\t", index=False, lineterminator="\n"))


_ALIASES = (
    "alt_first_last_exon",
    "cassette_exon",
    "exon_skipping",
    "intron_retention",
    "coding_change",
    "coding_noncoding_switch",
    "coding_region_change",
)


def read_structure(path: str | Path) -> pd.DataFrame:
    """Return a structure table indexed by transcript, with the columns that are known.

    Raises
    ------
    MissingFieldError
        If no column holds transcript ids or none is known.
    """
    table = read_table_file(path, "annotation table")
    ids = next((c for c in ("transcript_id", "feature_id", "isoform_id") if c in table.columns), None)
    kept = [c for c in (*FLAGS, *LENGTHS, _SHARED, *_ALIASES) if c in table.columns]
    if ids is None or not kept:
        msg = (
            f"annotation table {path}: needs transcript_id (or feature_id, isoform_id) and one of "
            f"{', '.join((*FLAGS, *LENGTHS, _SHARED))}; columns are {', '.join(map(str, table.columns))}"
        )
        raise MissingFieldError(msg)
    return table.drop_duplicates(ids).set_index(table.drop_duplicates(ids)[ids].astype(str))[kept]


def structure_by_gene(structure: pd.DataFrame, genes: pd.Series) -> pd.DataFrame:
    """Return structure per gene: any of flags, the greatest of numbers (the least of the shared share).

    Parameters
    ----------
    genes
        Gene by transcript.
    """
    owner = genes.reindex(structure.index)
    known = structure[owner.notna()]
    rules = {c: "min" if c == _SHARED else "max" for c in structure.columns}
    numbers = known.apply(pd.to_numeric, errors="coerce") if len(known) else known
    result = numbers.groupby(owner[owner.notna()].to_numpy()).agg(rules)
    for name in set(FLAGS) | set(_ALIASES):
        if name in result:
            result[name] = result[name].map({0: False, 1: True})
    return result
