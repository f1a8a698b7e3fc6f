"""``export``: the labelled cells of a run in the form of a viewer or archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellkey.cli._common import OUTPUT_DIR

__all__ = ["export"]


def export(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run directory, consensus, or an .h5ad file that cellkey"
                                    " labelled.", show_default=False)
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="cellxgene, cas, vitessce, xenium, cellbrowser, spatialdata or seurat."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(*OUTPUT_DIR, help="Folder to write; RUN/exports/FORM if not given.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Setting of the form; may be repeated.")
    ] = None,
    forms: Annotated[bool, typer.Option("--list", help="List the forms and their settings, and exit.")] = False,
) -> None:
    """Write the labelled cells of a run in the form of a viewer or archive.

    The folder appears whole or not at all; an earlier export in it is replaced. Everything that a form requires and
    that the data lack is reported at once.

    \b
    Examples:
      cellkey export --list
      cellkey export run1 --to xenium
      cellkey export run1 --to vitessce --output site
      cellkey export run1 --to cellxgene --set uns.title='Blood of three donors' \\
          --set uns.organism_ontology_term_id=NCBITaxon:9606 --set obs.assay_ontology_term_id=EFO:0009922
    """
    from cellkey.errors import ParameterError
    from cellkey.exports import FORMS, export_run
    from cellkey.exports.settings import parse_settings

    if forms:
        for form in FORMS.values():
            typer.echo(f"{form.name}: {form.meaning}")
            for name, meaning in form.settings().items():
                typer.echo(f"    --set {name}=...  {meaning}")
        return
    if run is None or to is None:
        msg = f"{'RUN' if run is None else '--to'} is missing: cellkey export RUN --to {'|'.join(FORMS)}"
        raise ParameterError(msg)
    folder, notes = export_run(run, to, output, settings=parse_settings(setting or []))
    typer.echo(f"written to {folder}")
    for note in notes:
        typer.echo(f"  {note}")
