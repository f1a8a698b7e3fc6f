"""Texts for readers: the annotation and the log of a dataset, and the summary of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cellkey.batch.labels import ClusterLabel
    from cellkey.batch.rows import DatasetRow
    from cellkey.llm.marker_selection import MarkerSelection

__all__ = ["RunFacts", "dataset_log", "marker_annotation", "run_summary"]

_RULE = "=" * 70


def marker_annotation(
    header: str,
    labels: Mapping[str, ClusterLabel],
    markers: Mapping[str, MarkerSelection],
    explanations: Mapping[str, str],
) -> str:
    """Return the annotation by a marker hierarchy as text, cluster by cluster, with a table at the end."""
    blocks = [header]
    for label in labels.values():
        title = f"--- Cluster {_line(label.cluster)} ({label.n_cells:,} cells) ".ljust(74, "-")
        score = "none" if label.score is None else f"{label.score:.2f}"
        term, stop = label.ontology_id or "none", label.reason or "at the end of the hierarchy"
        genes = markers[label.cluster].genes[:10] if label.cluster in markers else ()
        blocks.append(
            "\n".join(
                [
                    title,
                    f"Cell type: {label.detailed}    General: {label.general}    Ontology: {term}",
                    f"Score: {score}    Status: {label.status}    Stopped: {stop}",
                    f"Key markers: {', '.join(_line(g.described()) for g in genes) or 'none'}",
                    f"Evidence:\n{explanations.get(label.cluster, '').rstrip()}\n",
                ]
            )
        )
    blocks.append(_table(labels.values()))
    return "\n".join(blocks)


def _table(labels: Iterable[ClusterLabel]) -> str:
    rows = [("cluster", "cells", "cell type", "score", "status")]
    rows += [
        (_line(r.cluster), str(r.n_cells), r.detailed, "" if r.score is None else f"{r.score:.2f}", r.status)
        for r in labels
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows) + "\n"


def dataset_log(
    row: DatasetRow,
    notes: Sequence[str],
    timings: Mapping[str, float],
    parameters: Mapping[str, Any],
    labels: Iterable[ClusterLabel],
    spending: Mapping[str, Mapping[str, Any]],
    trace: str = "",
) -> str:
    """Return the log of one dataset: input, parameters, clusters, times, calls, and the error if there was one."""
    lines = [
        f"DATASET {row.dataset}",
        f"Tissue: {row.tissue}",
        f"Input: {row.file_path}",
        f"Status: {row.status}",
        f"Input size: {_count(row.n_cells_input)} cells x {_count(row.n_genes_input)} genes",
        f"Kept: {_count(row.n_cells)} cells x {_count(row.n_genes)} genes, {_count(row.n_hvg)} used for clustering",
        f"Started: {row.started_at}",
        f"Finished: {row.finished_at}",
        "",
        "PARAMETERS:",
        *(f"  {name}: {v}" for name, v in _flat(parameters)),
        "",
        "STEPS (seconds):",
        *(f"  {k}: {v:.2f}" for k, v in timings.items()),
        f"  total: {row.total_time:.2f}",
        "",
        "CLUSTERS:",
        *(
            [
                f"  {_line(r.cluster)}: {r.n_cells} cells, {r.detailed}, {r.status}"
                + f" ({_line(r.reason)})" * bool(r.reason)
                for r in labels
            ]
            or ["  none"]
        ),
        "",
        "CALLS:",
        *(
            [
                f"  {role}: {v['calls']} calls, {v['input_tokens']:,} in, {v['output_tokens']:,} out, ${v['cost']:.4f}"
                for role, v in spending.items()
            ]
            or ["  none"]
        ),
        "",
        "NOTES:",
        *([f"  {_line(n)}" for n in notes] or ["  none"]),
    ]
    if row.error:
        lines += ["", f"ERROR ({row.error_type}): {row.error}"]
    if trace:
        lines += ["", trace.rstrip()]
    return "\n".join(lines) + "\n"


class RunFacts:
    """What the summary of a run says beside its rows."""

    def __init__(self, **facts: Any) -> None:
        self.started: str = facts["started"]
        self.directory: str = facts["directory"]
        self.status: str = facts["status"]
        self.model: str = facts["model"]
        self.species: str = facts["species"]
        self.tissues: Sequence[str] = facts["tissues"]
        self.seconds: float = facts["seconds"]
        self.prices: str = facts["prices"]
        self.input_cost: float = facts["input_cost"]
        self.output_cost: float = facts["output_cost"]


def run_summary(rows: Sequence[DatasetRow], facts: RunFacts, tracking: Mapping[str, Any]) -> str:
    """Return ``batch_summary.txt``; ``Total cost:`` stands on exactly one line of it."""
    good, bad = [r for r in rows if r.succeeded], [r for r in rows if not r.succeeded]
    unlabelled = sum(r.n_clusters_unlabelled or 0 for r in rows)
    clusters = sum(r.n_clusters or 0 for r in good)
    partly = f" (partly unpriced: {tracking['unpriced_calls']} calls)" if not tracking["cost_complete"] else ""
    lines = [
        _RULE,
        "BATCH PROCESSING SUMMARY",
        _RULE,
        f"Run timestamp: {facts.started}",
        f"Run directory: {facts.directory}",
        f"Status: {facts.status}",
        f"Model: {facts.model}",
        f"Species: {facts.species}",
        f"Tissues: {', '.join(facts.tissues)}",
        "",
        f"Files processed: {len(good)}/{len(rows)}",
        f"Files failed: {len(bad)}",
        f"Total time: {facts.seconds:.2f}s ({facts.seconds / 60:.1f} min)",
        "",
        f"Total cells processed: {sum(r.n_cells or 0 for r in good):,}",
        f"Total clusters annotated: {clusters - sum(r.n_clusters_unlabelled or 0 for r in good)}",
        f"Clusters without label: {unlabelled}",
        "",
        "TOKEN USAGE:",
        f"  API calls: {tracking['total_calls']}",
        f"  Input tokens: {tracking['total_input_tokens']:,}",
        f"  Output tokens: {tracking['total_output_tokens']:,}",
        f"  Total tokens: {tracking['total_tokens']:,}",
        f"  Input part: ${facts.input_cost:.4f}",
        f"  Output part: ${facts.output_cost:.4f}",
        f"  Total cost: ${tracking['total_cost']:.2f}",
        f"  Prices: {facts.prices}{partly}",
        "",
        "SUCCESSFUL FILES:",
        *([line for r in good for line in _good(r)] or ["  none"]),
        "",
        "FAILED FILES:",
        *([f"  {_line(r.dataset)} ({_line(r.tissue)}): {r.error}" for r in bad] or ["  none"]),
    ]
    return (
        "\n".join(
            line.replace("Total cost:", "Total cost;") if "  Total cost: $" not in line else line for line in lines
        )
        + "\n"
    )


def _good(row: DatasetRow) -> list[str]:
    score = "none" if row.mean_score is None else f"{row.mean_score:.1f}"
    return [
        f"  {_line(row.dataset)} ({_line(row.tissue)})",
        f"    - {row.n_cells:,} cells, {row.n_clusters} clusters",
        f"    - Time: {row.total_time:.1f}s",
        f"    - Mean score: {score}; boosted: {row.n_clusters_boosted or 0}; "
        f"without label: {row.n_clusters_unlabelled or 0}",
        f"    - Output: {row.output_dir}",
    ]


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _flat(parameters: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Parameters by dotted name, one after the other."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
