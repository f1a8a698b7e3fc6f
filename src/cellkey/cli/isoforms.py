"""``cellkey isoforms``: modules of genes from transcript counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cellkey.isoforms.fitting import Fit

__all__ = ["app"]

app = typer.Typer(
    name="isoforms",
    help="Find and explain modules of genes from transcript counts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings such as spectral.min_cosine=0.9 or traits.covariates=[Age,Sex]; null keeps the default.",
    ),
]
Dataset = Annotated[Path, typer.Option("--dataset-path", help="Bundle directory.")]


@app.command()
def prepare(
    counts: Annotated[Path, typer.Option(help="Table, quantifier directory, .h5ad or .h5mu of transcripts.")],
    output_dir: Annotated[Path, typer.Option(help="Bundle directory to write.")],
    gene_map: Annotated[Path | None, typer.Option(help="GTF, or table of transcript_id and gene_id.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Sample sheet with sample_id.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set; default: the output directory.")] = None,
    min_count: Annotated[float, typer.Option(help="Reads a transcript needs in --min-samples samples.")] = 10.0,
    min_usage: Annotated[float, typer.Option(help="Share of its gene a transcript needs there.")] = 0.05,
    min_samples: Annotated[int | None, typer.Option(help="Samples; default: smallest group, else a quarter.")] = None,
    group: Annotated[str | None, typer.Option(help="Sample column whose smallest level sets --min-samples.")] = None,
    strip_versions: Annotated[
        bool, typer.Option("--strip-versions", help="Cut .<number> from ids on all sides.")
    ] = False,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Apply no filter.")] = False,
    read_length: Annotated[float, typer.Option(help="Mean read length (StringTie coverage).")] = 75.0,
    groupby: Annotated[
        list[str] | None, typer.Option(help="obs column(s) to sum cells by, for example cell_type.")
    ] = None,
    sample_key: Annotated[str | None, typer.Option(help="obs column of samples, to sum cells by.")] = None,
    min_cells: Annotated[int, typer.Option(help="Cells a sum needs.")] = 10,
    layer: Annotated[str | None, typer.Option(help="AnnData layer of counts.")] = None,
    modality: Annotated[str | None, typer.Option(help="MuData modality of isoforms.")] = None,
    gene_key: Annotated[str | None, typer.Option(help="var column of genes.")] = None,
    psi: Annotated[
        Path | None, typer.Option(help="Splicing events: table of ids and one column of shares per sample (SUPPA).")
    ] = None,
    matrix_format: Annotated[
        str, typer.Option(help="How matrices are stored: dense_npz, sparse_npz or parquet.")
    ] = "dense_npz",
) -> None:
    """Make a bundle from transcript counts, a gene map and a sample sheet.

    \b
    cellkey isoforms prepare --counts quants/ --gene-map gencode.gtf.gz --samples samples.tsv --output-dir bundle
    cellkey isoforms prepare --counts counts.tsv --gene-map tx2gene.tsv --samples s.csv --group Dx --output-dir bundle
    cellkey isoforms prepare --counts cells.h5ad --sample-key donor --groupby cell_type --output-dir bundle
    """
    from cellkey.isoforms.bundle_io import write_bundle
    from cellkey.isoforms.fit_files import write_json
    from cellkey.isoforms.gene_map import read_gene_map
    from cellkey.isoforms.parquet import write_parquet
    from cellkey.isoforms.prepare import prepare_bundle, read_samples
    from cellkey.isoforms.quantification import read_transcript_counts
    from cellkey.isoforms.settings import PrepareParameters
    from cellkey.isoforms.splicing import read_psi

    parameters = PrepareParameters.parse(
        {
            "min_count": min_count,
            "min_usage": min_usage,
            "min_samples": min_samples,
            "group": group,
            "strip_versions": strip_versions,
            "keep_all": keep_all,
            "read_length": read_length,
            "matrix_format": matrix_format,
        }
    )
    prepared = prepare_bundle(
        read_transcript_counts(
            counts,
            read_length=read_length,
            groupby=groupby or (),
            sample_key=sample_key,
            layer=layer,
            modality=modality,
            gene_key=gene_key,
            min_cells=min_cells,
        ),
        gene_map=None if gene_map is None else read_gene_map(gene_map),
        samples=None if samples is None else read_samples(samples),
        parameters=parameters,
        psi=None if psi is None else read_psi(psi, strip_versions=strip_versions),
        name=name or output_dir.name,
    )
    write_bundle(prepared.bundle, output_dir)
    write_json(prepared.report, output_dir / "prepare_report.json")
    write_parquet(prepared.dropped, output_dir / "dropped_transcripts.parquet")
    report = prepared.report
    typer.echo(
        f"{report['n_transcripts_kept']} of {report['n_transcripts_read']} transcripts, {report['n_genes_kept']} genes "
        f"({report['n_genes_with_switch']} with two transcripts or more), {report['n_samples']} samples",
        err=True,
    )
    for reason, n in report["dropped_by_reason"].items():
        examples = report["dropped_examples"][reason]
        more = ", ..." if n > len(examples) else ""
        _tell(f"left out: {n} transcripts ({reason}): {', '.join(examples)}{more}")
    for what in ("samples_without_counts", "samples_not_in_sheet"):
        if report[what]:
            typer.echo(
                f"{what.replace('_', ' ')}: {', '.join(report[what][:5])} ({len(report[what])} in all)", err=True
            )
    typer.echo(str(output_dir))


@app.command()
def validate(
    dataset_path: Dataset,
    covariate: Annotated[list[str] | None, typer.Option(help="Sample column that must be there; repeatable.")] = None,
) -> None:
    """List every problem of a bundle with the remedy; exit code 2 when there is one.

    \b
    cellkey isoforms validate --dataset-path bundle --covariate RIN
    """
    from cellkey.errors import BundleError
    from cellkey.isoforms.validation import validate_bundle

    check = validate_bundle(dataset_path, covariate or ())
    for note in check.notes:
        typer.echo(f"note: {note}", err=True)
    if not check.passed:
        msg = f"{dataset_path} has {len(check.problems)} problem(s)"
        raise BundleError(msg, check.problems)
    typer.echo(f"{dataset_path}: no problem found")


@app.command()
def simulate(
    fixture: Annotated[str, typer.Option(help="Name of a fixture, for example toy_v1.")],
    output_dir: Annotated[Path, typer.Option(help="Bundle directory to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the suite.")] = 7,
) -> None:
    """Write a synthetic bundle with known truth.

    \b
    cellkey isoforms simulate --fixture medium_multiplex_v1 --output-dir bundle
    """
    from cellkey.isoforms.bundle_io import write_bundle
    from cellkey.isoforms.synthetic import simulate as make

    write_bundle(make(fixture, seed=seed), output_dir)
    typer.echo(str(output_dir))


@app.command("simulate-cells")
def simulate_cells(
    output_path: Annotated[Path, typer.Option(help="File .h5ad to write.")],
    n_donors: Annotated[int, typer.Option(help="Donors; half of them are treated.")] = 24,
    cells_per_donor: Annotated[int, typer.Option(help="Cells per type and donor.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed.")] = 7,
) -> None:
    """Write single cells with transcript counts, whose types have isoform modules of their own.

    \b
    cellkey isoforms simulate-cells --output-path cells.h5ad
    cellkey isoforms prepare --counts cells.h5ad --sample-key donor --groupby cell_type --output-dir bundle
    cellkey isoforms fit --dataset-path bundle --output-dir networks --by cell_type
    """
    from cellkey.isoforms.synthetic import simulate_cells as make
    from cellkey.records.atomic import atomic_path

    with atomic_path(output_path) as temporary:
        make(n_donors=n_donors, cells_per_donor=cells_per_donor, seed=seed).write_h5ad(temporary)
    typer.echo(str(output_path))


@app.command()
def fit(
    dataset_path: Dataset,
    output_dir: Annotated[Path, typer.Option(help="Directory to write.")] = Path("artifacts/fits/manual"),
    backend: Annotated[str | None, typer.Option(help="Backend; default spectral.")] = None,
    channels: Annotated[str | None, typer.Option(help="both, switch, abundance, psi or all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings as JSON or YAML.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine of the backend wgcna: native or r.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw figures into the folder figures.")] = False,
    by: Annotated[str | None, typer.Option(help="Sample column, for example cell_type: one network per level.")] = None,
    min_group: Annotated[int, typer.Option(help="Samples a level of --by needs.")] = 10,
    overrides: Overrides = None,
) -> None:
    """Fit modules to a bundle and write all tables.

    \b
    cellkey isoforms fit --dataset-path bundle --output-dir fit
    cellkey isoforms fit --dataset-path bundle --output-dir networks --by cell_type
    cellkey isoforms fit --dataset-path bundle --output-dir fit -- traits.covariates=[Age] features.covariates=[RIN]
    """
    from cellkey.isoforms.bundle_io import MANIFEST, read_bundle
    from cellkey.isoforms.fitting import fit as run
    from cellkey.isoforms.fitting import fit_parameters
    from cellkey.isoforms.overrides import merge_settings, parse_overrides
    from cellkey.isoforms.parquet import sha256_of
    from cellkey.parameters import read_mapping

    named = (("backend", backend), ("channels", channels), ("seed", seed))
    flags: dict[str, Any] = {k: v for k, v in named if v is not None}
    if engine is not None:
        flags["wgcna"] = {"engine": engine}
    given = merge_settings(read_mapping(config, option="--config"), parse_overrides(overrides or ()), flags)
    parameters = fit_parameters({k: v for k, v in given.items() if k not in ("dataset_path", "output_dir")})
    inputs = {MANIFEST: sha256_of(dataset_path / MANIFEST)} if (dataset_path / MANIFEST).is_file() else {}
    bundle = read_bundle(dataset_path)
    if by is not None:
        from cellkey.isoforms.grouped import fit_groups

        fit_groups(bundle, parameters, by, output_dir, inputs=inputs, min_samples=min_group, progress=_tell)
    else:
        _tell_fit(run(bundle, parameters), output_dir, inputs)
    if plot:
        from cellkey.isoforms.figures.saving import write_fit_figures
        from cellkey.isoforms.fit_files import read_fit
        from cellkey.isoforms.grouped import fit_directories

        for directory in fit_directories(output_dir):
            write_fit_figures(read_fit(directory), directory / "figures")
    typer.echo(str(output_dir))


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _tell_fit(found: Fit, output_dir: Path, inputs: dict[str, str]) -> None:
    """Write a fit and say what a user should know of it."""
    from cellkey.isoforms.fit_files import write_fit

    write_fit(found, output_dir, inputs=inputs)
    for note in found.notes:
        _tell(f"note: {note}")
    for skipped in found.traits.skipped:
        _tell(f"note: trait {skipped['trait']} skipped: {skipped['reason']}")
    _tell(f"{len(found.modules)} modules, {len(found.modules.module_of)} genes")


@app.command("explain-module")
def explain_module(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of a fit.")],
    feature_table: Annotated[
        Path | None, typer.Option(help="Samples x features; default: usage written by fit.")
    ] = None,
    feature_meta: Annotated[Path | None, typer.Option(help="Its columns: feature_id, gene_id, feature_type.")] = None,
    module_ids: Annotated[
        list[str] | None, typer.Option(help="Modules, repeated or separated by commas; default all.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Directory to write.")] = Path("artifacts/explain"),
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
    from cellkey.isoforms.explaining import ExplainParameters, explain_modules

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
    )
    typer.echo(str(output_dir))


@app.command()
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


@app.command()
def compare(
    reference: Annotated[Path, typer.Option(help="Fit, snapshot directory or benchmark JSON.")],
    candidate: Annotated[Path, typer.Option(help="The same kind, to compare with it.")],
    output_path: Annotated[Path, typer.Option(help="JSON report to write.")] = Path(
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


@app.command()
def export(
    dataset_path: Dataset,
    output_path: Annotated[Path, typer.Option(help="JSON file to write.")],
) -> None:
    """Write a JSON summary of a bundle.

    \b
    cellkey isoforms export --dataset-path bundle --output-path bundle.json
    """
    from cellkey.isoforms.exporting import export_summary

    export_summary(dataset_path, output_path)
    typer.echo(str(output_path))


@app.command()
def enrich(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of a fit.")],
    gmt: Annotated[Path | None, typer.Option(help="Gene sets, one per line.")] = None,
    key: Annotated[str | None, typer.Option(help="Marker hierarchy: file, or name of a built-in one.")] = None,
    output_path: Annotated[Path | None, typer.Option(help="Table to write; default: inside the fit.")] = None,
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


@app.command()
def preservation(
    artifact_dir: Annotated[Path, typer.Option(help="Directory of the fit whose modules are tested.")],
    dataset_path: Dataset,
    output_path: Annotated[Path, typer.Option(help="Parquet table to write.")] = Path("artifacts/preservation.parquet"),
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


@app.command()
def report(
    artifact_dir: Annotated[Path, typer.Argument(metavar="FIT_DIR", help="Directory of a fit.")],
    output_path: Annotated[Path | None, typer.Option(help="HTML file; default: report.html inside the fit.")] = None,
) -> None:
    """Write a fit as one HTML file that works offline.

    \b
    cellkey isoforms report fit
    """
    from cellkey.isoforms.reporting import report_fit

    typer.echo(str(report_fit(artifact_dir, output_path)))


@app.command("annotate-structure")
def annotate_structure(
    gtf: Annotated[Path, typer.Option(help="Annotation with transcript, exon and CDS rows.")],
    switch_pairs: Annotated[
        Path, typer.Option(help="Table of gene_id, transcript_id_1, transcript_id_2 (TSV, CSV or parquet).")
    ],
    output: Annotated[Path, typer.Option(help="Table to write, one row per transcript.")] = Path(
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


@app.command()
def backends() -> None:
    """List the backends."""
    from cellkey.isoforms.backends import backend_names, get_backend

    for name in backend_names():
        typer.echo(f"{name}\t{get_backend(name).description}")
