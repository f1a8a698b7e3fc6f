"""From transcript counts, a gene map and a sample sheet to a validated bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellkey.errors import BundleError, NothingToDoError, Problem, did_you_mean
from cellkey.isoforms.bundle import GENE_COUNTS, PSI, TRANSCRIPT_COUNTS, Bundle, FeatureKind, make_bundle
from cellkey.isoforms.gene_map import map_genes, strip_version
from cellkey.isoforms.settings import PrepareParameters
from cellkey.isoforms.table_files import read_table_file
from cellkey.isoforms.validation import MIN_SAMPLES, first_few, input_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cellkey.isoforms.splicing import PsiTable
    from cellkey.isoforms.transcript_counts import TranscriptCounts

__all__ = ["Prepared", "prepare_bundle", "read_samples"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle and what was left out on the way.

    Parameters
    ----------
    bundle
        Validated bundle.
    report
        Counts of transcripts, genes and samples before and after, and the filters.
    dropped
        ``transcript_id``, ``gene_id``, ``reason`` of every transcript that was left out.
    """

    bundle: Bundle
    report: dict[str, Any]
    dropped: pd.DataFrame


def read_samples(path: str | Path) -> pd.DataFrame:
    """Read a sample sheet (CSV, TSV, parquet) with ``sample_id``, or with the ids in the first column."""
    table = read_table_file(path, "sample sheet")
    if "sample_id" not in table.columns:
        table = table.rename(columns={table.columns[0]: "sample_id"})
    return table.assign(sample_id=table["sample_id"].astype(str))


def prepare_bundle(
    counts: TranscriptCounts,
    *,
    gene_map: pd.DataFrame | None = None,
    samples: pd.DataFrame | None = None,
    parameters: PrepareParameters | None = None,
    psi: PsiTable | None = None,
    name: str = "data",
) -> Prepared:
    """Return a validated bundle of transcript counts.

    Parameters
    ----------
    counts
        Transcript counts; samples in any order.
    gene_map
        ``transcript_id`` and ``gene_id``; None takes the genes that the counts came with.
    samples
        Sample sheet with ``sample_id``; None takes the one that the counts came with. Samples without counts and
        counts without a row in the sheet are left out and reported; the order is that of the sheet.
    psi
        Splicing events of the same samples, stored as a third channel; events of unknown genes are left out.

    Raises
    ------
    BundleError
        With every problem of ids, genes and values found.
    NothingToDoError
        If the filters leave no transcript.
    """
    settings = parameters or PrepareParameters()
    sheet = samples if samples is not None else counts.samples
    if sheet is None:
        sheet = pd.DataFrame({"sample_id": list(counts.sample_ids)})
    genes = _genes(counts, gene_map, settings)
    values, sheet, sample_report = _matched_samples(counts, sheet, settings)
    transcripts, values = _merged_duplicates(_transcript_table(counts, genes, settings), values, settings)
    usable = transcripts["gene_id"].notna().to_numpy()
    _check(counts.source, sheet, transcripts[usable].reset_index(drop=True), values[usable])
    threshold = _min_samples(sheet, settings)
    reason = np.where(usable, "", "no gene").astype(object)
    if not settings.keep_all:
        reason[usable] = _filter_reasons(transcripts[usable], values[usable], threshold, settings)
    kept = reason == ""
    if not kept.any():
        msg = (
            f"no transcript passes the filters: {settings.min_count:g} reads and {settings.min_usage:.0%} usage in at "
            f"least {threshold} of {len(sheet)} samples; lower --min-count, --min-usage or --min-samples"
        )
        raise NothingToDoError(msg)
    dropped = transcripts[~kept][["transcript_id", "gene_id"]].assign(reason=reason[~kept]).reset_index(drop=True)
    table = transcripts[kept].reset_index(drop=True)
    gene_ids = sorted(set(table["gene_id"]))
    report = {
        "source": counts.source,
        "n_transcripts_read": len(counts.transcript_ids),
        **_kept_report(table, dropped),
        "reads_kept_share": float(values[kept].sum() / max(values.sum(), 1e-300)),
        "n_samples": len(sheet),
        "min_samples": threshold,
        "settings": settings.model_dump(),
        **sample_report,
    }
    tables = {
        FeatureKind.GENE: _gene_table(table, _gene_names(counts, gene_map, genes, settings), gene_ids),
        FeatureKind.TRANSCRIPT: table,
    }
    # Totals of all mapped reads, so that a dropped minor isoform still counts for its gene.
    matrices = {TRANSCRIPT_COUNTS: values[kept], GENE_COUNTS: _gene_counts(transcripts, values, usable, gene_ids)}
    if psi is not None:
        tables[FeatureKind.PSI], matrices[PSI], report["splicing_events"] = _events(psi, sheet, gene_ids)
    bundle = make_bundle(
        dataset_name=name,
        samples=sheet,
        description=f"{counts.source}, {len(sheet)} samples",
        tables=tables,
        matrices=matrices,
        encoding=settings.matrix_format,
        provenance={
            "source": counts.source,
            "min_count": str(settings.min_count),
            "min_usage": str(settings.min_usage),
            "min_samples": str(threshold),
            "strip_versions": str(settings.strip_versions),
        },
    )
    return Prepared(bundle, report, dropped)


