"""Tables follow their schemas: what is written is read back, and what is wrong is said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import InputError
from cellkey.records.schema import Column, TableSchema
from cellkey.records.tables import ALL_TABLES, CLUSTER_ANNOTATIONS, DECISION_STEPS, MARKER_SCORES
from cellkey.records.vocabulary import FailReason, Recommendation, RefinementAction, StopDetail, StopReason

if TYPE_CHECKING:
    from pathlib import Path

PROMISED = {
    "cluster_annotations": [
        "cluster_id", "assigned_label", "assigned_path", "assigned_level", "assigned_score", "root_label",
        "confidence", "stop_reason", "n_cells", "coverage", "resolved_markers", "is_ambiguous_root",
        "composition",
    ],
    "marker_scores": [
        "cluster_id", "label", "path", "level", "score", "coverage", "mean_enrichment",
        "mean_positive_fraction", "frac_markers_on", "de_component", "anti_penalty", "resolved_markers",
        "missing_markers", "n_cells",
    ],
    "decision_steps": [
        "cluster_id", "step_idx", "parent_label", "child_label", "child_passed_gate", "child_score",
        "child_coverage", "child_pos_frac", "child_enrichment", "child_anti_penalty", "selected",
        "margin_to_runner_up", "fail_reason",
    ],
    "gating_details": ["cluster", "root_type", "coverage", "pos_frac", "score", "passed"],
    "diagnostic_report": [
        "cluster_id", "current_label", "recommendation", "reason", "criterion", "best_child", "child_score",
        "heterogeneity_score", "n_cells", "priority",
    ],
    "refinement_log": [
        "iteration", "cluster_id", "action", "old_label", "new_label", "new_clusters", "confidence_before",
        "confidence_after", "timestamp",
    ],
}


def example_value(column: Column, row: int) -> Any:
    """A value of the column's type; text that CSV readers like to misread on purpose."""
    if column.allowed:
        return column.allowed[row % len(column.allowed)]
    return {
        "string": ["007", "NA", 'say "x", y', "Größe\nzwei", ""][row % 5],
        "int": row - 1,
        "float": [0.1, math.nan, -2.5e-7, 1e6][row % 4],
        "bool": row % 2 == 0,
        "json": [{"a~b": 0.25, "_gap": None}, [["T cell", np.float64(1.5)]], None, ""][row % 4],
        "list": [["CD3D", "CD3E"], "", ("None",)][row % 3],
    }[column.kind]


def example_frame(schema: TableSchema, n: int = 6) -> pd.DataFrame:
    return schema.frame([{c.name: example_value(c, i) for c in schema.columns} for i in range(n)])


