"""``cellkey annotate-table``: a marker table without cells and without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR

__all__ = ["annotate_table"]


def annotate_table(
    markers: Annotated[
        Path,
        typer.Argument(
            metavar="MARKERS",
            help="Marker table: Seurat FindAllMarkers, scanpy rank_genes_groups, or "
            "two columns (cluster, genes). .csv, .tsv, .parquet, gzipped or not.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(*OUTPUT_DIR, help="New directory for results; none: print only.")
    ] = None,
    tissue: Annotated[str, typer.Option(help="Tissue; chooses the built-in marker hierarchy.")] = "",
    marker_map: Annotated[
        str | None, typer.Option(*MARKER_MAP, help="Marker hierarchy instead: a file or a built-in name.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of the results; the file's by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Name the clusters of a marker table by a marker hierarchy alone: no cells, no model, no network.

    For a language model's opinion on the same table see 'cellkey llm annotate'.

    \b
    Examples:
      cellkey annotate-table markers.csv --tissue blood
      cellkey annotate-table findallmarkers.csv.gz --marker-map my_map.yaml --out named
    """
    from cellkey.batch.table_run import annotate_table_by_markers

    run = annotate_table_by_markers(markers, out, tissue=tissue, hierarchy=marker_map, name=dataset)
    if not quiet:
        typer.echo(run.reason, err=True)
        typer.echo(run.text(), nl=False)
        if run.directory is not None:
            typer.echo(f"written to {run.directory}", err=True)
