"""Table schemas: the one place that says which columns a written table has, and what they mean.

A :class:`TableSchema` makes frames, checks them, writes them and documents them, so that code, files and the
reference pages cannot drift apart.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cellkey.errors import InputError, Problem, did_you_mean
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Column", "TableSchema"]

Kind = Literal["string", "int", "float", "bool", "json", "list"]

_DTYPES: dict[Kind, DTypeLike] = {
    "string": object, "int": np.int64, "float": np.float64, "bool": np.bool_, "json": object, "list": object,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name, kind
        Column name and type. ``list`` is comma-separated text, ``json`` is strict JSON text.
    meaning
        One sentence for the reference page, with unit or scale.
    allowed
        All values a string column may take; empty means any.
    """

    name: str
    kind: Kind
    meaning: str
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table of a run directory: file name, meaning and columns in written order."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in written order."""
        return [c.name for c in self.columns]

    def frame(self, rows: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Return a frame with exactly these columns and types, from columns (mapping) or rows (iterable)."""
        if isinstance(rows, Mapping):
            raw = pd.DataFrame(rows)
        else:
            raw = pd.DataFrame.from_records(list(rows), columns=self.names)
        return self.conform(raw)

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` with the columns in order and of the declared types.

        Raises
        ------
        InputError
            If a column is missing or unknown, or holds a value that is not allowed.
        """
        problems = list(self._problems(frame))
        if problems:
            msg = f"table {self.name} does not follow its schema"
            raise InputError(msg, problems)
        return pd.DataFrame({c.name: _cast(frame[c.name], c) for c in self.columns}, index=frame.index)

    def _problems(self, frame: pd.DataFrame) -> Iterable[Problem]:
        for name in self.names:
            if name not in frame.columns:
                yield Problem("column is missing", name)
        for name in frame.columns:
            if name not in self.names:
                yield Problem(f"column is not part of the table{did_you_mean(str(name), self.names)}", str(name))
        for column in self.columns:
            if column.allowed and column.name in frame.columns:
                found = set(frame[column.name].dropna()) - set(column.allowed) - {""}
                if found:
                    yield Problem(f"holds {sorted(map(str, found))}, allowed are {list(column.allowed)}", column.name)

    def write_csv(self, frame: pd.DataFrame, path: str | Path) -> None:
        """Write the table atomically as UTF-8 CSV: comma, header, ``\\n``, 10 significant digits."""
        with atomic_path(path) as temporary:
            self.conform(frame).to_csv(
                temporary, index=False, float_format="%.10g", lineterminator="\n", quoting=csv.QUOTE_MINIMAL
            )

    def read_csv(self, path: str | Path) -> pd.DataFrame:
        """Read a table written by :meth:`write_csv`; ids stay text, empty text cells become ``""``."""
        text = {c.name: str for c in self.columns if c.kind in ("string", "list", "json")}
        raw = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={
            c.name: [""] for c in self.columns if c.kind in ("float", "int", "bool")})
        return self.conform(raw)


def _cast(values: pd.Series, column: Column) -> pd.Series:
    if column.kind == "list":
        return values.map(_join).astype(object)
    if column.kind == "json":
        return values.map(_json).astype(object)
    if column.kind == "string":
        return values.map(lambda v: "" if v is None or v is pd.NA or v != v else str(v)).astype(object)
    return values.astype(_DTYPES[column.kind])


def _join(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else ",".join(str(v) for v in value)


def _json(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence | np.ndarray):
        return list(value)
    msg = f"cannot write {type(value).__name__} as JSON"
    raise TypeError(msg)
