"""Find every problem of a bundle at once: file, column, first offending values, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import BundleError, Problem
from cellkey.isoforms.bundle import GENE_COUNTS, PSI, TRANSCRIPT_COUNTS, Bundle, FeatureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "MIN_SAMPLES",
    "BundleCheck",
    "bundle_problems",
    "first_few",
    "input_problems",
    "validate_bundle",
    "validate_bundle_inputs",
]

MIN_SAMPLES = 4
"""Below this number of samples no correlation can be tested."""


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """What a validation found.

    Parameters
    ----------
    problems
        What must be mended before the bundle can be used.
    notes
        What a user should know although the bundle can be used (genes without a switch feature, constant rows).
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the bundle can be used."""
        return not self.problems


def first_few(values: Iterable[Any], n: int = 5) -> str:
    """Return the first values for a message: ``'a', 'b', ... (7 in all)``."""
    items = list(values)
    shown = ", ".join(repr(str(v)) for v in items[:n])
    return shown if len(items) <= n else f"{shown}, ... ({len(items)} in all)"


def input_problems(
    samples: pd.DataFrame,
    transcripts: pd.DataFrame,
    transcript_counts: NDArray[Any],
    genes: pd.DataFrame | None = None,
    gene_counts: NDArray[Any] | None = None,
) -> list[Problem]:
    """Return all problems of the tables and matrices that a bundle is made of."""
    found = list(_id_problems(samples, "sample_id", "sample table"))
    if "gene_id" not in transcripts.columns:
        found.append(Problem("column 'gene_id' is missing", "transcript table", "add the gene of every transcript"))
    else:
        found += _blank_problems(transcripts, "gene_id", "transcript table")
    found += _id_problems(transcripts, "transcript_id", "transcript table")
    found += _matrix_problems(transcript_counts, TRANSCRIPT_COUNTS, transcripts, "transcript table", samples)
    if (genes is None) != (gene_counts is None):
        has, lacks = ("gene matrix", "gene table") if genes is None else ("gene table", "gene matrix")
        found.append(Problem(f"there is a {has} but no {lacks}", lacks, "give both or neither"))
    if genes is not None and gene_counts is not None:
        found += _matrix_problems(gene_counts, GENE_COUNTS, genes, "gene table", samples)
    return [*found, *_gene_table_problems(transcripts, genes)]


def validate_bundle_inputs(
    samples: pd.DataFrame,
    transcripts: pd.DataFrame,
    transcript_counts: NDArray[Any],
    genes: pd.DataFrame | None = None,
    gene_counts: NDArray[Any] | None = None,
) -> None:
    """Check tables and matrices before a bundle is made of them.

    Raises
    ------
    BundleError
        ``validate_bundle_inputs found <k> problem(s):`` followed by one line per problem.
    """
    problems = input_problems(samples, transcripts, transcript_counts, genes, gene_counts)
    if problems:
        msg = f"validate_bundle_inputs found {len(problems)} problem(s):"
        raise BundleError(msg, problems)


def bundle_problems(bundle: Bundle) -> list[Problem]:
    """Return all problems of a bundle in memory, including sizes that differ from the manifest."""
    found = list(_size_problems(bundle))
    if FeatureKind.TRANSCRIPT.value not in bundle.tables or TRANSCRIPT_COUNTS not in bundle.matrices:
        found.append(
            Problem(
                "no transcript table or no matrix 'transcript_counts'",
                "manifest.json",
                "both are needed: prepare the bundle again from transcript counts",
            )
        )
        return found
    genes, gene_counts = bundle.tables.get(FeatureKind.GENE.value), bundle.matrices.get(GENE_COUNTS)
    counted = bundle.transcript_counts
    if gene_counts is None:  # a table of genes may stand alone
        found += input_problems(bundle.samples, bundle.transcripts, counted)
        found += _gene_table_problems(bundle.transcripts, genes)
    else:
        found += input_problems(bundle.samples, bundle.transcripts, counted, genes, gene_counts)
    found += _psi_problems(bundle)
    if len(bundle.samples) < MIN_SAMPLES:
        found.append(
            Problem(
                f"has {len(bundle.samples)} samples, at least {MIN_SAMPLES} are needed",
                bundle.manifest.sample_table,
                "add samples",
            )
        )
    return found


def _size_problems(bundle: Bundle) -> Iterator[Problem]:
    """Tables and matrices that are not there, or not of the size that the manifest says."""
    fix = "the file was cut or replaced: write the bundle again"
    for entry in bundle.manifest.feature_tables:
        table = bundle.tables.get(entry.kind.value)
        if table is None:
            yield Problem(f"no table of kind {entry.kind.value!r} was read", entry.filename)
        elif len(table) != entry.n_rows:
            yield Problem(f"has {len(table)} rows, the manifest says n_rows = {entry.n_rows}", entry.filename, fix)
    for spec in bundle.manifest.matrices:
        matrix, expected = bundle.matrices.get(spec.assay_name), (spec.n_features, spec.n_samples)
        if matrix is not None and matrix.shape != expected:
            yield Problem(f"has shape {matrix.shape}, the manifest says {expected}", spec.filename, fix)


def validate_bundle(path: str | Path, covariates: Sequence[str] = ()) -> BundleCheck:
    """Read a bundle directory and return everything that is wrong or worth knowing.

    Parameters
    ----------
    path
        Bundle directory.
    covariates
        Sample columns that an analysis will need; absent ones are problems.
    """
    from cellkey.isoforms.bundle_io import read_bundle

    try:
        bundle = read_bundle(path, validate=False)
    except BundleError as error:
        return BundleCheck(error.problems or (Problem(error.message, str(path)),))
    problems = bundle_problems(bundle)
    for name in covariates:
        if name not in bundle.samples.columns:
            problems.append(
                Problem(
                    f"column {name!r} is missing; columns are {first_few(bundle.samples.columns, 12)}",
                    bundle.manifest.sample_table,
                    "add the covariate or leave it out",
                )
            )
    return BundleCheck(tuple(problems), tuple(_notes(bundle)) if not problems else ())


def _notes(bundle: Bundle) -> Iterator[Problem]:
    counts, transcripts = bundle.transcript_counts, bundle.transcripts
    per_gene = transcripts["gene_id"].astype(str).value_counts()
    single = sorted(per_gene.index[per_gene == 1])
    if single:
        yield Problem(
            f"{len(single)} of {len(per_gene)} genes have one transcript: {first_few(single)}",
            "transcript table",
            "they have an abundance feature and no switch feature",
        )
    constant = np.flatnonzero(np.ptp(counts, axis=1) == 0)
    if constant.size:
        ids = transcripts["transcript_id"].iloc[constant]
        yield Problem(
            f"{constant.size} rows are the same in all samples: {first_few(ids)}",
            TRANSCRIPT_COUNTS,
            "they carry no information; the filters of 'prepare' drop them",
        )
    silent = np.flatnonzero(counts.sum(axis=0) == 0)
    if silent.size:
        yield Problem(
            f"{silent.size} samples have no reads: {first_few(bundle.samples['sample_id'].iloc[silent])}",
            TRANSCRIPT_COUNTS,
            "leave them out",
        )
    for name in bundle.samples.columns:
        missing = bundle.samples[name].isna().to_numpy()
        if missing.any():
            ids = bundle.samples.loc[missing, "sample_id"]
            yield Problem(
                f"column {name!r} is missing for {missing.sum()} samples: {first_few(ids)}",
                bundle.manifest.sample_table,
                "tests on it use the other samples",
            )


def _id_problems(table: pd.DataFrame, column: str, where: str) -> Iterator[Problem]:
    if column not in table.columns:
        yield Problem(
            f"column {column!r} is missing; columns are {first_few(table.columns, 12)}",
            where,
            f"name the column of ids {column!r}",
        )
        return
    yield from _blank_problems(table, column, where)
    values = table[column].dropna().astype(str)
    repeated = values[values.duplicated()].unique()
    if len(repeated):
        yield Problem(f"{len(repeated)} duplicate {column} values: {first_few(repeated)}", where, "make ids unique")


def _blank_problems(table: pd.DataFrame, column: str, where: str) -> Iterator[Problem]:
    blank = np.flatnonzero((table[column].isna() | (table[column].astype(str).str.strip() == "")).to_numpy())
    if blank.size:
        name = "transcript_id" if "transcript_id" in table.columns and column != "transcript_id" else None
        shown = first_few(table[name].iloc[blank]) if name else "rows " + first_few(blank + 1)
        yield Problem(f"column {column!r} is empty in {blank.size} rows: {shown}", where, "fill in or drop these rows")


def _matrix_problems(
    matrix: NDArray[Any], name: str, features: pd.DataFrame, feature_table: str, samples: pd.DataFrame
) -> Iterator[Problem]:
    if matrix.ndim != 2:
        yield Problem(
            f"must be two-dimensional, but has shape {matrix.shape}", name, "rows are features, columns samples"
        )
        return
    if matrix.shape[0] != len(features):
        yield Problem(
            f"has {matrix.shape[0]} rows, the {feature_table} has {len(features)}", name, "rows must follow the table"
        )
    if matrix.shape[1] != len(samples):
        yield Problem(
            f"has {matrix.shape[1]} columns, the sample table has {len(samples)} rows",
            name,
            "columns must follow the sample table",
        )
    values = np.asarray(matrix, dtype=np.float64)
    for what, bad in (("NaN", np.isnan(values)), ("infinite", np.isinf(values)), ("negative", values < 0)):
        if bad.any():
            places = np.argwhere(bad)[:3]
            shown = ", ".join(
                f"row {_label(features, i)}, column {_label(samples, j)}: {values[i, j]:g}" for i, j in places
            )
            yield Problem(
                f"{int(bad.sum())} {what} values, first at {shown}", name, "counts must be finite and not negative"
            )


def _psi_problems(bundle: Bundle) -> Iterator[Problem]:
    """Events and their share of inclusion, where the bundle has them; missing values are allowed."""
    events, psi = bundle.tables.get(FeatureKind.PSI.value), bundle.matrices.get(PSI)
    if psi is None:
        return
    if events is None:
        yield Problem("there is a matrix 'psi' but no table of kind 'psi'", "manifest.json", "give both or neither")
        return
    yield from _id_problems(events, "psi_uid", "psi table")
    if "gene_id" not in events.columns:
        yield Problem("column 'gene_id' is missing", "psi table", "add the gene of every event")
    if psi.shape != (len(events), len(bundle.samples)):
        yield Problem(
            f"has shape {psi.shape}, expected {len(events)} events x {len(bundle.samples)} samples",
            PSI,
            "rows must follow the psi table, columns the sample table",
        )
        return
    outside = np.argwhere((psi < 0) | (psi > 1))
    if len(outside):
        shown = ", ".join(
            f"{psi[i, j]:g} at {str(events['psi_uid'].iloc[i])!r}, column {_label(bundle.samples, j)}"
            for i, j in outside[:3]
        )
        yield Problem(
            f"{len(outside)} values outside 0 to 1, first {shown}", PSI, "give shares of inclusion, not percentages"
        )


def _label(table: pd.DataFrame, position: int) -> str:
    for column in ("transcript_id", "sample_id", "gene_id"):
        if column in table.columns and position < len(table):
            return repr(str(table[column].iloc[position]))
    return str(position + 1)


def _gene_table_problems(transcripts: pd.DataFrame, genes: pd.DataFrame | None) -> Iterator[Problem]:
    """Ids of a gene table, and genes of transcripts that it lacks."""
    if genes is None:
        return
    yield from _id_problems(genes, "gene_id", "gene table")
    if "gene_id" not in genes.columns or "gene_id" not in transcripts.columns:
        return
    known = set(genes["gene_id"].astype(str))
    named = set(transcripts["gene_id"].dropna().astype(str))
    orphans = sorted(named - known)
    if orphans:
        bare = {g.split(".")[0] for g in known}
        fix = "add them to the gene table"
        if sum(o.split(".")[0] in bare for o in orphans) > len(orphans) / 2:
            fix = (
                "the ids differ by their version suffix (gene table: "
                f"{first_few(sorted(known), 2)}): strip it on both sides"
            )
        yield Problem(
            f"{len(orphans)} genes of the transcript table are missing from the gene table: {first_few(orphans)}",
            "transcript table, column 'gene_id'",
            fix,
        )
