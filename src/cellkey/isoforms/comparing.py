"""Compare two snapshots or two benchmark reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from cellkey.errors import InputError
from cellkey.isoforms.fit_files import write_json
from cellkey.isoforms.snapshots import compare_snapshots

__all__ = ["compare", "compare_reports"]


def compare(
    reference: str | Path, candidate: str | Path, output_path: str | Path
) -> dict[str, Any] | list[dict[str, Any]]:
    """Compare two snapshot directories or two ``*-benchmark.json`` files and write the JSON report.

    Raises
    ------
    InputError
        If one is a directory and the other a file, or something is missing or malformed.
    """
    kinds = [Path(p).is_dir() for p in (reference, candidate)]
    if kinds[0] != kinds[1]:
        msg = f"cannot compare a directory with a file: {reference} and {candidate}; give two snapshots or two reports"
        raise InputError(msg)
    found = compare_snapshots(reference, candidate) if kinds[0] else compare_reports(reference, candidate)
    Path(output_path).parent.mkdir(parents=True, exist_ok=True)
    write_json(found, output_path)
    return found


def compare_reports(reference: str | Path, candidate: str | Path) -> list[dict[str, Any]]:
    """Return one row per data set in both reports: all plain columns with ``_left`` (reference) and ``_right``.

    ``delta_recovery`` and ``delta_runtime_seconds`` are right minus left.
    """
    left, right = (_results(Path(p)) for p in (reference, candidate))
    joined = left.merge(right, on="dataset", how="inner", suffixes=("_left", "_right"))
    if joined.empty:
        msg = (
            f"the reports have no data set in common: {', '.join(left['dataset'])} in {reference}, "
            f"{', '.join(right['dataset'])} in {candidate}"
        )
        raise InputError(msg)
    for name in ("recovery", "runtime_seconds"):
        pair = [pd.to_numeric(joined[f"{name}_{side}"], errors="coerce") for side in ("left", "right")]
        joined[f"delta_{name}"] = pair[1] - pair[0]
    records = joined.astype(object).where(joined.notna(), None).to_dict(orient="records")
    return [{str(k): v for k, v in record.items()} for record in records]


def _results(path: Path) -> pd.DataFrame:
    if not path.is_file():
        msg = f"{path}: no such file; 'cellkey isoforms benchmark' writes <stage>-benchmark.json"
        raise InputError(msg)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["results"]
        plain = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in rows]
        table = pd.DataFrame(plain)
        return (
            table[[*table.columns]]
            if {"dataset", "recovery", "runtime_seconds"} <= set(table.columns)
            else _refuse(path)
        )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return _refuse(path)


def _refuse(path: Path) -> pd.DataFrame:
    msg = (
        f"{path} is no benchmark report: expected an object with 'results', "
        "rows with dataset, recovery, runtime_seconds"
    )
    raise InputError(msg)
