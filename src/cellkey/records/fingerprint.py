"""The fingerprint of the calls of a run: says whether decisions that were written down belong to the state at hand."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CALLS", "calls_fingerprint", "calls_table", "fingerprint_of"]

CALLS = "calls_fingerprint"
"""Name under which a plan says for which calls it was made."""
_COLUMNS = ("cluster_id", "n_cells", "assigned_label", "assigned_path")


def calls_table(directory: str | Path) -> Path:
    """Return the table that holds the current calls of a run: after refinement if there was one.

    Raises
    ------
    RunError
        If the directory holds no calls.
    """
    for name in ("refined_annotations.csv", "cluster_annotations.csv"):
        path = Path(directory) / name
        if path.is_file():
            return path
    msg = f"{directory} holds no calls: neither refined_annotations.csv nor cluster_annotations.csv"
    raise RunError(msg)


def calls_fingerprint(directory: str | Path) -> str:
    """Return the fingerprint of the current calls of a run directory; see :func:`fingerprint_of`."""
    path = calls_table(directory)
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return fingerprint_of(tuple(row[c] for c in _COLUMNS) for row in rows)
    except (OSError, KeyError, UnicodeError, csv.Error) as error:
        msg = f"cannot read the calls in {path}: {error!r}"
        raise RunError(msg) from error


def fingerprint_of(calls: Iterable[Iterable[str]]) -> str:
    """Return 16 hex digits made from (cluster, number of cells, label, path) of every call, in any order.

    A change of any cluster, size, label or path gives another fingerprint; scores and further columns do not count.
    """
    text = json.dumps(sorted([str(v) for v in call] for call in calls), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
