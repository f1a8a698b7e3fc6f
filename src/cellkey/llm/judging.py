"""Judging labels against known ones by the Cell Ontology: full, partial or none, without a model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cellkey.errors import InputError, did_you_mean
from cellkey.llm.identifiers import cluster_id, natural_key
from cellkey.llm.spreadsheets import original_cell
from cellkey.llm.terms import OntologyTerms, match_term, normalised_label
from cellkey.records.schema import Column, TableSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from cellkey.hierarchy.ontology import Ontology

__all__ = ["JUDGEMENTS", "Grade", "Grader", "judge_tables", "read_labels"]

_SHARED_BY_ALL = {"CL:0000000", "CL:0000003", "CL:0000255", "CL:0000548"}
"""Cell, native cell, eukaryotic cell, animal cell."""

_HOPS = 2
_WHOLE_ONTOLOGY = 1000
"""Terms from which on an ontology is taken as whole; in an extract one step spans several, hence one counts."""

_CLUSTER_COLUMNS = ("cluster", "cluster_id", "Cluster ID", "group")
_LABEL_COLUMNS = ("ontology_id", "cell_type", "label", "assigned_label", "Predicted Detailed Cell Type", "truth")


class Grade(StrEnum):
    """How right a label is."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"

    @property
    def points(self) -> float:
        """1, 0.5 or 0."""
        return {Grade.FULL: 1.0, Grade.PARTIAL: 0.5, Grade.NONE: 0.0}[self]


JUDGEMENTS = TableSchema(
    "judgements.csv",
    "Labels against known ones, one row per cluster and table.",
    (
        Column("prediction", "string", "name of the table"),
        Column("cluster", "string", "cluster identifier"),
        Column("truth", "string", "known label"),
        Column("label", "string", "label that is judged; empty if the table has none"),
        Column("grade", "string", "full, partial or none", tuple(Grade)),
        Column("points", "float", "1, 0.5 or 0"),
        Column("reason", "string", "why"),
    ),
)


class Grader:
    """Grades terms: *full* for the right term or a kind of it, *partial* for one near it, *none* for anything else.

    Near is a term that lies above the right one by at most ``hops`` steps, or has a term above itself that does. Terms
    that every cell shares do not count. A finer term than the right one is full, because the truth does not tell it
    wrong.

    Parameters
    ----------
    ontology
        Terms and what is a kind of what.
    hops
        Steps; two in the whole Cell Ontology and one in an extract, whose steps are longer, if None.
    """

    def __init__(self, ontology: Ontology, hops: int | None = None) -> None:
        self._ontology = ontology
        self._hops = hops if hops is not None else _HOPS if len(ontology) >= _WHOLE_ONTOLOGY else 1
        self._near: dict[str, frozenset[str]] = {}

    def knows(self, term: str) -> bool:
        """Whether a term is in the ontology."""
        return term in self._ontology

    def grade(self, predicted: str, right: Iterable[str]) -> Grade:
        """Return the best grade of a term over all terms that are right; an empty or unknown term has none."""
        if predicted not in self._ontology:
            return Grade.NONE
        return max((self._grade(predicted, truth) for truth in right), key=lambda g: g.points, default=Grade.NONE)

    def _grade(self, predicted: str, truth: str) -> Grade:
        above = ({predicted} | self._ontology.ancestors(predicted)) - _SHARED_BY_ALL
        if truth in above:
            return Grade.FULL
        return Grade.PARTIAL if self._within_reach(truth) & above else Grade.NONE

    def _within_reach(self, term: str) -> frozenset[str]:
        """A term and those above it by at most so many steps."""
        if term not in self._near:
            steps, waiting = {term: 0}, deque([term])
            while waiting:
                here = waiting.popleft()
                for parent in self._ontology.terms[here].parents if here in self._ontology else ():
                    if parent not in steps and steps[here] < self._hops:
                        steps[parent] = steps[here] + 1
                        waiting.append(parent)
            self._near[term] = frozenset(steps) - _SHARED_BY_ALL
        return self._near[term]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Looks names up and grades them."""

    terms: OntologyTerms
    grader: Grader

    def row(self, table: str, cluster: str, truth: str, label: str) -> dict[str, Any]:
        grade, reason = self._verdict(truth, label)
        return {
            "prediction": table,
            "cluster": cluster,
            "truth": truth,
            "label": label,
            "grade": grade.value,
            "points": grade.points,
            "reason": reason,
        }

    def _verdict(self, truth: str, label: str) -> tuple[Grade, str]:
        if normalised_label(label) in ("", "unknown", "unassigned"):
            return Grade.NONE, "no label"
        if normalised_label(label) == normalised_label(truth):
            return Grade.FULL, "same name"
        ours, right = self._term(label), [t for t in map(self._term, truth.split(";")) if t]
        if not right:
            return Grade.NONE, "the known label is not a term of the ontology, and the names differ"
        if not ours:
            return Grade.NONE, "the label is not a term of the ontology, and the names differ"
        grade = self.grader.grade(ours, right)
        named = self.terms.label(ours)
        return grade, {
            Grade.FULL: f"{named} is the right type or a kind of it",
            Grade.PARTIAL: f"{named} is near the right type",
            Grade.NONE: f"{named} is another type",
        }[grade]

    def _term(self, text: str) -> str:
        name = text.strip()
        if name.startswith("CL:"):
            return name if self.grader.knows(name) else ""
        found = match_term(name, self.terms)
        return found.id if found is not None else ""


def judge_tables(
    truth: Mapping[str, str], predictions: Mapping[str, Mapping[str, str]], ontology: Ontology
) -> pd.DataFrame:
    """Return the grade of every known cluster in every table; see :data:`JUDGEMENTS` and :class:`Grader`.

    Parameters
    ----------
    truth
        Known label by cluster: names or Cell Ontology identifiers, several that are right separated by semicolons.
    predictions
        Label by cluster, by name of the table. Clusters that a table lacks are wrong; further ones are left out.
    ontology
        See :class:`Grader`.
    """
    judge = _Judge(OntologyTerms(ontology), Grader(ontology))
    clusters = sorted(truth, key=natural_key)
    return JUDGEMENTS.frame(
        [judge.row(name, c, truth[c], labels.get(c, "")) for name, labels in predictions.items() for c in clusters]
    )


def read_labels(path: str | Path, columns: Sequence[str] = _LABEL_COLUMNS) -> dict[str, str]:
    """Return the label by cluster of a CSV table: of its identifiers where they are given, else of its names.

    Parameters
    ----------
    path
        Table with a column of clusters and one or more of labels, such as ``annotations.csv``, ``calls.csv``, or any
        two columns.
    columns
        Columns of labels; where the first is empty in a row, the next counts.

    Raises
    ------
    InputError
        If the file is no such table.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, sep=None, engine="python")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        msg = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise InputError(msg) from None
    names = list(map(str, frame.columns))
    cluster = next((c for c in _CLUSTER_COLUMNS if c in names), names[0] if len(names) == 2 else None)
    labels = [c for c in columns if c in names] or (names[1:] if len(names) == 2 else [])
    if cluster is None or not labels:
        wanted = _CLUSTER_COLUMNS[0] if cluster is None else "cell_type"
        msg = f"{path} has no column of {wanted}{did_you_mean(wanted, names)}; its columns are {', '.join(names)}"
        raise InputError(msg)
    found: dict[str, str] = {}
    for row in frame.to_dict("records"):
        label = next((original_cell(row[c]) for c in labels if row[c]), "")
        found.setdefault(original_cell(cluster_id(row[cluster])), label)
    return found