def _kept_report(table: pd.DataFrame, dropped: pd.DataFrame) -> dict[str, Any]:
    """How many transcripts and genes were kept, and how many were left out for which reason."""
    examples = {str(k): [str(t) for t in part["transcript_id"].head(3)] for k, part in dropped.groupby("reason")}
    return {
        "n_transcripts_kept": len(table),
        "n_genes_kept": table["gene_id"].nunique(),
        "n_genes_with_switch": int((table["gene_id"].value_counts() >= 2).sum()),
        "dropped_examples": examples,
        "dropped_by_reason": {str(k): int(v) for k, v in dropped["reason"].value_counts().sort_index().items()},
    }


def _check(source: str, sheet: pd.DataFrame, transcripts: pd.DataFrame, values: Array) -> None:
    """Refuse what no analysis can use; problems of values name the file that the counts came from."""
    problems = [replace(p, where=source) if p.where == TRANSCRIPT_COUNTS else p
                for p in input_problems(sheet, transcripts, values)]  # fmt: skip
    if len(sheet) < MIN_SAMPLES:
        problems.append(
            Problem(
                f"{len(sheet)} samples in both counts and sheet ({first_few(sheet['sample_id'])}), at least "
                f"{MIN_SAMPLES} are needed",
                "sample sheet, column 'sample_id'",
                "add samples, or sum cells over more groups",
            )
        )
    if problems:
        msg = f"{source} cannot become a bundle: {len(problems)} problem(s)"
        raise BundleError(msg, problems)


def _genes(counts: TranscriptCounts, gene_map: pd.DataFrame | None, settings: PrepareParameters) -> list[str | None]:
    if gene_map is not None:
        found = map_genes(list(counts.transcript_ids), gene_map, strip_versions=settings.strip_versions)["gene_id"]
        return [None if pd.isna(g) else str(g) for g in found]
    if counts.gene_ids is None:
        msg = (
            f"{counts.source} names no genes; give a gene map (--gene-map: "
            "GTF, or a table of transcript_id and gene_id)"
        )
        raise BundleError(msg)
    strip = strip_version if settings.strip_versions else str
    return [strip(g) if g and g.lower() not in ("nan", "none") else None for g in counts.gene_ids]


def _transcript_table(counts: TranscriptCounts, genes: list[str | None], settings: PrepareParameters) -> pd.DataFrame:
    strip = strip_version if settings.strip_versions else str
    table = pd.DataFrame({"transcript_id": [strip(t) for t in counts.transcript_ids], "gene_id": genes}, dtype=object)
    if counts.lengths is not None:
        table["length"] = counts.lengths
    if counts.effective_lengths is not None:
        table["effective_length"] = counts.effective_lengths
    return table


def _merged_duplicates(
    transcripts: pd.DataFrame, values: Array, settings: PrepareParameters
) -> tuple[pd.DataFrame, Array]:
    """Sum transcripts that became the same when versions were stripped (pseudo-autosomal copies)."""
    if not settings.strip_versions or not transcripts["transcript_id"].duplicated().any():
        return transcripts, values
    codes, names = pd.factorize(transcripts["transcript_id"])
    summed = np.zeros((len(names), values.shape[1]))
    np.add.at(summed, codes, values)
    return transcripts.drop_duplicates("transcript_id").reset_index(drop=True), summed


def _matched_samples(
    counts: TranscriptCounts, sheet: pd.DataFrame, settings: PrepareParameters
) -> tuple[Array, pd.DataFrame, dict[str, Any]]:
    """Counts and rows of the samples that are in both, in the order of the sheet, and which are not."""
    if "sample_id" not in sheet.columns:
        msg = f"the sample sheet has no column 'sample_id'; columns are {first_few(sheet.columns)}"
        raise BundleError(msg)
    ids = sheet["sample_id"].astype(str)
    problems = list(_sample_problems(counts, sheet, ids, settings.group))
    if problems:
        msg = f"{len(problems)} problem(s) with the samples"
        raise BundleError(msg, problems)
    position = {s: i for i, s in enumerate(counts.sample_ids)}
    both = ids.isin(position).to_numpy()
    chosen = sheet[both].reset_index(drop=True).assign(sample_id=ids[both].to_list())
    order = [position[s] for s in chosen["sample_id"]]
    left_out = {
        "samples_without_counts": list(ids[~both]), "samples_not_in_sheet": sorted(set(position) - set(ids))
    }
    return counts.counts[:, order], chosen, left_out


