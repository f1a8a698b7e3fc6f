"""The page: overview, then every dataset with its clusters; styles, script and figures inside the file."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.records.atomic import write_text
from cellkey.report.clusters import cluster_card, cluster_rows, cluster_table, dataset_key
from cellkey.report.conversations import spending_table
from cellkey.report.markup import Markup, element, facts, folded, json_island, table
from cellkey.report.reading import read_run

if TYPE_CHECKING:
    from cellkey.report.reading import DatasetTables, RunTables

__all__ = ["report_html", "write_report"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Even if something slipped through, a browser would fetch nothing."""


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run directory as one HTML file that needs no network; return its path.

    Parameters
    ----------
    run
        Directory that ``annotate`` or ``batch`` wrote.
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
    by_dataset = [(d, cluster_rows(d)) for d in run.datasets]
    everything = [row for _, rows in by_dataset for row in rows]
    body = [
        element("h1", f"Run {run.name}"),
        _overview(run, everything),
        _search(),
        *(_section(dataset, rows) for dataset, rows in by_dataset),
        _figures(run),
        json_island(
            {"schema": "cellkey-report/1", "run": run.name, "kind": run.kind, "clusters": everything}, "clusters"
        ),
        element("script", Markup(_data("report.js"))),
    ]
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        element("title", f"cellkey report: {run.name}"),
        element("style", Markup(_data("report.css"))),
    ]
    page = element("html", element("head", *head), element("body", element("main", *body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _data(name: str) -> str:
    return resources.files("cellkey.report").joinpath("data", name).read_text(encoding="utf-8")


def _overview(run: RunTables, rows: list[dict[str, Any]]) -> Markup:
    cells = sum(r["n_cells"] or 0 for r in rows)
    named = [r for r in rows if r["label"] not in ("", "Unknown", "Unassigned")]
    share = 100 * sum(r["n_cells"] or 0 for r in named) / cells if cells else 0.0
    listed = [
        *run.facts.items(),
        ("clusters", f"{len(named)} of {len(rows)} with a label"),
        ("cells", f"{cells:,}, {share:.1f} % of them in clusters with a label"),
    ]
    parts = [facts(listed)]
    if run.kind == "batch":
        parts.append(_dataset_table(run.datasets))
        spent = spending_table(run.spending)
        parts += [element("h2", "Calls, tokens and cost"), spent] if spent else []
    return element("section", *parts, id="overview")


def _dataset_table(datasets: list[DatasetTables]) -> Markup:
    rows = [
        [
            element("a", d.name, href=f"#{dataset_key(d)}"),
            d.tissue,
            *(d.row.get(c, "") for c in ("n_cells", "n_clusters", "n_clusters_unlabelled", "mean_score", "total_time")),
            d.status,
            d.error,
        ]
        for d in datasets
    ]
    head = ("dataset", "tissue", "cells", "clusters", "without label", "mean score", "seconds", "status", "error")
    return table(head, rows)


def _search() -> Markup:
    return element(
        "form",
        element("label", "Search clusters, types and genes ", for_="search"),
        Markup('<input id="search" type="search" autocomplete="off">'),
        element("output", "", id="found", for_="search"),
        element("button", "Open all", type="button", id="open-all"),
        element("button", "Close all", type="button", id="close-all"),
        role="search",
        class_="search",
    )


def _section(dataset: DatasetTables, rows: list[dict[str, Any]]) -> Markup:
    title = f"{dataset.name} ({dataset.tissue})" if dataset.tissue else dataset.name
    parts: list[Any] = [element("h2", title)]
    if dataset.error:
        parts.append(element("p", f"{dataset.status}: {dataset.error}", class_="warning"))
    if rows:
        parts.append(cluster_table(rows, with_model=bool(dataset.answers)))
    if dataset.notes:
        parts.append(folded("Notes", element("ul", *(element("li", n) for n in dataset.notes))))
    parts += [cluster_card(dataset, row) for row in rows]
    return element("section", *parts, id=dataset_key(dataset))


def _figures(run: RunTables) -> Markup:
    if not run.figures:
        return Markup("")
    shown = [
        element("figure", _image(path), element("figcaption", path.stem.replace("_", " "))) for path in run.figures
    ]
    return element("section", element("h2", "Figures"), *shown, id="figures")


def _image(path: Path) -> Markup:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    opening = element("img", alt=path.stem.replace("_", " "), loading="lazy", src=f"data:image/png;base64,{content}")
    return Markup(opening.removesuffix("</img>"))
