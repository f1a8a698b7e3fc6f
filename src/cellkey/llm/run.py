"""A marker table from file to results, in a directory of its own that an interrupted run goes on in."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import RunError, ServiceError
from cellkey.llm.accounting import token_tracking
from cellkey.llm.annotate import annotate_markers
from cellkey.llm.budget import Budget
from cellkey.llm.evidence import Study
from cellkey.llm.knowledge import bundled_knowledge
from cellkey.llm.marker_selection import SelectionParameters
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.setup import ClientTeam, ModelSettings
from cellkey.llm.stored import AskedWith, write_manifest, write_markers
from cellkey.llm.workflow import WorkflowParameters
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from cellkey.llm.results import AnnotationResult
    from cellkey.llm.workflow import Case

__all__ = ["TableRun", "annotate_table_file", "asking_in", "write_table_run"]

JOURNAL = ".token_calls.jsonl"


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
    panels: str | Path | None = None,
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
    panels
        Folder of marker panels that are shown as evidence; see :func:`cellkey.llm.panels.read_panels`.
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
    asked = AskedWith(
        study or Study(dataset=Path(path).name.split(".")[0]),
        model,
        workflow or WorkflowParameters(),
        selection or SelectionParameters(),
        None if ontology is None else str(ontology),
        None if panels is None else str(panels),
    )
    knowledge = bundled_knowledge(ontology=ontology, panels=panels, study=asked.study)
    with asking_in(
        output_dir, model, budget_usd=budget_usd, budget_tokens=budget_tokens, resume=resume, probe=probe
    ) as team:
        result = annotate_markers(
            table,
            team.main,
            study=asked.study,
            workflow=asked.workflow,
            selection=asked.selection,
            knowledge=knowledge,
            role_clients=team.roles,
            workers=model.max_workers,
            on_cluster=on_cluster,
        )
        return write_table_run(output_dir, result, table, asked, {"input": str(path)})


def write_table_run(
    directory: str | Path,
    result: AnnotationResult,
    markers: pd.DataFrame,
    asked: AskedWith,
    source: Mapping[str, Any],
) -> TableRun:
    """Write a result with all that is needed to take it up again; ``source`` says in the record where it is from."""
    folder = Path(directory)
    result.write(folder, asked.study.dataset)
    write_markers(markers, folder, asked.study.dataset)
    write_manifest(folder, asked, source)
    return TableRun(folder, result)


@contextlib.contextmanager
def asking_in(
    directory: str | Path,
    model: ModelSettings,
    *,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
) -> Iterator[ClientTeam]:
    """Yield clients whose calls are kept in ``directory``; afterwards ``token_tracking.json`` is there.

    Parameters
    ----------
    directory
        A new directory, or with ``resume`` that of an interrupted run.
    model
        Who is asked.
    budget_usd, budget_tokens
        Limits of the whole run, what an interrupted run spent included.
    resume
        Whether answers that are in ``directory`` are used again.
    probe
        Whether models are tried before anything else.

    Raises
    ------
    RunError
        If the directory is in use without ``resume``.
    InputError, ServiceError
        If a model cannot be used; nothing is left behind then.
    KeyboardInterrupt
        After an interrupt, with how to go on.
    """
    folder = Path(directory)
    _check_directory(folder, resume=resume)
    journal = folder / JOURNAL
    budget = _budget(budget_usd, budget_tokens, journal)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with ClientTeam(model, journal=journal, budget=budget) as team:
        if probe and all(c.role == "probe" for c in team.journal.calls):
            try:
                team.probe()
            except ServiceError:
                _forget(team, folder)
                raise
        try:
            yield team
        except KeyboardInterrupt:
            msg = f"answers so far are kept in {folder}; the same command with --out {folder} --resume goes on"
            raise KeyboardInterrupt(msg) from None
        finally:  # what an interrupted run spent is told as well
            _write_tracking(folder, team, model, started)


def _forget(team: ClientTeam, folder: Path) -> None:
    """Leave no trace of a run that could not begin, so that the corrected command finds an empty place."""
    team.close()
    if all(c.role == "probe" for c in team.journal.calls):
        (folder / JOURNAL).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a folder of the user's with other things in it
            folder.rmdir()


def _write_tracking(folder: Path, team: ClientTeam, model: ModelSettings, started: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tracking = token_tracking(
        team.journal.calls,
        run=folder.resolve().name,
        started_at=started,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        prices=model.price_by_model(),
    )
    write_text(folder / "token_tracking.json", json.dumps(tracking, indent=1, ensure_ascii=False) + "\n")


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
