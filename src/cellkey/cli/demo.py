"""``demo``: the main job on real cells that ship inside a dependency."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from cellkey.cli._common import OUTPUT_DIR

__all__ = ["demo"]


def demo(
    output_dir: Annotated[Path, typer.Option(*OUTPUT_DIR, help="Run directory.")] = Path("demo_run"),
) -> None:
    """Annotate 700 blood cells that come with scanpy, and say which files to look at.

    \b
    Example:
      cellkey demo --output-dir demo_run
    """
    import tempfile

    from cellkey.annotation.run import annotate_file
    from cellkey.cli._common import progress_on_terminal, tell_of_first_use
    from cellkey.datasets import pbmc68k_reduced
    from cellkey.io.write import write_cells

    tell_of_first_use()
    adata = pbmc68k_reduced()
    truth = adata.obs.pop("bulk_labels").astype(str).to_numpy()
    with tempfile.TemporaryDirectory() as folder, progress_on_terminal() as progress:
        source = Path(folder) / "pbmc68k_reduced.h5ad"
        write_cells(adata, source)
        run = annotate_file(source, output_dir, progress=progress, clustering={"resolution": 1.0})
    typer.echo(repr(run.result))
    typer.echo("\nThe labels of the study (rows), which cellkey did not see, against the calls (columns):")
    typer.echo(_crosstab(truth, run.result))
    first = run.result.cluster_annotations["cluster_id"].iloc[0]
    typer.echo(f"\n{run.result.explain(first)}")
    typer.echo(
        f"Look at:\n"
        f"  {output_dir}/cluster_annotations.csv   one row per cluster: label, path, confidence, reason\n"
        f"  {output_dir}/decision_steps.csv        every candidate that was considered, and why it lost\n"
        f"  {output_dir}/figures/                  figures of the run\n"
        f"  {output_dir}/output.h5ad               the cells with their labels, for scanpy\n"
        f"and try: cellkey explain {quote(str(output_dir))} --cluster 1"
    )


def _crosstab(truth: Any, result: Any) -> str:
    import numpy as np
    import pandas as pd

    calls = np.asarray(result.obs["cell_type_auto"], dtype=str)
    with pd.option_context("display.width", 200, "display.max_columns", 40):
        return str(pd.crosstab(pd.Series(truth, name="study"), pd.Series(calls, name="call")))
