"""The tables of a run, read from its directory: of one annotation, or of every dataset of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

from cellkey.errors import CellkeyError
from cellkey.hierarchy import DEFAULT
from cellkey.hierarchy.matching import match_hierarchy
from cellkey.records.atomic import safe_name
from cellkey.records.fingerprint import calls_fingerprint
from cellkey.records.run_tables import RunKind, current_file, json_content, named_file, run_kind, table_rows, text_rows
from cellkey.records.tables import ALL_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["DatasetTables", "RunTables", "read_run"]

_TABLES = ("cluster_annotations", "decision_steps", "marker_evidence", "marker_scores")
_ANSWER_FILES = ("markers.csv", "annotations.csv", "conversations.json")
"""Leading genes, what a model answered, and how it came to it."""
_TOP_GENES = 15
_CELLS = ("output.h5ad", "refined.h5ad", "coarse_clusters.h5ad")


@dataclass
class DatasetTables:
    """What a run says about one dataset; parts that it does not hold are empty.

    Parameters
    ----------
    name, tissue, status, error
        As in the summary of a batch; an annotation run has succeeded.
    row
        Row of the summary, as text.
    tables
        Tables by name, see :data:`~cellkey.records.tables.ALL_TABLES`; after refinement those of the refined clusters.
    cells
        File of the cells with their coordinates; None if there is none.
    hierarchy
        Name of the built-in hierarchy where no file of cells records one; what fits the tissue where none was used.
    beside
        Rows of ``confidence``, ``consensus``, ``consensus_votes`` and ``refinement_log``, and those of the calls of a
        marker table as ``calls``, as text.
    genes
        Leading genes of each cluster with their statistics, as text.
    answers
        What a model made of each cluster, as text by column.
    conversations
        Content of ``conversations.json``.
    notes
        What to know about the dataset.
    """

    name: str
    tissue: str = ""
    status: str = "success"
    error: str = ""
    row: dict[str, str] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    genes: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    conversations: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cells: Path | None = None
    hierarchy: str = ""
    beside: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    @property
    def clusters(self) -> list[str]:
        """Identifiers, in the order of the tables."""
        known = self.tables.get("cluster_annotations")
        ids = [] if known is None else [str(c) for c in known["cluster_id"]]
        others = [*self.beside.get("consensus", []), *self.beside.get("calls", [])] if known is None else []
        named = (r.get("cluster_id") or r.get("cluster", "") for r in others)
        return list(dict.fromkeys([*ids, *self.answers, *named]))


@dataclass
class RunTables:
    """A run: its name, its kind, facts about the whole, and its datasets.

    ``calls`` is the fingerprint of the calls, which a reviewer's plan names; empty where a run cannot be refined.
    """

    name: str
    kind: str
    facts: dict[str, Any]
    datasets: list[DatasetTables]
    calls: str = ""
    spending: dict[str, Any] = field(default_factory=dict)


def read_run(directory: str | Path) -> RunTables:
    """Return the tables of a run directory.

    Raises
    ------
    RunError
        If the directory is of no kind that is known.
    """
    return _READERS[run_kind(directory)](Path(directory))


def _annotation(path: Path) -> RunTables:
    manifest = json_content(path / "manifest.json")
    parameters = manifest.get("parameters", {})
    dataset = DatasetTables(str(manifest.get("input", {}).get("name", path.resolve().name)))
    _add_tables(dataset, {name: current_file(path, name) for name in _TABLES})
    dataset.notes += [str(m) for m in manifest.get("messages", [])]
    _add_beside(dataset, path)
    dataset.cells = next((path / n for n in _CELLS if (path / n).is_file()), None)
    facts = {
        "input": dataset.name,
        "marker hierarchy": parameters.get("hierarchy", ""),
        "expression layer": parameters.get("layer", ""),
        "refined": f"{len(manifest['refinements'])} time(s)" if manifest.get("refinements") else "",
        "made": manifest.get("created", ""),
        "cellkey": manifest.get("cellkey", ""),
    }
    calls = calls_fingerprint(path) if dataset.cells is not None else ""
    return RunTables(path.resolve().name, "annotation", facts, [dataset], calls)


def _consensus(path: Path) -> RunTables:
    """A folder that holds a consensus without the run behind it."""
    manifest = json_content(path / "manifest.json")
    dataset = DatasetTables(str(manifest.get("input", {}).get("name", path.resolve().name)))
    _add_beside(dataset, path)
    dataset.notes += [str(m) for m in manifest.get("messages", [])]
    dataset.hierarchy = str(manifest.get("hierarchy", ""))
    facts = {
        "sources": ", ".join(map(str, manifest.get("sources", []))),
        "marker hierarchy": dataset.hierarchy,
        "made": manifest.get("created", ""),
        "cellkey": manifest.get("cellkey", ""),
    }
    return RunTables(path.resolve().name, "consensus", facts, [dataset])


def _add_beside(dataset: DatasetTables, folder: Path) -> None:
    for name in ("confidence", "consensus", "consensus_votes", "refinement_log"):
        file = current_file(folder, name)
        dataset.beside[name] = [] if file is None else text_rows(file)


def _marker_table(path: Path) -> RunTables:
    """Clusters of a marker table, called without cells."""
    manifest, file = json_content(path / "run_manifest.json"), named_file(path, "calls.csv")
    name = Path(str(manifest.get("input", ""))).name
    dataset = DatasetTables(name or path.resolve().name, hierarchy=str(manifest.get("hierarchy", "")))
    dataset.beside["calls"] = [] if file is None else text_rows(file)
    facts = {
        "input": name,
        "marker hierarchy": dataset.hierarchy,
        "chosen because": manifest.get("hierarchy_chosen_because", ""),
        "cellkey": manifest.get("versions", {}).get("cellkey", ""),
    }
    return RunTables(path.resolve().name, str(RunKind.MARKER_TABLE), facts, [dataset])


def _model_table(path: Path) -> RunTables:
    """Clusters of a marker table, or sub-clusters of one population, named by a language model."""
    manifest, spending = json_content(path / "run_manifest.json"), json_content(path / "token_tracking.json")
    study, model = manifest.get("study", {}), manifest.get("model", {})
    tissue = str(study.get("tissue") or "")
    dataset = DatasetTables(str(study.get("dataset", path.resolve().name)), tissue,
                            hierarchy=match_hierarchy(tissue, fallback=DEFAULT))
    _add_answers(dataset, {e: named_file(path, e) for e in _ANSWER_FILES})
    dataset.answers = {a["cluster"]: a for a in table_rows(path)}
    facts = {
        "input": Path(str(manifest.get("input", ""))).name or dataset.name,
        "sub-clusters of": manifest.get("parent", ""),
        "species": study.get("species") or "",
        "model": model.get("model", ""),
        "finished": spending.get("finished_at", ""),
        "cellkey": manifest.get("versions", {}).get("cellkey", ""),
    }
    return RunTables(path.resolve().name, str(run_kind(path)), facts, [dataset], spending=spending)


def _add_answers(dataset: DatasetTables, files: Mapping[str, Path | None]) -> None:
    """Read what a model made of the clusters, by the ending of the file."""
    markers, answers, said = (files[e] for e in _ANSWER_FILES)
    if markers is not None:
        dataset.genes = _leading_genes(markers)
    listed = [] if answers is None else text_rows(answers)
    dataset.answers = {a["cluster"]: a for a in listed if "cluster" in a}
    dataset.conversations = {} if said is None else json_content(said)


def _batch(path: Path) -> RunTables:
    spending = json_content(path / "token_tracking.json")
    manifest = json_content(path / "run_manifest.json")
    settings = manifest.get("settings", {})
    datasets = [_dataset(path, row) for row in text_rows(path / "batch_summary.csv")]
    facts = {
        "annotator": settings.get("annotator", ""),
        "species": settings.get("species", ""),
        "state": manifest.get("status", ""),
        "started": manifest.get("started_at", ""),
        "finished": spending.get("finished_at", ""),
        "cellkey": manifest.get("versions", {}).get("cellkey", ""),
    }
    return RunTables(path.resolve().name, "batch", facts, datasets, spending=spending)


def _dataset(run: Path, row: dict[str, str]) -> DatasetTables:
    dataset = DatasetTables(
        row.get("dataset", ""), row.get("tissue", ""), row.get("status", ""), row.get("error", ""), row
    )
    folder = _folder(run, row)
    if folder is None:
        return dataset
    prefix = safe_name(dataset.name)
    details = folder / "details"
    _add_tables(dataset, {name: details / f"{prefix}_{name}.csv" for name in _TABLES})
    places = (folder, details, details)
    _add_answers(dataset, {e: d / f"{prefix}_{e}" for e, d in zip(_ANSWER_FILES, places, strict=True)})
    dataset.notes += _notes(folder / f"{prefix}_summary.txt")
    annotated = folder / f"{prefix}_annotated.h5ad"
    dataset.cells = annotated if annotated.is_file() else None
    return dataset


def _folder(run: Path, row: dict[str, str]) -> Path | None:
    """Folder of a dataset inside the run, also after the run was moved; never one outside it."""
    parts = PurePath(row.get("output_dir", "")).parts[-2:]
    for inside in (parts, (safe_name(row.get("tissue", "")), safe_name(row.get("dataset", "")))):
        folder = run.joinpath(*inside)
        if len(inside) == 2 and folder.is_dir() and folder.resolve().is_relative_to(run.resolve()):
            return folder
    return None


def _add_tables(dataset: DatasetTables, files: Mapping[str, Path | None]) -> None:
    """Read tables by their plain names; a damaged one is left out with a note.

    Marker evidence of a refinement that did not write any is taken from the first clustering: the clusters that
    refinement left alone keep their identifiers and cells.
    """
    for name, file in files.items():
        if file is None or not file.is_file():
            continue
        schema = ALL_TABLES[file.stem if file.stem in ALL_TABLES else name]
        try:
            dataset.tables[name] = schema.read_csv(file)
        except CellkeyError as error:
            dataset.notes.append(f"{file.name} is left out: {error}")


def _leading_genes(path: Path) -> dict[str, list[dict[str, str]]]:
    genes: dict[str, list[dict[str, str]]] = {}
    for row in text_rows(path, first_of=("cluster", _TOP_GENES)):
        genes.setdefault(row.get("cluster", ""), []).append(row)
    return genes


def _notes(path: Path) -> list[str]:
    """Notes of a dataset's log: the lines between the heading ``NOTES:`` and the next empty line."""
    if not path.is_file():
        return []
    _, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\nNOTES:\n")
    lines = [line.strip() for line in rest.split("\n\n", 1)[0].splitlines()]
    return [line for line in lines if line and line != "none"]


_READERS: Final = {
    RunKind.ANNOTATION: _annotation,
    RunKind.BATCH: _batch,
    RunKind.CONSENSUS: _consensus,
    RunKind.MARKER_TABLE: _marker_table,
    RunKind.MODEL_TABLE: _model_table,
    RunKind.SUBCLUSTERS: _model_table,
}
