"""``refine`` and ``diagnose``: find clusters that deserve work, and work on them."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from cellkey.cli._common import OUTPUT_DIR

__all__ = ["diagnose", "refine"]

_Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN", help="Run directory of 'cellkey annotate', or an annotated .h5ad.", show_default=False
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(*OUTPUT_DIR, help="Where to write; the run directory if not given."),
]
_Params = Annotated[
    str | None,
    typer.Option("--refinement-params", metavar="JSON", help="Refinement parameters: inline JSON, a file, or @file."),
]
_MinCells = Annotated[int | None, typer.Option(help="Clusters with fewer cells are left alone [500].")]
_Threshold = Annotated[
    float | None, typer.Option(help="Heterogeneity (0 to 3) above which a cluster is worked on [1.0].")
]
_Gap = Annotated[
    float | None, typer.Option(help="Share of cells that may vote against a label when it is taken [0.3].")
]
_Policy = Annotated[
    str | None, typer.Option(help="guide, or legacy: the comparison rules of CellType-Refinery; guide if not given.")
]
_Labels = Annotated[str | None, typer.Option(help="Comma-separated cell types: only these and their subtypes.")]
_Clusters = Annotated[str | None, typer.Option(help="Comma-separated clusters: only these and their parts.")]
_Seed = Annotated[
    int | None, typer.Option("--random-seed", "--seed", "--random-state", help="Seed of all random steps [1337].")
]
_Device = Annotated[str | None, typer.Option(help="auto, cpu or gpu; auto if not given.")]
_NoGpu = Annotated[bool, typer.Option("--no-gpu", help="Same as --device cpu: repeatable bit by bit.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]
_Extra = Annotated[list[str] | None, typer.Argument(hidden=True)]
_Input = Annotated[Path | None, typer.Option("--input", "-i", help="Same as RUN.")]


def refine(
    run: _Run = None,
    extra: _Extra = None,
    source_option: _Input = None,
    output_dir: _Output = None,
    refinement_params: _Params = None,
    plan: Annotated[
        list[str] | None,
        typer.Option("--plan", "--config", metavar="FILE", help="Plan to carry out: YAML, or JSON of a review page."),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="With --plan: judge clusters that the plan does not name as well.")
    ] = False,
    diagnostic: Annotated[
        bool, typer.Option("--diagnostic", help="Write the report and a plan; change nothing.")
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Refine; this is the default.")] = False,
    undo: Annotated[
        int | None, typer.Option(metavar="N", help="Undo iteration N and all later ones, then stop.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again from the annotation.")] = False,
    focus_labels: _Labels = None,
    focus_clusters: _Clusters = None,
    force_subcluster: Annotated[
        str | None, typer.Option(help="Comma-separated clusters to split whatever the diagnosis says.")
    ] = None,
    min_cells: _MinCells = None,
    score_threshold: _Threshold = None,
    heterogeneity_gap: _Gap = None,
    max_iterations: Annotated[int | None, typer.Option(help="Most rounds of diagnosis and action [3].")] = None,
    policy: _Policy = None,
    random_seed: _Seed = None,
    device: _Device = None,
    no_gpu: _NoGpu = False,
    skip_figures: Annotated[bool, typer.Option("--skip-figures", help="Draw no figure.")] = False,
    dpi: Annotated[int, typer.Option(min=10, max=1200, help="Resolution of the figure.")] = 200,
    quiet: _Quiet = False,
) -> None:
    """Split clusters that hold several cell types, relabel those that one subtype fits, and iterate.

    New clusters are scored against the statistics of all cells. A split is made only if it comes out again when cells
    are resampled. Every iteration is on record and can be undone.

    \b
    Examples:
      cellkey refine run1
      cellkey refine run1 --diagnostic
      cellkey refine run1 --plan run1/plan.yaml
      cellkey refine run1 --plan my_plan.yaml --auto --focus-labels "Immune Cells"
      cellkey refine run1 --refinement-params '{"score_threshold": 1.5, "min_cells": 1000}'
      cellkey refine run1 --undo 2
    """
    from cellkey.cli._common import progress_on_terminal
    from cellkey.errors import ParameterError
    from cellkey.refinement.policies import Focus
    from cellkey.refinement.run import refine_run, undo_run

    source = _one_run(run, source_option, extra)
    if diagnostic and (execute or undo is not None):
        msg = "--diagnostic changes nothing: leave it or --execute and --undo out"
        raise ParameterError(msg)
    if plan and len(plan) > 1:
        msg = (f"--plan takes one plan, not {len(plan)}: to join those of several reviewers, load one after the other "
               "on the review page, which says where they differ, and save them as one")
        raise ParameterError(msg)
    options = {
        "min_cells": min_cells, "score_threshold": score_threshold, "heterogeneity_gap": heterogeneity_gap,
        "max_iterations": max_iterations, "policy": policy, "seed": random_seed,
        "device": "cpu" if no_gpu else device,
    }
    settings = _settings(refinement_params, options)
    aim = Focus(labels=_names(focus_labels), clusters=_names(focus_clusters), force=_names(force_subcluster))
    if diagnostic:
        _report(source, output_dir, settings, aim, quiet=quiet)
        return
    with progress_on_terminal(quiet=quiet) as progress:
        if undo is not None:
            done = undo_run(source, undo, output_dir, figures=not skip_figures, dpi=dpi)
        else:
            done = refine_run(
                source, output_dir, parameters=settings, plan=plan[0] if plan else None,
                automatic=True if auto else None, focus=aim, restart=restart, figures=not skip_figures, dpi=dpi,
                progress=progress,
            )
    if quiet:
        return
    if done.result is None:
        typer.echo(f"an interrupted command of the same kind was completed in {done.directory}")
        return
    typer.echo(repr(done.result))
    typer.echo(f"\nwritten to {done.directory}: refinement_log.csv says what was done and why; --undo N takes it back",
               err=True)


def diagnose(
    run: _Run = None,
    extra: _Extra = None,
    source_option: _Input = None,
    output_dir: _Output = None,
    refinement_params: _Params = None,
    focus_labels: _Labels = None,
    focus_clusters: _Clusters = None,
    min_cells: _MinCells = None,
    score_threshold: _Threshold = None,
    heterogeneity_gap: _Gap = None,
    policy: _Policy = None,
    quiet: _Quiet = False,
) -> None:
    """Say for every cluster whether to split it, relabel it or leave it, and why; change nothing.

    Writes diagnostic_report.csv and plan.yaml, which can be edited and carried out with 'cellkey refine --plan'.

    \b
    Examples:
      cellkey diagnose run1
      cellkey diagnose run1 --min-cells 200 --focus-labels "T Cells"
    """
    from cellkey.refinement.policies import Focus

    options = {"min_cells": min_cells, "score_threshold": score_threshold, "heterogeneity_gap": heterogeneity_gap,
               "policy": policy}
    aim = Focus(labels=_names(focus_labels), clusters=_names(focus_clusters))
    _report(_one_run(run, source_option, extra), output_dir, _settings(refinement_params, options), aim, quiet=quiet)


def _report(source: Path, output_dir: Path | None, settings: Any, aim: Any, *, quiet: bool) -> None:
    from cellkey.cli._common import progress_on_terminal
    from cellkey.refinement.run import diagnose_run

    with progress_on_terminal(quiet=quiet) as progress:
        result = diagnose_run(source, output_dir, parameters=settings, focus=aim, progress=progress)
    if not quiet:
        typer.echo(repr(result))
        where = output_dir or (source if source.is_dir() else source.parent)
        typer.echo(f"\nwritten to {where}: diagnostic_report.csv, and plan.yaml to edit and carry out: "
                   f"cellkey refine {quote(str(source))} --plan {quote(str(where / 'plan.yaml'))}", err=True)


def _settings(text: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Parameters as given on the command line, checked before any file is read; single options go before."""
    from cellkey.parameters import read_mapping
    from cellkey.refinement.parameters import RefinementParameters

    given = {k: v for k, v in options.items() if v is not None}
    settings = {**read_mapping(text, option="--refinement-params"), **given}
    RefinementParameters.parse(settings, option="--refinement-params")
    return settings


def _one_run(argument: Path | None, option: Path | None, extra: list[str] | None) -> Path:
    from cellkey.errors import ParameterError

    words = [str(x) for x in (argument, option, *(extra or [])) if x is not None]
    if "..." in words:
        msg = "'...' stands for your own RUN and options: write the path of your run directory instead"
        raise ParameterError(msg)
    if len(words) != 1:
        several = f"one RUN at a time, but got {', '.join(words)}"
        msg = several if words else "RUN is missing: name a run directory, or an annotated .h5ad"
        raise ParameterError(msg)
    return Path(words[0])


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
