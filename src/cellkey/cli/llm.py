"""``cellkey llm``: language models on marker tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellkey.cli import _model_options as opt
from cellkey.cli import llm_again, llm_compare
from cellkey.cli._common import Commands

__all__ = ["app"]

app = Commands(
    help="Ask a language model about marker tables. Nothing is sent unless a provider is named here.",
    no_args_is_help=True,
)
for _command in (llm_again.boost, llm_again.score, llm_again.merge, llm_again.judge, llm_compare.compare):
    app.command()(_command)


@app.command()
@opt.asks
def annotate(
    markers: Annotated[
        Path,
        typer.Argument(
            metavar="MARKERS",
            help="Marker table: Seurat FindAllMarkers, scanpy rank_genes_groups, or "
            "two columns (cluster, genes). .csv, .tsv, .parquet, gzipped or not.",
        ),
    ],
    provider: opt.Provider,
    model: opt.Model = "gpt-4o-2024-08-06",
    tissue: Annotated[
        str, typer.Option(help="Tissue; 'none' withholds it. A column 'tissue' of the table goes before.")
    ] = "none",
    species: opt.Species = "human",
    notes: opt.Notes = "",
    dataset: opt.Results = None,
    score_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that scores; the same by default.")] = None,
    boost_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that boosts.")] = None,
    merge_model: Annotated[str | None, typer.Option(help="[PROVIDER:]MODEL that groups labels.")] = None,
    n_genes: Annotated[int, typer.Option(help="Genes shown per cluster.")] = 50,
    marker_policy: Annotated[
        str, typer.Option(help="balanced (by test statistic) or cassia (by fold change).")
    ] = "balanced",
    validator: Annotated[str, typer.Option(help="off, rules, llm or both.")] = "both",
    no_score: Annotated[bool, typer.Option("--no-score", help="No scoring.")] = False,
    no_boost: Annotated[bool, typer.Option("--no-boost", help="No boosting of doubtful labels.")] = False,
    no_merge: Annotated[bool, typer.Option("--no-merge", help="No grouping of labels.")] = False,
    score_threshold: Annotated[float, typer.Option(help="Scores below are boosted, 0 to 100.")] = 75.0,
    repeats: Annotated[int, typer.Option(help="Runs per cluster, for agreement.")] = 1,
    repeat_below: Annotated[float | None, typer.Option(help="Repeat only clusters that score below.")] = None,
    ontology: Annotated[Path | None, typer.Option(help="cl-basic.obo; the bundled terms by default.")] = None,
    knowledge: opt.Knowledge = None,
    record: Annotated[Path | None, typer.Option(help="Record all exchanges to this file.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Answer from a recording instead of the service.")] = None,
    json_log: opt.JsonLog = None,
    *,
    asking: opt.Asking,
) -> None:
    """Name the clusters of a marker table by asking a language model.

    Without any model: 'cellkey annotate-table'.
    Keys come from the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...) or a private file, never from options.

    \b
    Examples:
      cellkey llm annotate markers.csv --provider ollama --model llama3.1 --tissue blood --out named
      cellkey llm annotate markers.csv --provider openai --preview
      cellkey llm annotate markers.csv --provider http://gpu01:8000/v1 --model my-model --out named --resume
    """
    from cellkey.llm.evidence import Study
    from cellkey.llm.marker_selection import SelectionParameters
    from cellkey.llm.marker_tables import cluster_tissues
    from cellkey.llm.preview import preview_annotation
    from cellkey.llm.run import annotate_table_file
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.stored import AskedWith
    from cellkey.llm.workflow import WorkflowParameters
    from cellkey.records.event_log import json_log as events_to

    settings = ModelSettings.parse(
        asking.settings(
            score_model=score_model,
            boost_model=boost_model,
            merge_model=merge_model,
            record=opt.as_text(record),
            replay=opt.as_text(replay),
        ),
        option="options",
    )
    steps = WorkflowParameters.parse(
        opt.given(
            validator=validator,
            score=not no_score,
            boost=not no_boost,
            merge="off" if no_merge else "auto",
            score_threshold=score_threshold,
            repeats=repeats,
            repeat_below=repeat_below,
        ),
        option="options",
    )
    selection = SelectionParameters.parse({"rule": marker_policy, "n_genes": n_genes}, option="options")
    study = Study(tissue, species, notes, dataset or markers.name.split(".")[0], cluster_tissues(markers))
    if asking.preview:
        asked = AskedWith(study, settings, steps, selection, opt.as_text(ontology), opt.as_text(knowledge))
        typer.echo(preview_annotation(markers, asked), nl=False)
        return
    with events_to(json_log):
        run = annotate_table_file(
            markers,
            asking.directory,
            model=settings,
            study=study,
            workflow=steps,
            selection=selection,
            ontology=ontology,
            panels=knowledge,
            on_cluster=asking.on_cluster,
            **asking.limits,
        )
    if not asking.quiet:
        typer.echo(run.result.text().rsplit("\n\n", 1)[-1], nl=False)
        for line in run.result.troubles:
            typer.echo(line, err=True)
        typer.echo(f"written to {run.directory}", err=True)
    if run.result.failed:
        raise typer.Exit(1 if len(run.result.failed) == len(run.result.clusters) else 3)


@app.command()
@opt.asks
def subclusters(
    markers: Annotated[
        Path,
        typer.Argument(
            metavar="MARKERS", help="Markers of each sub-cluster against its siblings; or cells, with --cluster-key."
        ),
    ],
    provider: opt.Provider,
    parent: Annotated[str, typer.Option(help="Name of the population: 'T cell'.")],
    model: opt.Model = "gpt-4o-2024-08-06",
    against_rest: Annotated[
        Path | None, typer.Option(help="Markers of each sub-cluster against all other cells; tells contamination.")
    ] = None,
    cluster_key: Annotated[
        str | None, typer.Option(help="Column of obs that tells which cells are parted; MARKERS is a file of cells.")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="Value of that column; give it again for more. The parent's by default.")
    ] = None,
    resolution: Annotated[float, typer.Option(help="Resolution of the clustering inside the population.")] = 0.4,
    tissue: opt.Tissue = "none",
    species: opt.Species = "human",
    notes: opt.Notes = "",
    dataset: opt.Results = None,
    repeats: Annotated[int, typer.Option(help="Runs; the majority's label wins.")] = 1,
    *,
    asking: opt.Asking,
) -> None:
    """Name the sub-clusters of one population, all of them in one question.

    From cells, the population is clustered anew and compared within and with all other cells; NAME_cells.csv then
    holds the label of every cell.

    \b
    Examples:
      cellkey llm subclusters cells.h5ad --cluster-key cell_type --parent "T cell" --provider openai --out t_named
      cellkey llm subclusters t_cells.csv --parent "T cell" --against-rest all.csv --provider openai --out t_named
    """
    from cellkey.batch.subclusters import part_population
    from cellkey.llm.evidence import Study
    from cellkey.llm.marker_tables import read_marker_table
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.subclusters import annotate_subclusters_in, preview_subclusters
    from cellkey.records.atomic import safe_name

    given: dict[str, Any] = {
        "parent": parent,
        "model": ModelSettings.parse(asking.settings(), option="options"),
        "study": Study(tissue, species, notes, dataset or markers.name.split(".")[0]),
        "repeats": repeats,
    }
    population = None
    if cluster_key is None:
        siblings = read_marker_table(markers)
        given["against_rest"] = None if against_rest is None else read_marker_table(against_rest)
    elif against_rest is not None:
        opt.refuse("--against-rest goes with a marker table; from cells it is computed")
    else:
        population = part_population(markers, cluster_key, member or [parent], resolution=resolution)
        siblings = population.siblings
        given |= {"against_rest": population.against_rest, "sizes": population.sizes}
    if asking.preview:
        typer.echo(preview_subclusters(siblings, **given), nl=False)
        return
    source = {
        "input": str(markers), "against_rest": opt.as_text(against_rest), "cluster_key": cluster_key, "members": member,
        "resolution": None if cluster_key is None else resolution,
    }  # fmt: skip
    run = annotate_subclusters_in(asking.directory, siblings, source=source, **given, **asking.limits)
    table = run.result.table
    if population is not None:
        population.write_cells(table, run.directory / f"{safe_name(given['study'].dataset)}_cells.csv")
    if not asking.quiet:
        columns = ["cluster", "main_cell_type", "sub_cell_type", "agreement", "status"]
        typer.echo(table[columns].to_string(index=False))
        typer.echo(f"written to {run.directory}", err=True)
    failed = int((table["status"] == "unlabelled").sum())
    if failed:
        raise typer.Exit(1 if failed == len(table) else 3)


@app.command()
def providers() -> None:
    """List the providers that have a name, and where their keys are looked for.

    \b
    Example:
      cellkey llm providers
    """
    from cellkey.llm.credentials import find_key
    from cellkey.llm.providers import PROVIDERS
    from cellkey.llm.transport import is_loopback

    for kind in PROVIDERS.values():
        found = find_key(kind.key_variables, fields=kind.key_fields) is not None
        missing = "needs no key" if is_loopback(kind.base_url) else f"no key in {' or '.join(kind.key_variables)}"
        state = "key found" if found else missing
        typer.echo(f"{kind.name:<11} {kind.base_url or '(--base-url)':<32} {state:<48} {kind.meaning}")


@app.command()
def check(
    provider: opt.Provider,
    model: opt.Model = "gpt-4o-2024-08-06",
    base_url: opt.BaseUrl = None,
    api_keys: opt.ApiKeys = None,
    reasoning_effort: opt.Effort = None,
    timeout: opt.Timeout = 30.0,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Send nothing.")] = False,
) -> None:
    """Find out whether a model can be asked: key, address, model, price, folders. Makes one tiny call.

    \b
    Example:
      cellkey llm check --provider ollama --model llama3.1
    """
    from cellkey.llm.setup import ModelSettings, check_model

    given = opt.given(
        provider=provider,
        model=model,
        base_url=base_url,
        api_keys=opt.as_text(api_keys),
        reasoning_effort=reasoning_effort,
        timeout=timeout,
        retries=1,
    )
    rows = check_model(ModelSettings.parse(given, option="options"), probe=not no_probe)
    for what, good, found in rows:
        typer.echo(f"{'ok ' if good else 'NO '} {what:<18} {found}")
    if not all(good for _, good, _ in rows):
        raise typer.Exit(2)
