"""What a run directory holds, whichever command wrote it: its kind, its current tables, and one row per cluster.

After a refinement the tables of the refined clusters stand in for those of the first clustering; readers ask for a
table by its plain name and get the current one.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cellkey.errors import InputError, RunError
from cellkey.records.schema import Column, TableSchema
from cellkey.records.tables import ALL_TABLES
from cellkey.records.vocabulary import Described

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

__all__ = [
    "RUN_CALLS", "RunKind", "current_file", "is_refined", "json_content", "named_file", "run_calls", "run_kind",
    "run_tables", "table_rows", "text_rows",
]


class RunKind(Described):
    """What a run directory is of."""

    ANNOTATION = "annotation", "Cells, annotated and perhaps refined."
    BATCH = "batch", "Several datasets, a folder each."
    CONSENSUS = "consensus", "Agreement of several sources of calls."
    MARKER_TABLE = "marker table", "Clusters of a marker table, called by a marker hierarchy."
    MODEL_TABLE = "model table", "Clusters of a marker table, named by a language model."
    SUBCLUSTERS = "sub-clusters", "Sub-clusters of one population, named by a language model."


RUN_CALLS = TableSchema(
    "run_calls",
    "One row per cluster of a run of any kind: its label and how sure that is.",
    (
        Column("cluster_id", "string", "Identifier of the cluster."),
        Column("n_cells", "int", "Number of cells; 0 if unknown."),
        Column("final_annotation", "string", "Label."),
        Column("assigned_path", "string", "Labels from the top-level type down, joined by ' / '; empty if unknown."),
        Column("confidence", "float", "In an annotation the margin; of a consensus the probability; empty elsewhere."),
        Column("stop_reason", "string", "Why the label is not finer, or the outcome."),
    ),
)

_SCHEMAS: Final = {
    "marker-table-run/1": RunKind.MARKER_TABLE, "table-run/1": RunKind.MODEL_TABLE,
    "subclusters-run/1": RunKind.SUBCLUSTERS,
}
_ENDINGS: Final = {
    RunKind.MARKER_TABLE: "calls.csv", RunKind.MODEL_TABLE: "annotations.csv", RunKind.SUBCLUSTERS: "subclusters.csv",
}


def run_kind(directory: str | Path) -> RunKind:
    """Return what a directory is a run of.

    Raises
    ------
    RunError
        If it is none.
    """
    path = Path(directory)
    if (path / "batch_summary.csv").is_file():
        return RunKind.BATCH
    if (path / "cluster_annotations.csv").is_file():
        return RunKind.ANNOTATION
    if (path / "consensus.csv").is_file():
        return RunKind.CONSENSUS
    schema = str(json_content(path / "run_manifest.json").get("schema"))
    kind = _SCHEMAS.get(schema)
    if kind is not None and named_file(path, _ENDINGS[kind]) is not None:
        return kind
    page = named_file(path, "comparison.html") if schema == "comparison-run/1" else None
    if page is not None:
        msg = f"{path} compares candidate cell types, which has a page of its own: open {page}"
        raise RunError(msg)
    state = "does not exist" if not path.is_dir() else (
        "holds none of batch_summary.csv, cluster_annotations.csv and consensus.csv, nor the calls of a marker table")
    msg = (f"{path} is no run: it {state}; give the directory that 'annotate', 'refine', 'batch', 'consensus', "
           "'annotate-table', 'llm annotate' or 'llm subclusters' wrote")
    raise RunError(msg)


def is_refined(directory: str | Path) -> bool:
    """Whether an annotation was refined."""
    return (Path(directory) / "refined_annotations.csv").is_file()


def current_file(directory: str | Path, name: str) -> Path | None:
    """Return the file of a table by its plain name, that of the refined clusters where there is one."""
    refined = f"refined_{name.removeprefix('cluster_')}"
    names = (refined, name) if refined in ALL_TABLES and is_refined(directory) else (name,)
    return next((p for n in names if (p := Path(directory) / f"{n}.csv").is_file()), None)


def run_tables(directory: str | Path, names: Sequence[str], *, current: bool = True) -> dict[str, pd.DataFrame]:
    """Return tables of an annotation or a consensus by their plain names; those that it does not hold are left out.

    Parameters
    ----------
    names
        See :data:`~cellkey.records.tables.ALL_TABLES`.
    current
        Whether tables of refined clusters stand in for those of the first clustering.
    """
    found = {}
    for name in names:
        file = current_file(directory, name) if current else Path(directory) / f"{name}.csv"
        if file is not None and file.is_file():
            found[name] = ALL_TABLES[file.stem].read_csv(file)
    if current and is_refined(directory) and {"confidence", "cluster_annotations"} <= set(found):
        found["confidence"] = _of_present_labels(found["confidence"], found["cluster_annotations"])
    return found


def _of_present_labels(confidence: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Confidence of the clusters whose label is still the one that it was measured for."""
    paths = dict(zip(calls["cluster_id"], calls["assigned_path"].where(calls["assigned_level"] >= 0, ""), strict=True))
    last = confidence[confidence["is_call"]]
    kept = {(c, m) for c, m, p in zip(last["cluster_id"], last["method"], last["path"], strict=True)
            if paths.get(c) is not None and (paths[c] == p or "~" in paths[c])}
    pairs = zip(confidence["cluster_id"], confidence["method"], strict=True)
    return confidence[[pair in kept for pair in pairs]].reset_index(drop=True)


