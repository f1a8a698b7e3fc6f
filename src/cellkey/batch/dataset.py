"""One dataset from file to results: prepare, cluster, compare clusters, name them, write everything at once."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.batch.labels import ClusterLabel, labels_by_both, labels_by_markers, labels_by_model
from cellkey.batch.rows import SUCCESS, DatasetRow, clean_error
from cellkey.batch.settings import Annotator, BatchSettings
from cellkey.batch.texts import dataset_log, marker_annotation
from cellkey.errors import CellkeyError, CellkeyWarning, MissingDependencyError
from cellkey.llm.accounting import token_tracking
from cellkey.llm.journal import read_calls
from cellkey.records.atomic import write_text
from cellkey.records.event_log import tell
from cellkey.records.run import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd

    from cellkey.annotation.result import AnnotationResult as CellResult
    from cellkey.batch.discovery import Dataset
    from cellkey.batch.preparation import PreparedCells
    from cellkey.llm.results import AnnotationResult as ModelResult

__all__ = ["DatasetJob", "annotate_dataset", "journal_of"]

_FEWEST_CELLS = 3
"""Clusters with fewer cells are not asked about."""


@dataclass(frozen=True, slots=True)
class DatasetJob:
    """Everything a worker needs to know; plain values, so that it can be sent to any process.

    Parameters
    ----------
    dataset
        What to annotate.
    folder
        Where its results go.
    settings
        How.
    run
        Name of the run.
    workers
        Calls at once in this process.
    budget_file
        What all processes of the run have spent; None without a budget.
    """

    dataset: Dataset
    folder: Path
    settings: BatchSettings
    run: str = ""
    workers: int = 4
    budget_file: Path | None = None


def journal_of(folder: Path, prefix: str) -> Path:
    """Return the journal of the calls made for a dataset."""
    return folder / "details" / f"{prefix}_calls.jsonl"


class NoLabelError(CellkeyError):
    """No cluster of a dataset has a label."""


@dataclass
class _Work:
    """What is known so far; the log is written from it whatever happens."""

    job: DatasetJob
    started: float = field(default_factory=time.monotonic)
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    timings: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, ClusterLabel] = field(default_factory=dict)
    caught: list[warnings.WarningMessage] = field(default_factory=list)

    def row(self, **more: Any) -> DatasetRow:
        """Return the row as far as it is known."""
        dataset = self.job.dataset
        calls = token_tracking(
            read_calls(journal_of(self.job.folder, dataset.prefix)), run="", started_at="", finished_at=""
        )
        return replace(
            DatasetRow(dataset.name, dataset.tissue, str(dataset.path), output_dir=str(self.job.folder)),
            **{**self.known, **more},
            total_time=round(time.monotonic() - self.started, 2),
            started_at=self.started_at,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            api_calls=calls["total_calls"],
            input_tokens=calls["total_input_tokens"],
            output_tokens=calls["total_output_tokens"],
            cost_usd=calls["total_cost"],
        )

    def log(self, row: DatasetRow, trace: str = "") -> str:
        """Return the text of the log."""
        prefix = self.job.dataset.prefix
        calls = token_tracking(read_calls(journal_of(self.job.folder, prefix)), run="", started_at="", finished_at="")
        parameters = self.job.settings.model_dump(mode="json", exclude_none=True)
        told = [str(w.message) for w in self.caught if issubclass(w.category, CellkeyWarning)]
        notes = list(dict.fromkeys([*self.notes, *told]))
        return dataset_log(row, notes, self.timings, parameters, self.labels.values(), calls["by_role"], trace)


def annotate_dataset(job: DatasetJob, say: Callable[[str], None] = lambda _step: None) -> DatasetRow:
    """Annotate one dataset and write its files; a failure is a row and a log, never an exception.

    ``KeyboardInterrupt`` and the like pass through.
    """
    import traceback

    work = _Work(job)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work.caught = caught
            row = _annotate(job, work, say)
    except Exception as error:
        kind = work.known.pop("error_type", type(error).__name__)
        row = work.row(error=clean_error(str(error) or type(error).__name__), error_type=kind)
        trace = "" if isinstance(error, CellkeyError) else traceback.format_exc()
        _write_log(work, row, trace)
    return row


def _write_log(work: _Work, row: DatasetRow, trace: str) -> None:
    """Write the log of a failed dataset, if the file system still takes it."""
    try:
        work.job.folder.mkdir(parents=True, exist_ok=True)
        write_text(work.job.folder / f"{work.job.dataset.prefix}_summary.txt", work.log(row, trace))
    except (CellkeyError, OSError):
        return


def _annotate(job: DatasetJob, work: _Work, say: Callable[[str], None]) -> DatasetRow:
    from cellkey.batch.preparation import prepare_cells

    settings, dataset = job.settings, job.dataset
    with _Timed(work, "reading", say):
        prepared = prepare_cells(dataset.path, settings)
        work.notes += prepared.notes
        work.known.update(
            n_cells_input=prepared.n_cells_input,
            n_genes_input=prepared.n_genes_input,
            n_cells=int(prepared.adata.n_obs),
            n_genes=int(prepared.adata.n_vars),
        )
    with _Timed(work, "clustering", say):
        cells = _clustered(prepared, job, work)
        n_features = len(cells.clustering.features) if cells.clustering is not None else 0
        work.known.update(n_clusters=cells.annotation.profiles.n_groups, n_hvg=n_features)
    with _Timed(work, "markers", say):
        markers = _marker_table(cells)
    work.known["preprocessing_time"] = round(time.monotonic() - work.started, 2)
    begun = time.monotonic()
    with _Timed(work, "annotation", say):
        by_markers = labels_by_markers(cells)
        model = _ask_model(job, markers, by_markers, work) if settings.asks_a_model else None
        work.labels = _chosen(settings.annotator, by_markers, model)
        if model is None:
            _tell_of(work.labels, dataset)
    work.known.update(_outcome(work.labels, model), annotation_time=round(time.monotonic() - begun, 2))
    if not any(label.is_labelled for label in work.labels.values()):
        _keep_outcomes(job, markers, model)
        raise _no_label(model)
    with _Timed(work, "writing", say):
        return _publish(job, work, prepared, cells, markers, model)


class _Timed:
    """Times a step and says that it began."""

    def __init__(self, work: _Work, step: str, say: Callable[[str], None]) -> None:
        self._work, self._step, self._say = work, step, say

    def __enter__(self) -> None:
        self._say(self._step)
        self._begun = time.monotonic()

    def __exit__(self, *_exc: object) -> None:
        self._work.timings[self._step] = time.monotonic() - self._begun


def _clustered(prepared: PreparedCells, job: DatasetJob, work: _Work) -> CellResult:
    from cellkey.annotation.cells import annotate
    from cellkey.batch.hierarchies import hierarchy_for

    settings = job.settings
    chosen = hierarchy_for(job.dataset.tissue, settings.hierarchy)
    work.notes.append(chosen.reason)
    options: dict[str, Any] = {
        "groupby": settings.cluster_key,
        "layer": prepared.layer,
        "n_jobs": 1,
        "copy": True,
        "clustering": {
            "resolution": settings.resolution,
            "n_pcs": settings.n_pcs,
            "n_neighbors": settings.n_neighbors,
            "seed": settings.seed,
        },
    }
    try:
        result = annotate(prepared.adata, chosen.hierarchy, umap=settings.umap, **options)
    except MissingDependencyError as error:
        if not settings.umap:
            raise
        work.notes.append(f"no UMAP embedding: {error}")
        result = annotate(prepared.adata, chosen.hierarchy, umap=False, **options)
    work.notes += [f"marker hierarchy: {result.facts['hierarchy']}", *result.messages]
    return result


def _marker_table(cells: CellResult) -> pd.DataFrame:
    from cellkey.batch.markers import markers_of_profiles

    return markers_of_profiles(cells.annotation.profiles)


def _ask_model(
    job: DatasetJob, markers: pd.DataFrame, by_markers: Mapping[str, ClusterLabel], work: _Work
) -> ModelResult:
    from cellkey.batch.hierarchies import hierarchy_for
    from cellkey.llm.annotate import annotate_markers
    from cellkey.llm.budget import Budget
    from cellkey.llm.evidence import Study
    from cellkey.llm.knowledge import bundled_knowledge
    from cellkey.llm.setup import ClientTeam

    settings, dataset = job.settings, job.dataset
    study = Study(dataset.tissue, settings.species, settings.notes, dataset.name)
    sizes = {c: label.n_cells for c, label in by_markers.items()}
    asked = markers[markers["cluster"].map(lambda c: sizes[c] >= _FEWEST_CELLS)]
    calls = {c: label.detailed for c, label in by_markers.items() if label.status == "ok"}
    knowledge = bundled_knowledge(
        hierarchy_for(dataset.tissue, settings.hierarchy).hierarchy,
        settings.ontology,
        calls if settings.annotator is Annotator.BOTH else None,
        settings.panels,
        study,
    )
    budget = Budget(settings.budget_usd, settings.budget_tokens, file=job.budget_file)
    model = settings.model.updated(max_workers=job.workers)
    with ClientTeam(model, journal=journal_of(job.folder, dataset.prefix), budget=budget) as team:
        result = annotate_markers(
            asked,
            team.main,
            study=study,
            sizes=sizes,
            workflow=settings.workflow,
            selection=settings.selection,
            knowledge=knowledge,
            role_clients=team.roles,
            workers=job.workers,
        )
    work.notes += result.warnings
    if result.unanswered:
        work.notes.append(f"questions about clusters {', '.join(result.unanswered)} are open: --resume asks them again")
        work.known["error_type"] = "Unanswered"
    if team.stopped is not None:
        work.notes.append(f"no further calls were made: {team.stopped}")
        work.known["error_type"] = type(team.stopped).__name__
    return result


def _chosen(
    annotator: Annotator, by_markers: dict[str, ClusterLabel], model: ModelResult | None
) -> dict[str, ClusterLabel]:
    if model is None:
        return by_markers
    by_model = labels_by_model(model, {c: label.n_cells for c, label in by_markers.items()})
    return labels_by_both(by_markers, by_model) if annotator is Annotator.BOTH else by_model


def _tell_of(labels: Mapping[str, ClusterLabel], dataset: Dataset) -> None:
    """Log the labels of a hierarchy; those of a model are logged as they come."""
    about = {"dataset": dataset.name, "tissue": dataset.tissue}
    for cluster, label in labels.items():
        facts = {"status": label.status, "label": label.detailed, "score": label.score, "error": ""}
        tell("cluster", **about, cluster=cluster, **facts)


def _outcome(labels: Mapping[str, ClusterLabel], model: ModelResult | None) -> dict[str, Any]:
    scores = [r.case.score.score for r in model.clusters if r.case.score is not None] if model else []
    return {
        "n_clusters_unlabelled": sum(not label.is_labelled for label in labels.values()),
        "n_clusters_boosted": sum(r.case.was_boosted for r in model.clusters) if model else 0,
        "mean_score": round(float(np.mean(scores)), 2) if scores else None,
    }


def _keep_outcomes(job: DatasetJob, markers: pd.DataFrame, model: ModelResult | None) -> None:
    """Write what is known about every cluster although none has a label: no labelled cells, but rows with reasons."""
    if model is None:
        return
    with staged(job.folder) as staging:
        details = staging / "details"
        details.mkdir()
        _write_markers(markers, staging, details, job.dataset.prefix, job.settings.markers_top)
        files = model.write(details, job.dataset.prefix, store_prompts=job.settings.store_prompts)
        files["text"].replace(staging / f"{job.dataset.prefix}_annotation.txt")


def _no_label(model: ModelResult | None) -> CellkeyError:
    reasons = sorted({r.case.error for r in model.clusters}) if model is not None else []
    if model is None:
        return NoLabelError("no cluster passes the gates of the marker hierarchy")
    return NoLabelError(f"no cluster has a label: {reasons[0] if reasons else 'no cluster was asked about'}")


def _publish(
    job: DatasetJob,
    work: _Work,
    prepared: PreparedCells,
    cells: CellResult,
    markers: pd.DataFrame,
    model: ModelResult | None,
) -> DatasetRow:
    """Write all files of the dataset; they appear together."""
    from cellkey.batch.cells import labelled_cells
    from cellkey.io.write import write_cells

    settings, prefix = job.settings, job.dataset.prefix
    row = work.row(status=SUCCESS)
    with staged(job.folder) as staging:
        details = staging / "details"
        details.mkdir()
        _write_markers(markers, staging, details, prefix, settings.markers_top)
        provenance = {"run": job.run, "settings": settings.model_dump(mode="json"), **_provenance(model)}
        adata = labelled_cells(prepared, cells, work.labels, provenance, level=settings.label_level)
        write_cells(adata, staging / f"{prefix}_annotated.h5ad", x_format="as-input", compression="gzip")
        _write_annotation(job, work, cells, markers, model, staging, details)
        row = work.row(status=SUCCESS)
        write_text(staging / f"{prefix}_summary.txt", work.log(row))
    return row


def _write_markers(markers: pd.DataFrame, staging: Path, details: Path, prefix: str, top: int | None) -> None:
    from cellkey.llm.marker_tables import written_markers
    from cellkey.records.atomic import atomic_path

    shown = markers if top is None else markers.groupby("cluster", sort=False).head(top)
    with atomic_path(staging / f"{prefix}_markers.csv") as temporary:
        written_markers(shown).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    if top is not None:
        with atomic_path(details / f"{prefix}_markers_full.csv.gz") as temporary:
            written_markers(markers).to_csv(
                temporary,
                index=False,
                float_format="%.6g",
                lineterminator="\n",
                compression={"method": "gzip", "mtime": 0},
            )


def _provenance(model: ModelResult | None) -> dict[str, str]:
    from cellkey.llm.prompts import prompt_hash
    from cellkey.records.run import package_versions

    known = {f"version_{k}": v for k, v in package_versions().items()}
    if model is not None:
        known |= {"model": model.model, "provider": model.provider, "prompt_hash": prompt_hash()}
    return known


def _write_annotation(
    job: DatasetJob,
    work: _Work,
    cells: CellResult,
    markers: pd.DataFrame,
    model: ModelResult | None,
    staging: Path,
    details: Path,
) -> None:
    """Write ``annotation.txt`` and the tables behind it."""
    from cellkey.llm.marker_selection import select_markers
    from cellkey.records.tables import ALL_TABLES

    settings, dataset = job.settings, job.dataset
    for name in ("cluster_annotations", "decision_steps", "marker_evidence"):
        ALL_TABLES[name].write_csv(cells.tables[name], details / f"{dataset.prefix}_{name}.csv")
    if model is not None:
        files = model.write(details, dataset.prefix, store_prompts=settings.store_prompts)
        files["text"].replace(staging / f"{dataset.prefix}_annotation.txt")
        return
    selections = select_markers(markers, settings.selection, tissue=dataset.tissue)
    header = (
        f"DATASET {dataset.name}  TISSUE {dataset.tissue}  SPECIES {settings.species}  "
        f"MARKERS {cells.facts['hierarchy']}\n"
    )
    explanations = {c: cells.explain(c) for c in work.labels}
    write_text(
        staging / f"{dataset.prefix}_annotation.txt", marker_annotation(header, work.labels, selections, explanations)
    )
