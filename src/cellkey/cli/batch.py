"""``cellkey batch``: many datasets, each in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellkey.cli import _model_options as opt
from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR

__all__ = ["batch"]


def batch(
    more_tissues: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    data_root: Annotated[Path, typer.Option(help="Folder with TISSUE/h5ad_unlabelled/*.h5ad.")] = Path("data"),
    tissue: Annotated[str | None, typer.Option(help="One tissue.")] = None,
    tissues: Annotated[list[str] | None, typer.Option(help="Several: --tissues brain breast.")] = None,
    files: Annotated[str, typer.Option(metavar="PATTERN", help="Shell pattern on file names.")] = "*.h5ad",
    layout: Annotated[
        str, typer.Option(help="unlabelled, or flat: files directly in the tissue folder, too.")
    ] = "unlabelled",
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Parent of run directories.")] = Path(
        "batch_results"
    ),
    annotator: Annotated[
        str, typer.Option(help="markers (this package's hierarchies, offline), llm, or both.")
    ] = "markers",
    marker_map: Annotated[
        str | None, typer.Option(*MARKER_MAP, help="Marker hierarchy; matched to the tissue by default.")
    ] = None,
    provider: Annotated[str, typer.Option(help=f"With llm or both: {opt.PROVIDER_HELP}")] = "openai",
    model: opt.Model = "gpt-4o-2024-08-06",
    base_url: opt.BaseUrl = None,
    api_keys: opt.ApiKeys = None,
    score_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that scores; the same by default.")] = None,
    boost_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that boosts.")] = None,
    merge_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that groups labels.")] = None,
    reasoning_effort: opt.Effort = None,
    species: Annotated[str, typer.Option(help="Species, told to the model.")] = "Human",
    notes: Annotated[str, typer.Option(help="Further context, told to the model.")] = "",
    resolution: Annotated[float, typer.Option(help="Resolution of the Leiden clustering.")] = 0.5,
    n_pcs: Annotated[int, typer.Option(help="Principal components for neighbours.")] = 40,
    n_neighbors: Annotated[int, typer.Option(help="Nearest neighbours per cell.")] = 10,
    cluster_key: Annotated[str | None, typer.Option(help="Column of obs with clusters to use as they are.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random steps.")] = 0,
    no_umap: Annotated[bool, typer.Option("--no-umap", help="Make no UMAP embedding.")] = False,
    max_workers: Annotated[int, typer.Option(help="Model calls at once, all datasets together.")] = 4,
    dataset_workers: Annotated[
        int, typer.Option(help="Datasets at once, each in its own process, as memory allows.")
    ] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to run on.")] = None,
    local_cluster: Annotated[
        int | None, typer.Option(help="Run on a Dask cluster of this many local workers.")
    ] = None,
    score_threshold: Annotated[float, typer.Option(help="Scores below are boosted, 0 to 100.")] = 75.0,
    validator: Annotated[str, typer.Option(help="off, rules, llm or both.")] = "both",
    no_score: Annotated[bool, typer.Option("--no-score", help="No scoring.")] = False,
    no_boost: Annotated[bool, typer.Option("--no-boost", help="No boosting of doubtful labels.")] = False,
    no_merge: Annotated[bool, typer.Option("--no-merge", help="No grouping of labels.")] = False,
    repeats: Annotated[int, typer.Option(help="Runs per cluster, for agreement.")] = 1,
    repeat_below: Annotated[float | None, typer.Option(help="Repeat only clusters that score below.")] = None,
    n_genes: Annotated[int, typer.Option(help="Genes shown per cluster.")] = 50,
    marker_policy: Annotated[str, typer.Option(help="balanced or cassia.")] = "balanced",
    label_level: Annotated[str, typer.Option(help="detailed or general: what obs['cell_type'] holds.")] = "detailed",
    markers_top: Annotated[
        int | None, typer.Option(help="Genes per cluster in markers.csv; the whole table then goes to details.")
    ] = None,
    ontology: Annotated[Path | None, typer.Option(help="cl-basic.obo; the bundled terms by default.")] = None,
    knowledge: opt.Knowledge = None,
    input_cost: Annotated[float | None, typer.Option(help="USD per million input tokens.")] = None,
    output_cost: Annotated[float | None, typer.Option(help="USD per million output tokens.")] = None,
    prices: opt.Prices = None,
    budget: opt.Budget = None,
    max_tokens_total: Annotated[int | None, typer.Option(help="Tokens that may be used in all.")] = None,
    timeout: opt.Timeout = 120.0,
    max_retries: Annotated[int, typer.Option(help="Repeated attempts of a call.")] = 5,
    rpm: Annotated[int | None, typer.Option(help="Requests per minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens per minute.")] = None,
    cache: Annotated[str, typer.Option(help="on, off or readonly: answers kept between runs.")] = "on",
    no_store_prompts: Annotated[bool, typer.Option("--no-store-prompts", help="Keep hashes of prompts only.")] = False,
    json_log: opt.JsonLog = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Finish an interrupted run.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", "--dry-run", help="List files, time, tokens and cost; change nothing.")
    ] = False,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not try the model before the run.")] = False,
    note: Annotated[str, typer.Option(help="Text for NOTES.txt of the run.")] = "",
    run_alias: Annotated[bool, typer.Option("--run-alias", help="Also link the run as run_DATE.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything failed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Cluster and name every dataset of a folder tree.

    Reads DATA_ROOT/TISSUE/h5ad_unlabelled/*.h5ad and writes a new directory run_TISSUES_DATE with a summary, the
    labelled cells, marker tables and texts. One dataset that fails never stops the others; a run that was
    interrupted is finished with --resume, and no answer is paid for twice.

    Exit codes: 0 all datasets succeeded, 1 none did (or one failed with --strict), 2 bad usage, 3 some failed,
    130 interrupted.

    \b
    Examples:
      cellkey batch --data-root data --preview
      cellkey batch --data-root data --tissues brain breast --dataset-workers 2
      cellkey batch --data-root data --tissue brain --annotator both --provider ollama --model llama3.1
      cellkey batch --resume batch_results/run_brain_20260216_151425
    """
    wanted = _tissues(tissue, tissues, more_tissues)
    parallel = local_cluster or dataset_workers
    settings = _settings(locals())
    if preview and resume is None:  # before anything heavy is imported
        _preview(data_root, wanted, files, layout, settings, parallel)
        return
    from cellkey.batch.run import resume_batch, run_batch
    from cellkey.records.event_log import json_log as events_to

    runner = _runner(scheduler, local_cluster, dataset_workers)
    say = (lambda _name, _step: None) if quiet else _say
    with events_to(json_log):
        if resume is not None:
            run = resume_batch(
                resume,
                runner=runner,
                dataset_workers=parallel,
                budget_usd=budget,
                budget_tokens=max_tokens_total,
                api_keys=None if api_keys is None else str(api_keys),
                strict=strict,
                on_step=say,
            )
        else:
            run = run_batch(
                data_root,
                output_dir,
                tissues=wanted,
                files=files,
                layout=layout,
                settings=settings,
                runner=runner,
                dataset_workers=parallel,
                probe=not no_probe,
                note=note,
                alias=run_alias,
                strict=strict,
                on_step=say,
            )
    if not quiet:
        typer.echo(run.directory.summary_text.read_text(encoding="utf-8"), nl=False)
    if run.exit_code:
        raise typer.Exit(run.exit_code)


