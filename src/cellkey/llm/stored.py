"""Finished annotations read back from their directories, ready to be asked about again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError, RunError, did_you_mean
from cellkey.llm.conversations import SCHEMA, result_of
from cellkey.llm.evidence import Study
from cellkey.llm.identifiers import natural_key
from cellkey.llm.knowledge import Knowledge, bundled_knowledge
from cellkey.llm.marker_selection import SelectionParameters
from cellkey.llm.marker_tables import read_marker_table, written_markers
from cellkey.llm.result_tables import ANNOTATIONS
from cellkey.llm.results import AnnotationResult, with_term
from cellkey.llm.setup import ModelSettings
from cellkey.llm.workflow import WorkflowParameters
from cellkey.records.atomic import atomic_path, safe_name, write_text
from cellkey.records.run import package_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = [
    "MANIFEST",
    "AskedWith",
    "StoredResult",
    "chosen_clusters",
    "open_table_run",
    "read_result",
    "write_manifest",
    "write_markers",
]

MANIFEST = "run_manifest.json"
_SCHEMA = "table-run/1"


@dataclass(frozen=True)
class AskedWith:
    """What an annotation was made with: who was asked about what, and how."""

    study: Study
    model: ModelSettings
    workflow: WorkflowParameters
    selection: SelectionParameters
    ontology: str | None = None
    panels: str | None = None


@dataclass(frozen=True)
class StoredResult:
    """A finished annotation: results, the marker table they rest on, and what they were made with."""

    result: AnnotationResult
    markers: pd.DataFrame
    asked: AskedWith
    knowledge: Knowledge
    source: Path


def read_result(
    folder: Path,
    markers: pd.DataFrame,
    asked: AskedWith,
    knowledge: Knowledge,
    prefix: str | None = None,
) -> AnnotationResult:
    """Return the result that :meth:`AnnotationResult.write` left in ``folder``.

    Calls are those of the run that made it, so a result that was read has none.

    Parameters
    ----------
    folder
        Where the files are.
    markers
        The marker table that was annotated.
    asked, knowledge
        What it was annotated with.
    prefix
        How the names of the files begin; from the dataset by default.

    Raises
    ------
    RunError
        If a file is missing or of another form.
    """
    name = prefix if prefix is not None else safe_name(asked.study.dataset)
    content = _json(folder / f"{name}_conversations.json", SCHEMA)
    rows = ANNOTATIONS.read_csv(folder / f"{name}_annotations.csv")
    order = sorted(content["clusters"], key=natural_key)
    if len(rows) != len(order):
        msg = f"{folder}: {len(rows)} rows of annotations but {len(order)} conversations"
        raise RunError(msg)
    sizes = {c: int(n) for c, n in zip(order, rows["n_cells"], strict=True) if n == n}
    evidence = knowledge.evidence(markers, asked.study, asked.selection, sizes)
    unknown = [c for c in order if c not in evidence]
    if unknown:
        msg = f"the marker table of {folder} does not hold cluster {unknown[0]!r}"
        raise RunError(msg)
    clusters = tuple(with_term(result_of(content["clusters"][c], evidence[c]), knowledge.terms) for c in order)
    model = str(rows["model"].iloc[0]) if len(rows) else asked.model.model
    provider = str(rows["provider"].iloc[0]) if len(rows) else asked.model.provider
    return AnnotationResult(clusters, asked.study, model, provider, terms=knowledge.terms)


def open_table_run(directory: str | Path) -> StoredResult:
    """Return the annotation of a marker table from its directory.

    Raises
    ------
    RunError
        If the directory holds none, or one that is not finished.
    """
    folder = Path(directory)
    manifest = _json(folder / MANIFEST, _SCHEMA)
    asked = AskedWith(
        Study(**manifest["study"]),
        ModelSettings.parse(manifest["model"]),
        WorkflowParameters.parse(manifest["workflow"]),
        SelectionParameters.parse(manifest["selection"]),
        manifest.get("ontology"),
        manifest.get("panels"),
    )
    markers = read_marker_table(folder / f"{safe_name(asked.study.dataset)}_markers.csv")
    knowledge = bundled_knowledge(ontology=asked.ontology, panels=asked.panels, study=asked.study)
    return StoredResult(read_result(folder, markers, asked, knowledge), markers, asked, knowledge, folder)


def write_markers(markers: pd.DataFrame, directory: Path, dataset: str) -> None:
    """Write the marker table that an annotation rests on, with all digits, so that it can be taken up again."""
    with atomic_path(directory / f"{safe_name(dataset)}_markers.csv") as temporary:
        written_markers(markers).to_csv(temporary, index=False, lineterminator="\n")


def write_manifest(
    directory: Path, asked: AskedWith, source: Mapping[str, Any], *, schema: str = _SCHEMA
) -> None:
    """Write what an annotation was made with, and from what (``source``); no key is in it."""
    from cellkey.llm.prompts import prompt_hash

    content = {
        "schema": schema,
        **source,
        "study": asdict(asked.study),
        "model": asked.model.model_dump(mode="json"),
        "workflow": asked.workflow.model_dump(mode="json"),
        "selection": asked.selection.model_dump(mode="json"),
        "ontology": asked.ontology,
        "panels": asked.panels,
        "prompt_hash": prompt_hash(),
        "versions": package_versions(),
    }
    write_text(directory / MANIFEST, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def chosen_clusters(known: list[str], wanted: list[str] | None) -> list[str]:
    """Return the identifiers in ``wanted``, or all that are known.

    Raises
    ------
    InputError
        If one is not known.
    """
    for cluster in wanted or ():
        if cluster not in known:
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            msg = f"no cluster {cluster!r}{did_you_mean(cluster, known)}; there are {shown}"
            raise InputError(msg)
    return known if wanted is None else [c for c in known if c in wanted]


def _json(path: Path, schema: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} holds no finished annotation by a language model: {path.name} is missing"
        raise RunError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}"
        raise RunError(msg) from None
    if not isinstance(content, dict) or content.get("schema") != schema:
        found = content.get("schema") if isinstance(content, dict) else None
        msg = f"{path} is of the form {found!r}, not {schema!r}: this needs the results of 'llm annotate'"
        raise RunError(msg)
    return content
