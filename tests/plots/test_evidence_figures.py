"""The marker dot plot and the decision path show the evidence of the tables."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_run import simulate

from cellkey import plots
from cellkey.errors import InputError
from cellkey.plots.decision_path import _reason, walk_steps
from cellkey.plots.marker_dots import dot_matrix

TABLES = simulate(24)
EVIDENCE, NOTES, STEPS = (TABLES[n] for n in ("marker_evidence", "cluster_annotations", "decision_steps"))


def test_dots_are_the_values_of_the_table() -> None:
    """Size and colour of every dot come from the row of its cluster, type and marker."""
    matrix = dot_matrix(EVIDENCE, NOTES, n_markers=3)
    columns = [(p, m) for p, markers in matrix.groups for m in markers]
    lookup = EVIDENCE.set_index(["path", "marker", "cluster_id"])
    for row in (0, 11):
        for column in (0, len(columns) // 2, len(columns) - 1):
            one = lookup.loc[(*columns[column], matrix.clusters[row])]
            assert matrix.positive_fraction[row, column] == one["pos_frac"]
            assert matrix.enrichment[row, column] == one["enrichment"]


def test_assigned_types_are_shown_by_default() -> None:
    """Groups are the assigned paths, each with no more markers than asked for."""
    matrix = dot_matrix(EVIDENCE, NOTES, n_markers=2)
    assert {p for p, _ in matrix.groups} == set(NOTES["assigned_path"]) - {""}
    assert all(1 <= len(markers) <= 2 for _, markers in matrix.groups)


def test_dot_plot_does_not_depend_on_row_order() -> None:
    """Shuffled tables give the same rows, columns and values."""
    one = dot_matrix(EVIDENCE, NOTES)
    two = dot_matrix(EVIDENCE.sample(frac=1, random_state=3), NOTES.sample(frac=1, random_state=4))
    assert (one.clusters, one.groups) == (two.clusters, two.groups)
    np.testing.assert_equal(one.enrichment, two.enrichment)


def test_unknown_types_are_answered_with_close_names() -> None:
    """A misspelled path is an error with a suggestion."""
    with pytest.raises(InputError, match="did you mean 'Epithelium'"):
        dot_matrix(EVIDENCE, NOTES, paths=["Epithelum"])


def test_dot_plot_labels_rows_and_columns() -> None:
    """Every cluster and marker is named; without any assigned type the figure is empty, not an error."""
    ax = plots.marker_dots(EVIDENCE, NOTES, n_markers=2)
    assert len(ax.get_yticklabels()) == len(NOTES)
    assert ax.get_xticklabels()[0].get_text() in set(EVIDENCE["marker"])
    unassigned = NOTES.assign(assigned_path="", assigned_level=-1)
    assert len(plots.marker_dots(EVIDENCE, unassigned).get_xticklabels()) == 0


def test_every_step_of_the_walk_is_shown() -> None:
    """Steps, candidates and choices follow the table."""
    for cluster in NOTES["cluster_id"]:
        rows = STEPS[STEPS["cluster_id"] == cluster]
        walk = walk_steps(STEPS, cluster, most=99)
        assert [s.parent for s in walk] == list(dict.fromkeys(rows["parent_label"]))
        assert sum(len(s.candidates) for s in walk) == len(rows)
        chosen = [" / ".join(c.path) for s in walk for c in s.candidates if c.selected]
        assert chosen == rows.loc[rows["selected"], "child_path"].tolist()
        for step in walk:
            scores = [c.score for c in step.candidates]
            assert scores == sorted(scores, reverse=True)


def test_the_chosen_candidate_is_never_hidden() -> None:
    """With room for one candidate the chosen one is kept and the rest counted."""
    cluster = NOTES.loc[NOTES["assigned_level"] > 0, "cluster_id"].iloc[0]
    first = walk_steps(STEPS, cluster, most=1)[0]
    assert [c.selected for c in first.candidates] == [True]
    assert first.n_hidden == 5


def test_decision_path_names_cluster_and_label() -> None:
    """The title gives the answer, the line below how sure it is and why the walk ended."""
    note = NOTES[NOTES["assigned_level"] > 0].iloc[0]
    ax = plots.decision_path(STEPS, NOTES, note["cluster_id"])
    assert note["assigned_label"] in ax.get_title(loc="left")
    texts = " ".join(t.get_text() for t in ax.texts)
    assert "stopped: " + note["stop_reason"].replace("_", " ") in texts
    assert "Step 1" in texts


def test_unknown_clusters_are_said() -> None:
    """A cluster that the tables do not hold is an error, not an empty picture."""
    with pytest.raises(InputError, match="'999'"):
        plots.decision_path(STEPS, NOTES, "999")


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("", "", ""),
        ("outscored", "", "passed, not chosen"),
        ("low_coverage", "coverage<0.5", "coverage < 0.5"),
        ("below_gate", "pos_frac<0.3", "positive fraction < 0.3"),
        ("below_gate", "required_pos_frac:CD45", "required CD45 in too few cells"),
        ("anti_markers", "veto:EPCAM", "vetoed by EPCAM"),
        ("anti_markers", "anti_penalty>1", "anti-marker penalty > 1"),
        ("anti_markers", "", "anti markers"),
    ],
)
def test_reasons_are_said_in_words(reason: str, detail: str, said: str) -> None:
    """Codes of the table become words that fit beside a bar."""
    assert _reason(reason, detail) == said