def _settings(options: dict[str, Any]) -> Any:
    from cellkey.batch.settings import BatchSettings

    def given(*names: str, **renamed: str) -> dict[str, Any]:
        found = {n: options[n] for n in names} | {setting: options[n] for setting, n in renamed.items()}
        return {k: str(v) if isinstance(v, Path) else v for k, v in found.items() if v is not None}

    return BatchSettings.parse(
        {
            **given(
                "annotator", "species", "notes", "ontology", "resolution", "n_pcs", "n_neighbors", "cluster_key",
                "seed", "markers_top", "label_level", hierarchy="marker_map", panels="knowledge", budget_usd="budget",
                budget_tokens="max_tokens_total",
            ),
            "umap": not options["no_umap"],
            "store_prompts": not options["no_store_prompts"],
            "model": given(
                "provider", "model", "base_url", "api_keys", "score_model", "boost_model", "merge_model",
                "reasoning_effort", "timeout", "max_workers", "cache", "input_cost", "output_cost",
                retries="max_retries", requests_per_minute="rpm", tokens_per_minute="tpm", price_file="prices",
            ),
            "workflow": {
                **given("validator", "score_threshold", "repeats", "repeat_below"),
                "score": not options["no_score"],
                "boost": not options["no_boost"],
                "merge": "off" if options["no_merge"] else "auto",
            },
            "selection": given("n_genes", rule="marker_policy"),
        },
        option="options",
    )  # fmt: skip


def _tissues(one: str | None, several: list[str] | None, more: list[str] | None) -> list[str] | None:
    """Tissues of both options; further words belong to ``--tissues``, as in ``--tissues brain breast``."""
    from cellkey.errors import ParameterError

    if one is not None and several:
        msg = "give either --tissue or --tissues, not both"
        raise ParameterError(msg)
    if more and not several:
        msg = f"unexpected argument {more[0]!r}; several tissues are given as --tissues {' '.join(more)}"
        raise ParameterError(msg)
    if one is not None:
        return [one]
    return [*several, *(more or [])] if several else None


def _runner(scheduler: str | None, local_cluster: int | None, dataset_workers: int) -> Any:
    from cellkey.batch.workers import DaskCluster, LocalProcesses
    from cellkey.errors import ParameterError

    if scheduler is not None and local_cluster is not None:
        msg = "give either --scheduler or --local-cluster, not both"
        raise ParameterError(msg)
    if scheduler is not None:
        return DaskCluster(scheduler)
    return DaskCluster(n_workers=local_cluster) if local_cluster is not None else LocalProcesses(dataset_workers)


def _preview(
    data_root: Path, tissues: list[str] | None, files: str, layout: str, settings: Any, dataset_workers: int
) -> None:
    from cellkey.batch.discovery import discover
    from cellkey.batch.preview import preview, preview_text

    datasets = discover(data_root, tissues, files, layout="flat" if layout == "flat" else "unlabelled")
    typer.echo(preview_text(preview(datasets, settings), settings, dataset_workers), nl=False)


def _say(name: str, step: str) -> None:
    typer.echo(f"{name}: {step}", err=True)
