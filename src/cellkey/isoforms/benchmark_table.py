"""Results of a benchmark as a Markdown table, beside what other implementations published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cellkey.isoforms.published import PUBLISHED, published_recovery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["benchmark_table", "markdown_table"]

_COLUMNS = (
    "fixture", "recovery", "least ARI", "background assigned, most", "least role recall", "modules", "seconds", "MB",
)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def benchmark_table(results: Sequence[Mapping[str, Any]], costs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one row per fixture: mean (least) over seeds of the own run, then published recoveries.

    Parameters
    ----------
    results, costs
        As in ``<stage>-benchmark.json`` (``results``) and ``<stage>-runtime-memory.json``.
    """
    shown = [b for b in PUBLISHED if any(r["dataset"] in PUBLISHED[b] for r in results)]
    rows = [
        [
            str(r["dataset"]),
            _mean_and_least(r["seeds"].get("recovery")),
            _end(r["seeds"].get("ari"), "min"),
            _end(r["seeds"].get("background_assigned"), "max"),
            _end(r["seeds"].get("min_role_recall"), "min"),
            _range(r["seeds"]["n_modules"]),
            f"{_median(costs[r['dataset']]['runtime_seconds_by_seed']):.2g}",
            f"{costs[r['dataset']]['peak_rss_bytes'] / 1e6:.0f}",
            *(_published(str(r["dataset"]), b) for b in shown),
        ]
        for r in results
    ]
    return markdown_table([*_COLUMNS, *(f"{b}, published" for b in shown)], rows)


def _published(fixture: str, backend: str) -> str:
    found = published_recovery(backend, fixture)
    return "-" if found is None else f"{found:.3f}"


def _mean_and_least(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return "-"
    return f"{values['mean']:.3f} ({values['min']:.3f})" if len(values["values"]) > 1 else f"{values['mean']:.3f}"


def _end(values: Mapping[str, Any] | None, end: str) -> str:
    return "-" if values is None else f"{values[end]:.3f}"


def _range(values: Mapping[str, Any]) -> str:
    low, high = int(values["min"]), int(values["max"])
    return str(low) if low == high else f"{low}-{high}"


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
