"""Commands of ``cellkey isoforms`` about fits and bundles that are there: explain, test, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR, OUTPUT_FILE
from cellkey.cli._isoform_options import Dataset, Overrides

__all__ = [
    "annotate_structure", "benchmark", "compare", "enrich", "explain_module", "export", "preservation", "report",
]


def explain_module(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of a fit.")],
    feature_table: Annotated[
        Path | None, typer.Option(help="Samples x features; default: usage written by fit.")
    ] = None,
    feature_meta: Annotated[Path | None, typer.Option(help="Its columns: feature_id, gene_id, feature_type.")] = None,
    module_ids: Annotated[
        list[str] | None, typer.Option(help="Modules, repeated or separated by commas; default all.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Directory to write.")] = Path("artifacts/explain"),
    module_score_table: Annotated[Path | None, typer.Option(help="Samples x modules, in place of eigengenes.")] = None,
    split_percentile: Annotated[float, typer.Option(help="High samples are at or above this percentile.")] = 50.0,
    min_complete_pairs: Annotated[int, typer.Option(help="Samples that a correlation needs.")] = 3,
    fdr_method: Annotated[str, typer.Option(help="bh or by.")] = "bh",
    all_features: Annotated[bool, typer.Option("--all-features", help="Contrast all features of the table.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw the figures of every module.")] = False,
    output_format: Annotated[str, typer.Option(help="Format of figures: png or pdf.")] = "png",
    annotation_table: Annotated[
        Path | None, typer.Option(help="Structure of transcripts, as annotate-structure writes it.")
    ] = None,
    vae_attribution: Annotated[
        bool, typer.Option("--vae-attribution", help="What the decoder says drives the module (fit of vae).")
    ] = False,
    vae_fdr_threshold: Annotated[float, typer.Option(help="Greatest q value of a high-confidence driver.")] = 0.05,
    vae_percentile_threshold: Annotated[float, typer.Option(help="Least percentile of its decoded response.")] = 90.0,
    integrated_gradients: Annotated[
        bool, typer.Option("--integrated-gradients", help="What the encoder reads the module from (fit of vae).")
    ] = False,
    ig_n_steps: Annotated[int, typer.Option(help="Steps of the path.")] = 50,
    ig_baseline: Annotated[str, typer.Option(help="Start of the path: zero or mean.")] = "zero",
    more_module_ids: Annotated[list[str] | None, typer.Argument(metavar="[MODULE]...", help="Further modules.")] = None,
) -> None:
    """Explain modules: driver genes, transcript polarity, high against low samples.

    \b
    cellkey isoforms explain-module --artifact-dir fit --output-dir artifacts/explain
    cellkey isoforms explain-module --artifact-dir fit --module-ids M000,M003 --all-features
    """
    from cellkey.isoforms.explaining import explain_modules
    from cellkey.isoforms.explanation import ExplainParameters

    names = [part for text in [*(module_ids or ()), *(more_module_ids or ())] for part in text.split(",") if part]
    explain_modules(
        artifact_dir,
        output_dir=output_dir,
        module_ids=names or None,
        feature_table=feature_table,
        feature_meta=feature_meta,
        module_score_table=module_score_table,
        annotation_table=annotation_table,
        parameters=ExplainParameters.parse(
            {
                "plot": plot,
                "output_format": output_format,
                "vae_attribution": vae_attribution,
                "vae_fdr_threshold": vae_fdr_threshold,
                "vae_percentile_threshold": vae_percentile_threshold,
                "integrated_gradients": integrated_gradients,
                "ig_n_steps": ig_n_steps,
                "ig_baseline": ig_baseline,
                "split_percentile": split_percentile,
                "min_complete_pairs": min_complete_pairs,
                "fdr_method": fdr_method,
                "all_features": all_features,
            }
        ),
        tell=lambda note: typer.echo(f"note: {note}", err=True),
    )
    typer.echo(str(output_dir))


def benchmark(
    suite: Annotated[str | None, typer.Option(help="core_v1, scale_v1, multiplex_v1 or hard_v1.")] = None,
    fixture: Annotated[str | None, typer.Option(help="One fixture; default: all of the suite.")] = None,
    backend: Annotated[str | None, typer.Option(help="Backend; default spectral.")] = None,
    stage_name: Annotated[str | None, typer.Option(help="Name of the run in all paths.")] = None,
    dataset_path: Annotated[Path | None, typer.Option(help="Run this bundle instead of a suite.")] = None,
    artifacts_root: Annotated[Path | None, typer.Option(help="Root of written files; default artifacts.")] = None,
    n_seeds: Annotated[int | None, typer.Option(help="Suite seeds; default 5, or 1 for large fixtures.")] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Exit with 1 when a recovery is too low.")] = True,
    overrides: Overrides = None,
) -> None:
    """Run a backend on fixtures with known truth and write snapshots and JSON reports.

    \b
    cellkey isoforms benchmark --suite core_v1 --fixture toy_v1 --backend spectral --stage-name first
    cellkey isoforms benchmark --suite multiplex_v1 --stage-name roles -- spectral.min_cosine=0.8
    """
    from cellkey.isoforms.benchmarking import BenchmarkParameters
    from cellkey.isoforms.benchmarking import benchmark as run
    from cellkey.isoforms.overrides import parse_overrides
    from cellkey.isoforms.synthetic import FIXTURES

    given = parse_overrides(overrides or ())
    own = {k: given.pop(k) for k in list(given) if k in BenchmarkParameters.model_fields}
    flags = {
        "dataset_suite": suite,
        "fixture_filter": fixture,
        "backend": backend,
        "stage_name": stage_name,
        "dataset_path": None if dataset_path is None else str(dataset_path),
        "n_seeds": n_seeds,
        "artifacts_root": None if artifacts_root is None else str(artifacts_root),
    }
    values = own | {k: v for k, v in flags.items() if v is not None}
    if "dataset_suite" not in values and values.get("fixture_filter") in FIXTURES:
        values["dataset_suite"] = FIXTURES[values["fixture_filter"]].suite
    report = run(BenchmarkParameters.parse(values, option="benchmark settings"), given)
    for path in report.files:
        typer.echo(str(path))
    for failure in report.gate_failures:
        typer.echo(f"gate: {failure}", err=True)
    if gate and not report.passed:
        raise typer.Exit(1)


def compare(
    reference: Annotated[Path, typer.Option(help="Fit, snapshot directory or benchmark JSON.")],
    candidate: Annotated[Path, typer.Option(help="The same kind, to compare with it.")],
    output_path: Annotated[Path, typer.Option("--output-path", *OUTPUT_FILE, help="JSON report to write.")] = Path(
        "artifacts/reports/comparison.json"
    ),
) -> None:
    """Compare two fits, two snapshots or two benchmark reports.

    \b
    cellkey isoforms compare --reference fit_a --candidate fit_b --output-path agreement.json
    cellkey isoforms compare --reference artifacts/benchmarks/a/toy_v1 --candidate artifacts/benchmarks/b/toy_v1
    """
    from cellkey.isoforms.comparing import compare as run

    run(reference, candidate, output_path)
    typer.echo(str(output_path))


def export(
    dataset_path: Dataset,
    output_path: Annotated[Path, typer.Option("--output-path", *OUTPUT_FILE, help="JSON file to write.")],
) -> None:
    """Write a JSON summary of a bundle.

    \b
    cellkey isoforms export --dataset-path bundle --output-path bundle.json
    """
    from cellkey.isoforms.exporting import export_summary

    export_summary(dataset_path, output_path)
    typer.echo(str(output_path))


def enrich(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of a fit.")],
    gmt: Annotated[Path | None, typer.Option(help="Gene sets, one per line.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", *MARKER_MAP, help="Marker hierarchy: file, or name of a built-in one.")
    ] = None,
    output_path: Annotated[
        Path | None, typer.Option("--output-path", *OUTPUT_FILE, help="Table to write; default: inside the fit.")
    ] = None,
) -> None:
    """Test modules for gene sets or for the markers of cell types.

    \b
    cellkey isoforms enrich --artifact-dir fit --gmt hallmark.gmt
    cellkey isoforms enrich --artifact-dir fit --key markers.json
    """
    from cellkey.errors import ParameterError
    from cellkey.isoforms.gene_sets import enrich_fit, hierarchy_sets, read_gmt

    if (gmt is None) == (key is None):
        msg = "give either --gmt or --key"
        raise ParameterError(msg)
    sets = read_gmt(gmt) if gmt is not None else hierarchy_sets(str(key))
    path = output_path or artifact_dir / "module_gene_sets.parquet"
    enrich_fit(artifact_dir, sets, path)
    typer.echo(str(path))


def preservation(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of the fit whose modules are tested.")],
    dataset_path: Dataset,
    output_path: Annotated[
        Path, typer.Option("--output-path", *OUTPUT_FILE, help="Parquet table to write.")
    ] = Path("artifacts/preservation.parquet"),
    n_permutations: Annotated[int, typer.Option(help="Random feature sets per module.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the random sets.")] = 7,
) -> None:
    """Test whether the modules of a fit hold in another bundle.

    \b
    cellkey isoforms preservation --artifact-dir fit --dataset-path other_cohort
    """
    from cellkey.isoforms.preserving import preservation_of_fit

    preservation_of_fit(artifact_dir, dataset_path, output_path, n_permutations=n_permutations, seed=seed)
    typer.echo(str(output_path))


def report(
    artifact_dir: Annotated[Path, typer.Argument(metavar="FIT_DIR", help="Directory of a fit.")],
    output_path: Annotated[
        Path | None, typer.Option("--output-path", *OUTPUT_FILE, help="HTML file; default: report.html inside the fit.")
    ] = None,
) -> None:
    """Write a fit as one HTML file that works offline.

    \b
    cellkey isoforms report fit
    """
    from cellkey.isoforms.reporting import report_fit

    typer.echo(str(report_fit(artifact_dir, output_path)))


def annotate_structure(
    gtf: Annotated[Path, typer.Option(help="Annotation with transcript, exon and CDS rows.")],
    switch_pairs: Annotated[
        Path, typer.Option(help="Table of gene_id, transcript_id_1, transcript_id_2 (TSV, CSV or parquet).")
    ],
    output: Annotated[Path, typer.Option(*OUTPUT_FILE, help="Table to write, one row per transcript.")] = Path(
        "transcript_structure_annotations.tsv"
    ),
    gtf_cache: Annotated[Path | None, typer.Option(help="Parquet copy of the parsed GTF, made or reused.")] = None,
) -> None:
    """Compare the structure of transcripts that switch.

    Writes a second table, one row per pair, beside the first: <output>_pairs.

    \b
    cellkey isoforms annotate-structure --gtf gencode.gtf.gz --switch-pairs pairs.tsv
    """
    from cellkey.isoforms.structure import annotate_switch_pairs

    for path in annotate_switch_pairs(gtf, switch_pairs, output, cache=gtf_cache):
        typer.echo(str(path))
