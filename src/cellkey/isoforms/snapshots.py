"""Snapshots: the few files of a fit that a later version is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from cellkey import __version__
from cellkey.errors import InputError
from cellkey.isoforms import tables
from cellkey.isoforms.eigengenes import eigengene_table
from cellkey.isoforms.fit_files import write_json
from cellkey.isoforms.parquet import read_parquet, write_parquet, write_table
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.isoforms.fitting import Fit

__all__ = ["MANDATORY_FILES", "compare_snapshots", "save_snapshot", "snapshot_name"]

MANDATORY_FILES = ("manifest.json", "metrics.json", "module_summary.tsv", "switch_features.parquet", "run_config.yaml")

ABSOLUTE_TOLERANCE = 1e-9
RECOVERY_TOLERANCE = 1e-6


def snapshot_name(stage: str, dataset: str, backend: str, seed: int) -> str:
    """Return ``<stage>_<dataset>_<backend>_v1_seed<4 digits>``."""
    return f"{stage}_{dataset}_{backend}_v1_seed{seed:04d}"


def save_snapshot(fit: Fit, directory: str | Path, *, name: str, metrics: Mapping[str, Any]) -> Path:
    """Write the snapshot files of a fit; ``metrics`` needs ``recovery`` (or None) and ``runtime_seconds``."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    matrix = fit.features.matrix
    write_json(
        {
            "snapshot_name": name,
            "dataset_name": fit.bundle.name,
            "isograph_version": f"cellkey {__version__}",
            "model": fit.parameters.backend,
        },
        root / "manifest.json",
    )
    write_json({"n_modules": len(fit.modules), "n_edges": len(fit.network.edges), **metrics}, root / "metrics.json")
    summary = "module_id\tn_genes\n" + "".join(f"{m}\t{len(g)}\n" for m, g in fit.modules.members.items())
    write_text(root / "module_summary.tsv", summary)
    write_parquet(matrix.frame(), root / "switch_features.parquet")
    write_text(root / "run_config.yaml", yaml.safe_dump(fit.parameters.model_dump(mode="json"), sort_keys=True))
    write_parquet(eigengene_table(dict(fit.eigengenes), matrix.sample_ids), root / "eigengene_table.parquet")
    for schema, frame in (
        (tables.MODULE_GENE_ROLES, fit.roles),
        (tables.MODULES, fit.modules.frame()),
        (tables.TRAITS, fit.traits.tests),
    ):
        write_table(frame, schema, root)
    return root


def compare_snapshots(reference: str | Path, candidate: str | Path) -> dict[str, Any]:
    """Return ``passed``, ``differences`` (sentences), ``reference`` and ``candidate`` for two snapshot directories.

    Raises
    ------
    InputError
        If a directory or one of :data:`MANDATORY_FILES` is missing.
    """
    left, right = Path(reference), Path(candidate)
    for root in (left, right):
        missing = [f for f in MANDATORY_FILES if not (root / f).is_file()]
        if missing:
            msg = (
                f"{root} is no snapshot directory: {', '.join(missing)} "
                "missing; 'cellkey isoforms benchmark' writes one"
            )
            raise InputError(msg)
    differences = _metric_differences(_json(left), _json(right))
    if (left / "module_summary.tsv").read_text() != (right / "module_summary.tsv").read_text():
        differences.append("module_summary.tsv differs")
    differences += _table_differences(left, right, "switch_features", ["gene_id", "feature_type", "feature_id"])
    for name, keys in (
        ("modules", ["gene_id"]),
        ("module_gene_roles", ["module_id", "gene_id"]),
        ("traits", ["module_id", "trait", "contrast"]),
        ("eigengene_table", ["module_id"]),
    ):
        present = [(root / f"{name}.parquet").is_file() for root in (left, right)]
        if all(present):
            differences += _table_differences(left, right, name, keys)
        elif any(present):
            differences.append(f"{name}.parquet is only in {left if present[0] else right}")
    return {
        "passed": not differences,
        "differences": differences,
        "reference": str(reference),
        "candidate": str(candidate),
    }


def _json(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "metrics.json").read_text(encoding="utf-8"))
    return content


def _metric_differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    found = [f"{k}: {left.get(k)} != {right.get(k)}" for k in ("n_modules", "n_edges") if left.get(k) != right.get(k)]
    a, b = left.get("recovery"), right.get("recovery")
    if (a is None) != (b is None) or (a is not None and abs(a - b) > RECOVERY_TOLERANCE):
        found.append(f"recovery: {a} != {b}")
    return found


def _table_differences(left: Path, right: Path, name: str, keys: list[str]) -> list[str]:
    a, b = (read_parquet(root / f"{name}.parquet") for root in (left, right))
    if list(a.columns) != list(b.columns):
        return [f"{name}: columns differ ({len(a.columns)} and {len(b.columns)})"]
    if len(a) != len(b):
        return [f"{name}: {len(a)} rows != {len(b)} rows"]
    a, b = (t.sort_values(keys, kind="stable").reset_index(drop=True) for t in (a, b))
    found = []
    numeric = [c for c in a.columns if pd.api.types.is_float_dtype(a[c]) and pd.api.types.is_float_dtype(b[c])]
    if numeric:
        x, y = a[numeric].to_numpy(dtype=np.float64), b[numeric].to_numpy(dtype=np.float64)
        gap = np.abs(np.nan_to_num(x) - np.nan_to_num(y))
        if (np.isnan(x) != np.isnan(y)).any():
            found.append(f"{name}: missing values differ")
        elif gap.size and gap.max() > ABSOLUTE_TOLERANCE:
            column = numeric[int(gap.max(axis=0).argmax())]
            found.append(f"{name}: values differ by up to {gap.max():.3g} (column {column})")
    for column in a.columns:
        if column not in numeric and not a[column].astype(str).equals(b[column].astype(str)):
            n = int((a[column].astype(str) != b[column].astype(str)).sum())
            found.append(f"{name}: column {column} differs in {n} rows")
    return found
