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
from cellkey.errors import InputError, RunError
from cellkey.isoforms import tables
from cellkey.isoforms.bundle import FeatureKind
from cellkey.isoforms.bundle_io import MANIFEST
from cellkey.isoforms.eigengenes import eigengene_table
from cellkey.isoforms.modules import ModuleSet
from cellkey.isoforms.parquet import read_parquet, write_parquet, write_table
from cellkey.records.atomic import write_text
from cellkey.records.run import staged

if TYPE_CHECKING:
    from cellkey.isoforms.fitting import Fit
    from cellkey.records.schema import TableSchema

__all__ = ["FitFiles", "read_fit", "refuse_bundle", "write_fit", "write_json"]

CONFIG = "fit_config.json"
GROUPS_FILE = f"{tables.GROUPS.name}.parquet"
_MADE_LATER = ("report.html", "module_gene_sets.parquet")


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
    """Write all files of a fit, together or not at all; they replace those of an earlier fit in the directory.

    Parameters
    ----------
    inputs
        SHA-256 of the input files by name, for ``fit_config.json``.

    Raises
    ------
    InputError
        If the directory holds a bundle or a snapshot.
    """
    target = Path(directory)
    refuse_bundle(target)
    start = time.perf_counter()
    with staged(target) as root:
        _write_files(fit, root)
        files = sorted(p.name for p in root.iterdir())
        _remove_earlier(target)
    # Last, because a directory with this file is complete.
    configuration = _configuration(fit, inputs or {}, time.perf_counter() - start)
    write_json(configuration | {"files": files}, target / CONFIG)
    return target


def refuse_bundle(directory: str | Path) -> None:
    """Refuse a directory that holds a bundle or a snapshot, some files of which have the names of those of a fit.

    Raises
    ------
    InputError
        If it has a manifest.
    """
    if (Path(directory) / MANIFEST).is_file():
        msg = f"{directory} holds a bundle or a snapshot, which a fit would damage: name another --output-dir"
        raise InputError(msg)


def _remove_earlier(directory: Path) -> None:
    """Remove what an earlier fit wrote into its directory, and what was made of it later."""
    path = directory / CONFIG
    if not path.is_file():
        return
    listed = json.loads(path.read_text(encoding="utf-8")).get("files", [])
    drawn = [p for kind in ("png", "pdf") for p in (directory / "figures").glob(f"*.{kind}")]
    for old in (path, *(directory / Path(name).name for name in (*listed, *_MADE_LATER)), *drawn):
        old.unlink(missing_ok=True)


def _write_files(fit: Fit, root: Path) -> None:
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


def _fixed_tables(fit: Fit) -> dict[TableSchema, pd.DataFrame]:
    usage = fit.features.loadings
    meta = usage.assign(feature_id=usage["transcript_id"], feature_type="transcript_usage")[tables.FEATURE_META.names]
    evidence = fit.evidence.reindex(columns=tables.MODULE_EVIDENCE.names)
    evidence["n_resamples"] = evidence["n_resamples"].fillna(0)
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

    def config(self) -> dict[str, Any]:
        """Read ``fit_config.json``."""
        content: dict[str, Any] = json.loads(_present(self.directory, CONFIG).read_text(encoding="utf-8"))
        return content

    def table(self, name: str) -> pd.DataFrame:
        """Read another table of the fit."""
        return read_parquet(_present(self.directory, f"{name}.parquet"))


def _present(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.is_file():
        msg = f"{path} is missing; write the fit again with 'cellkey isoforms fit --output-dir {directory}'"
        if (directory / GROUPS_FILE).is_file():
            folders = [str(n) for n in read_parquet(directory / GROUPS_FILE)["directory"] if n]
            msg = f"{directory} holds one fit per group of samples: name one of its folders ({', '.join(folders)})"
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
