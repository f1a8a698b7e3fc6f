"""Repeated runs: the share in which a label, and every type above it, holds."""

from __future__ import annotations

import math

import pytest
from conftest_llm import planted_markers
from test_llm_workflow import client_of

from cellkey.llm import Study, WorkflowParameters, annotate_markers, bundled_knowledge
from cellkey.records.confidence_tables import CONFIDENCE
from cellkey.testing import ScriptedModel

KNOWN = bundled_knowledge()


class Fickle(ScriptedModel):
    """Says something else about a cluster in each run."""

    def __init__(self, **by_cluster: list[tuple[str, str]]) -> None:
        super().__init__()
        self.by_cluster = {c.removeprefix("c"): list(labels) for c, labels in by_cluster.items()}

    def answer(self, request):
        answer = super().answer(request)
        if request.role == "annotator" and request.cluster in self.by_cluster:
            general, detailed = self.by_cluster[request.cluster].pop(0)
            if not general:
                return {**answer, "unknown": True}
            answer["general_cell_type"] = general
            answer["ranked_subtypes"][0]["name"] = detailed
        return answer


def shares(*labels: tuple[str, str], terms: bool = True) -> dict[str, float]:
    """Share by label for cluster 0, which was given ``labels`` in turn."""
    steps = WorkflowParameters(repeats=len(labels), validator="off", merge="off", boost=False)
    knowledge = KNOWN if terms else None
    result = annotate_markers(
        planted_markers(), client_of(Fickle(c0=list(labels))), workflow=steps, study=Study("blood"),
        knowledge=knowledge, workers=1,
    )  # fmt: skip
    table = result.confidence
    CONFIDENCE.conform(table)
    rows = table[table["cluster_id"] == "0"]
    assert (rows["n_resamples"] == len(labels)).all()
    assert rows["level"].tolist() == list(range(len(rows)))
    assert rows["is_call"].tolist() == [False] * (len(rows) - 1) + [True]
    assert rows["confidence"].isna().all()  # not calibrated, hence no probability
    return dict(zip(rows["label"], rows["share_held"], strict=True))


T4 = ("T cell", "CD4-positive, alpha-beta T cell")
T8 = ("T cell", "CD8-positive, alpha-beta T cell")
NK = ("natural killer cell", "natural killer cell")
MONO = ("myeloid cell", "monocyte")


def test_ancestors_hold_in_more_runs_than_the_label() -> None:
    """Worked by hand: four runs; CD4 in two, T in three, lymphocyte in all."""
    found = shares(T4, T4, T8, NK)
    assert found["CD4-positive, alpha-beta T cell"] == 0.5
    assert found["T cell"] == 0.75
    assert found["lymphocyte"] == 1.0


def test_shares_fall_from_top_to_label() -> None:
    """A type holds wherever a kind of it does."""
    for labels in ([T4, T8, MONO], [T4, T4, MONO, NK, NK], [NK, NK, T4]):
        values = list(shares(*labels).values())
        assert values == sorted(values, reverse=True)
        assert 0 < values[-1] <= 1


def test_abstentions_count_as_runs() -> None:
    """A run that names nothing is no support."""
    assert shares(T4, T4, ("", "")) == pytest.approx(
        {"lymphocyte": 2 / 3, "T cell": 2 / 3, "CD4-positive, alpha-beta T cell": 2 / 3}
    )


def test_labels_without_a_term_have_general_and_detailed_type() -> None:
    """Names that no ontology has are compared as text."""
    odd = ("odd cell", "very odd cell")
    assert shares(odd, odd, ("odd cell", "another odd cell"), terms=False) == pytest.approx(
        {"odd cell": 1.0, "very odd cell": 2 / 3}
    )


def test_single_runs_have_no_shares(tmp_path) -> None:
    """One run says nothing about agreement: no rows and no file."""
    result = annotate_markers(planted_markers(), client_of(ScriptedModel()), study=Study("blood", dataset="d"))
    assert result.confidence.empty
    assert "confidence" not in result.write(tmp_path)


def test_the_order_of_repeats_decides_nothing() -> None:
    """Ties are broken by name, shares are counts."""
    first, second = shares(T4, T8, T4), shares(T4, T4, T8)
    assert first == second
    assert not any(math.isnan(v) for v in first.values())


def test_runs_that_disagree_about_names_without_a_term_are_a_conflict() -> None:
    """A label that no ontology has does not end the run; there is no common type then."""
    steps = WorkflowParameters(repeats=3, validator="off", merge="off", boost=False)
    model = Fickle(c0=[T4, ("odd cell", "odd cell"), MONO])
    result = annotate_markers(planted_markers(), client_of(model), workflow=steps, knowledge=KNOWN, workers=1)
    row = result.table.set_index("cluster").loc["0"]
    assert row["status"] == "conflict"
    assert row["agreement_general"] == pytest.approx(1 / 3)


def test_a_cluster_without_a_label_has_one_row() -> None:
    """With the share of runs that named nothing."""
    steps = WorkflowParameters(repeats=3, validator="off", merge="off", boost=False)
    model = Fickle(c0=[("", ""), ("", ""), T4])
    result = annotate_markers(planted_markers(), client_of(model), workflow=steps, knowledge=KNOWN, workers=1)
    row = result.confidence.set_index("cluster_id").loc["0"]
    assert (row["level"], row["label"], row["share_held"]) == (-1, "", pytest.approx(2 / 3))
