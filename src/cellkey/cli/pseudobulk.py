"""``cellkey pseudobulk``: sums, means and detection of groups of cells, straight from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["pseudobulk"]


def pseudobulk(
    cells: Annotated[Path, typer.Argument(metavar="CELLS", help="Cells in any form that 'cellkey annotate' reads.")],
    groupby: Annotated[
        list[str],
        typer.Option("--groupby", "-g", help="Column of obs; repeated: every combination of values is a group."),
    ],
    output: Annotated[Path, typer.Option("--output", "--out", "-o", help="File to write, .h5ad.")],
    layer: Annotated[str, typer.Option(help="X or the name of a layer; that of the counts, for tests.")] = "X",
    no_normalize: Annotated[
        bool, typer.Option("--no-normalize", help="Take means of the values as they are stored.")
    ] = False,
    assume: Annotated[str | None, typer.Option(help="counts, lognorm or intensity, where the check errs.")] = None,
    n_jobs: Annotated[int | None, typer.Option("--n-jobs", help="Threads; all processors if not given.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Sum the cells of each group: sums, means of logs and detection, in one sweep over the file.

    The matrix of an .h5ad file or a Zarr store is never held in memory. X of the output are the sums of the stored
    values, layers are mean and detection, obs are the groups with their number of cells.

    \b
    Examples:
      cellkey pseudobulk cells.h5ad --groupby cell_type_auto --output types.h5ad
      cellkey pseudobulk atlas.zarr -g donor -g cell_type --layer counts --output donors.h5ad
    """
    from cellkey.annotation.pseudobulk import pseudobulk as summed
    from cellkey.cli._common import progress_on_terminal
    from cellkey.errors import ParameterError
    from cellkey.io.write import write_cells

    if output.suffix != ".h5ad":
        msg = f"--output {output} must end in .h5ad"
        raise ParameterError(msg)
    with progress_on_terminal(quiet=quiet) as progress:
        found = summed(cells, groupby, layer=layer, normalize=not no_normalize, assume=assume, n_jobs=n_jobs,
                       progress=progress)
    write_cells(found, output, x_format="as-input")
    if not quiet:
        n_cells = int(found.obs["n_cells"].sum())
        typer.echo(f"written to {output}: {found.n_obs:,} groups x {found.n_vars:,} variables, {n_cells:,} cells")
