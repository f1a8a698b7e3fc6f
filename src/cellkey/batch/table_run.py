"""A marker table from file to labels by a marker hierarchy alone: no cells, no model, no network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.batch.hierarchies import hierarchy_for
from cellkey.batch.table_calls import TableCall, call_marker_table
from cellkey.errors import RunError
from cellkey.llm.identifiers import natural_key
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.result_tables import neutral_table
from cellkey.llm.spreadsheets import one_line
from cellkey.records.atomic import safe_name, write_text
from cellkey.records.run import package_versions, staged
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["TABLE_CALLS", "MarkerTableRun", "annotate_table_by_markers"]

TABLE_CALLS = TableSchema(
    "calls.csv",
    "Clusters of a marker table with the types that a marker hierarchy calls them.",
    (
        Column("cluster", "string", "Cluster identifier."),
        Column("cell_type", "string", "Type that the walk ended at; Unknown without one."),
        Column("path", "string", "Types from the broadest to this one, joined by ' / '."),
        Column("ontology_id", "string", "Cell Ontology identifier of the type, or of the nearest above that has one."),
        Column("score", "float", "Score of the type; unbounded, comparable within one table only."),
        Column("runner_up", "string", "Type that came second at the last step; empty if there was none."),
        Column("runner_up_score", "float", "Its score."),
        Column("status", "string", "Outcome.", ("ok", "unlabelled")),
        Column("reason", "string", "Why the walk ended where it did."),
        Column("markers", "list", "Markers of the type that the cluster's genes hold."),
        Column("n_genes", "int", "Genes of the cluster in the table."),
    ),
)


@dataclass(frozen=True)
class MarkerTableRun:
    """Calls of a marker table, and where they were written (None: nowhere)."""

    calls: dict[str, TableCall]
    table: pd.DataFrame
    hierarchy: str
    reason: str
    directory: Path | None = None

    def text(self) -> str:
        """Return the calls as text for readers."""
        columns = ("cluster", "cell type", "score", "path", "because of")
        rows = [columns, *map(_line, self.table.to_dict("records"))]
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        return "\n".join(lines) + "\n"


def annotate_table_by_markers(
    path: str | Path,
    output_dir: str | Path | None = None,
    *,
    tissue: str = "",
    hierarchy: str | None = None,
    name: str | None = None,
) -> MarkerTableRun:
    """Call the clusters of a marker table; see :func:`cellkey.batch.table_calls.call_marker_table`.

    Parameters
    ----------
    path
        Marker table of a known form; see :func:`cellkey.llm.read_marker_table`.
    output_dir
        New directory for ``NAME_calls.csv``, ``NAME_annotation.txt`` and ``run_manifest.json``; None writes nothing.
    tissue
        Chooses the built-in hierarchy; the default one where none fits.
    hierarchy
        A file or a built-in name instead.
    name
        How the names of the files begin; that of the table by default.

    Raises
    ------
    InputError, HierarchyError
        If the table or the hierarchy cannot be used.
    RunError
        If the directory is in use.
    """
    from cellkey.hierarchy import get_builtin

    markers = read_marker_table(path)
    chosen = hierarchy_for(tissue, hierarchy)
    key = chosen.hierarchy if chosen.hierarchy is not None else get_builtin()
    calls = call_marker_table(markers, key)
    sizes = (markers["gene"] != "").groupby(markers["cluster"], sort=False).sum()
    order = sorted(calls, key=natural_key)
    table = TABLE_CALLS.frame([_row(calls[c], int(sizes[c])) for c in order])
    run = MarkerTableRun({c: calls[c] for c in order}, table, key.name, chosen.reason)
    return run if output_dir is None else _write(run, Path(output_dir), Path(path), name)


def _row(call: TableCall, n_genes: int) -> dict[str, Any]:
    return {
        "cluster": call.cluster,
        "cell_type": call.label,
        "path": " / ".join(call.path),
        "ontology_id": call.ontology_id,
        "score": call.score,
        "runner_up": call.runner_up,
        "runner_up_score": call.runner_up_score if call.runner_up else float("nan"),
        "status": "ok" if call.path else "unlabelled",
        "reason": call.reason,
        "markers": list(call.markers),
        "n_genes": n_genes,
    }


def _write(run: MarkerTableRun, directory: Path, source: Path, name: str | None) -> MarkerTableRun:
    if directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: choose another with --out"
        raise RunError(msg)
    prefix = safe_name(name or source.name.split(".")[0])
    content = {
        "schema": "marker-table-run/1",
        "input": str(source),
        "hierarchy": run.hierarchy,
        "hierarchy_chosen_because": run.reason,
        "versions": package_versions(),
    }
    with staged(directory) as staging:
        TABLE_CALLS.write_csv(neutral_table(run.table), staging / f"{prefix}_calls.csv")
        write_text(
            staging / f"{prefix}_annotation.txt", f"MARKERS {run.hierarchy}  TABLE {source.name}\n\n{run.text()}"
        )
        write_text(staging / "run_manifest.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return MarkerTableRun(run.calls, run.table, run.hierarchy, run.reason, directory)


def _line(row: Mapping[Any, Any], most: int = 6) -> tuple[str, ...]:
    """One line of the text: markers that were found, or why there is no finer name."""
    names = [n for n in str(row["markers"]).split(",") if n]
    because = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    if not names or "close" in row["reason"]:
        because = "; ".join(filter(None, [because, row["reason"]]))
    return one_line(str(row["cluster"])), row["cell_type"], f"{row['score']:.2f}", row["path"], because
