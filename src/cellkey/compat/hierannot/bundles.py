"""A result as a directory: tables, programs, settings and a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellkey.compat.hierannot.hierarchies import hierarchy_from_dict, hierarchy_to_dict
from cellkey.compat.hierannot.result import HierAnnotResult
from cellkey.errors import MissingDependencyError, ParameterError, RunError
from cellkey.records.atomic import atomic_path, write_text
from cellkey.records.enrichment_tables import ENRICHMENT_CALLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cellkey.compat.hierannot.programs import MarkerProgram

__all__ = ["load_result_bundle", "save_result_bundle"]

_TABLES = ("cluster_annotations", "level_scores", "all_scores", "diagnostics_summary")
_LISTS = ("missing_markers", "missing_negative_markers")
_VERSION = 1
_PARQUET = "pyarrow"
_TEXT = frozenset({c.name for c in ENRICHMENT_CALLS.columns if c.kind == "string"}) | {
    "cluster", "label", "marker_source", "score_status", "metric"}


def save_result_bundle(
    result: HierAnnotResult,
    path: str | Path,
    hierarchy: Sequence[MarkerProgram] | None = None,
    resolved_config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    table_format: Literal["csv", "parquet"] = "csv",
) -> Path:
    """Write a result into a directory; the programs of the fit are kept unless others are given.

    Raises
    ------
    ParameterError
        If the format is neither ``csv`` nor ``parquet``.
    """
    if table_format not in ("csv", "parquet"):
        msg = f"table_format must be 'csv' or 'parquet', got {table_format!r}"
        raise ParameterError(msg)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        _write_table(getattr(result, name), folder / f"{name}.{table_format}")
    programs = hierarchy if hierarchy is not None else result.hierarchy
    parts: dict[str, Any] = {
        "hierarchy": None if not programs else hierarchy_to_dict(programs),
        "resolved_config": resolved_config if resolved_config is not None else result.resolved_config or None,
        "metadata": metadata if metadata is not None else result.metadata,
    }
    for name, value in parts.items():
        if value is not None:
            write_text(folder / f"{name}.json", json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    manifest = {
        "bundle_version": _VERSION, "table_format": table_format, "has_hierarchy": parts["hierarchy"] is not None,
        "has_resolved_config": parts["resolved_config"] is not None, "metadata": parts["metadata"],
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=2, default=str) + "\n")
    return folder


def load_result_bundle(path: str | Path, as_dict: bool = False) -> Any:
    """Read a result from a directory, as a result or as a dictionary.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    RunError
        If it holds no bundle.
    """
    folder = Path(path)
    if not folder.is_dir():
        msg = f"there is no directory {folder}"
        raise FileNotFoundError(msg)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        kind = manifest["table_format"]
        tables = {name: _read_table(folder / f"{name}.{kind}") for name in _TABLES}
    except (OSError, KeyError, ValueError) as error:
        msg = f"{folder} holds no readable result bundle: {error}"
        raise RunError(msg) from error
    programs = _read_json(folder / "hierarchy.json")
    values: dict[str, Any] = {
        **tables,
        "resolved_config": _read_json(folder / "resolved_config.json") or {},
        "metadata": _read_json(folder / "metadata.json"),
        "hierarchy": None if programs is None else hierarchy_from_dict(programs),
    }
    if as_dict:
        return {**values, "manifest": manifest}
    return HierAnnotResult(
        normalized_matrix=None, control_gene_map={}, compiled_programs=[], compilation_report=None, **values
    )


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            plain = table.copy()
            for name in _LISTS:
                if name in plain:
                    plain[name] = plain[name].map(json.dumps)
            plain.to_csv(temporary, float_format="%.17g")
            return
        try:
            table.assign(**_as_text(table)).to_parquet(temporary)
        except ImportError:
            raise MissingDependencyError(_PARQUET, "isoforms", "a parquet bundle") from None


def _as_text(table: pd.DataFrame) -> dict[str, Any]:
    """Columns of mixed types as text, which parquet can hold."""
    return {"value": table["value"].map(json.dumps)} if list(table.columns) == ["metric", "value"] else {}


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        if list(table.columns) == ["metric", "value"]:
            table["value"] = table["value"].map(json.loads)
        return table
    # Everything is text first: a cluster may be called "NA", and a label may look like a number.
    table = pd.read_csv(path, index_col=0, dtype=str, keep_default_na=False)
    table.index = pd.RangeIndex(len(table))
    return pd.DataFrame({name: _typed(str(name), table[name]) for name in table})


def _typed(name: str, column: pd.Series) -> pd.Series:
    if name in _LISTS:
        return column.map(json.loads)
    if name == "parent_label":
        return column.map(lambda v: v or None)
    if name in _TEXT:
        return column
    if name == "value":
        return column.map(_number)
    if len(column) and set(column) <= {"True", "False"}:
        return column == "True"
    # Python reads a number to its last bit, which pandas does not promise.
    numbers = column.map(lambda text: float(text) if text else float("nan"))
    whole = len(column) > 0 and column.str.fullmatch(r"-?\d+").all()
    return numbers.astype(int) if whole else numbers


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text == "True" if text in ("True", "False") else text


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
