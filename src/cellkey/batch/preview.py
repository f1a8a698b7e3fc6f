"""What a batch would take: sizes from metadata, time, tokens and money as ranges. Nothing is sent or written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellkey.batch.sizes import FileSize, file_size
from cellkey.llm.estimate import Estimate, Range, estimate_annotation, guess_clusters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellkey.batch.discovery import Dataset
    from cellkey.batch.settings import BatchSettings

__all__ = ["FilePreview", "preview", "preview_text"]


@dataclass(frozen=True, slots=True)
class FilePreview:
    """One file: its size or why it cannot be read, and what it will take."""

    dataset: Dataset
    size: FileSize | None
    error: str
    seconds: Range
    calls: Estimate | None


def preview(datasets: Sequence[Dataset], settings: BatchSettings) -> list[FilePreview]:
    """Return what every dataset will take; unreadable files are listed with their reason."""
    return [_preview(d, settings) for d in datasets]


def _preview(dataset: Dataset, settings: BatchSettings) -> FilePreview:
    try:
        size = file_size(dataset.path, settings.cluster_key)
    except (OSError, KeyError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return FilePreview(dataset, None, reason, Range(0, 0, 0), None)
    calls = None
    if settings.asks_a_model:
        n = size.n_clusters or guess_clusters(size.n_cells, settings.resolution)
        calls = estimate_annotation(
            n,
            settings.workflow,
            settings.model.price_of,
            n_genes=settings.selection.n_genes,
            workers=settings.model.max_workers,
        )
    return FilePreview(dataset, size, "", _seconds(size, umap=settings.umap), calls)


def _seconds(size: FileSize, *, umap: bool) -> Range:
    """Time for reading, clustering and comparing, from runs on one core; half to thrice of it."""
    n = max(size.n_cells, 2)
    point = 6.0 + 1.2e-7 * size.n_values + 4e-5 * n * math.log(n) + (10.0 + 4e-5 * n * math.log(n) if umap else 0.0)
    return Range(0.5 * point, point, 3 * point)


def preview_text(previews: Sequence[FilePreview], settings: BatchSettings, dataset_workers: int = 1) -> str:
    """Return the preview as text."""
    lines = ["PREVIEW MODE - Files to be processed:", ""]
    for tissue in dict.fromkeys(p.dataset.tissue for p in previews):
        members = [p for p in previews if p.dataset.tissue == tissue]
        lines.append(f"{_line(tissue).upper()} ({len(members)} file{'s' * (len(members) != 1)}):")
        for number, p in enumerate(members, start=1):
            lines.append(f"  {number:2d}. {_line(p.dataset.path.name)}")
            size = p.size
            lines.append(
                f"      {size.n_cells:,} cells × {size.n_genes:,} genes"
                if size is not None
                else f"      cannot be read, will fail: {p.error}"
            )
        lines.append("")
    return "\n".join([*lines, *_estimates(previews, settings, dataset_workers)]) + "\n"


def _estimates(previews: Sequence[FilePreview], settings: BatchSettings, dataset_workers: int) -> list[str]:
    seconds = Range(0, 0, 0)
    total: Estimate | None = None
    for p in previews:
        seconds = seconds + p.seconds
        if p.calls is not None:
            seconds = seconds + p.calls.seconds
            total = p.calls if total is None else total + p.calls
    seconds = seconds.times(1 / max(min(dataset_workers, len(previews)), 1))
    lines = [
        "ESTIMATES:",
        f"  Time: ~{seconds.point / 60:.0f} minutes ({seconds.point / 3600:.1f} hours); "
        f"{seconds.low / 60:.0f} to {seconds.high / 60:.0f} minutes",
    ]
    if total is None:
        return [*lines, "  Tokens: none, no language model is asked", "  Cost: $0.00"]
    read, written = total.input_tokens, total.output_tokens
    both = read + written
    lines.append(
        f"  Clusters: ~{total.n_clusters.point:.0f} (a guess from the number of cells unless "
        f"--cluster-key is given); {total.n_clusters.low:.0f} to {total.n_clusters.high:.0f}"
    )
    lines.append(f"  Calls: ~{total.calls.point:,.0f}; {total.calls.low:,.0f} to {total.calls.high:,.0f}")
    lines.append(
        f"  Tokens: ~{both.point / 1e6:.2f}M tokens ({read.point / 1e6:.2f}M in, "
        f"{written.point / 1e6:.2f}M out); {both.low / 1e6:.2f}M to {both.high / 1e6:.2f}M"
    )
    return [*lines, *_cost(total, settings)]


def _cost(total: Estimate, settings: BatchSettings) -> list[str]:
    price = settings.model.price_of()
    money = f"~${total.cost.point:.2f}; ${total.cost.low:.2f} to ${total.cost.high:.2f}"
    if not price.is_known:
        return [
            f"  Cost: unknown for {settings.model.model}; tokens shown",
            f"  At ${price.input_per_million:g}/M input and ${price.output_per_million:g}/M output: {money}",
        ]
    return [
        f"  Cost: {money} (${price.input_per_million:g}/M input, ${price.output_per_million:g}/M output, "
        f"{price.source})"
    ]


def _line(text: str) -> str:
    return " ".join(text.split())
