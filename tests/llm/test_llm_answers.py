"""What is taken for an answer, and what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.llm.answers import (
    AnnotationAnswer,
    BoostAnswer,
    MergeAnswer,
    ScoreAnswer,
    ValidationAnswer,
    answer_form,
    parse_answer,
)
from cellkey.llm.json_text import json_objects

GOOD = {
    "cluster": "3",
    "general_cell_type": "T cell",
    "confidence": "high",
    "evidence": "CD3D leads",
    "ranked_subtypes": [
        {"name": "CD4 T cell", "probability": 0.7, "supporting_genes": ["CD3D"], "contradicting_genes": []}
    ],
    "cell_state": None,
    "mixed_populations": [],
    "possible_tissues": [],
    "functional_markers": [],
    "unknown": False,
}
CONTEXT = {"cluster": "3", "blind": False}


def annotation(**changes):
    return parse_answer(json.dumps({**GOOD, **changes}), AnnotationAnswer, CONTEXT)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '```json\n{"a": 1}\n```',
        '```\r\n{"a": 1}\r\n```',
        'Sure! ```JSON\n{"a": 1}\n``` Done.',
        'Before {"a": 1} after',
        "{'a': 1}",
        '{"a": 1,}',
        "{a: 1}",
        '\ufeff{"a": 1}',
        '{"a": /* one */ 1} // x',
        'an example ```\nno json\n``` and ```json\n{"a": 1}\n```',
        'The set {x} holds; the answer is {"a": 1}',
    ],
)
def test_objects_are_found_in_what_models_write(text: str) -> None:
    """Bare, fenced, inside prose, or with small mistakes."""
    assert {"a": 1} in list(json_objects(text))


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": [1, 2', '{"a": "cut off', "no object", "", "[1, 2]", "{", "{}{"])
def test_cut_text_is_never_completed(text: str) -> None:
    """An object counts only if its closing brace was written."""
    assert all(value in ({},) for value in json_objects(text))


def test_the_larger_object_comes_first() -> None:
    """Inside prose, the longest object is the most likely answer."""
    assert next(iter(json_objects('{"a": 1} then {"a": 1, "b": {"c": 2}}'))) == {"a": 1, "b": {"c": 2}}


def test_raw_line_ends_quotes_and_apostrophes_inside_text() -> None:
    """Text keeps what it holds."""
    assert next(iter(json_objects('{"a": "one\ntwo"}'))) == {"a": "one\ntwo"}
    assert next(iter(json_objects("{'a': 'it\\'s', 'b': 'don't know'}"))) == {"a": "it's", "b": "don't know"}


@given(st.text(alphabet="{}[]\",:'ab1\\ \n", max_size=200))
@settings(max_examples=300)
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever comes, the reader ends with dictionaries."""
    assert all(isinstance(value, dict) for value in json_objects(text))


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda v: st.lists(v) | st.dictionaries(st.text(), v),
            max_leaves=8,
        ),
    )
)
def test_every_json_object_is_read_as_it_is(value: dict) -> None:
    """Valid JSON is never changed, bare or fenced."""
    text = json.dumps(value)
    assert next(iter(json_objects(text))) == value
    assert next(iter(json_objects(f"```json\n{text}\n```"))) == value


def test_nesting_without_end_is_given_up_quickly() -> None:
    """A hostile answer costs no time."""
    assert list(json_objects('{"a":' * 20_000)) == []


def test_a_good_annotation_is_taken_and_extra_keys_are_kept() -> None:
    """Unknown keys do no harm."""
    answer, problems = annotation(remark="x")
    assert problems == ""
    assert answer is not None
    assert answer.detailed_cell_type == "CD4 T cell"
    assert answer.model_extra == {"remark": "x"}


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": "4"},
        {"cluster": "30"},
        {"cluster": None},
        {"general_cell_type": None},
        {"general_cell_type": "..."},
        {"general_cell_type": "N/A"},
        {"general_cell_type": "string"},
        {"general_cell_type": "x" * 130},
        {"general_cell_type": {"name": "T cell"}},
        {"ranked_subtypes": "CD4, CD8"},
        {"ranked_subtypes": []},
        {"ranked_subtypes": [{"name": "a"}] * 4},
        {"ranked_subtypes": [{"name": None}]},
        {"ranked_subtypes": [{"name": "a", "probability": 0.9}, {"name": "b", "probability": 0.9}]},
        {"ranked_subtypes": [{"name": "a", "probability": 80}]},
        {"mixed_populations": "T cell, B cell"},
        {"ranked_subtypes": [{"name": "a", "supporting_genes": "CD3D, CD3E"}]},
        {"confidence": "very"},
        {"evidence": 3},
    ],
)
def test_wrong_annotations_are_refused(changes: dict) -> None:
    """Wrong types, placeholders, several clusters' worth of probability, other clusters: asked again."""
    answer, problems = annotation(**changes)
    assert answer is None
    assert problems