def _sample_problems(
    counts: TranscriptCounts, sheet: pd.DataFrame, ids: pd.Series, group: str | None
) -> Iterator[Problem]:
    counted = pd.Series(counts.sample_ids)
    if counted.duplicated().any():
        yield Problem(f"repeated sample names: {first_few(counted[counted.duplicated()])}", counts.source)
    if ids.duplicated().any():
        repeated = first_few(ids[ids.duplicated()])
        yield Problem(f"duplicate sample_id values: {repeated}", "sample sheet", "make ids unique")
    if group is not None and group not in sheet.columns:
        what = f"no column {group!r}{did_you_mean(group, map(str, sheet.columns))}"
        yield Problem(what, "sample sheet", f"columns are {first_few(sheet.columns, 12)}")
    if not ids.isin(counts.sample_ids).any():
        what = (
            f"no sample is in both: the sheet names {first_few(ids, 3)}, the counts name "
            f"{first_few(counts.sample_ids, 3)}"
        )
        yield Problem(what, "sample_id", "use the sample names of the counts")


def _events(psi: PsiTable, sheet: pd.DataFrame, gene_ids: list[str]) -> tuple[pd.DataFrame, Array, dict[str, int]]:
    """Events of genes that were kept, with the columns of the sheet, and how many were left out."""
    samples = list(sheet["sample_id"])
    if not set(samples) & set(psi.sample_ids):
        msg = (
            f"no sample of the splicing events is in the sheet: they name {first_few(psi.sample_ids, 3)}, "
            f"the sheet names {first_few(samples, 3)}; use one set of names"
        )
        raise BundleError(msg)
    known = psi.events["gene_id"].isin(gene_ids).to_numpy()
    if not known.any():
        msg = (
            f"no gene of the splicing events is among those kept: events name {first_few(psi.events['gene_id'], 3)}, "
            f"kept are {first_few(gene_ids, 3)}; use one kind of ids (--strip-versions cuts versions on all sides)"
        )
        raise BundleError(msg)
    counted = {"n_events_read": len(known), "n_events_kept": int(known.sum())}
    return psi.events[known].reset_index(drop=True), psi.for_samples(samples)[known], counted


def _min_samples(sheet: pd.DataFrame, settings: PrepareParameters) -> int:
    if settings.min_samples is not None:
        return min(settings.min_samples, len(sheet))
    if settings.group is not None:
        return int(sheet[settings.group].value_counts().min())
    return min(max(3, int(np.ceil(len(sheet) / 4))), len(sheet))


def _filter_reasons(transcripts: pd.DataFrame, values: Array, threshold: int, settings: PrepareParameters) -> Array:
    codes, names = pd.factorize(transcripts["gene_id"])
    totals = np.zeros((len(names), values.shape[1]))
    np.add.at(totals, codes, values)
    per_gene = totals[codes]
    usage = np.divide(values, per_gene, out=np.zeros_like(values), where=per_gene > 0)
    few_reads = (values >= settings.min_count).sum(axis=1) < threshold
    low_usage = (usage >= settings.min_usage).sum(axis=1) < threshold
    constant = np.ptp(values, axis=1) == 0
    return np.select(
        [few_reads, low_usage, constant],
        [
            f"fewer than {threshold} samples with {settings.min_count:g} reads",
            f"fewer than {threshold} samples with a usage of {settings.min_usage:.0%}",
            "same in all samples",
        ],
        "",
    )


def _gene_names(
    counts: TranscriptCounts, gene_map: pd.DataFrame | None, genes: list[str | None], settings: PrepareParameters
) -> dict[str, str]:
    """Symbol of every gene, from the gene map or from the counts."""
    if gene_map is not None and "gene_name" in gene_map.columns:
        ids = [strip_version(g) if settings.strip_versions else g for g in gene_map["gene_id"]]
        return {g: n for g, n in zip(ids, gene_map["gene_name"], strict=True) if isinstance(n, str) and n}
    if counts.gene_names is not None:
        return {g: n for g, n in zip(genes, counts.gene_names, strict=True) if g and n and n != "nan"}
    return {}


def _gene_table(table: pd.DataFrame, names: dict[str, str], gene_ids: list[str]) -> pd.DataFrame:
    genes = pd.DataFrame({"gene_id": gene_ids})
    genes["n_transcripts"] = genes["gene_id"].map(table["gene_id"].value_counts()).astype(np.int64)
    return genes.assign(gene_name=genes["gene_id"].map(names)) if names else genes


def _gene_counts(transcripts: pd.DataFrame, values: Array, usable: NDArray[np.bool_], gene_ids: list[str]) -> Array:
    place = {g: i for i, g in enumerate(gene_ids)}
    rows = np.array([place.get(g, -1) for g in transcripts["gene_id"][usable]])
    totals = np.zeros((len(gene_ids), values.shape[1]))
    np.add.at(totals, rows[rows >= 0], values[usable][rows >= 0])
    return totals
