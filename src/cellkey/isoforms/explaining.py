"""Explain the modules of a fit, each in a directory of tables, figures and a summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellkey import __version__
from cellkey.isoforms import tables
from cellkey.isoforms.attribution import VaeWeights, integrated_gradients, read_checkpoint, vae_drivers
from cellkey.isoforms.explanation import ExplainParameters, ModuleExplanation, explain_module
from cellkey.isoforms.explanation_inputs import ExplanationInputs, aligned_inputs
from cellkey.isoforms.fit_files import FitFiles, read_fit, write_json
from cellkey.isoforms.parquet import sha256_of, write_parquet
from cellkey.isoforms.structure import read_structure, structure_by_gene
from cellkey.records.atomic import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["explain_modules"]

_MANIFEST = "module_explanation_manifest.json"


def explain_modules(
    artifact_dir: str | Path,
    *,
    output_dir: str | Path = "artifacts/explain",
    module_ids: Sequence[str] | None = None,
    feature_table: str | Path | pd.DataFrame | None = None,
    feature_meta: str | Path | pd.DataFrame | None = None,
    module_score_table: str | Path | pd.DataFrame | None = None,
    annotation_table: str | Path | None = None,
    parameters: ExplainParameters | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, ModuleExplanation]:
    """Explain the modules of a fit and write one directory per module.

    Parameters
    ----------
    artifact_dir
        Directory of a fit.
    feature_table, feature_meta
        Samples x features table (``sample_id`` column or index) and its columns (``feature_id``, ``gene_id``,
        ``feature_type``, ``transcript_id``). None takes the transcript usage that the fit wrote.
    module_score_table
        Samples x modules profiles that replace the eigengenes.
    annotation_table
        Structure of transcripts (``annotate-structure``), added to the polarity table by transcript and to the driver
        table by gene.
    tell
        Is told what was left out, a line each; the manifest has it as ``notes``.

    Returns
    -------
    Explanations by module id. Files: ``<output_dir>/<module_id>/`` with ``gene_driver_table``,
    ``transcript_polarity_table``, ``high_vs_low_table`` (parquet), ``module_summary.json`` and
    ``module_explanation_manifest.json``; ``<output_dir>/module_explanation_manifest.json`` lists the modules.

    Raises
    ------
    RunError
        If a file of the fit is missing.
    InputError
        If a module is unknown, ids repeat, columns are missing or too few samples overlap.
    """
    settings = parameters or ExplainParameters()
    fit = read_fit(artifact_dir)
    inputs = aligned_inputs(fit, module_ids, feature_table, feature_meta, module_score_table)
    for note in inputs.notes:
        tell(note)
    weights = None
    if settings.vae_attribution or settings.integrated_gradients:
        weights = read_checkpoint(fit.directory, [str(f) for f in inputs.score_meta["feature_id"]])
    structure = None if annotation_table is None else read_structure(annotation_table)
    found = {}
    for m in inputs.profiles:
        explained = _attributed(explain_module(inputs, m, settings), inputs, weights, settings)
        found[m] = explained if structure is None else _with_structure(explained, inputs, structure)
    root = Path(output_dir)
    root.mkdir(parents=True, exist_ok=True)
    index = [_write(explanation, root, inputs, settings) for explanation in found.values()]
    plots = _draw_eigengenes(fit, root, settings)
    write_json(
        {
            "isograph_version": f"cellkey {__version__}",
            "module_ids": list(found),
            "n_modules": len(found),
            "artifact_dir": str(artifact_dir),
            "settings": settings.model_dump(),
            "n_samples": len(inputs.samples),
            "notes": list(inputs.notes),
            "tables_per_module": {m["module_id"]: m["tables"] for m in index},
            "plot_files": [*plots, *(f"{m['directory']}/{p}" for m in index for p in m["plots"])],
            "annotation_provided": structure is not None,
            "annotation_columns": [] if structure is None else list(structure.columns),
            "vae_attribution_available": settings.vae_attribution,
            "ig_attribution_available": settings.integrated_gradients,
            "modules": index,
        },
        root / _MANIFEST,
    )
    return found


def _attributed(
    explanation: ModuleExplanation, inputs: ExplanationInputs, weights: VaeWeights | None, settings: ExplainParameters
) -> ModuleExplanation:
    if weights is None:
        return explanation
    profile, meta = inputs.profiles[explanation.module_id], inputs.score_meta.reset_index(drop=True)
    drivers = attributions = None
    if settings.vae_attribution:
        drivers = tables.VAE_DRIVERS.conform(vae_drivers(
            weights, inputs.scores, meta, profile, explanation.gene_drivers,
            fdr=settings.vae_fdr_threshold, percentile=settings.vae_percentile_threshold,
        )[tables.VAE_DRIVERS.names])
    if settings.integrated_gradients:
        genes = set(inputs.fit.modules.members[explanation.module_id])
        attributions = tables.IG_ATTRIBUTIONS.conform(integrated_gradients(
            weights, inputs.scores, meta, profile, genes, n_steps=settings.ig_n_steps, baseline=settings.ig_baseline
        )[tables.IG_ATTRIBUTIONS.names])
    return replace(explanation, vae_drivers=drivers, ig_attributions=attributions)


def _with_structure(
    explanation: ModuleExplanation, inputs: ExplanationInputs, structure: pd.DataFrame
) -> ModuleExplanation:
    meta = inputs.table_meta.dropna(subset=["transcript_id"]).drop_duplicates("transcript_id")
    owner = pd.Series(meta["gene_id"].to_numpy(), index=meta["transcript_id"].astype(str))
    return replace(
        explanation,
        transcript_polarity=explanation.transcript_polarity.join(structure, on="transcript_id"),
        gene_drivers=explanation.gene_drivers.join(structure_by_gene(structure, owner), on="gene_id"),
    )


def _draw_eigengenes(fit: FitFiles, root: Path, settings: ExplainParameters) -> list[str]:
    if not settings.plot or not len(fit.eigengenes):
        return []
    from cellkey.isoforms.figures.modules import eigengene_heatmap
    from cellkey.isoforms.figures.saving import DPI
    from cellkey.plots._style import figure_of, save

    name = f"eigengene_heatmap.{settings.output_format}"
    save(figure_of(eigengene_heatmap(fit.eigengenes)), root / name, DPI)
    return [name]


def _draw(explanation: ModuleExplanation, inputs: ExplanationInputs, directory: Path, kind: str) -> list[str]:
    from cellkey.isoforms.figures.saving import DPI, explanation_figures
    from cellkey.plots._style import save

    meta = inputs.table_meta
    usage = pd.DataFrame(inputs.table, columns=list(meta["feature_id"]))
    transcripts = meta[meta["feature_type"] == "transcript_usage"]
    profile = inputs.profiles[explanation.module_id]
    names = []
    for name, figure in explanation_figures(explanation, usage, transcripts, profile, inputs.fit.gene_names):
        names.append(f"{name}.{kind}")
        save(figure, directory / names[-1], DPI)
    return names


def _write(
    explanation: ModuleExplanation, root: Path, inputs: ExplanationInputs, settings: ExplainParameters
) -> dict[str, Any]:
    directory = root / safe_name(explanation.module_id)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_earlier(directory)
    frames = {
        "gene_driver_table": explanation.gene_drivers,
        "transcript_polarity_table": explanation.transcript_polarity,
        "high_vs_low_table": explanation.high_vs_low,
        "vae_drivers": explanation.vae_drivers,
        "ig_attributions": explanation.ig_attributions,
    }
    files: list[dict[str, Any]] = []
    for name, frame in frames.items():
        if frame is None:
            continue
        path = directory / f"{name}.parquet"
        write_parquet(frame, path)
        files.append(_entry(path, name) | {"rows": len(frame), "columns": list(frame.columns)})
    written = [f["name"] for f in files]
    write_json(explanation.summary, directory / "module_summary.json")
    files.append(_entry(directory / "module_summary.json", "module_summary"))
    plots = _draw(explanation, inputs, directory, settings.output_format) if settings.plot else []
    files += [_entry(directory / p, p.rpartition(".")[0]) for p in plots]
    write_json(
        {"module_id": explanation.module_id, "isograph_version": f"cellkey {__version__}", "files": files},
        directory / _MANIFEST,
    )
    return {
        "module_id": explanation.module_id,
        "directory": directory.name,
        "manifest": f"{directory.name}/{_MANIFEST}",
        "n_genes": explanation.summary["n_module_genes"],
        "tables": written,
        "plots": plots,
    }


def _remove_earlier(directory: Path) -> None:
    """Remove the files that the manifest of an earlier explanation lists: they may no longer be true."""
    manifest = directory / _MANIFEST
    if manifest.is_file():
        for entry in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
            (directory / Path(entry["path"]).name).unlink(missing_ok=True)


def _entry(path: Path, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "path": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "rows": None,
        "columns": None,
    }
