"""A dataset of a finished batch that a language model annotated, ready to be asked about again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.batch.directory import RunDirectory
from cellkey.batch.hierarchies import hierarchy_for
from cellkey.batch.manifest import Entry, RunManifest
from cellkey.batch.settings import Annotator
from cellkey.errors import InputError, did_you_mean
from cellkey.llm.evidence import Study
from cellkey.llm.knowledge import bundled_knowledge
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.stored import AskedWith, StoredResult, open_table_run, read_result

if TYPE_CHECKING:
    import pandas as pd

    from cellkey.batch.settings import BatchSettings

__all__ = ["open_dataset", "open_result"]


def open_result(run: str | Path, dataset: str | None = None) -> StoredResult:
    """Return the annotation of a single marker table, or of one dataset of a batch; see :func:`open_dataset`."""
    is_batch = RunDirectory(Path(run)).summary_csv.is_file()
    return open_dataset(run, dataset) if is_batch else open_table_run(run)


def open_dataset(run: str | Path, name: str | None = None) -> StoredResult:
    """Return the annotation of one dataset of a batch.

    Parameters
    ----------
    run
        Run directory.
    name
        Dataset; may be left out where the run has only one, and is ``TISSUE/DATASET`` where two tissues have the name.

    Raises
    ------
    InputError
        If there is no such dataset, or it was annotated by markers alone.
    RunError
        If the directory is no batch run, or files are missing.
    """
    directory = RunDirectory(Path(run))
    manifest = RunManifest.read(directory.manifest)
    settings = manifest.settings
    if not settings.asks_a_model:
        msg = f"{run} was annotated by markers alone: no language model took part"
        raise InputError(msg)
    dataset = _chosen(manifest.entries, name).dataset
    folder = directory.path / dataset.folder
    study = Study(dataset.tissue, settings.species, settings.notes, dataset.name)
    asked = AskedWith(study, settings.model, settings.workflow, settings.selection, settings.ontology, settings.panels)
    markers = _markers(folder, dataset.prefix)
    knowledge = bundled_knowledge(
        hierarchy_for(dataset.tissue, settings.hierarchy).hierarchy,
        settings.ontology,
        _marker_calls(folder, dataset.prefix, settings),
        settings.panels,
        study,
    )
    result = read_result(folder / "details", markers, asked, knowledge, dataset.prefix)
    kept = {r.cluster for r in result.clusters}  # clusters of a cell or two were not asked about
    markers = markers[markers["cluster"].isin(kept)].reset_index(drop=True)
    return StoredResult(result, markers, asked, knowledge, directory.path)


def _chosen(entries: list[Entry], name: str | None) -> Entry:
    names = {e.dataset.name: e for e in entries} | {f"{e.dataset.tissue}/{e.dataset.name}": e for e in entries}
    if name is None:
        if len(entries) == 1:
            return entries[0]
        shown = ", ".join(e.dataset.name for e in entries[:8])
        msg = f"the run has {len(entries)} datasets: name one with --dataset ({shown})"
        raise InputError(msg)
    same = [e for e in entries if e.dataset.name == name]
    if len(same) > 1:
        options = " or ".join(f"{e.dataset.tissue}/{name}" for e in same)
        msg = f"several tissues have a dataset {name!r}: say {options}"
        raise InputError(msg)
    if name not in names:
        msg = f"the run has no dataset {name!r}{did_you_mean(name, list(names))}"
        raise InputError(msg)
    return names[name]


def _markers(folder: Path, prefix: str) -> pd.DataFrame:
    full = folder / "details" / f"{prefix}_markers_full.csv.gz"
    return read_marker_table(full if full.is_file() else folder / f"{prefix}_markers.csv")


def _marker_calls(folder: Path, prefix: str, settings: BatchSettings) -> dict[str, str] | None:
    """What the marker hierarchy called the clusters, where the model's labels were checked against it."""
    if settings.annotator is not Annotator.BOTH:
        return None
    from cellkey.records.tables import CLUSTER_ANNOTATIONS

    table = CLUSTER_ANNOTATIONS.read_csv(folder / "details" / f"{prefix}_cluster_annotations.csv")
    resolved = table[(table["assigned_path"] != "") & ~table["assigned_label"].str.contains("~")]
    return dict(zip(resolved["cluster_id"].astype(str), resolved["assigned_label"].astype(str), strict=True))
