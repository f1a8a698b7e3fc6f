"""Compare two fits, two snapshots or two benchmark reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey.errors import InputError
from cellkey.isoforms.fit_files import CONFIG, GROUPS_FILE, FitFiles, read_fit, write_json
from cellkey.isoforms.metrics import agreement
from cellkey.isoforms.snapshots import compare_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compare", "compare_fits", "compare_reports"]


def compare(
    reference: str | Path, candidate: str | Path, output_path: str | Path
) -> dict[str, Any] | list[dict[str, Any]]:
    """Compare two fits, two snapshot directories or two ``*-benchmark.json`` files and write the JSON report.

    Raises
    ------
    InputError
        If the two are not of one kind, or something is missing or malformed.
    """
    missing = [str(p) for p in (reference, candidate) if not Path(p).exists()]
    if missing:
        msg = f"no such file or directory: {', '.join(missing)}"
        raise InputError(msg)
    kinds = [_kind(Path(p)) for p in (reference, candidate)]
    if kinds[0] != kinds[1]:
        msg = f"cannot compare a {kinds[0]} with a {kinds[1]}: {reference} and {candidate}; give two of one kind"
        raise InputError(msg)
    found: dict[str, Any] | list[dict[str, Any]] = _COMPARISONS[kinds[0]](reference, candidate)
    Path(output_path).parent.mkdir(parents=True, exist_ok=True)
    write_json(found, output_path)
    return found


def _kind(path: Path) -> str:
    if path.is_file():
        return "report"
    return "fit" if any((path / name).is_file() for name in (CONFIG, GROUPS_FILE)) else "snapshot"


def compare_fits(reference: str | Path, candidate: str | Path) -> dict[str, Any]:
    """Return how well the modules of two fits agree: two seeds, backends, settings or cohorts.

    ``ari`` and its companions are over the genes that both fits assign; ``modules`` has one entry per module of the
    reference with its ``best`` module of the candidate, their Jaccard index over the genes that both fits looked at,
    and |r| of their eigengenes over the samples that both have (None with fewer than three).

    Raises
    ------
    InputError
        If the fits have no gene in common.
    RunError
        If a file of a fit is missing.
    """
    left, right = read_fit(reference), read_fit(candidate)
    common = set(left.scores["gene_id"].astype(str)) & set(right.scores["gene_id"].astype(str))
    if not common:
        msg = f"{reference} and {candidate} have no gene in common: their gene ids are of different annotations"
        raise InputError(msg)
    in_right = right.modules.module_of
    sets = {m: frozenset(g for g in genes if g in common) for m, genes in left.modules.members.items()}
    assigned = [frozenset(g for g in genes if g in in_right) for genes in sets.values()]
    return {
        "reference": str(reference), "candidate": str(candidate),
        "n_modules": [len(left.modules), len(right.modules)],
        "n_genes_assigned": [len(left.modules.module_of), len(in_right)],
        "n_genes_common": len(common), "n_genes_assigned_in_both": sum(map(len, assigned)),
        **agreement(assigned, right.modules),
        "modules": _matches(sets, left, right, common),
    }


def _matches(
    sets: dict[str, frozenset[str]], left: FitFiles, right: FitFiles, common: set[str]
) -> list[dict[str, Any]]:
    others = {m: frozenset(g for g in genes if g in common) for m, genes in right.modules.members.items()}
    r = _eigengene_correlation(left, right)
    rows: list[dict[str, Any]] = []
    for module, genes in sets.items():
        shared = {m: len(genes & other) / len(genes | other) for m, other in others.items() if genes | other}
        best = max(shared, key=lambda m: (shared[m], m)) if any(shared.values()) else None
        rows.append({
            "module_id": module, "n_genes": len(genes), "best": best, "jaccard": shared[best] if best else 0.0,
            "abs_r_eigengene": None if best is None else r.get((module, best)),
        })
    return rows


def _eigengene_correlation(left: FitFiles, right: FitFiles) -> dict[tuple[str, str], float]:
    """|r| of all pairs of eigengenes over the samples of both fits; nothing with fewer than three of them."""
    if left.eigengenes.empty or right.eigengenes.empty:
        return {}
    held = set(right.eigengenes.columns)
    samples = [s for s in left.sample_ids if s in held and s in left.eigengenes.columns]
    if len(samples) < 3:
        return {}
    tables = [f.eigengenes.set_index("module_id")[samples] for f in (left, right)]
    values = np.corrcoef(np.vstack([t.to_numpy(dtype=np.float64) for t in tables]))
    pairs = np.abs(values[: len(tables[0]), len(tables[0]) :]).tolist()
    return {(str(a), str(b)): pairs[i][j] for i, a in enumerate(tables[0].index) for j, b in enumerate(tables[1].index)}


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
        table[["dataset", "recovery", "runtime_seconds"]]  # they must be there
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        msg = f"{path} is no benchmark report: 'results' must be rows with dataset, recovery and runtime_seconds"
        raise InputError(msg) from None
    return table


_COMPARISONS: dict[str, Callable[[str | Path, str | Path], Any]] = {
    "fit": compare_fits, "snapshot": compare_snapshots, "report": compare_reports,
}
