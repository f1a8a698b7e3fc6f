"""Table schemas: the one place that says which columns a written table has, and what they mean.

A :class:`TableSchema` makes frames, checks them, writes them and documents them, so that code, files and the
reference pages cannot drift apart.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cellkey.errors import InputError, Problem, did_you_mean
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Column", "TableSchema"]

Kind = Literal["string", "int", "float", "bool", "json", "list"]
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "int": np.dtype(np.int64), "bool": np.dtype(np.bool_), "float": np.dtype(np.float64),
}
_ROWS = 20_000  # are turned into text at once


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
        return pd.DataFrame(self._arrays(frame), index=frame.index)

    def _arrays(self, frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
        """The columns in order and of the declared types; see :meth:`conform`."""
        columns = {str(name): values for name, values in frame.items()}
        problems = list(self._problems(columns))
        if problems:
            msg = f"table {self.name} does not follow its schema"
            raise InputError(msg, problems)
        return {c.name: _cast(columns[c.name], c) for c in self.columns}

    def _problems(self, columns: Mapping[str, pd.Series]) -> Iterable[Problem]:
        for name in self.names:
            if name not in columns:
                yield Problem("column is missing", name)
        for name in columns:
            if name not in self.names:
                yield Problem(f"column is not part of the table{did_you_mean(name, self.names)}", name)
        for column in self.columns:
            if column.name in columns:
                fault = _fault(columns[column.name], column)
                if fault:
                    yield Problem(fault, column.name)

    def write_csv(self, frame: pd.DataFrame, path: str | Path) -> None:
        """Write the table atomically as UTF-8 CSV: comma, header, ``\\n``, 10 significant digits."""
        columns = self._arrays(frame)
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow(columns)
            for start in range(0, len(frame), _ROWS):
                part = slice(start, start + _ROWS)
                rows.writerows(zip(*(_written(values[part]) for values in columns.values()), strict=True))

    def read_csv(self, path: str | Path, *, absent: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Read a table written by :meth:`write_csv`; ids stay text, empty text cells become ``""``.

        ``absent`` names columns that older files lack, with the value that they then have.

        Raises
        ------
        InputError
            If the file is missing or not a table, or the table does not follow the schema.
        """
        text = {c.name: str for c in self.columns if c.kind in ("string", "list", "json")}
        empty = {c.name: [""] for c in self.columns if c.kind in ("float", "int", "bool")}
        try:
            raw = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip()
            msg = f"cannot read the table {self.name} from {path}: {reason}"
            raise InputError(msg) from error
        for name, value in (absent or {}).items():
            if name not in raw:
                raw[name] = value
        return self.conform(raw)


def _fault(values: pd.Series, column: Column) -> str:
    """Say what keeps ``values`` from being a column of this kind, or return an empty string."""
    if not column.allowed and (column.kind in ("string", "list", "json") or values.dtype == _DTYPES[column.kind]):
        return ""
    if column.allowed and set(values.unique()) <= set(column.allowed):
        return ""
    present = values.dropna()
    if column.allowed:
        found = sorted({str(v) for v in present.unique()} - set(column.allowed) - {""})
        if found:
            return f"holds {found}, allowed are {[str(a) for a in column.allowed]}"
    if column.kind == "float":
        numbers = pd.to_numeric(present, errors="coerce")
        return "" if numbers.notna().all() else "holds values that are not numbers"
    if column.kind not in ("int", "bool"):
        return ""
    if len(present) < len(values):
        return f"holds {len(values) - len(present)} missing value(s), but must be complete"
    if pd.api.types.is_bool_dtype(values.dtype) or pd.api.types.is_integer_dtype(values.dtype):
        mismatch = column.kind == "bool" and not pd.api.types.is_bool_dtype(values.dtype)
        return "holds values other than True and False" if mismatch else ""
    if column.kind == "bool":
        logical = all(isinstance(v, bool | np.bool_) for v in present)
        return "" if logical else "holds values other than True and False"
    values_or_nan = pd.to_numeric(present, errors="coerce").to_numpy(np.float64)
    whole = np.isfinite(values_or_nan) & (values_or_nan == np.floor(values_or_nan))
    return "" if whole.all() else "holds values that are not whole numbers"


def _written(values: NDArray[Any]) -> list[Any]:
    """Values as the writer of rows takes them; numbers with 10 significant digits, nothing for a missing one."""
    plain = values.tolist()
    return ["" if v != v else f"{v:.10g}" for v in plain] if values.dtype.kind == "f" else plain


def _cast(values: pd.Series, column: Column) -> NDArray[Any]:
    if column.kind in _DTYPES:
        wanted = _DTYPES[column.kind]
        return (values if values.dtype == wanted else values.astype(wanted)).to_numpy()
    convert: Callable[[Any], str] = {"list": _join, "json": _json, "string": _text}[column.kind]
    texts = [v if type(v) is str else convert(v) for v in values.astype(object).to_numpy()]
    return np.array([*texts, None], dtype=object)[:-1]


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _text(value: Any) -> str:
    return "" if _is_missing(value) else str(value)


def _join(value: Any) -> str:
    if _is_missing(value):
        return ""
    return value if isinstance(value, str) else ",".join(str(v) for v in value)


def _json(value: Any) -> str:
    if _is_missing(value):
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence | np.ndarray):
        return list(value)
    msg = f"cannot write {type(value).__name__} as JSON"
    raise TypeError(msg)