def run_calls(directory: str | Path) -> pd.DataFrame:
    """Return one row per cluster of a run of any kind, see :data:`RUN_CALLS`.

    Of an annotation these are the clusters of the first clustering with their final labels, so that runs on the same
    clusters can be compared whether or not they were refined.

    Raises
    ------
    InputError
        If the directory holds no run, or a batch, whose datasets are runs of their own.
    """
    kind = _kind_of_one(directory)
    path = Path(directory)
    if kind is RunKind.ANNOTATION:
        calls = ALL_TABLES["cluster_annotations"].read_csv(path / "cluster_annotations.csv")
        return RUN_CALLS.conform(calls[RUN_CALLS.names])
    if kind is RunKind.CONSENSUS:
        table = ALL_TABLES["consensus"].read_csv(path / "consensus.csv")
        calls = table.rename(columns={"label": "final_annotation", "path": "assigned_path"})
        return RUN_CALLS.conform(calls[RUN_CALLS.names])
    return RUN_CALLS.frame([
        {
            "cluster_id": row.get("cluster", ""), "n_cells": int(float(row.get("n_cells") or 0)),
            "final_annotation": row.get("cell_type", ""), "assigned_path": row.get("path", ""),
            "confidence": float("nan"), "stop_reason": row.get("status", ""),
        }
        for row in table_rows(path)
    ])


def _kind_of_one(directory: str | Path) -> RunKind:
    try:
        kind = run_kind(directory)
    except RunError as error:
        raise InputError(str(error)) from None
    if kind is RunKind.BATCH:
        msg = f"{directory} is a batch: name the run of one of its datasets, or look at all with 'cellkey report'"
        raise InputError(msg)
    return kind


def table_rows(directory: str | Path) -> list[dict[str, str]]:
    """Return the rows of the table of clusters of the run of a marker table, as text.

    The types of sub-clusters are called as those of other clusters: ``cell_type``, ``general_cell_type``.

    Raises
    ------
    InputError
        If the directory is of another kind.
    """
    kind = _kind_of_one(directory)
    file = named_file(Path(directory), _ENDINGS[kind]) if kind in _ENDINGS else None
    if file is None:
        msg = f"{directory} is no run of a marker table"
        raise InputError(msg)
    rows = text_rows(file)
    if kind is not RunKind.SUBCLUSTERS:
        return rows
    usual = {"sub_cell_type": "cell_type", "main_cell_type": "general_cell_type"}
    return [{usual.get(k, k): v for k, v in row.items()} for row in rows]


def named_file(directory: Path, ending: str) -> Path | None:
    """Return the file ``NAME_<ending>`` of the run of a marker table, whose files begin with the dataset's name."""
    return next(iter(sorted(directory.glob(f"*_{ending}"))), None)


def text_rows(path: Path, *, first_of: tuple[str, int] | None = None) -> list[dict[str, str]]:
    """Return the rows of a table as text, without the apostrophe that keeps spreadsheets from running a cell.

    ``first_of`` names a column and how many rows of each of its values to take, for tables of many rows.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        rows: Iterator[list[str]] = csv.reader(handle)
        names = next(rows, [])
        if first_of is not None and first_of[0] in names:
            rows = _first_of_each(rows, names.index(first_of[0]), first_of[1])
        return [dict(zip_longest(names, map(_plain, row[: len(names)]), fillvalue="")) for row in rows if row]


def _first_of_each(rows: Iterable[list[str]], column: int, most: int) -> Iterator[list[str]]:
    seen: Counter[str] = Counter()
    for row in rows:
        value = row[column] if column < len(row) else ""
        seen[value] += 1
        if seen[value] <= most:
            yield row


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in tuple("=+-@") else text


def json_content(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file; an empty one if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
