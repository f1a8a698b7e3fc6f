"""The files of a fit: written by ``write_fit``, read by ``read_fit`` for explanation and reports."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cellkey import __version__
from cellkey.errors import RunError
from cellkey.isoforms import tables
from cellkey.isoforms.bundle import FeatureKind
from cellkey.isoforms.eigengenes import eigengene_table
from cellkey.isoforms.modules import ModuleSet
from cellkey.isoforms.parquet import read_parquet, write_parquet, write_table
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from cellkey.isoforms.fitting import Fit
    from cellkey.records.schema import TableSchema

__all__ = ["FitFiles", "read_fit", "write_fit", "write_json"]


def write_json(value: Any, path: str | Path) -> None:
    """Write strict JSON (NaN becomes null), indented, keys sorted."""
    write_text(Path(path), json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return a value made of JSON types only."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_fit(fit: Fit, directory: str | Path, *, inputs: Mapping[str, str] | None = None) -> Path:
    """Write all files of a fit.

    Parameters
    ----------
    inputs
        SHA-256 of the input files by name, for ``fit_config.json``.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    matrix = fit.features.matrix
    for schema, frame in _fixed_tables(fit).items():
        write_table(frame, schema, root)
    write_parquet(matrix.frame(), root / "feature_scores.parquet")
    write_parquet(eigengene_table(dict(fit.eigengenes), matrix.sample_ids), root / "eigengenes.parquet")
    write_parquet(fit.features.usage.reset_index(), root / "transcript_usage.parquet")
    samples = fit.bundle.samples
    if len(fit.features.size_factors):
        samples = samples.assign(size_factor=fit.features.size_factors.to_numpy())
    write_parquet(samples, root / "samples.parquet")
    genes = fit.bundle.tables.get(FeatureKind.GENE.value)
    if genes is not None:
        write_parquet(genes, root / "genes.parquet")
    if fit.network.nodes is not None:
        write_parquet(fit.network.nodes, root / "node_diagnostics.parquet")
    for name, table in fit.network.tables.items():
        write_parquet(table, root / f"{name}.parquet")
    for name, writer in fit.network.writers.items():
        writer(root / name)
    write_json(fit.traits.skipped, root / "traits_skipped.json")
    write_json(fit.network.merges, root / "merge_history.json")
    if fit.network.calibration:
        write_json(fit.network.calibration, root / "calibration.json")
    # Last, because a directory with this file is complete.
    write_json(_configuration(fit, inputs or {}, time.perf_counter() - start), root / "fit_config.json")
    return root


def _fixed_tables(fit: Fit) -> dict[TableSchema, pd.DataFrame]:
    usage = fit.features.loadings
    meta = pd.DataFrame(
        {
            "feature_id": usage["transcript_id"],
            "gene_id": usage["gene_id"],
            "feature_type": "transcript_usage",
            "transcript_id": usage["transcript_id"],
        }
    )
    evidence = fit.evidence.copy()
    for name in ("jaccard_mean", "jaccard_low", "jaccard_high", "coassignment"):
        if name not in evidence:
            evidence[name] = np.nan
    if "n_resamples" not in evidence:
        evidence["n_resamples"] = 0
    return {
        tables.MODULES: fit.modules.frame(),
        tables.EDGES: fit.network.edges,
        tables.TRAITS: fit.traits.tests,
        tables.TRAIT_MODELS: fit.traits.models,
        tables.MODULE_GENE_ROLES: fit.roles,
        tables.MEMBERSHIP: fit.membership,
        tables.TRANSCRIPT_LOADINGS: usage,
        tables.FEATURE_META: meta,
        tables.MODULE_EVIDENCE: evidence,
        tables.HIDDEN_FACTORS: fit.hidden,
        tables.RESIDUALISATION_QC: fit.features.quality,
    }


def _configuration(fit: Fit, inputs: Mapping[str, str], seconds_writing: float) -> dict[str, Any]:
    seconds = dict(fit.seconds) | {"writing": seconds_writing}
    return {
        "isograph_version": f"cellkey {__version__}",
        "cellkey_version": __version__,
        "dataset_name": fit.bundle.name,
        "backend": fit.parameters.backend,
        "random_seed": fit.parameters.seed,
        "seeds": dict(fit.seeds),
        "parameters": fit.parameters.model_dump(mode="json"),
        "covariates_removed": list(fit.features.matrix.covariates),
        "covariates_absent": list(fit.features.design.absent),
        "covariates_constant": list(fit.features.design.constant),
        "n_samples": fit.features.matrix.n_samples,
        "n_features": len(fit.features.matrix.values),
        "n_modules": len(fit.modules),
        "n_edges": len(fit.network.edges),
        "notes": list(fit.notes),
        "input_sha256": dict(inputs),
        "libraries": _libraries(),
        "started": fit.started.isoformat(timespec="seconds"),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "wall_seconds": round(sum(seconds.values()), 3),
    }


def _libraries() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "pandas", "pyarrow", "igraph", "scikit-learn"):
        found[name] = metadata.version(name)
    return found


@dataclass(frozen=True, slots=True)
class FitFiles:
    """A fit read from its directory, as far as explanation and reports need it."""

    directory: Path
    modules: ModuleSet
    scores: pd.DataFrame
    eigengenes: pd.DataFrame

    @property
    def sample_ids(self) -> list[str]:
        """Samples, in the order of the score columns."""
        fixed = {"feature_id", "gene_id", "feature_type", "n_transcripts"}
        return [str(c) for c in self.scores.columns if c not in fixed]

    @property
    def gene_names(self) -> dict[str, str]:
        """Symbol of every gene that has one; empty where the bundle had none."""
        path = self.directory / "genes.parquet"
        genes = read_parquet(path) if path.is_file() else pd.DataFrame()
        if "gene_name" not in genes.columns:
            return {}
        named = genes.dropna(subset=["gene_name"])
        return dict(zip(named["gene_id"].astype(str), named["gene_name"].astype(str), strict=True))

    def table(self, name: str) -> pd.DataFrame:
        """Read another table of the fit."""
        return read_parquet(_present(self.directory, f"{name}.parquet"))


def _present(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.is_file():
        msg = f"{path} is missing; write the fit again with 'cellkey isoforms fit --output-dir {directory}'"
        raise RunError(msg)
    return path


def read_fit(directory: str | Path) -> FitFiles:
    """Read a fit directory.

    Raises
    ------
    RunError
        If a file is missing, naming it and the command that writes it.
    """
    root = Path(directory)
    modules = ModuleSet.from_frame(read_parquet(_present(root, "modules.parquet")))
    scores = read_parquet(_present(root, "feature_scores.parquet"))
    eigengenes = root / "eigengenes.parquet"
    return FitFiles(root, modules, scores, read_parquet(eigengenes) if eigengenes.is_file() else pd.DataFrame())
