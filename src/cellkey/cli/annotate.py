"""``annotate``, ``explain`` and ``compare``: from a file to labels, their reasons, and what changed."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import typer

from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR

__all__ = ["annotate", "compare", "explain"]


def annotate(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="INPUT", show_default=False,
            help="Cells: .h5ad, .h5mu or .loom file, Zarr or SpatialData store, 10x .h5 file or folder.",
        ),
    ] = None,
    extra: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    source_option: Annotated[Path | None, typer.Option("--input", "-i", help="Same as INPUT.")] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(*OUTPUT_DIR, help="Run directory; made if needed."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of a SpatialData store that holds several.")] = None,
    modality: Annotated[str | None, typer.Option(help="Modality of MuData that holds several, such as rna.")] = None,
    marker_map: Annotated[
        str | None,
        typer.Option(
            *MARKER_MAP, help="Marker hierarchy: a file, or the name of a built-in one. The default map if not given."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="markers, enrichment, both (side by side), refinery-legacy or hierannot-0.7.")
    ] = "markers",
    scoring_params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Scoring parameters: inline JSON, a file, or @file.")
    ] = None,
    gating_params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Gating parameters: inline JSON, a file, or @file.")
    ] = None,
    export_params: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Rules of reported labels (enrichment): inline JSON, a file, or @file."),
    ] = None,
    clustering_params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Clustering parameters: inline JSON, a file, or @file.")
    ] = None,
    refinement_params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Refinement parameters: inline JSON, a file, or @file.")
    ] = None,
    skip_refinement: Annotated[
        bool, typer.Option("--skip-refinement", help="Stop after the annotation; do not split or relabel clusters.")
    ] = False,
    diagnostic: Annotated[
        bool, typer.Option("--diagnostic", help="Say what refinement would do (report and plan); refine nothing.")
    ] = False,
    annotation_only: Annotated[
        bool, typer.Option("--annotation-only", help="Keep the clusters of obs['cluster_lvl0']; do not cluster again.")
    ] = False,
    cluster_key: Annotated[
        str | None, typer.Option(help="Column of obs that holds clusters; they are used as they are.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer to score on; batchcorr, else aligned, else X, if not given.")
    ] = None,
    resolution: Annotated[float | None, typer.Option(help="Resolution of the Leiden clustering [0.6].")] = None,
    n_pcs: Annotated[int | None, typer.Option(help="Principal components [30].")] = None,
    neighbors_k: Annotated[
        int | None, typer.Option("--n-neighbors", "--neighbors-k", help="Nearest neighbours per cell [15].")
    ] = None,
    random_seed: Annotated[
        int, typer.Option("--random-seed", "--seed", "--random-state", help="Seed of all random steps.")
    ] = 1337,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    no_gpu: Annotated[bool, typer.Option("--no-gpu", help="Same as --device cpu: repeatable bit by bit.")] = False,
    technical_markers: Annotated[
        str | None,
        typer.Option(help="Comma-separated markers of the stain; '' for none. DAPI, Collagen IV, Beta-actin if not "
                     "given."),
    ] = None,
    no_normalize: Annotated[bool, typer.Option("--no-normalize", help="Use counts as they are.")] = False,
    assume: Annotated[str | None, typer.Option(help="counts, lognorm or intensity: overrides the check.")] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples of the cells behind the confidence of calls; 0 for none.")
    ] = 50,
    compute_umap: Annotated[bool, typer.Option("--compute-umap", help="Add a UMAP embedding (extra 'umap').")] = False,
    x_format: Annotated[
        Literal["csr", "as-input"], typer.Option(help="csr, or as-input: how X is stored in the output.")
    ] = "csr",
    slim: Annotated[bool, typer.Option("--slim", help="Leave embedding and neighbour graph out of the files.")] = False,
    skip_cells: Annotated[bool, typer.Option("--skip-cells", help="Write tables only, no .h5ad files.")] = False,
    skip_figures: Annotated[bool, typer.Option("--skip-figures", help="Draw no figures.")] = False,
    dpi: Annotated[int, typer.Option(min=10, max=1200, help="Resolution of the figures.")] = 200,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most memory to use, as 4G or 500MB: a larger matrix is streamed from disk, "
                     "with the same results. Two thirds of the free memory if not given."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all processors if not given.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers read and summarise the matrix.")
    ] = None,
    local_cluster: Annotated[
        int | None, typer.Option(metavar="N", help="The same on N Dask workers started on this machine.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")] = False,
) -> None:
    """Cluster cells and name every cluster, with the reasons.

    Clusters are scored against a hierarchy of markers and walked down it, from broad to fine; every candidate
    that was looked at is written down with why it won or lost. Clusters that turn out to hold several types are
    then split and named again, unless --skip-refinement is given.

    \b
    Examples:
      cellkey annotate cells.h5ad --output-dir run1
      cellkey annotate cells.h5ad -o run1 --marker-map my_tissue.json --random-seed 42
      cellkey annotate run1/output.h5ad --annotation-only -o run2 \\
          --gating-params '{"level_defaults": {"0": {"min_coverage": 0.40}}}'
      cellkey annotate cells.h5ad -o run3 --cluster-key leiden
      cellkey annotate cells.h5ad -o run4 --method enrichment --export-params '{"unknown_branch_raw_threshold": 0.1}'
      cellkey annotate cells.h5ad -o run5 --method both
      cellkey annotate atlas.h5ad -o run6 --memory-limit 8G
      cellkey annotate atlas.h5ad -o run6 --local-cluster 8
      cellkey annotate atlas.zarr -o run7 --scheduler tcp://node7:8786
      cellkey annotate xenium.zarr --table cells -o run8
      cellkey annotate multiome.h5mu --modality rna -o run9
    """
    from cellkey.annotation.run import annotate_file
    from cellkey.cli._common import progress_on_terminal, tell_of_first_use

    path = _one_input(source, source_option, extra)
    directory = _required(output_dir, "--output-dir DIR says where the results go")
    settings = {
        "resolution": resolution, "n_pcs": n_pcs, "n_neighbors": neighbors_k, "seed": random_seed,
        "device": "cpu" if no_gpu else device,
    }
    options = _checked_options(method, scoring_params, gating_params, export_params, clustering_params, settings)
    refinement = _refinement(refinement_params, settings, skip=skip_refinement)
    workers = _workers(scheduler, local_cluster, memory_limit)
    tell_of_first_use(quiet=quiet)
    with progress_on_terminal(quiet=quiet) as progress:
        run = annotate_file(
            path, directory, hierarchy=marker_map, annotation_only=annotation_only, cluster_key=cluster_key,
            figures=not skip_figures, dpi=dpi, cells=not skip_cells, x_format=x_format, slim=slim, progress=progress,
            layer=layer, technical_markers=_names(technical_markers), normalize=not no_normalize, assume=assume,
            umap=compute_umap, n_jobs=threads, memory_limit=memory_limit,
            resamples=resamples, diagnostic=diagnostic, workers=workers,
            table=table, modality=modality, refinement=refinement, **options,
        )
    if not quiet:
        for message in run.result.messages:
            typer.echo(message, err=True)
        typer.echo(repr(run.result))
        if run.refined is not None:
            typer.echo(f"\n{run.refined!r}")
        typer.echo(f"\nwritten to {directory}: cluster_annotations.csv is the place to start; why it says so: "
                   f"cellkey explain {quote(str(directory))} --cluster ID", err=True)


def explain(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    cluster: Annotated[
        list[str] | None, typer.Option("--cluster", "-c", help="Cluster id; repeat for several. All if not given.")
    ] = None,
) -> None:
    """Print the decision trace of clusters as readable text.

    RUN may be an annotation (refined or not), a consensus, or the run of a marker table.

    \b
    Examples:
      cellkey explain run1 --cluster 3
      cellkey explain run1
    """
    from cellkey.annotation.explain import explain_run

    typer.echo(explain_run(run, cluster or ()))


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="Run directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Run directory with the same clusters.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the table as CSV as well.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw which labels go together, weighted by cells, as a PNG file.")
    ] = None,
) -> None:
    """Show which clusters changed their label between two runs: annotations, consensus or marker tables.

    \b
    Example:
      cellkey compare run1 run2 --output changes.csv --figure changes.png
    """
    from cellkey.annotation.compare import COMPARISON, compare_runs, comparison_text, draw_comparison
    from cellkey.records.run_tables import run_calls

    comparison = compare_runs(run_calls(first), run_calls(second))
    if output is not None:
        COMPARISON.write_csv(comparison, output)
    if figure is not None:
        draw_comparison(comparison, figure, names=(first.name, second.name))
    typer.echo(comparison_text(comparison))


def _one_input(argument: Path | None, option: Path | None, extra: list[str] | None) -> Path:
    from cellkey.errors import ParameterError

    words = [str(x) for x in (argument, option, *(extra or [])) if x is not None]
    if "..." in words:
        msg = "'...' stands for your own INPUT and options: write the path of your file instead"
        raise ParameterError(msg)
    if extra:
        msg = f"one INPUT at a time, but got {', '.join(words)}"
        raise ParameterError(msg)
    return _required(argument or option, "INPUT is missing: cellkey annotate INPUT --output-dir DIR")


def _required(value: Path | None, message: str) -> Path:
    from cellkey.errors import ParameterError

    if value is None:
        raise ParameterError(message)
    return value


def _workers(scheduler: str | None, local: int | None, memory: str | None) -> Any:
    """Where the passes over the matrix run; None is this process. The memory limit holds for all local workers."""
    if scheduler is None and local is None:
        return None
    from cellkey.annotation.memory import parse_bytes
    from cellkey.workers.connection import WorkerPlan

    return WorkerPlan(scheduler, local, None if memory is None or local is None else parse_bytes(memory))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _refinement(text: str | None, settings: dict[str, Any], *, skip: bool) -> dict[str, Any] | None:
    """Refinement parameters, checked before any file is read; None when refinement is to be skipped."""
    from cellkey.parameters import read_mapping
    from cellkey.refinement.parameters import RefinementParameters

    shared = {name: settings[name] for name in ("seed", "device")}
    values = {**shared, **read_mapping(text, option="--refinement-params")}
    RefinementParameters.parse(values, option="--refinement-params")
    return None if skip else values


def _checked_options(
    method: str, scoring: str | None, gating: str | None, export: str | None, clustering: str | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Read all parameter options before any file, so that a mistyped name costs no time."""
    from cellkey.annotation.methods import plan_methods
    from cellkey.clustering import ClusteringParameters
    from cellkey.parameters import read_mapping

    names = ("--scoring-params", "--gating-params", "--export-params")
    texts = (scoring, gating, export)
    read = [read_mapping(t, option=n) for t, n in zip(texts, names, strict=True)]
    plan_methods(method, scoring=read[0], gating=read[1], export=read[2], options=names)
    given = {k: v for k, v in settings.items() if v is not None}
    return {
        "method": method, "scoring": read[0], "gating": read[1], "export": read[2],
        "clustering": ClusteringParameters.parse(
            {**given, **read_mapping(clustering, option="--clustering-params")}, option="--clustering-params"
        ),
    }
