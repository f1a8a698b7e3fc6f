"""Sub-clusters of one population from a file of markers to results, in a directory of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.llm.conversations import turn_record
from cellkey.llm.evidence import Study
from cellkey.llm.marker_tables import read_marker_table
from cellkey.llm.result_tables import neutral_table
from cellkey.llm.run import asking_in
from cellkey.llm.subclusters import SUBCLUSTERS, SubclusterResult, annotate_subclusters
from cellkey.records.atomic import safe_name, write_text

if TYPE_CHECKING:
    from cellkey.llm.marker_selection import SelectionParameters
    from cellkey.llm.setup import ModelSettings

__all__ = ["SubclusterRun", "annotate_subclusters_file"]


@dataclass(frozen=True)
class SubclusterRun:
    """Labels of sub-clusters, and where they were written."""

    directory: Path
    result: SubclusterResult


def annotate_subclusters_file(
    path: str | Path,
    output_dir: str | Path,
    *,
    parent: str,
    model: ModelSettings,
    study: Study | None = None,
    against_rest: str | Path | None = None,
    selection: SelectionParameters | None = None,
    repeats: int = 1,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
) -> SubclusterRun:
    """Name the sub-clusters of one population and write the results.

    Parameters
    ----------
    path
        Marker table of each sub-cluster against its siblings; see :func:`cellkey.llm.read_marker_table`.
    output_dir
        A new directory, or with ``resume`` that of an interrupted run.
    parent
        Name of the population.
    model, study, selection, repeats
        See :func:`cellkey.llm.subclusters.annotate_subclusters`.
    against_rest
        Marker table of each sub-cluster against all other cells, which tells contamination.
    budget_usd, budget_tokens, resume, probe
        See :func:`cellkey.llm.run.asking_in`.

    Raises
    ------
    RunError
        If the directory is in use without ``resume``.
    InputError, ServiceError
        If a table or the model cannot be used.
    """
    siblings = read_marker_table(path)
    rest = None if against_rest is None else read_marker_table(against_rest)
    context = study or Study(dataset=Path(path).name.split(".")[0])
    directory, name = Path(output_dir), safe_name(context.dataset)
    with asking_in(
        directory, model, budget_usd=budget_usd, budget_tokens=budget_tokens, resume=resume, probe=probe
    ) as team:
        result = annotate_subclusters(
            siblings,
            team.main,
            parent=parent,
            study=context,
            against_rest=rest,
            selection=selection,
            repeats=repeats,
        )
        directory.mkdir(parents=True, exist_ok=True)
        SUBCLUSTERS.write_csv(neutral_table(result.table), directory / f"{name}_subclusters.csv")
        turns = {"schema": "subclusters/1", "parent": parent, "turns": [turn_record(t) for t in result.turns]}
        text = json.dumps(turns, indent=1, ensure_ascii=False) + "\n"
        write_text(directory / f"{name}_conversations.json", text)
    return SubclusterRun(directory, result)
