"""One row per dataset: what the batch summary says, in a form that simple shell commands can count."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from cellkey.llm.spreadsheets import neutral_cell
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["DatasetRow", "clean_error", "write_summary"]

SUCCESS, FAILED = "success", "failed"


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of ``batch_summary.csv``; None where a failed dataset did not get that far.

    ``n_genes`` counts the genes kept after filtering, ``n_hvg`` those used for clustering. Times are seconds.
    """

    dataset: str
    tissue: str
    file_path: str
    n_cells: int | None = None
    n_genes: int | None = None
    n_clusters: int | None = None
    preprocessing_time: float | None = None
    annotation_time: float | None = None
    total_time: float = 0.0
    status: str = FAILED
    output_dir: str = ""
    error: str = ""
    n_cells_input: int | None = None
    n_genes_input: int | None = None
    n_hvg: int | None = None
    n_clusters_unlabelled: int | None = None
    n_clusters_boosted: int | None = None
    mean_score: float | None = None
    api_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    error_type: str = ""
    started_at: str = ""
    finished_at: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the four files of the dataset exist and a cluster has a label."""
        return self.status == SUCCESS

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DatasetRow:
        """Return the row with these values, ignoring names of later versions."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})


def clean_error(text: str) -> str:
    """Return an error on one line of at most 500 characters, without the word that counts successes."""
    line = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return re.sub(SUCCESS, "suc-cess", line, flags=re.IGNORECASE)[:500]


def write_summary(rows: Iterable[DatasetRow], path: Path) -> None:
    """Write ``batch_summary.csv`` atomically: one physical line per dataset, in the order given."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    names = [f.name for f in fields(DatasetRow)]
    writer.writerow(names)
    for row in rows:
        values = asdict(row)
        writer.writerow([_cell(values[n]) for n in names])
    write_text(path, buffer.getvalue())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e-2 else f"{value:.2f}"
    return neutral_cell(" ".join(str(value).split())) if isinstance(value, str) else str(value)