def test_labels_lose_markdown_and_numbers_may_name_the_cluster() -> None:
    """Decoration is no part of a name."""
    answer, _ = annotation(cluster=3, general_cell_type="**T  cell**", mixed_populations=["none"])
    assert answer is not None
    assert (answer.cluster, answer.general_cell_type, answer.mixed_populations) == ("3", "T cell", ())


def test_an_abstention_is_an_answer() -> None:
    """``unknown`` needs no subtype; so does the word itself."""
    for changes in ({"unknown": True, "ranked_subtypes": []}, {"general_cell_type": "Unknown"}):
        answer, _ = annotation(**changes)
        assert answer is not None
        assert (answer.unknown, answer.detailed_cell_type) == (True, "Unknown")


def test_a_withheld_tissue_must_be_guessed() -> None:
    """Without a tissue the answer names possible ones."""
    assert parse_answer(json.dumps(GOOD), AnnotationAnswer, {"cluster": "3", "blind": True})[0] is None


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (62.5, 63),
        (" 85 ", 85),
        ("90/100", 90),
        (0, 0),
        (100, 100),
        (99.5, 100),
        (850, None),
        (-3, None),
        (100.4, None),
        ("95%", None),
        ("high", None),
        (True, None),
        (None, None),
    ],
)
def test_scores_are_read_exactly_or_not_at_all(value: object, score: int | None) -> None:
    """Halves go up, fractions of 100 are read, out of range is never clamped."""
    text = json.dumps({"cluster": "3", "score": value, "reason": "95% sure, 12/100"})
    answer, _ = parse_answer(text, ScoreAnswer, CONTEXT)
    assert (answer.score if answer else None) == score


def test_parts_of_a_score_must_add_up_but_for_the_last_try() -> None:
    """A sum that is off by more than five is asked for again, once."""
    parts = {"correctness": 10, "marker_balance": 10, "coverage": 10, "rank_use": 10}
    text = json.dumps({"cluster": "3", "score": 90, "reason": "", **parts})
    assert parse_answer(text, ScoreAnswer, CONTEXT)[0] is None
    assert parse_answer(text, ScoreAnswer, {**CONTEXT, "last": True})[0] is not None


def test_a_booster_asks_or_concludes() -> None:
    """Both at once, or neither, is no answer."""
    base = {"cluster": "3", "changed": None, "reason": ""}
    asked = {**base, "request": {"genes": ["A"]}, "final": None}
    assert parse_answer(json.dumps(asked), BoostAnswer, CONTEXT)[0] is not None
    assert parse_answer(json.dumps({**asked, "final": GOOD}), BoostAnswer, CONTEXT)[0] is None
    assert parse_answer(json.dumps({**base, "request": None, "final": None}), BoostAnswer, CONTEXT)[0] is None
    other = {**base, "request": None, "final": {**GOOD, "cluster": "4"}}
    assert parse_answer(json.dumps(other), BoostAnswer, CONTEXT)[0] is None


@pytest.mark.parametrize("model", [AnnotationAnswer, ValidationAnswer, ScoreAnswer, BoostAnswer, MergeAnswer])
def test_schemas_are_strict(model: type) -> None:
    """Every object lists all its keys as required and allows no other, as strict services demand."""

    def check(node: object) -> None:
        if isinstance(node, dict):
            assert "$ref" not in node
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert node["required"] == list(node["properties"])
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(answer_form("x", model).schema)
