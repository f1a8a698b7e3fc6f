"""Naming the sub-clusters of one population: asked together, joined by identifier, missing ones asked again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.errors import ServiceError
from cellkey.llm.agreement import majority
from cellkey.llm.asking import Turn, ask_once
from cellkey.llm.client import ModelClient, Origin
from cellkey.llm.conversations import turn_record
from cellkey.llm.evidence import ClusterEvidence, Study, plain_text
from cellkey.llm.failures import ends_run
from cellkey.llm.identifiers import natural_key
from cellkey.llm.marker_selection import SelectionParameters, select_markers
from cellkey.llm.marker_tables import marker_table
from cellkey.llm.prompts import MISSING, data_block
from cellkey.llm.result_tables import neutral_table
from cellkey.llm.roles import SUBCLUSTER_ANNOTATOR
from cellkey.llm.run import asking_in
from cellkey.llm.stored import AskedWith, write_manifest, write_markers
from cellkey.llm.workflow import WorkflowParameters
from cellkey.records.atomic import safe_name, write_text
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cellkey.llm.answers import SubclusterLabel
    from cellkey.llm.marker_selection import MarkerSelection
    from cellkey.llm.setup import ModelSettings

__all__ = [
    "SUBCLUSTERS",
    "SubclusterResult",
    "SubclusterRun",
    "annotate_subclusters",
    "annotate_subclusters_in",
    "preview_subclusters",
]


SUBCLUSTERS = TableSchema(
    "subclusters.csv",
    "Sub-clusters of one population with their labels.",
    (
        Column("cluster", "string", "identifier of the sub-cluster"),
        Column("main_cell_type", "string", "main type; Unknown without a label"),
        Column("sub_cell_type", "string", "most specific type or state that the genes warrant"),
        Column("key_markers", "list", "genes that the label rests on"),
        Column("reason", "string", "the model's explanation"),
        Column("agreement", "float", "share of repeated runs with this label"),
        Column("status", "string", "outcome", ("ok", "conflict", "unlabelled")),
        Column("error", "string", "why there is no label"),
    ),
)

_PER_CALL = 12
_TRIES = 3


@dataclass(frozen=True)
class SubclusterResult:
    """Labels by sub-cluster, one row for each, and the exchanges that led to them."""

    table: pd.DataFrame
    turns: tuple[Turn, ...]


def annotate_subclusters(
    markers: pd.DataFrame,
    client: ModelClient,
    *,
    parent: str,
    study: Study | None = None,
    against_rest: pd.DataFrame | None = None,
    sizes: Mapping[str, int] | None = None,
    selection: SelectionParameters | None = None,
    repeats: int = 1,
) -> SubclusterResult:
    """Label the sub-clusters of one population.

    Parameters
    ----------
    markers
        Marker table of each sub-cluster against its siblings.
    client
        The model that is asked.
    parent
        Name of the population.
    study
        Context.
    against_rest
        Marker table of each sub-cluster against the rest of the data, which tells contamination.
    sizes
        Cells by sub-cluster.
    selection
        Which genes are shown.
    repeats
        Runs; the majority's label wins, and without a majority the status is ``conflict``.

    Notes
    -----
    Labels are joined by identifier only: answers for identifiers that were not asked about are dropped, and
    missing ones are asked for again, at last one by one.
    """
    context = study or Study()
    siblings = select_markers(marker_table(markers), selection, tissue=context.tissue)
    rest = {} if against_rest is None else select_markers(marker_table(against_rest), selection)
    turns: list[Turn] = []
    runs = [
        _Run(client, context, parent, siblings, rest, dict(sizes or {}), number, turns).labels()
        for number in range(max(repeats, 1))
    ]
    rows = [_row(cluster, [run[cluster] for run in runs]) for cluster in sorted(siblings, key=natural_key)]
    return SubclusterResult(SUBCLUSTERS.frame(rows), tuple(turns))


@dataclass(frozen=True)
class _Run:
    client: ModelClient
    study: Study
    parent: str
    siblings: Mapping[str, MarkerSelection]
    rest: Mapping[str, MarkerSelection]
    sizes: dict[str, int]
    number: int
    turns: list[Turn]

    def labels(self) -> dict[str, SubclusterLabel | str]:
        """Return a label, or the reason why there is none, for every sub-cluster."""
        order = sorted(self.siblings, key=natural_key)
        bare = {c: "no gene is listed for it" for c in order if not self.siblings[c].genes}
        asked = [c for c in order if c not in bare]
        found: dict[str, SubclusterLabel | str] = dict(bare)
        for start in range(0, len(asked), _PER_CALL):
            self._batch(asked[start : start + _PER_CALL], found)
        for cluster in asked:
            if cluster not in found:
                self._batch([cluster], found)
        return {c: found.get(c, "the model never named it") for c in order}

    def _batch(self, clusters: list[str], found: dict[str, SubclusterLabel | str]) -> None:
        origin = Origin(SUBCLUSTER_ANNOTATOR.name, self.study.dataset, self.study.tissue, plain_text(self.parent))
        request = SUBCLUSTER_ANNOTATOR.request(
            data_block(self._data(clusters)),
            max_tokens=512 + 256 * len(clusters),
            repeat=self.number,
            seed=self.number,
            temperature=0.5 if self.number else 0.0,
        )
        try:
            for _ in range(_TRIES):
                asked = ask_once(self.client, SUBCLUSTER_ANNOTATOR, origin, request, self.turns.append)
                for row in asked.answer.clusters:
                    if row.cluster in clusters:
                        found.setdefault(row.cluster, row)
                missing = [c for c in clusters if c not in found]
                if not missing:
                    return
                request = asked.continued(MISSING.format(missing=data_block({"clusters": missing})))
        except ServiceError as error:
            if len(clusters) == 1 or ends_run(error):
                found.update((c, str(error)) for c in clusters if c not in found)

    def _data(self, clusters: list[str]) -> dict[str, object]:
        rows = {}
        for cluster in clusters:
            shown: dict[str, object] = {"genes_among_siblings": self._genes(self.siblings[cluster])}
            if cluster in self.sizes:
                shown["cells"] = self.sizes[cluster]
            if cluster in self.rest:
                shown["genes_against_all_other_cells"] = self._genes(self.rest[cluster])
            rows[cluster] = shown
        return {"study": self.study.described(), "parent": plain_text(self.parent, 120), "subclusters": rows}

    def _genes(self, selection: MarkerSelection) -> list[str]:
        evidence = ClusterEvidence(selection, self.study).jittered(self.number)
        return [str(g) for g in evidence.described()["cluster"]["genes"]]


def _row(cluster: str, votes: list[SubclusterLabel | str]) -> dict[str, object]:
    """The majority's label of one sub-cluster."""
    named = [v for v in votes if not isinstance(v, str)]
    if not named:
        return {
            "cluster": cluster,
            "main_cell_type": "Unknown",
            "sub_cell_type": "Unknown",
            "key_markers": [],
            "reason": "",
            "agreement": float("nan"),
            "status": "unlabelled",
            "error": str(votes[0]),
        }
    winner, share = majority([(v.main_cell_type, v.sub_cell_type) for v in named])
    label = named[winner]
    return {
        "cluster": cluster,
        "main_cell_type": label.main_cell_type,
        "sub_cell_type": label.sub_cell_type,
        "key_markers": list(label.key_markers),
        "reason": " ".join(label.reason.split()),
        "agreement": share,
        "status": "ok" if share > 0.5 else "conflict",
        "error": "",
    }


