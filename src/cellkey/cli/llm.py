"""``cellkey llm``: language models on marker tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    model: Annotated[str, typer.Option(help="Name of the model at the provider.")] = "gpt-4o-2024-08-06",
    out: Annotated[
        Path | None, typer.Option("--out", "--output-dir", "-o", help="New directory for results.")
    ] = None,
    tissue: Annotated[str, typer.Option(help="Tissue; 'none' withholds it.")] = "none",
    species: Annotated[str, typer.Option(help="Species.")] = "human",
    notes: Annotated[str, typer.Option(help="Disease, treatment, enrichment: told to the model.")] = "",
    dataset: Annotated[str | None, typer.Option(help="Name of the results; the file's by default.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    api_keys: Annotated[Path | None, typer.Option(help="Private JSON file of keys (mode 600).")] = None,
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
    max_workers: Annotated[int, typer.Option(help="Calls at once.")] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds without a byte before a call is given up.")] = 120.0,
    max_retries: Annotated[int, typer.Option(help="Repeated attempts of a call.")] = 5,
    budget: Annotated[
        float | None, typer.Option("--budget", "--max-cost", help="USD that may be spent in all.")
    ] = None,
    max_tokens_total: Annotated[int | None, typer.Option(help="Tokens that may be used in all.")] = None,
    input_cost: Annotated[float | None, typer.Option(help="USD per million input tokens.")] = None,
    output_cost: Annotated[float | None, typer.Option(help="USD per million output tokens.")] = None,
    cache: Annotated[str, typer.Option(help="on, off or readonly: answers kept between runs.")] = "on",
    ontology: Annotated[Path | None, typer.Option(help="cl-basic.obo; the bundled terms by default.")] = None,
    record: Annotated[Path | None, typer.Option(help="Record all exchanges to this file.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Answer from a recording instead of the service.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in the directory of an interrupted run.")] = False,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not try the model before the run.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Say what would be sent and cost; send nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Name the clusters of a marker table.

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
    from cellkey.errors import ParameterError

    if out is None:
        msg = "--out DIR says where the results go"
        raise ParameterError(msg)
    return out
