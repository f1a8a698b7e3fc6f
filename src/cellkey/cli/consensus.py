"""``cellkey consensus``: where several sources of calls agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR

__all__ = ["consensus"]


def consensus(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Run directories on the same cells; a run by both methods is two "
                       "sources. Runs with different clusters are asked cell by cell.", show_default=False),
    ] = None,
    obs: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.h5ad:COLUMN", help="Labels of cells (CellTypist, SingleR, popV, Azimuth, a person); "
                     "repeat for several."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.csv:COLUMN", help="Labels of clusters, with a column cluster_id; repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option(*OUTPUT_DIR, help="Directory to write.")] = None,
    hierarchy: Annotated[
        str | None, typer.Option(*MARKER_MAP, help="Hierarchy to map labels to: a file or a built-in name. That of the "
                                 "first RUN if not given.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option(help="Two columns: label, and its name or Cell Ontology id in the hierarchy.")
    ] = None,
    ontology: Annotated[Path | None, typer.Option(help="OBO file, for ids beyond those of the built-in maps.")] = None,
    cluster_key: Annotated[
        str | None, typer.Option(help="Column of the cells of --obs that holds their clusters.")
    ] = None,
    max_breadth: Annotated[
        int | None, typer.Option(min=1, help="Most terminal types that a consensus may stand for.")
    ] = None,
    min_share: Annotated[float, typer.Option(help="Share of the speaking weight that a type must exceed.")] = 0.5,
    weights: Annotated[
        str, typer.Option(help="confidence: votes weigh by their probability of being right; or equal.")
    ] = "confidence",
    unrated: Annotated[
        float | None, typer.Option(help="Probability to assume for a source that gives none; rated by its agreement "
                                   "with the others if not given.")
    ] = None,
    skip_figures: Annotated[bool, typer.Option("--skip-figures", help="Draw no figure.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Agree on labels: map several sources of calls to one hierarchy and find where they meet.

    Labels are found by Cell Ontology id, alias table or exact name; what is not found is listed and counts as an
    abstention, like 'unknown'. Undecided votes meet in their lowest common ancestor.

    \b
    Examples:
      cellkey consensus run_markers run_enrichment -o agreed
      cellkey consensus run1 --obs cells.h5ad:celltypist_label --table experts.csv:label -o agreed
      cellkey consensus --obs a.h5ad:popv --obs a.h5ad:azimuth --cluster-key leiden --hierarchy blood -o agreed
      cellkey consensus run_0.6 run_1.0 run_1.5 -o agreed      (three clusterings of the same cells)
      cellkey consensus run1 run2 --max-breadth 5 --weights equal -o agreed
    """
    from cellkey.annotation.agreement_files import consensus as agree_on
    from cellkey.errors import ParameterError

    if output is None:
        msg = "--output-dir DIR says where the results go"
        raise ParameterError(msg)
    found = agree_on(
        runs or [], obs=obs or [], tables=table or [], hierarchy=hierarchy, aliases=aliases, ontology=ontology,
        cluster_key=cluster_key, output_dir=output, figures=not skip_figures,
        rules={"max_breadth": max_breadth, "min_share": min_share, "weights": weights, "unrated": unrated},
    )
    if not quiet:
        for message in found.messages:
            typer.echo(message, err=True)
        typer.echo(repr(found))
        typer.echo(f"\nwritten to {output}: consensus.csv is the place to start; consensus_votes.csv holds every vote",
                   err=True)
