"""Candidates scored by several models: votes, discussion, silence, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest_llm import Room, planted_markers
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import InputError
from cellkey.llm import RetryPolicy, Study, select_markers
from cellkey.llm.answers import parse_answer
from cellkey.llm.comparison import COMPARER, ComparisonAnswer, checked_candidates, compare_candidates
from cellkey.llm.evidence import evidence_of
from cellkey.testing import Fault, ModelServer, ScriptedModel, every_nth

NK, CD8, MONO = "natural killer cell", "CD8-positive, alpha-beta T cell", "monocyte"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "m.csv"
    planted_markers().to_csv(path, index=False)
    return path


def compare(server: ModelServer, source: Path, out: Path, models: str = "abc", *more: str, candidates=(NK, CD8, MONO)):
    """Run the command; return its exit code, the verdicts, the opinions, and what it printed."""
    named = [part for c in candidates for part in ("--candidate", c)]
    asked = [part for m in models for part in ("--model", m)]
    words = ["llm", "compare", str(source), "--provider", server.url, *named, *asked, "--out", str(out), *more]
    done = CliRunner().invoke(build_app(), [*words, "--cache", "off", "--tissue", "blood"])
    name = next(out.glob("*_verdicts.csv"), None)
    if name is None:
        return done.exit_code, None, None, done.output
    opinions = pd.read_csv(next(out.glob("*_comparison.csv")), keep_default_na=False)
    return done.exit_code, pd.read_csv(name, keep_default_na=False), opinions, done.output


def test_models_that_agree_at_once_are_asked_once(table: Path, tmp_path: Path) -> None:
    """One call per model, a verdict with its term, reasons, tokens and a page without scripts or addresses."""
    with ModelServer(ScriptedModel(preferences=dict.fromkeys("abc", CD8))) as server:
        code, verdicts, opinions, output = compare(server, table, tmp_path / "c", "abc", "-c", "0", "--input-cost", "1")
        served = [s for s in server.served if s.role == "comparer"]
    row = verdicts.iloc[0]
    assert (code, row["cell_type"], row["ontology_id"]) == (0, CD8, "CL:0000625")
    assert (row["status"], row["rounds"], row["n_models"], row["mean_score"]) == ("consensus", 1, 3, 85)
    assert (row["calls"], row["input_tokens"]) == (3, sum(s.input_tokens for s in served))
    assert row["cost_usd"] == pytest.approx(row["input_tokens"] / 1e6)
    assert "3 of 3 models prefer" in row["reason"]
    assert "For CD8" in output
    assert len(opinions) == 9
    assert set(opinions.loc[opinions["is_choice"], "cell_type"]) == {CD8}
    page = (tmp_path / "c" / "m_comparison.html").read_text()
    assert page.count("<tr>") == 1 + 3 + 1 + 9
    assert not any(word in page for word in ("<script", "http://", "https://"))


def test_the_report_of_a_comparison_is_its_page(table: Path, tmp_path: Path) -> None:
    """``cellkey report`` says where the page is that is there already."""
    with ModelServer() as server:
        compare(server, table, tmp_path / "c", "ab", "-c", "0")
    done = CliRunner().invoke(build_app(), ["report", str(tmp_path / "c")])
    assert done.exit_code == 2
    assert f"open {tmp_path / 'c' / 'm_comparison.html'}" in done.output


def test_a_model_can_be_convinced_by_the_reasons_of_others(table: Path, tmp_path: Path) -> None:
    """Others are shown without their names; a second round brings the consensus."""
    model = ScriptedModel(preferences={"a": CD8, "b": MONO, "c": NK}, persuadable=frozenset("b"))
    with ModelServer(model) as server:
        code, verdicts, _, _ = compare(server, table, tmp_path / "c", "abc", "-c", "0", "--threshold", "0.6")
        texts = [s.text for s in server.served if s.role == "comparer"]
    asked = [json.loads(text.split("<data>\n")[1].split("\n</data>")[0]) for text in texts]
    assert len(asked) == 6
    assert [len(d.get("other_reviewers", [])) for d in asked] == [0, 0, 0, 2, 2, 2]
    assert not any('"model"' in json.dumps(d) for d in asked)
    assert (code, verdicts["status"][0], verdicts["rounds"][0]) == (0, "consensus", 2)


def test_a_discussion_that_moves_nobody_ends_without_a_verdict(table: Path, tmp_path: Path) -> None:
    """Not all rounds are paid for when nothing changes; a tie names all leaders and no winner."""
    with ModelServer(ScriptedModel(preferences={"a": CD8, "b": NK})) as server:
        code, verdicts, opinions, _ = compare(server, table, tmp_path / "c", "ab", "-c", "0", "--rounds", "5")
    assert code == 3
    assert verdicts["status"][0] == "no_consensus"
    assert (verdicts["cell_type"][0], verdicts["rounds"][0]) == ("Unknown", 2)
    assert set(verdicts["leaders"][0].split("; ")) == {CD8, NK}
    assert opinions["round"].max() == 2


def test_a_silent_model_is_no_vote_but_counts(table: Path, tmp_path: Path) -> None:
    """Two of three is enough, one of two is not; the failure has a row with its reason."""

    def plan(request, _number):
        return Fault.SERVER_ERROR if request.role == "comparer" and request.body["model"] == "c" else None

    with ModelServer(ScriptedModel(preferences=dict.fromkeys("abc", NK)), plan) as server:
        code, verdicts, opinions, _ = compare(server, table, tmp_path / "c", "abc", "-c", "1", "--max-retries", "0")
        assert (code, verdicts["cell_type"][0], verdicts["n_answered"][0]) == (0, NK, 2)
        failed = opinions[opinions["status"] == "failed"]
        assert failed["model"].tolist() == ["c"]
        assert "500" in failed["error"].iloc[0]
        options = ("-c", "1", "--max-retries", "0", "--rounds", "1")
        assert compare(server, table, tmp_path / "d", "ac", *options)[:1] == (3,)
        code, verdicts, _, _ = compare(server, table, tmp_path / "e", "c", *options)
        assert (code, verdicts["status"][0]) == (1, "unanswered")


def test_a_service_that_fails_in_a_later_round_takes_no_scores_away(table: Path, tmp_path: Path) -> None:
    """The opinions of the round before stand; rounds in which nobody answers are not repeated."""
    model = ScriptedModel(preferences={"a": CD8, "b": NK, "c": CD8})

    def plan(request, _number):
        return Fault.SERVER_ERROR if "other_reviewers" in request.data else None

    with ModelServer(model, plan) as server:
        options = ("-c", "0", "--max-retries", "0", "--threshold", "0.9")
        code, verdicts, opinions, _ = compare(server, table, tmp_path / "c", "abc", *options)
    row = verdicts.iloc[0]
    assert (code, row["status"], row["leaders"], row["n_answered"]) == (3, "no_consensus", CD8, 3)
    assert opinions.groupby("round")["status"].agg(set).tolist() == [{"ok"}, {"failed"}]


def test_an_interrupted_comparison_pays_nothing_twice(table: Path, tmp_path: Path) -> None:
    """With --resume, answers that are there are used; the tables are the same."""
    with ModelServer(ScriptedModel(preferences={"a": CD8, "b": NK})) as server:
        first = compare(server, table, tmp_path / "c", "ab", "-c", "0", "-c", "1")
        paid = len(server.served)
        again = compare(server, table, tmp_path / "c", "ab", "-c", "0", "-c", "1", "--resume")
        assert len(server.served) == paid
    pd.testing.assert_frame_equal(first[1], again[1])
    pd.testing.assert_frame_equal(first[2], again[2])


def test_a_finished_run_gives_evidence_and_candidates(table: Path, tmp_path: Path) -> None:
    """Without --candidate the types that the run ranks are compared; a run that names one type asks for more."""
    with ModelServer() as server:
        words = ["llm", "annotate", str(table), "--provider", server.url, "--out", str(tmp_path / "named")]
        assert CliRunner().invoke(build_app(), [*words, "--cache", "off"]).exit_code == 0
        code, verdicts, _, output = compare(server, tmp_path / "named", tmp_path / "c", "a", "-c", "0", candidates=())
        assert code == 2
        assert "fewer than two types" in output
        code, verdicts, _, _ = compare(server, tmp_path / "named", tmp_path / "c", "a", "-c", "10")
    assert (code, verdicts["cell_type"][0]) == (0, MONO)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-c", "77"], "no cluster '77'"),
        (["-c", "0", "--threshold", "0.4"], "threshold"),
        (["-c", "0", "--rounds", "0"], "rounds"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_sent(table, tmp_path, words, part) -> None:
    """Unknown clusters and values that make no sense cost nothing and leave nothing."""
    with ModelServer() as server:
        code, _, _, output = compare(server, table, tmp_path / "c", "ab", *words)
        assert (code, server.served) == (2, [])
    assert part in output
    assert not (tmp_path / "c").exists()


def test_candidates_are_two_to_eight_different_names() -> None:
    """Spellings of one type are one candidate."""
    assert checked_candidates(["NK cell", "T cells", "T cell", " "]) == ("NK cell", "T cell")
    for names in (["T cell", "t cells"], [], [f"type {i}" for i in range(9)]):
        with pytest.raises(InputError, match="two to 8"):
            checked_candidates(names)


@pytest.mark.parametrize("given", [["NK cell"], ["NK cell", "B cell"], ["NK cell", "T cell", "T cell"]])
def test_scores_of_other_candidates_are_no_answer(given: list[str]) -> None:
    """Missing, further and repeated candidates are asked for again; nothing is joined by position."""
    answer = {"cluster": "0", "scores": [{"cell_type": c, "score": 50} for c in given]}
    context = {"cluster": "0", "candidates": ("NK cell", "T cell")}
    assert parse_answer(json.dumps(answer), ComparisonAnswer, context)[0] is None
    answer["scores"] = [{"cell_type": "T cells", "score": "80/100"}, {"cell_type": "nk cell", "score": 20.4}]
    read, _ = parse_answer(json.dumps(answer), COMPARER.answer, context)
    assert [s.score for s in read.scores] == [80, 20]


def test_a_preview_sends_and_writes_nothing(table: Path, tmp_path: Path) -> None:
    """It says calls, tokens and cost as ranges, and what the first question is."""
    with ModelServer() as server:
        options = ("-c", "0", "--preview", "--input-cost", "1000")
        code, _, _, output = compare(server, table, tmp_path / "c", "ab", *options)
        assert (code, server.served) == (0, [])
    assert not (tmp_path / "c").exists()
    for part in ("1 clusters, 2 models", "Calls: 2 to 6", "Cost: ~$", '"candidates": ["natural killer cell"', "CD3D"):
        assert part in output


@pytest.mark.parametrize(
    "fault",
    [
        Fault.THROTTLED_SECONDS, Fault.SERVER_ERROR, Fault.RESET, Fault.HTML, Fault.CUT_BODY, Fault.BROKEN_JSON,
        Fault.PROSE, Fault.CUT_ANSWER, Fault.NULL_CONTENT, Fault.TEXT_FOR_LIST, Fault.WRONG_CLUSTER, Fault.NULL_LABELS,
        Fault.REFUSED, Fault.UNSUPPORTED_OPTION, Fault.NO_USAGE,
    ],
)  # fmt: skip
def test_every_second_call_that_fails_costs_no_verdict(room: Room, fault: Fault) -> None:
    """Whatever goes wrong on the way, the opinions are those of an undisturbed comparison."""
    room.server.model = ScriptedModel(preferences={"a": CD8, "b": CD8})
    room.server.plan = every_nth(2, fault)
    evidence = evidence_of(select_markers(planted_markers()), Study("blood"))
    models = [room.client(model=m, retry=RetryPolicy(retries=8)) for m in "ab"]
    wanted = dict.fromkeys(("0", "1"), (NK, CD8))
    found = compare_candidates([evidence["0"], evidence["1"]], wanted, models, workers=1)
    assert [(c.cluster, c.verdict, c.mean_score(CD8), len(c.rounds)) for c in found] == [
        ("0", CD8, 85, 1), ("1", CD8, 85, 1)
    ]  # fmt: skip
    assert any(s.fault is fault for s in room.server.served)
