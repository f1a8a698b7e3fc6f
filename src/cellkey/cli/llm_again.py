"""``cellkey llm boost``, ``score``, ``merge`` and ``judge``: about labels that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellkey.cli import _model_options as opt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["boost", "judge", "merge", "score"]


@opt.asks
def boost(
    run: opt.Run,
    cluster: opt.Clusters = None,
    dataset: opt.Dataset = None,
    task: Annotated[str, typer.Option(help="A question for the booster: 'are these cells malignant?'.")] = "",
    rounds: Annotated[int | None, typer.Option(help="Gene requests at most; as in the run by default.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="breadth (rival types in each request), depth (one at a time, two requests at least), free."),
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="final: the label and the objections are shown; none: they are withheld.")
    ] = None,
    *,
    asking: opt.Asking,
) -> None:
    """Let a model examine clusters of a finished run by asking for the numbers of genes.

    The run is left as it is. The new directory holds the results of all clusters with the boosted ones replaced,
    what was before and after (DATASET_changes.csv), the questions and numbers (boost/CLUSTER.md), and the costs.

    \b
    Examples:
      cellkey llm boost batch_results/run_brain_20260216_151425 --dataset Data_Filbin2018_Brain --cluster 7
      cellkey llm boost named -c 3 -c 5 --task "are these cells malignant?" --out examined
      cellkey llm boost named -c 3 --strategy depth --history none --preview
    """
    from cellkey.llm.followup import boost_clusters

    if not cluster:
        opt.refuse("--cluster NAME says which; give it again for more")

    def ask(stored: Any, clients: Any) -> Any:
        return boost_clusters(
            stored,
            clients,
            cluster,
            task=task,
            rounds=rounds,
            strategy=strategy,
            history=history,
            workers=asking.max_workers,
            on_cluster=asking.on_cluster,
        )

    _again("boosted", run, dataset, asking, ask, rounds)


@opt.asks
def score(
    run: opt.Run,
    cluster: opt.Clusters = None,
    dataset: opt.Dataset = None,
    *,
    asking: opt.Asking,
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
        return score_clusters(
            stored, clients, cluster or None, workers=asking.max_workers, on_cluster=asking.on_cluster
        )

    _again("scored", run, dataset, asking, ask)


@opt.asks
def merge(
    run: opt.Run,
    dataset: opt.Dataset = None,
    by: Annotated[str, typer.Option("--by", help="ontology (asks nobody) or model.")] = "ontology",
    *,
    asking: opt.Asking,
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

    def ask(stored: Any, clients: Any) -> Any:
        return merge_labels(stored, clients, by, workers=asking.max_workers)

    _again("grouped", run, dataset, asking, ask)


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


def _again(
    verb: str,
    run: Path,
    dataset: str | None,
    asking: opt.Asking,
    ask: Callable[[Any, Any], Any],
    rounds: int | None = None,
) -> None:
    """Ask a finished run again and write what comes of it into a directory of its own.

    Ends with 3 where some clusters could not be asked about, with 1 where none could.
    """
    from cellkey.batch.stored import open_result
    from cellkey.llm.followup import follow_up
    from cellkey.llm.preview import preview_follow_up

    stored = open_result(run, dataset)
    if asking.preview:
        typer.echo(preview_follow_up(stored, ask, asking.settings(), rounds), nl=False)
        return
    done = follow_up(stored, ask, asking.out, verb=verb, model=asking.settings(), **asking.limits)
    if not asking.quiet:
        typer.echo(done.text(), nl=False)
        typer.echo(f"written to {done.directory}", err=True)
    if done.errors:
        raise typer.Exit(1 if len(done.errors) == len(done.asked) else 3)
