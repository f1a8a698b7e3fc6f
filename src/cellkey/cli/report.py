"""``cellkey report``: one HTML file on which the labels of a run are reviewed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory that 'annotate', 'refine', 'batch', 'consensus', "
                             "'annotate-table', 'llm annotate' or 'llm subclusters' wrote.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; RUN/report.html if not given.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write one HTML file on which the labels of a run are reviewed.

    It shows figures of the whole, maps of the cells, and for every cluster the path walked, all candidates, marker
    evidence, confidence and what a model said. Labels can be changed, confirmed, merged and marked for a split there;
    the decisions are saved as a plan for 'cellkey refine RUN --plan FILE'. The file needs no network and no other
    file. It is made from the tables of the run; nothing is computed again, and no model is asked.

    \b
    Examples:
      cellkey report demo_run
      cellkey report batch_results/run_brain_20260216_151425 --output brain.html
    """
    from cellkey.report import write_report

    written = write_report(run, output)
    if not quiet:
        typer.echo(f"written to {written}")