@dataclass(frozen=True)
class SubclusterRun:
    """Labels of sub-clusters, and where they were written."""

    directory: Path
    result: SubclusterResult


def annotate_subclusters_in(
    output_dir: str | Path,
    markers: pd.DataFrame,
    *,
    parent: str,
    model: ModelSettings,
    study: Study | None = None,
    against_rest: pd.DataFrame | None = None,
    sizes: Mapping[str, int] | None = None,
    repeats: int = 1,
    source: Mapping[str, Any] | None = None,
    **limits: Any,
) -> SubclusterRun:
    """Name the sub-clusters of one population and write the results.

    Parameters
    ----------
    output_dir
        A new directory, or with ``resume`` that of an interrupted run.
    markers, parent, study, against_rest, sizes, repeats
        See :func:`cellkey.llm.subclusters.annotate_subclusters`.
    model
        Who is asked.
    source
        Where the markers are from, for the record.
    limits
        ``budget_usd``, ``budget_tokens``, ``resume`` and ``probe``; see :func:`cellkey.llm.run.asking_in`.

    Raises
    ------
    RunError
        If the directory is in use without ``resume``.
    InputError, ServiceError
        If the model cannot be used.
    """
    context = study or Study()
    directory, name = Path(output_dir), safe_name(context.dataset)
    with asking_in(directory, model, **limits) as team:
        result = annotate_subclusters(
            markers, team.main, parent=parent, study=context, against_rest=against_rest, sizes=sizes, repeats=repeats
        )
        SUBCLUSTERS.write_csv(neutral_table(result.table), directory / f"{name}_subclusters.csv")
        write_markers(markers, directory, context.dataset)
        turns = {"schema": "subclusters/1", "parent": parent, "turns": [turn_record(t) for t in result.turns]}
        text = json.dumps(turns, indent=1, ensure_ascii=False) + "\n"
        write_text(directory / f"{name}_conversations.json", text)
        asked = AskedWith(context, model, WorkflowParameters(repeats=repeats), SelectionParameters())
        write_manifest(directory, asked, {"parent": parent, **(source or {})}, schema="subclusters-run/1")
    return SubclusterRun(directory, result)


def preview_subclusters(
    markers: pd.DataFrame,
    *,
    parent: str,
    model: ModelSettings,
    study: Study,
    against_rest: pd.DataFrame | None = None,
    sizes: Mapping[str, int] | None = None,
    repeats: int = 1,
) -> str:
    """Return what naming sub-clusters would take, and the first question; see :func:`annotate_subclusters`."""
    from cellkey.llm.preview import preview_questions

    n = marker_table(markers)["cluster"].nunique()
    return preview_questions(
        model,
        lambda team: annotate_subclusters(
            markers, team.main, parent=parent, study=study, against_rest=against_rest, sizes=sizes, repeats=repeats
        ),
        what=f"population with {n} sub-clusters",
    )