@pytest.mark.parametrize("schema", ALL_TABLES.values(), ids=lambda s: s.name)
class TestEverySchema:
    def test_what_is_written_is_read_back(self, schema: TableSchema, tmp_path: Path) -> None:
        """Writing then reading gives the same table, whatever the text looks like."""
        frame = example_frame(schema)
        schema.write_csv(frame, tmp_path / "t.csv")
        pd.testing.assert_frame_equal(schema.read_csv(tmp_path / "t.csv"), frame)

    def test_an_empty_table_keeps_its_columns(self, schema: TableSchema, tmp_path: Path) -> None:
        """No rows still gives a header, and types survive the file."""
        frame = schema.frame([])
        schema.write_csv(frame, tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_text() == ",".join(schema.names) + "\n"
        pd.testing.assert_frame_equal(schema.read_csv(tmp_path / "t.csv"), frame)

    def test_every_column_is_explained_in_a_sentence(self, schema: TableSchema) -> None:
        """Names are unique and meanings are sentences, since the reference page is made of them."""
        assert len(set(schema.names)) == len(schema.names)
        for column in schema.columns:
            assert column.meaning[0].isupper() or column.meaning.startswith(tuple(schema.names)), column
            assert column.meaning.endswith("."), column

    def test_values_outside_the_vocabulary_are_rejected(self, schema: TableSchema) -> None:
        """Every column with allowed values refuses another one and lists those it takes."""
        for column in schema.columns:
            if not column.allowed:
                continue
            frame = example_frame(schema)
            frame.loc[0, column.name] = "elsewhere"
            with pytest.raises(InputError, match="elsewhere") as caught:
                schema.conform(frame)
            assert all(str(a) in str(caught.value) for a in column.allowed)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_columns_come_first_in_order(name: str) -> None:
    """Reading by position works as well as by name."""
    assert ALL_TABLES[name].names[: len(PROMISED[name])] == PROMISED[name]


def test_refined_tables_have_the_same_columns() -> None:
    """Code that reads a table reads its refined form too."""
    for name in ("marker_scores", "decision_steps"):
        assert ALL_TABLES[f"refined_{name}"].columns == ALL_TABLES[name].columns
    shared = CLUSTER_ANNOTATIONS.columns
    assert ALL_TABLES["refined_annotations"].columns[: len(shared)] == shared


def test_vocabularies_hold_the_documented_words() -> None:
    """The words in files are these and no others."""
    assert list(StopReason) == [
        "leaf_reached", "no_children_pass", "low_margin", "insufficient_coverage", "max_depth",
        "no_root_passed"]
    assert set(StopDetail) == {
        "leaf_reached", "no_child_passed", "ambiguous_siblings", "ambiguous_root", "no_root_passed",
        "max_depth", "insufficient_coverage"}
    assert list(FailReason) == ["below_gate", "low_coverage", "anti_markers", "outscored"]
    assert list(Recommendation) == ["SUBCLUSTER", "RELABEL", "SKIP"]
    assert set(RefinementAction) == {"SUBCLUSTER", "RELABEL", "KEEP", "OVERRIDE", "MERGE"}


def test_vocabulary_members_are_written_as_plain_text(tmp_path: Path) -> None:
    """A member and its text are the same thing in a table."""
    frame = example_frame(CLUSTER_ANNOTATIONS, 1).assign(stop_reason=[StopReason.LOW_MARGIN])
    CLUSTER_ANNOTATIONS.write_csv(frame, tmp_path / "t.csv")
    back = CLUSTER_ANNOTATIONS.read_csv(tmp_path / "t.csv")
    assert type(back["stop_reason"][0]) is str
    assert back["stop_reason"][0] == "low_margin"


def test_all_faults_are_reported_at_once_with_close_names() -> None:
    """A wrong column name is answered with the right one; other faults are not hidden by it."""
    frame = example_frame(DECISION_STEPS).rename(columns={"child_score": "child_scor"})
    frame["fail_reason"] = "nope"
    with pytest.raises(InputError) as caught:
        DECISION_STEPS.conform(frame)
    text = str(caught.value)
    assert "child_score: column is missing" in text
    assert "did you mean 'child_score'" in text
    assert "holds ['nope']" in text


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("level", [0.5, 1.0], "not whole numbers"),
        ("level", [1.0, math.inf], "not whole numbers"),
        ("level", [1.0, math.nan], "1 missing value"),
        ("score", [1.0, "high"], "not numbers"),
        ("idf_weighted", ["False", "True"], "other than True and False"),
        ("idf_weighted", [True, None], "1 missing value"),
    ],
)
def test_values_of_another_type_are_rejected(column: str, values: list[Any], said: str) -> None:
    """Nothing is turned into another type in silence; "False" as text would be true."""
    frame = example_frame(MARKER_SCORES, 2).assign(**{column: pd.Series(values, dtype=object)})
    with pytest.raises(InputError, match=said):
        MARKER_SCORES.conform(frame)


def test_missing_text_of_a_categorical_becomes_empty() -> None:
    """Categorical columns are accepted, their missing values are empty text."""
    schema = TableSchema("t", "Test.", (Column("a", "string", "Text."),))
    assert schema.conform(pd.DataFrame({"a": pd.Categorical(["x", None])}))["a"].tolist() == ["x", ""]


@pytest.mark.parametrize("content", [None, "", "not,the\nright,table\n", "cluster_id\n1,2,3\n4\n"])
def test_unreadable_files_are_named(content: str | None, tmp_path: Path) -> None:
    """A missing, empty or foreign file gives one message with its path or the wrong columns."""
    path = tmp_path / "marker_scores.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="marker_scores"):
        MARKER_SCORES.read_csv(path)


def test_not_a_number_never_enters_json() -> None:
    """JSON cells parse with any reader, so NaN is refused when the table is made."""
    schema = TableSchema("t", "Test.", (Column("a", "json", "JSON."),))
    with pytest.raises(ValueError, match="JSON"):
        schema.frame([{"a": {"x": math.nan}}])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20))
def test_floats_survive_to_ten_digits(values: list[float]) -> None:
    """Text keeps ten significant digits of every float."""
    import io

    schema = TableSchema("t", "Test.", (Column("a", "float", "Number."),))
    text = schema.frame({"a": values}).to_csv(index=False, float_format="%.10g")
    np.testing.assert_allclose(pd.read_csv(io.StringIO(text))["a"], values, rtol=1e-9)
