"""``cellkey llm boost``, ``score``, ``merge`` and ``judge``: about labels that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellkey.cli import _model_options as opt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["boost", "judge", "merge", "score"]


def boost(
    run: opt.Run,
    cluster: opt.Clusters = None,
    dataset: opt.Dataset = None,
    task: Annotated[str, typer.Option(help="A question for the booster: 'are these cells malignant?'.")] = "",
    rounds: Annotated[int | None, typer.Option(help="Gene requests at most; as in the run by default.")] = None,
    out: opt.Out = None,
    provider: opt.AskedProvider = None,
    model: opt.AskedModel = None,
    base_url: opt.BaseUrl = None,
    api_keys: opt.ApiKeys = None,
    reasoning_effort: opt.Effort = None,
    max_workers: opt.MaxWorkers = 4,
    timeout: opt.Timeout = 120.0,
    max_retries: opt.MaxRetries = 5,
    budget: opt.Budget = None,
    max_tokens_total: opt.MaxTokens = None,
    input_cost: opt.InputCost = None,
    output_cost: opt.OutputCost = None,
    cache: opt.Cache = "on",
    resume: opt.Resume = False,
    no_probe: opt.NoProbe = False,
    quiet: opt.Quiet = False,
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
        opt.refuse("--cluster NAME says which; give it again for more")

    def ask(stored: Any, clients: Any) -> Any:
        say = None if quiet else opt.say
        return boost_clusters(stored, clients, cluster, task=task, rounds=rounds, workers=max_workers, on_cluster=say)

    _leave(_again("boosted", locals(), ask))


def score(
    run: opt.Run,
    cluster: opt.Clusters = None,
    dataset: opt.Dataset = None,
    out: opt.Out = None,
    provider: opt.AskedProvider = None,
    model: opt.AskedModel = None,
    base_url: opt.BaseUrl = None,
    api_keys: opt.ApiKeys = None,
    reasoning_effort: opt.Effort = None,
    max_workers: opt.MaxWorkers = 4,
    timeout: opt.Timeout = 120.0,
    max_retries: opt.MaxRetries = 5,
    budget: opt.Budget = None,
    max_tokens_total: opt.MaxTokens = None,
    input_cost: opt.InputCost = None,
    output_cost: opt.OutputCost = None,
    cache: opt.Cache = "on",
    resume: opt.Resume = False,
    no_probe: opt.NoProbe = False,
    quiet: opt.Quiet = False,
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
        say = None if quiet else opt.say
        return score_clusters(stored, clients, cluster or None, workers=max_workers, on_cluster=say)

    _leave(_again("scored", locals(), ask))


def merge(
    run: opt.Run,
    dataset: opt.Dataset = None,
    by: Annotated[str, typer.Option("--by", help="ontology (asks nobody) or model.")] = "ontology",
    out: opt.Out = None,
    provider: opt.AskedProvider = None,
    model: opt.AskedModel = None,
    base_url: opt.BaseUrl = None,
    api_keys: opt.ApiKeys = None,
    reasoning_effort: opt.Effort = None,
    max_workers: opt.MaxWorkers = 4,
    timeout: opt.Timeout = 120.0,
    max_retries: opt.MaxRetries = 5,
    budget: opt.Budget = None,
    max_tokens_total: opt.MaxTokens = None,
    input_cost: opt.InputCost = None,
    output_cost: opt.OutputCost = None,
    cache: opt.Cache = "on",
    resume: opt.Resume = False,
    no_probe: opt.NoProbe = False,
    quiet: opt.Quiet = False,
) -> None:
    """Group the labels of a finished run at three levels of detail, by the ontology or by a model.

    \b
    Examples:
      cellkey llm merge named --out grouped
      cellkey llm merge named --by model --provider ollama --model llama3.1 --out grouped
    """
    from cellkey.llm.followup import merge_labels

    if by not in ("ontology", "model"):
        opt.refuse(f"--by is ontology or model, not {by!r}")
    _again("grouped", locals(), lambda stored, clients: merge_labels(stored, clients, by, workers=max_workers))


def judge(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="annotations.csv, calls.csv, or any table of clusters and labels."),
    ],
    truth: Annotated[Path, typer.Option(help="Table of clusters and known labels, names or CL identifiers.")],
    ontology: Annotated[Path | None, typer.Option(help="cl-basic.obo; the bundled terms by default.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV file for all grades.")] = None,
) -> None:
    """Grade the labels of tables against known ones by the Cell Ontology: full, partial or none. No model is asked.

    Full is the right type or a kind of it, partial a type near it, none anything else; a cluster without a label has
    none. The score is the mean of 1, 0.5 and 0 over all known clusters.

    \b
    Example:
      cellkey llm judge --truth known.csv named/markers_annotations.csv other/markers_calls.csv
    """
    from cellkey.hierarchy.ontology import bundled_ontology, read_ontology
    from cellkey.llm.judging import JUDGEMENTS, judge_tables, read_labels
    from cellkey.llm.result_tables import neutral_table

    known = bundled_ontology() if ontology is None else read_ontology(ontology)
    names = [t.name if sum(o.name == t.name for o in tables) == 1 else str(t) for t in tables]
    predictions = {n: read_labels(t) for n, t in zip(names, tables, strict=True)}
    rows = judge_tables(read_labels(truth), predictions, known)
    typer.echo(rows.drop(columns="prediction").to_string(index=False) if len(tables) == 1 else "", nl=len(tables) == 1)
    for name, own in rows.groupby("prediction", sort=False):
        counts = ", ".join(f"{(own['grade'] == grade).sum()} {grade}" for grade in ("full", "partial", "none"))
        typer.echo(f"{name}: {counts}; score {own['points'].mean():.2f}")
    if output is not None:
        JUDGEMENTS.write_csv(neutral_table(rows), output)


def _again(verb: str, options: dict[str, Any], ask: Callable[[Any, Any], Any]) -> Any:
    """Ask a finished run again and write what comes of it into a directory of its own."""
    from cellkey.batch.stored import open_result
    from cellkey.llm.followup import follow_up

    done = follow_up(
        open_result(options["run"], options["dataset"]),
        ask,
        options["out"],
        verb=verb,
        model=opt.given_model(options),
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
