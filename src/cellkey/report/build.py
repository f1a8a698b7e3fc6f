"""The page: a frame of HTML, the tables of the run as JSON, and styles and scripts, all inside one file.

The page shows the clusters at once. What is needed when a cluster is opened (walks, marker evidence, scores, maps,
conversations) lies in blocks of its own, which the scripts read when they are first asked for.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from cellkey import _keys
from cellkey.plots.colours import AMBIGUOUS, STOP_REASON_COLOURS, UNASSIGNED
from cellkey.records.atomic import write_text
from cellkey.records.fingerprint import CALLS, fingerprint_of
from cellkey.records.vocabulary import StopReason
from cellkey.report.cell_types import CellTypes, cell_types, hierarchy_of
from cellkey.report.clusters import cluster_rows
from cellkey.report.conversations import conversation, spending
from cellkey.report.evidence import evidence_matrices, score_matrix
from cellkey.report.maps import cell_maps
from cellkey.report.markup import Markup, element, json_island, table
from cellkey.report.packing import squeezed
from cellkey.report.reading import read_run
from cellkey.report.walks import walks

if TYPE_CHECKING:
    from cellkey.hierarchy import Hierarchy
    from cellkey.report.reading import DatasetTables, RunTables

__all__ = ["report_html", "write_report"]

SCRIPTS = (
    "dom", "data", "figures", "decisions", "plan", "picker", "table", "evidence", "maps", "detail", "overview", "keys",
    "start",
)
"""Script files of the page in the order in which they are put together."""
_CELL_BUDGET = 20_000
_CLUSTER_COLUMNS = (_keys.REFINED_CLUSTER, _keys.CLUSTER, "leiden")


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run directory as one HTML file that needs no network; return its path.

    Parameters
    ----------
    run
        Directory that ``annotate``, ``refine`` or ``batch`` wrote.
    output
        File to write; ``report.html`` in the run directory by default.

    Raises
    ------
    RunError
        If the directory is no run, or the file cannot be written.
    """
    target = Path(output) if output is not None else Path(run) / "report.html"
    write_text(target, report_html(run))
    return target


def report_html(run: str | Path) -> str:
    """Return the report of a run directory as text; see :func:`write_report`."""
    return _page(read_run(run))


def _page(run: RunTables) -> str:
    trees = [hierarchy_of(d) for d in run.datasets]
    types = cell_types(run.datasets, trees)
    place = {path: i for i, path in enumerate(types.paths)}
    rows = [cluster_rows(d, place, t) for d, t in zip(run.datasets, trees, strict=True)]
    islands = [json_island(_core(run, types, trees, rows), "run")]
    for number, dataset in enumerate(run.datasets):
        islands += _islands(number, dataset, types, place, most=max(_CELL_BUDGET // len(run.datasets), 1000))
    style, script = _data("report.css"), _script()
    return Template(_data("report.html")).substitute(
        title=element("title", f"cellkey: {run.name}"),
        policy=_policy(style, script),
        style=style,
        script=script,
        run=element("h1", run.name),
        plain=_plain_table(run, rows),
        islands="\n".join(islands),
    )


def _data(name: str) -> str:
    return resources.files("cellkey.report").joinpath("data", name).read_text(encoding="utf-8")


def _script() -> str:
    """All scripts as one function, so that nothing of them is visible outside."""
    parts = "\n".join(_data(f"scripts/{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def _policy(style: str, script: str) -> str:
    """Allow these styles and this script and nothing else; a browser would load nothing even if asked to."""
    hashes = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode("ascii") for t in (style, script)]
    return (f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
            "base-uri 'none'; form-action 'none'")


def _core(
    run: RunTables, types: CellTypes, trees: list[Hierarchy | None], rows: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    return {
        "schema": "cellkey-report/2",
        "run": run.name,
        "kind": run.kind,
        CALLS: run.calls,
        "state": fingerprint_of(
            (d.name, d.tissue, *(str(r.get(k, "")) for k in ("id", "n", "label", "path")))
            for d, own in zip(run.datasets, rows, strict=True) for r in own
        ),
        "facts": [[k, str(v)] for k, v in run.facts.items() if str(v)],
        "types": types.rows(),
        "stops": [[str(s), s.meaning, STOP_REASON_COLOURS.get(str(s), AMBIGUOUS)] for s in StopReason],
        "grey": {"unassigned": UNASSIGNED, "ambiguous": AMBIGUOUS},
        "spending": spending(run.spending),
        "datasets": [_dataset(d, t, r) for d, t, r in zip(run.datasets, trees, rows, strict=True)],
    }


def _dataset(dataset: DatasetTables, tree: Hierarchy | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "tissue": dataset.tissue,
        "status": dataset.status,
        "error": dataset.error,
        "notes": dataset.notes,
        "tree": tree.name if tree else "",
        "clusters": rows,
    }


def _islands(
    number: int, dataset: DatasetTables, types: CellTypes, place: dict[str, int], *, most: int
) -> list[Markup]:
    """Blocks of one dataset that are read when they are needed; those that would be empty are left out."""
    clusters, tables, paths = dataset.clusters, dataset.tables, types.paths
    blocks: dict[str, Any] = {}
    if "decision_steps" in tables:
        blocks["walks"] = walks(tables["decision_steps"], clusters, place)
    if "marker_evidence" in tables:
        blocks["evidence"] = evidence_matrices(tables["marker_evidence"], clusters, paths)
    if "marker_scores" in tables:
        blocks["scores"] = score_matrix(tables["marker_scores"], clusters, paths)
    if dataset.cells is not None:
        blocks["maps"] = cell_maps(dataset.cells, _CLUSTER_COLUMNS, clusters, most=most)
    said = dataset.conversations.get("clusters")
    if isinstance(said, dict) and said:
        talks = [conversation(said[c]) if isinstance(said.get(c), dict) else None for c in clusters]
        blocks["talks"] = squeezed(talks)
    return [json_island(values, f"{name}-{number}") for name, values in blocks.items() if values]


def _plain_table(run: RunTables, rows: list[list[dict[str, Any]]]) -> Markup:
    """The clusters as a table, for readers whose browser runs no scripts."""
    names = ("cluster", "cells", "label", "path", "stopped")
    listed = [
        [d.name if run.kind == "batch" else "", str(r["id"]), r.get("n", ""), str(r.get("label", "")),
         str(r.get("path", "")), str(r.get("stop", ""))]
        for d, own in zip(run.datasets, rows, strict=True) for r in own
    ]
    return table(("dataset", *names), listed)
