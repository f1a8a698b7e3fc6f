"""``cellkey llm``: language models on marker tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]

app = typer.Typer(
    help="Ask a language model about marker tables. Nothing is sent unless a provider is named here.",
    no_args_is_help=True,
)

Provider = Annotated[
    str,
    typer.Option(
        help="openai, anthropic, openrouter, ollama, vllm, llamacpp, custom, a base URL, or 'scripted' (no "
        "service at all: rules on this machine, for trying things out)."
    ),
]


Model = Annotated[str, typer.Option(help="Name of the model at the provider.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
ApiKeys = Annotated[Path | None, typer.Option(help="Private JSON file of keys (mode 600).")]
Out = Annotated[Path | None, typer.Option("--out", "--output-dir", "-o", help="New directory for results.")]
MaxWorkers = Annotated[int, typer.Option(help="Calls at once.")]
Timeout = Annotated[float, typer.Option(help="Seconds without a byte before a call is given up.")]
MaxRetries = Annotated[int, typer.Option(help="Repeated attempts of a call.")]
Budget = Annotated[float | None, typer.Option("--budget", "--max-cost", help="USD that may be spent in all.")]
MaxTokens = Annotated[int | None, typer.Option(help="Tokens that may be used in all.")]
InputCost = Annotated[float | None, typer.Option(help="USD per million input tokens.")]
OutputCost = Annotated[float | None, typer.Option(help="USD per million output tokens.")]
Cache = Annotated[str, typer.Option(help="on, off or readonly: answers kept between runs.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in the directory of an interrupted run.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not try the model before the run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AskedProvider = Annotated[str | None, typer.Option(help="Another provider than the run's; see 'llm providers'.")]
AskedModel = Annotated[str | None, typer.Option(help="Another model than the run's.")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Directory that 'batch' or 'llm annotate' wrote; it is left as it is.")
]
Dataset = Annotated[str | None, typer.Option(help="Dataset of a batch, where there are several.")]
Clusters = Annotated[list[str] | None, typer.Option("--cluster", "-c", help="A cluster; give it again for more.")]


@app.command()
def annotate(
    markers: Annotated[
        Path,
        typer.Argument(
            metavar="MARKERS",
            help="Marker table: Seurat FindAllMarkers, scanpy rank_genes_groups, or "
            "two columns (cluster, genes). .csv, .tsv, .parquet, gzipped or not.",
        ),
    ],
    provider: Provider,
    model: Model = "gpt-4o-2024-08-06",
    out: Out = None,
    tissue: Annotated[str, typer.Option(help="Tissue; 'none' withholds it.")] = "none",
    species: Annotated[str, typer.Option(help="Species.")] = "human",
    notes: Annotated[str, typer.Option(help="Disease, treatment, enrichment: told to the model.")] = "",
    dataset: Annotated[str | None, typer.Option(help="Name of the results; the file's by default.")] = None,
    base_url: BaseUrl = None,
    api_keys: ApiKeys = None,
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
    max_workers: MaxWorkers = 4,
    timeout: Timeout = 120.0,
    max_retries: MaxRetries = 5,
    budget: Budget = None,
    max_tokens_total: MaxTokens = None,
    input_cost: InputCost = None,
    output_cost: OutputCost = None,
    cache: Cache = "on",
    ontology: Annotated[Path | None, typer.Option(help="cl-basic.obo; the bundled terms by default.")] = None,
    record: Annotated[Path | None, typer.Option(help="Record all exchanges to this file.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Answer from a recording instead of the service.")] = None,
    resume: Resume = False,
    no_probe: NoProbe = False,
    preview: Annotated[bool, typer.Option("--preview", help="Say what would be sent and cost; send nothing.")] = False,
    quiet: Quiet = False,
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
    from cellkey.llm.run import annotate_table_file, preview_table
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.workflow import WorkflowParameters

    settings = ModelSettings.parse(
        _given(
            provider=provider,
            model=model,
            base_url=base_url,
            api_keys=_text(api_keys),
            timeout=timeout,
            retries=max_retries,
            max_workers=max_workers,
            cache=cache,
            input_cost=input_cost,
            output_cost=output_cost,
            score_model=score_model,
            boost_model=boost_model,
            merge_model=merge_model,
            record=_text(record),
            replay=_text(replay),
        ),
        option="options",
    )
    steps = WorkflowParameters.parse(
        _given(
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
    if preview:
        typer.echo(preview_table(markers, settings, steps, selection), nl=False)
        return
    name = dataset or markers.name.split(".")[0]
    run = annotate_table_file(
        markers,
        _directory(out),
        model=settings,
        study=Study(tissue, species, notes, name),
        workflow=steps,
        selection=selection,
        ontology=ontology,
        budget_usd=budget,
        budget_tokens=max_tokens_total,
        resume=resume,
        probe=not no_probe,
        on_cluster=None if quiet else _say,
    )
    if not quiet:
        typer.echo(run.result.text().rsplit("\n\n", 1)[-1], nl=False)
        typer.echo(f"written to {run.directory}", err=True)
    if run.result.failed:
        raise typer.Exit(1 if len(run.result.failed) == len(run.result.clusters) else 3)


@app.command()
def boost(
    run: Run,
    cluster: Clusters = None,
    dataset: Dataset = None,
    task: Annotated[str, typer.Option(help="A question for the booster: 'are these cells malignant?'.")] = "",
    rounds: Annotated[int | None, typer.Option(help="Gene requests at most; as in the run by default.")] = None,
    out: Out = None,
    provider: AskedProvider = None,
    model: AskedModel = None,
    base_url: BaseUrl = None,
    api_keys: ApiKeys = None,
    max_workers: MaxWorkers = 4,
    timeout: Timeout = 120.0,
    max_retries: MaxRetries = 5,
    budget: Budget = None,
    max_tokens_total: MaxTokens = None,
    input_cost: InputCost = None,
    output_cost: OutputCost = None,
    cache: Cache = "on",
    resume: Resume = False,
    no_probe: NoProbe = False,
    quiet: Quiet = False,
) -> None:
    """Let a model examine clusters of a finished run by asking for the numbers of genes.

    The run is left as it is. The new directory holds the results of all clusters with the boosted ones replaced,
    what was before and after (DATASET_changes.csv), the questions and numbers (boost/CLUSTER.md), and the costs.

    \b
    Examples:
      cellkey llm boost batch_results/run_brain_20260216_151425 --dataset Data_Filbin2018_Brain --cluster 7
      cellkey llm boost named -c 3 -c 5 --task "are these cells malignant?" --out examined
    """
    from cellkey.llm.followup import boost_clusters

    if not cluster:
        _refuse("--cluster NAME says which; give it again for more")

    def ask(stored: Any, clients: Any) -> Any:
        say = None if quiet else _say
        return boost_clusters(stored, clients, cluster, task=task, rounds=rounds, workers=max_workers, on_cluster=say)

    _leave(_again("boosted", locals(), ask))


@app.command()
def score(
    run: Run,
    cluster: Clusters = None,
    dataset: Dataset = None,
    out: Out = None,
    provider: AskedProvider = None,
    model: AskedModel = None,
    base_url: BaseUrl = None,
    api_keys: ApiKeys = None,
    max_workers: MaxWorkers = 4,
    timeout: Timeout = 120.0,
    max_retries: MaxRetries = 5,
    budget: Budget = None,
    max_tokens_total: MaxTokens = None,
    input_cost: InputCost = None,
    output_cost: OutputCost = None,
    cache: Cache = "on",
    resume: Resume = False,
    no_probe: NoProbe = False,
    quiet: Quiet = False,
) -> None:
    """Score the labels of a finished run again, best by another model than the one that gave them.

    The run is left as it is; labels stay, scores and outcomes are new. DATASET_changes.csv has both side by side.

    \b
    Examples:
      cellkey llm score batch_results/run_brain_20260216_151425 --dataset Data_Filbin2018_Brain --provider anthropic \\
        --model claude-sonnet-4-5 --out scored
    """
    from cellkey.llm.followup import score_clusters

    def ask(stored: Any, clients: Any) -> Any:
        say = None if quiet else _say
        return score_clusters(stored, clients, cluster or None, workers=max_workers, on_cluster=say)

    _leave(_again("scored", locals(), ask))


@app.command()
def merge(
    run: Run,
    dataset: Dataset = None,
    by: Annotated[str, typer.Option("--by", help="ontology (asks nobody) or model.")] = "ontology",
    out: Out = None,
    provider: AskedProvider = None,
    model: AskedModel = None,
    base_url: BaseUrl = None,
    api_keys: ApiKeys = None,
    max_workers: MaxWorkers = 4,
    timeout: Timeout = 120.0,
    max_retries: MaxRetries = 5,
    budget: Budget = None,
    max_tokens_total: MaxTokens = None,
    input_cost: InputCost = None,
    output_cost: OutputCost = None,
    cache: Cache = "on",
    resume: Resume = False,
    no_probe: NoProbe = False,
    quiet: Quiet = False,
) -> None:
    """Group the labels of a finished run at three levels of detail, by the ontology or by a model.

    \b
    Examples:
      cellkey llm merge named --out grouped
      cellkey llm merge named --by model --provider ollama --model llama3.1 --out grouped
    """
    from cellkey.llm.followup import merge_labels

    if by not in ("ontology", "model"):
        _refuse(f"--by is ontology or model, not {by!r}")
    _again("grouped", locals(), lambda stored, clients: merge_labels(stored, clients, by, workers=max_workers))


@app.command()
def providers() -> None:
    """List the providers that have a name, and where their keys are looked for.

    \b
    Example:
      cellkey llm providers
    """
    from cellkey.llm.credentials import find_key
    from cellkey.llm.providers import PROVIDERS

    for kind in PROVIDERS.values():
        found = find_key(kind.key_variables, fields=kind.key_fields) is not None
        state = "key found" if found else f"no key in {' or '.join(kind.key_variables)}"
        typer.echo(f"{kind.name:<11} {kind.base_url or '(--base-url)':<32} {state:<32} {kind.meaning}")


def _say(case: Any) -> None:
    typer.echo(f"cluster {case.cluster}: {case.state}", err=True)


def _given(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _directory(out: Path | None) -> Path:
    return out if out is not None else _refuse("--out DIR says where the results go")


def _refuse(message: str) -> NoReturn:
    from cellkey.errors import ParameterError

    raise ParameterError(message)


def _given_model(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of the model that were given as options of a command."""
    return _given(
        provider=options["provider"],
        model=options["model"],
        base_url=options["base_url"],
        api_keys=_text(options["api_keys"]),
        timeout=options["timeout"],
        retries=options["max_retries"],
        max_workers=options["max_workers"],
        cache=options["cache"],
        input_cost=options["input_cost"],
        output_cost=options["output_cost"],
    )


def _again(verb: str, options: dict[str, Any], ask: Callable[[Any, Any], Any]) -> Any:
    """Ask a finished run again and write what comes of it into a directory of its own."""
    from cellkey.batch.stored import is_batch_run, open_dataset
    from cellkey.llm.follow_up_run import follow_up
    from cellkey.llm.stored import open_table_run

    run = options["run"]
    done = follow_up(
        open_dataset(run, options["dataset"]) if is_batch_run(run) else open_table_run(run),
        ask,
        options["out"],
        verb=verb,
        model=_given_model(options),
        budget_usd=options["budget"],
        budget_tokens=options["max_tokens_total"],
        resume=options["resume"],
        probe=not options["no_probe"],
    )
    if not options["quiet"]:
        typer.echo(done.text(), nl=False)
        typer.echo(f"written to {done.directory}", err=True)
    return done


def _leave(done: Any) -> None:
    """End with 3 where some clusters could not be asked about, with 1 where none could."""
    if done.errors:
        raise typer.Exit(1 if len(done.errors) == len(done.asked) else 3)
