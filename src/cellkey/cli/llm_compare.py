"""``cellkey llm compare``: candidate cell types scored by several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellkey.cli import _model_options as opt

if TYPE_CHECKING:
    from cellkey.llm.setup import ModelSettings

__all__ = ["compare"]


@opt.asks
def compare(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Marker table, or directory that 'batch' or 'llm annotate' wrote.")
    ],
    cluster: Annotated[list[str], typer.Option("--cluster", "-c", help="A cluster; give it again for more.")],
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="[PROVIDER:]MODEL; give it again for each further model.")
    ],
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", help="A cell type; give it again. The types that a run ranks, by default."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Provider of models that name none; see 'llm providers'.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds at most; 1: no discussion.")] = 3,
    threshold: Annotated[float, typer.Option(help="Share of the models that must prefer one candidate.")] = 0.67,
    dataset: opt.Dataset = None,
    tissue: Annotated[str, typer.Option(help="Tissue of a marker table; 'none' withholds it.")] = "none",
    species: Annotated[str, typer.Option(help="Species of a marker table.")] = "human",
    notes: opt.Notes = "",
    n_genes: Annotated[int, typer.Option(help="Genes shown per cluster of a marker table.")] = 50,
    knowledge: opt.Knowledge = None,
    *,
    asking: opt.Asking,
) -> None:
    """Let several models score candidate cell types of a cluster, and discuss until enough of them agree.

    Each model scores every candidate alone, 0 to 100 with genes and reasons. Where fewer than the threshold prefer the
    same, all see what the others wrote and score again. Writes a table of scores, the verdicts with reasons, an HTML
    page, the conversations and the costs.

    Exit codes: 0 the models agree on all clusters, 3 they do not on some, 1 no model answered.

    \b
    Examples:
      cellkey llm compare markers.csv -c 4 --candidate "natural killer cell" --candidate "CD8 T cell" \\
        --model openai:gpt-4o --model anthropic:claude-sonnet-4-5 --model ollama:llama3.1 --tissue blood --out compared
      cellkey llm compare named -c 4 -c 6 --provider openrouter -m openai/gpt-4o -m google/gemini-2.5-pro --out compared
    """
    from cellkey.llm.comparison import ComparisonParameters
    from cellkey.llm.comparison_run import compare_in, preview_comparison
    from cellkey.report.comparison import write_comparison_page

    rules = ComparisonParameters.parse({"rounds": rounds, "threshold": threshold}, option="options")
    settings = _settings(asking.settings(model=None, provider=None), provider, model)
    asked, evidence, candidates, knowledge_used = _evidence(locals())
    if asking.preview:
        typer.echo(preview_comparison(evidence, candidates, settings, rules), nl=False)
        return
    run = compare_in(
        asking.directory,
        evidence,
        candidates,
        asked,
        parameters=rules,
        terms=knowledge_used.terms,
        source={"compared": str(source)},
        **asking.limits,
    )
    page = write_comparison_page(run)
    if not asking.quiet:
        typer.echo(run.text(), nl=False)
        typer.echo(f"written to {run.directory}; the page is {page.name}", err=True)
    outcomes = set(run.verdicts["status"])
    if outcomes != {"consensus"}:
        raise typer.Exit(1 if outcomes == {"unanswered"} else 3)


def _settings(given: dict[str, Any], provider: str | None, models: list[str]) -> ModelSettings:
    """Settings of the first model, with the others beside it."""
    from cellkey.llm.providers import PROVIDERS
    from cellkey.llm.setup import SCRIPTED, ModelSettings

    models = list(dict.fromkeys(models))
    named = [m.partition(":")[0] in {*PROVIDERS, SCRIPTED} and ":" in m for m in models]
    if provider is None and not all(named):
        bare = models[named.index(False)]
        opt.refuse(f"--model {bare}: say PROVIDER:MODEL, or name the provider of all with --provider")
    base = ModelSettings.parse({**given, "provider": provider or models[0].partition(":")[0]}, option="options")
    return base.with_model(models[0]).updated(other_models=tuple(models[1:]))


def _evidence(options: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """What was asked with, the evidence and candidates of the clusters, and the knowledge, from a table or a run."""
    from dataclasses import replace

    from cellkey.batch.stored import open_result
    from cellkey.llm.comparison_run import candidates_of, evidence_for
    from cellkey.llm.evidence import Study
    from cellkey.llm.knowledge import bundled_knowledge
    from cellkey.llm.marker_selection import SelectionParameters
    from cellkey.llm.marker_tables import cluster_tissues, read_marker_table
    from cellkey.llm.stored import AskedWith, chosen_clusters
    from cellkey.llm.workflow import WorkflowParameters

    source, clusters, named = options["source"], options["cluster"], options["candidate"]
    settings, panels = options["settings"], options["knowledge"]
    if source.is_dir():
        stored = open_result(source, options["dataset"])
        by_cluster = {r.cluster: r.evidence for r in stored.result.clusters}
        chosen = chosen_clusters(list(by_cluster), clusters)
        candidates = {c: named or candidates_of(stored, c) for c in chosen}
        return replace(stored.asked, model=settings), [by_cluster[c] for c in chosen], candidates, stored.knowledge
    if not named:
        opt.refuse("--candidate NAME, twice or more, says which cell types are compared")
    name = options["dataset"] or source.name.split(".")[0]
    study = Study(options["tissue"], options["species"], options["notes"], name, cluster_tissues(source))
    selection = SelectionParameters.parse({"n_genes": options["n_genes"]}, option="options")
    asked = AskedWith(study, settings, WorkflowParameters(), selection, panels=opt.as_text(panels))
    known = bundled_knowledge(panels=panels, study=study)
    evidence = evidence_for(read_marker_table(source), asked, known, clusters)
    return asked, evidence, {e.cluster: named for e in evidence}, known
