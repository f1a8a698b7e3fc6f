"""Which gene a transcript belongs to, from a GTF file or a table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cellkey.errors import BundleError, InputError, Problem
from cellkey.isoforms.table_files import biotype_of, gtf_rows, is_parquet, read_table_file
from cellkey.isoforms.validation import first_few

__all__ = ["map_genes", "read_gene_map", "strip_version"]

_TRANSCRIPT_NAMES = (
    "transcript_id", "transcript", "tx", "txname", "tx_id", "target_id", "isoform_id", "feature_id", "name",
)
_GENE_NAMES = ("gene_id", "gene", "geneid", "gene_name", "ens_gene", "symbol")
_VERSION = re.compile(r"\.\d+(?=$|_PAR_Y$)")


def strip_version(name: str) -> str:
    """Return an id without its version: ``ENST00000456328.2`` becomes ``ENST00000456328``."""
    return _VERSION.sub("", name)


def read_gene_map(path: str | Path) -> pd.DataFrame:
    """Return ``transcript_id`` and ``gene_id`` (and ``gene_name``, ``transcript_type`` where a GTF has them).

    Tables may have a header with names such as ``transcript_id``, ``TXNAME``, ``target_id``; ``gene_id``, ``GENEID``,
    or no header and two columns: transcript, gene.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, or gives one transcript two genes.
    """
    source = Path(path)
    name = source.name.lower().removesuffix(".gz")
    table = _from_gtf(source) if name.endswith((".gtf", ".gff2")) else _from_table(source)
    if not len(table):
        msg = (
            f"gene map {source} names no transcript; expected GTF rows with "
            "transcript_id and gene_id, or a two-column table"
        )
        raise InputError(msg)
    genes = table.groupby("transcript_id")["gene_id"].nunique()
    clashes = sorted(genes.index[genes > 1])
    if clashes:
        msg = f"gene map {source}: {len(clashes)} transcripts have more than one gene: {first_few(clashes)}"
        raise InputError(msg)
    return table.drop_duplicates("transcript_id").reset_index(drop=True)


def _from_gtf(path: Path) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for _, found in gtf_rows(path, ("transcript", "mRNA", "exon")):
        if "transcript_id" in found and "gene_id" in found:
            rows.setdefault(found["transcript_id"], found)
    return pd.DataFrame(
        {
            "transcript_id": list(rows),
            "gene_id": [r["gene_id"] for r in rows.values()],
            "gene_name": [r.get("gene_name", "") for r in rows.values()],
            "transcript_type": [biotype_of(r) for r in rows.values()],
        }
    )


def _from_table(path: Path) -> pd.DataFrame:
    table = read_table_file(path, "gene map", dtype=str, header=None, comment="#", keep_default_na=False)
    if not is_parquet(path):
        head = [str(v).strip().lower() for v in table.iloc[0]] if len(table) else []
        if set(head) & set(_TRANSCRIPT_NAMES):
            table = table.iloc[1:].set_axis([str(v).strip() for v in table.iloc[0]], axis=1)
        elif table.shape[1] >= 2:
            table = table.iloc[:, :2].set_axis(["transcript_id", "gene_id"], axis=1)
    by_folded = {str(c).strip().lower(): c for c in table.columns}
    transcript = next((by_folded[n] for n in _TRANSCRIPT_NAMES if n in by_folded), None)
    gene = next((by_folded[n] for n in _GENE_NAMES if n in by_folded), None)
    if transcript is None or gene is None:
        msg = (
            f"gene map {path}: no transcript and gene columns among {first_few(table.columns)}; "
            "name them transcript_id and gene_id"
        )
        raise InputError(msg)
    found = pd.DataFrame({"transcript_id": table[transcript].astype(str), "gene_id": table[gene].astype(str)})
    if "gene_name" in by_folded and by_folded["gene_name"] != gene:
        found["gene_name"] = table[by_folded["gene_name"]].astype(str)
    return found[(found["transcript_id"] != "") & (found["gene_id"] != "")]


def map_genes(transcripts: list[str], gene_map: pd.DataFrame, *, strip_versions: bool = False) -> pd.DataFrame:
    """Return the map rows of transcripts in their order; ``gene_id`` is missing where the map has none.

    Raises
    ------
    BundleError
        If fewer than half of the transcripts are mapped; the message shows ids of both sides and, when the version
        suffix is the reason, the option that mends it.
    """
    keys = [strip_version(t) for t in transcripts] if strip_versions else transcripts
    known = gene_map
    if strip_versions:
        known = gene_map.assign(
            transcript_id=gene_map["transcript_id"].map(strip_version), gene_id=gene_map["gene_id"].map(strip_version)
        ).drop_duplicates("transcript_id")
    joined = known.set_index("transcript_id").reindex(keys).reset_index()
    mapped = int(joined["gene_id"].notna().sum())
    if mapped < len(transcripts) / 2:
        fix = "give the annotation that the counts were made with"
        bare = {strip_version(t) for t in gene_map["transcript_id"]}
        again = sum(strip_version(t) in bare for t in transcripts)
        if not strip_versions and again > mapped:
            fix = f"without version suffixes {again} would match: use --strip-versions"
        missing = [t for t, g in zip(transcripts, joined["gene_id"].isna(), strict=True) if g]
        msg = f"the gene map knows {mapped} of {len(transcripts)} transcripts"
        raise BundleError(
            msg,
            [
                Problem(
                    f"counts name {first_few(missing, 3)}, the gene map names "
                    f"{first_few(gene_map['transcript_id'], 3)}",
                    "transcript ids",
                    fix,
                )
            ],
        )
    return joined.assign(transcript_id=keys)
