"""``cellkey isoforms``: modules of genes from transcript counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellkey.cli import isoform_results
from cellkey.cli._common import OUTPUT_DIR, OUTPUT_FILE, Commands
from cellkey.cli._isoform_options import Dataset, Overrides

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.isoforms.fitting import Fit

__all__ = ["app"]

app = Commands(
    name="isoforms",
    help="Find and explain modules of genes from transcript counts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def prepare(
    counts: Annotated[Path, typer.Option(help="Table, quantifier directory, .h5ad or .h5mu of transcripts.")],
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Bundle directory to write.")],
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
    _tell_prepared(prepared.report)
    typer.echo(str(output_dir))


def _tell_prepared(report: Mapping[str, Any]) -> None:
    """Say what was kept, and what was left out and why."""
    _tell(
        f"{report['n_transcripts_kept']} of {report['n_transcripts_read']} transcripts, {report['n_genes_kept']} genes "
        f"({report['n_genes_with_switch']} with two transcripts or more), {report['n_samples']} samples"
    )
    for reason, n in report["dropped_by_reason"].items():
        examples = report["dropped_examples"][reason]
        more = ", ..." if n > len(examples) else ""
        _tell(f"left out: {n} transcripts ({reason}): {', '.join(examples)}{more}")
    for what in ("samples_without_counts", "samples_not_in_sheet"):
        if report[what]:
            _tell(f"{what.replace('_', ' ')}: {', '.join(report[what][:5])} ({len(report[what])} in all)")


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
        _tell(f"note: {note}")
    if not check.passed:
        msg = f"{dataset_path} has {len(check.problems)} problem(s)"
        raise BundleError(msg, check.problems)
    typer.echo(f"{dataset_path}: no problem found")


@app.command()
def simulate(
    fixture: Annotated[str, typer.Option(help="Name of a fixture, for example toy_v1.")],
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Bundle directory to write.")],
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
    output_path: Annotated[Path, typer.Option("--output-path", *OUTPUT_FILE, help="File .h5ad to write.")],
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
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Directory to write.")] = Path("artifacts/fits/manual"),
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
    from cellkey.isoforms.fit_files import refuse_bundle
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
    refuse_bundle(output_dir)
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


def _tell_fit(found: Fit, output_dir: Path, inputs: dict[str, str]) -> None:
    """Write a fit and say what a user should know of it."""
    from cellkey.isoforms.fit_files import write_fit
    from cellkey.plots._style import plural

    write_fit(found, output_dir, inputs=inputs)
    for note in found.notes:
        _tell(f"note: {note}")
    for skipped in found.traits.skipped:
        _tell(f"note: trait {skipped['trait']} skipped: {skipped['reason']}")
    _tell(f"{plural(len(found.modules), 'module')}, {plural(len(found.modules.module_of), 'gene')}")


for _command in (
    isoform_results.explain_module, isoform_results.benchmark, isoform_results.compare, isoform_results.export,
    isoform_results.enrich, isoform_results.preservation, isoform_results.report, isoform_results.annotate_structure,
):
    app.command()(_command)


@app.command()
def backends() -> None:
    """List the backends."""
    from cellkey.isoforms.backends import backend_names, get_backend

    for name in backend_names():
        typer.echo(f"{name}\t{get_backend(name).description}")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
