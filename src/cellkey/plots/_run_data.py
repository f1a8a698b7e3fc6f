"""What the figures of a run show, as small frames made from the run's tables; nothing here draws."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellkey.errors import InputError, Problem, did_you_mean
from cellkey.records.vocabulary import StopReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "CoverageMatrix",
    "coverage_matrix",
    "depth_counts",
    "log_bins",
    "natural_key",
    "ordered_clusters",
    "root_cells",
    "split_path",
    "stop_reason_counts",
    "table",
    "with_columns",
]


def table(tables: Mapping[str, pd.DataFrame], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table ``name`` after checking that it is there with ``columns``.

    Raises
    ------
    InputError
        If the table or a column is missing.
    """
    if name not in tables:
        msg = f"the figure needs the table {name}{did_you_mean(name, tables)}"
        raise InputError(msg)
    return with_columns(tables[name], name, columns)


def with_columns(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return ``frame`` if it has ``columns``; ``name`` is the table's name for the message."""
    found = [str(c) for c in frame.columns]
    problems = [Problem(f"column is missing{did_you_mean(c, found)}", c) for c in columns if c not in found]
    if problems:
        msg = f"table {name} lacks columns that the figure needs"
        raise InputError(msg, problems)
    return frame


def natural_key(identifier: str) -> tuple[tuple[int, str], ...]:
    """Sort key of names: numbers in them count as numbers ("2" < "2:1" < "10", "donor 2" < "donor 10")."""
    parts = re.split("([0-9]+)", str(identifier))
    return tuple((int(p), "") if i % 2 else (0, p) for i, p in enumerate(parts))


def log_bins(sizes: NDArray[np.int64], most: int = 30) -> NDArray[np.float64]:
    """Return edges of equal width on a log scale that cover ``sizes`` (1 or more); 6 to ``most`` bins."""
    low, high = np.log10(max(sizes.min(), 1)), np.log10(max(sizes.max(), 1))
    if high - low < 0.3:
        centre = (low + high) / 2
        low, high = centre - 0.25, centre + 0.25
    n_bins = int(np.clip(np.ceil(2 * np.sqrt(len(sizes))), 6, most))
    return np.asarray(np.logspace(low - 1e-9, high + 1e-9, n_bins + 1), dtype=np.float64)


def depth_counts(annotations: pd.DataFrame) -> pd.DataFrame:
    """Return clusters and cells per assigned level, every level from the lowest found to the deepest.

    Returns
    -------
    Index ``level`` (-1 is Unassigned), columns ``n_clusters`` and ``n_cells``.
    """
    counts = annotations.groupby("assigned_level").agg(
        n_clusters=("n_cells", "size"), n_cells=("n_cells", "sum")
    )
    deepest = max(int(counts.index.max()), 0) if len(counts) else 0
    first = -1 if -1 in counts.index else 0
    return counts.reindex(range(first, deepest + 1), fill_value=0).rename_axis("level")


def stop_reason_counts(annotations: pd.DataFrame) -> pd.DataFrame:
    """Return clusters and cells per stop reason, all reasons in the order of the vocabulary."""
    counts = annotations.groupby("stop_reason").agg(
        n_clusters=("n_cells", "size"), n_cells=("n_cells", "sum")
    )
    return counts.reindex([str(r) for r in StopReason], fill_value=0)


def root_cells(annotations: pd.DataFrame, most: int = 8) -> dict[str, int]:
    """Return cells per top-level label, largest first; beyond ``most`` slices the rest is Other.

    Unassigned cells come last, ties are ordered by name.
    """
    sums = annotations.groupby("root_label")["n_cells"].sum()
    cells = {str(root): int(n) for root, n in sums.items() if n > 0}
    unassigned = cells.pop("Unassigned", 0)
    order = sorted(cells, key=lambda root: (-cells[root], root))
    room = most - bool(unassigned)
    kept = order if len(order) <= room else order[: room - 1]
    slices = {root: cells[root] for root in kept}
    if len(kept) < len(order):
        rest = order[len(kept) :]
        slices[f"Other ({len(rest)} types)"] = sum(cells[root] for root in rest)
    if unassigned:
        slices["Unassigned"] = unassigned
    return slices


@dataclass(frozen=True)
class CoverageMatrix:
    """Share of listed markers that are on, clusters x cell types.

    Attributes
    ----------
    values
        Clusters x cell types, 0 to 1; NaN where no marker of the type is measured.
    clusters, cluster_labels, cluster_roots
        Identifiers in row order, with the label and the top-level label of each.
    paths
        Paths of the cell types in column order, parents before their children.
    assigned
        Column of the assigned type of each cluster, -1 if there is none.
    """

    values: NDArray[np.float64]
    clusters: tuple[str, ...]
    cluster_labels: tuple[str, ...]
    cluster_roots: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    assigned: NDArray[np.int64]


def coverage_matrix(scores: pd.DataFrame, annotations: pd.DataFrame) -> CoverageMatrix:
    """Return how many of the listed markers of each type are on in each cluster.

    Rows are ordered by the assigned path, then by identifier, so that clusters of one lineage stand together
    and the assigned types form a diagonal; columns follow the hierarchy.
    """
    notes = ordered_clusters(annotations)
    listed = scores["markers_expected"].where(scores["markers_expected"] > 0)
    on = (scores["n_markers_on"] / listed).where(scores["markers_found"] > 0)
    long = pd.DataFrame({"cluster": scores["cluster_id"].astype(str), "path": scores["path"], "value": on})
    paths = sorted({split_path(p) for p in long["path"]})
    columns = [" / ".join(p) for p in paths]
    cells = long.set_index(["cluster", "path"])["value"]
    values = cells.reindex(pd.MultiIndex.from_product([notes["cluster_id"], columns])).to_numpy(np.float64)
    place = {c: i for i, c in enumerate(columns)}
    return CoverageMatrix(
        values=values.reshape(len(notes), len(columns)),
        clusters=tuple(notes["cluster_id"]),
        cluster_labels=tuple(notes["assigned_label"].astype(str)),
        cluster_roots=tuple(notes["root_label"].astype(str)),
        paths=tuple(paths),
        assigned=np.array([place.get(str(p), -1) for p in notes["assigned_path"]], dtype=np.int64),
    )


def ordered_clusters(annotations: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by assigned path, then identifier (made text); unassigned clusters come last."""
    notes = annotations.astype({"cluster_id": str})
    keys = [
        (level < 0, split_path(path), natural_key(cluster))
        for level, path, cluster in zip(
            notes["assigned_level"], notes["assigned_path"], notes["cluster_id"], strict=True
        )
    ]
    return notes.iloc[sorted(range(len(keys)), key=keys.__getitem__)]


def split_path(path: object) -> tuple[str, ...]:
    """Return the labels of a path joined by ' / '; none for an empty or missing path."""
    return tuple(str(path).split(" / ")) if isinstance(path, str) and path else ()
