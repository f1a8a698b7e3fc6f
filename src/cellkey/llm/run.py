"""A marker table from file to results, in a directory of its own that an interrupted run goes on in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import RunError
from cellkey.llm.accounting import token_tracking
from cellkey.llm.annotate import annotate_markers
from cellkey.llm.budget import Budget
from cellkey.llm.evidence import Study
from cellkey.llm.knowledge import bundled_knowledge
from cellkey.llm.marker_selection import SelectionParameters, select_markers
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.prompts import prompt_hash
from cellkey.llm.setup import SCRIPTED, ModelSettings, open_client
from cellkey.llm.workflow import WorkflowParameters
from cellkey.records.atomic import write_text
from cellkey.records.run import package_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from cellkey.llm.results import AnnotationResult
    from cellkey.llm.workflow import Case

__all__ = ["TableRun", "annotate_table_file", "preview_table"]

JOURNAL = ".token_calls.jsonl"
_SETTINGS = "run_manifest.json"


@dataclass(frozen=True)
class TableRun:
    """A finished annotation of a marker table."""

    directory: Path
    result: AnnotationResult


def annotate_table_file(
    path: str | Path,
    output_dir: str | Path,
    *,
    model: ModelSettings,
    study: Study | None = None,
    workflow: WorkflowParameters | None = None,
    selection: SelectionParameters | None = None,
    ontology: str | Path | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
    on_cluster: Callable[[Case], None] | None = None,
) -> TableRun:
    """Annotate the marker table in ``path`` and write the results.

    Parameters
    ----------
    path
        See :func:`cellkey.llm.read_marker_table`.
    output_dir
        A new directory, or with ``resume`` that of an interrupted run.
    model, study, workflow, selection
        Who is asked about what, and how.
    ontology
        OBO file of the Cell Ontology; the bundled terms if None.
    budget_usd, budget_tokens
        Limits of the whole run.
    resume
        Go on in ``output_dir``: answers that are there are not asked for again.
    probe
        Whether the model is tried with one tiny call before any question.
    on_cluster
        Told of every finished cluster.

    Raises
    ------
    RunError
        If the directory is in use without ``resume``.
    InputError, ServiceError
        If the table or the model cannot be used; nothing is written then.
    """
    table = read_marker_table(path)
    directory = Path(output_dir)
    _check_directory(directory, resume=resume)
    context = study or Study(dataset=Path(path).name.split(".")[0])
    journal = directory / JOURNAL
    budget = _budget(budget_usd, budget_tokens, journal)
    client = open_client(model, journal=journal, budget=budget)
    try:
        if probe and not client.journal.calls and model.provider != SCRIPTED and not model.replay:
            client.probe()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        result = annotate_markers(
            table,
            client,
            study=context,
            workflow=workflow,
            selection=selection,
            knowledge=bundled_knowledge(ontology=ontology),
            workers=model.max_workers,
            on_cluster=on_cluster,
        )
        result.write(directory, context.dataset)
        tracking = token_tracking(
            client.journal.calls,
            run=directory.name,
            started_at=started,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            prices={model.model: client.price},
        )
    finally:
        client.close()
        budget.close()
    write_text(directory / "token_tracking.json", json.dumps(tracking, indent=1, ensure_ascii=False) + "\n")
    _write_manifest(directory, path, context, model, workflow, selection)
    return TableRun(directory, result)


def _check_directory(directory: Path, *, resume: bool) -> None:
    if resume and not (directory / JOURNAL).is_file():
        msg = f"{directory} holds no interrupted run of a marker table"
        raise RunError(msg)
    if not resume and directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty: choose another with --out, or go on in it with --resume"
        raise RunError(msg)


def _budget(usd: float | None, tokens: int | None, journal: Path) -> Budget:
    from cellkey.llm.journal import read_calls

    calls = read_calls(journal)
    return Budget(
        usd,
        tokens,
        spent_usd=sum(c.cost for c in calls),
        spent_tokens=sum(c.input_tokens + c.output_tokens for c in calls),
    )


def _write_manifest(
    directory: Path,
    path: str | Path,
    study: Study,
    model: ModelSettings,
    workflow: WorkflowParameters | None,
    selection: SelectionParameters | None,
) -> None:
    content = {
        "schema": "table-run/1",
        "input": str(path),
        "study": {"tissue": study.tissue, "species": study.species, "notes": study.notes, "dataset": study.dataset},
        "model": model.model_dump(mode="json"),
        "workflow": (workflow or WorkflowParameters()).model_dump(mode="json"),
        "selection": (selection or SelectionParameters()).model_dump(mode="json"),
        "prompt_hash": prompt_hash(),
        "versions": package_versions(),
    }
    write_text(directory / _SETTINGS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def preview_table(
    path: str | Path, model: ModelSettings, workflow: WorkflowParameters, selection: SelectionParameters
) -> str:
    """Return what annotating a table would take, and one example of what would be sent."""
    from cellkey.llm.estimate import estimate_annotation
    from cellkey.llm.evidence import evidence_of
    from cellkey.llm.prompts import data_block

    table = read_marker_table(path)
    selections = select_markers(table, selection)
    price = model.prices.price(model.model, is_local=model.is_local)
    guess = estimate_annotation(len(selections), workflow, price, n_genes=selection.n_genes, workers=model.max_workers)
    first = next(iter(evidence_of(selections, Study()).values()))
    lines = [
        f"{len(selections)} clusters, {sum(len(s.genes) for s in selections.values())} genes shown in all",
        f"Calls: ~{guess.calls.point:.0f}; {guess.calls.low:.0f} to {guess.calls.high:.0f}",
        f"Tokens: ~{guess.input_tokens.point:,.0f} in, ~{guess.output_tokens.point:,.0f} out",
        f"Cost: ~${guess.cost.point:.2f}; ${guess.cost.low:.2f} to ${guess.cost.high:.2f} ({price.source} price)",
        "",
        "What would be sent about the first cluster, after the instructions:",
        data_block(first.described()),
    ]
    return "\n".join(lines) + "\n"
