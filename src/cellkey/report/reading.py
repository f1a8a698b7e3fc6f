"""The tables of a run, read from its directory: of one annotation, or of every dataset of a batch."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from cellkey.errors import CellkeyError, RunError
from cellkey.records.atomic import safe_name
from cellkey.records.fingerprint import calls_fingerprint
from cellkey.records.tables import ALL_TABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DatasetTables", "RunTables", "read_run"]

_TABLES = ("cluster_annotations", "decision_steps", "marker_evidence", "marker_scores")
_CURRENT = {name: f"refined_{name.removeprefix('cluster_')}" for name in _TABLES}
"""Tables of the clusters after refinement, which replace those of the first clustering where a run holds them."""
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
        Name of the hierarchy where no file of cells records it.
    beside
        Rows of ``confidence``, ``consensus``, ``consensus_votes`` and ``refinement_log``, as text.
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
        agreed = [r.get("cluster_id", "") for r in self.beside.get("consensus", [])] if known is None else []
        return list(dict.fromkeys([*ids, *self.answers, *agreed]))


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
        If the directory is of no such kind.
    """
    path = Path(directory)
    if (path / "batch_summary.csv").is_file():
        return _batch(path)
    if (path / "cluster_annotations.csv").is_file() and (path / "decision_steps.csv").is_file():
        return _annotation(path)
    if (path / "consensus.csv").is_file():
        return _consensus(path)
    state = "does not exist" if not path.is_dir() else (
        "holds neither batch_summary.csv nor cluster_annotations.csv"
    )
    msg = f"{path} is no run to report on: it {state}; give the directory that 'annotate', 'batch' or 'consensus' wrote"
    raise RunError(msg)


def _annotation(path: Path) -> RunTables:
    manifest = _json(path / "manifest.json")
    parameters = manifest.get("parameters", {})
    dataset = DatasetTables(str(manifest.get("input", {}).get("name", path.resolve().name)))
    _add_tables(dataset, path, "", refined=(path / "refined_annotations.csv").is_file())
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
    manifest = _json(path / "manifest.json")
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
        dataset.beside[name] = _rows(folder / f"{name}.csv")


def _batch(path: Path) -> RunTables:
    spending = _json(path / "token_tracking.json")
    manifest = _json(path / "run_manifest.json")
    settings = manifest.get("settings", {})
    datasets = [_dataset(path, row) for row in _rows(path / "batch_summary.csv")]
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
    _add_tables(dataset, details, f"{prefix}_")
    dataset.genes = _leading_genes(folder / f"{prefix}_markers.csv")
    answers = _rows(details / f"{prefix}_annotations.csv")
    dataset.answers = {a["cluster"]: a for a in answers if "cluster" in a}
    dataset.conversations = _json(details / f"{prefix}_conversations.json")
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


def _add_tables(dataset: DatasetTables, folder: Path, prefix: str, *, refined: bool = False) -> None:
    """Read the tables of a folder; a damaged one is left out with a note.

    Marker evidence of a refinement that did not write any is taken from the first clustering: the clusters that
    refinement left alone keep their identifiers and cells.
    """
    for name in _TABLES:
        files = [(name, folder / f"{prefix}{name}.csv")]
        if refined:
            files.insert(0, (_CURRENT[name], folder / f"{_CURRENT[name]}.csv"))
        schema, file = next(((s, f) for s, f in files if f.is_file()), ("", None))
        if file is None:
            continue
        try:
            dataset.tables[name] = ALL_TABLES[schema].read_csv(file)
        except CellkeyError as error:
            dataset.notes.append(f"{file.name} is left out: {error}")


def _leading_genes(path: Path) -> dict[str, list[dict[str, str]]]:
    genes: dict[str, list[dict[str, str]]] = {}
    for row in _rows(path):
        own = genes.setdefault(row.get("cluster", ""), [])
        if len(own) < _TOP_GENES:
            own.append(row)
    return genes


def _notes(path: Path) -> list[str]:
    """Notes of a dataset's log: the lines between the heading ``NOTES:`` and the next empty line."""
    if not path.is_file():
        return []
    _, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\nNOTES:\n")
    lines = [line.strip() for line in rest.split("\n\n", 1)[0].splitlines()]
    return [line for line in lines if line and line != "none"]


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table as text, without the apostrophe that keeps spreadsheets from running a cell."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        return [{str(k): _plain(v) for k, v in row.items() if k is not None} for row in csv.DictReader(handle)]


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return text[1:] if text[:1] == "'" and text[1:2] in tuple("=+-@") else text


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
