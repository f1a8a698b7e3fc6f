"""Asking again about a finished annotation: it stays as it is, and before and after are kept."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from conftest_llm import EXPECTED, planted_markers
from test_llm_workflow import client_of
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import InputError, RunError
from cellkey.llm import Study, WorkflowParameters, annotate_markers, bundled_knowledge
from cellkey.llm.boost_trace import boost_trace
from cellkey.llm.followup import boost_clusters, follow_up, merge_labels, score_clusters
from cellkey.llm.marker_selection import SelectionParameters
from cellkey.llm.run import annotate_table_file, asking_in, write_table_run
from cellkey.llm.setup import ClientTeam, ModelSettings
from cellkey.llm.stored import AskedWith, StoredResult, open_table_run
from cellkey.testing import Fault, ModelServer, ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path

NAME = "planted"


def finish(folder: Path, model: ScriptedModel | None = None, workflow: WorkflowParameters | None = None):
    """Annotate the planted clusters into ``folder`` and read them back."""
    steps = workflow or WorkflowParameters()
    table = planted_markers()
    client = client_of(model or ScriptedModel())
    study = Study("blood", "human", "a note", NAME)
    result = annotate_markers(
        table, client, study=study, workflow=steps, sizes={"0": 20, "1": 5}, knowledge=bundled_knowledge()
    )
    asked = AskedWith(study, ModelSettings(provider="scripted"), steps, SelectionParameters())
    write_table_run(folder, result, table, asked, {"input": "none"})
    return result


def test_a_finished_table_is_a_run_with_a_page(tmp_path) -> None:
    """The page, the explanation and the list of calls show what the model named, without cells."""
    from cellkey.annotation.explain import explain_run
    from cellkey.records.run_tables import RunKind, run_calls, run_kind
    from cellkey.report import write_report
    from cellkey.report.reading import read_run

    result = finish(tmp_path / "a")
    assert run_kind(tmp_path / "a") is RunKind.MODEL_TABLE
    calls = run_calls(tmp_path / "a")
    assert calls["cluster_id"].tolist() == [c.cluster for c in result.clusters]
    assert calls["n_cells"].tolist()[:2] == [20, 5]
    page = read_run(tmp_path / "a").datasets[0]
    assert page.clusters == calls["cluster_id"].tolist()
    assert page.genes["0"]
    assert page.conversations["clusters"]
    assert "talks-0" in write_report(tmp_path / "a").read_text()
    label = calls["final_annotation"].iloc[0]
    assert explain_run(tmp_path / "a", ["0"]).startswith(f"Cluster 0: {label}")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_result_that_is_read_back_is_written_the_same(tmp_path) -> None:
    """Every field of every cluster survives: states, findings, objections, repeats, votes, groups, exchanges."""
    model = ScriptedModel(
        labels={"1": ("neuron", "neuron")}, scores={"10": 60}, verdicts={"0": "revise"},
        boost_label={"10": ("myeloid cell", "macrophage")}, score_after_boost=91,
    )  # fmt: skip
    finish(tmp_path / "a", model, WorkflowParameters(repeats=3, merge="model"))
    stored = open_table_run(tmp_path / "a")
    write_table_run(tmp_path / "b", stored.result, stored.markers, stored.asked, {"input": "none"})
    before, after = contents(tmp_path / "a"), contents(tmp_path / "b")
    spent = ["calls", "input_tokens", "output_tokens", "cost_usd"]  # of the run that asked
    tables = [pd.read_csv(f / f"{NAME}_annotations.csv", dtype=str).drop(columns=spent) for f in
              (tmp_path / "a", tmp_path / "b")]  # fmt: skip
    pd.testing.assert_frame_equal(*tables)
    for name in (
        f"{NAME}_FINAL_RESULTS.csv",
        f"{NAME}_markers.csv",
        f"{NAME}_confidence.csv",
        f"{NAME}_annotation.txt",
    ):
        kept = [line for line in before[name].splitlines() if not line.startswith(b"Warning")]
        assert [line for line in after[name].splitlines() if not line.startswith(b"Warning")] == kept, name
    talks = [json.loads(c[f"{NAME}_conversations.json"])["clusters"] for c in (before, after)]
    assert talks[0] == talks[1]


def boosted(stored: StoredResult, model: ScriptedModel, clusters: list[str], **more):
    return boost_clusters(stored, {"": client_of(model)}, clusters, **more)


def test_boosting_on_demand_changes_the_new_result_only(tmp_path) -> None:
    """The label of one cluster changes, before and after are kept, the finished run stays byte for byte as it was."""
    finish(tmp_path / "run")
    before = contents(tmp_path / "run")
    model = ScriptedModel(boost_label={"10": ("myeloid cell", "macrophage")}, score_after_boost=93)
    with ModelServer(model) as server:
        done = follow_up(
            open_table_run(tmp_path / "run"),
            lambda stored, clients: boost_clusters(stored, clients, ["10"], task="which kind?"),
            tmp_path / "new",
            verb="boosted",
            model={"provider": server.url, "model": "big", "cache": "off"},
        )
        asked = [s for s in server.served if s.role != "probe"]
        totals = server.totals()
    assert contents(tmp_path / "run") == before
    assert {s.cluster for s in asked} == {"10"}
    assert [s.role for s in asked] == ["booster", "booster", "scorer"]
    assert "which kind?" in asked[0].text
    row = done.outcome.changes.iloc[0]
    assert (row["label_before"], row["label_after"], bool(row["changed"])) == ("monocyte", "macrophage", True)
    assert (row["score_before"], row["score_after"], row["status_after"]) == (90, 93, "boosted")
    tracking = json.loads((tmp_path / "new" / "token_tracking.json").read_text())
    assert tracking["total_calls"] == totals["calls"]
    assert tracking["total_input_tokens"] == totals["input_tokens"]
    again = open_table_run(tmp_path / "new").result
    assert again.labels == {**EXPECTED, "10": "macrophage"}
    table = again.table.set_index("cluster")
    assert table.loc["10", ["label_before_boost", "model"]].tolist() == ["monocyte", "big"]
    assert set(table.loc[["0", "1"], "model"]) == {"scripted"}
    assert (tmp_path / "new" / "boost" / "10.md").read_text().count("NOTAGENE") == 2
    talk = json.loads((tmp_path / "new" / f"{NAME}_conversations.json").read_text())["clusters"]["10"]
    assert [t["role"] for t in talk["turns"]] == ["annotator", "validator", "scorer", "booster", "booster", "scorer"]
    assert [s["after"] for s in talk["state"]][-3:] == ["boost", "rescore", "boosted"]


def test_the_booster_is_told_the_numbers_of_the_right_cluster(tmp_path) -> None:
    """CD3D is up in cluster 0 and down in 10; each cluster is told its own number."""
    finish(tmp_path)
    done = boosted(open_table_run(tmp_path), ScriptedModel(boost_genes=("CD3D",)), ["0", "10"])
    told = {r.cluster: r.turns[1].messages[-1].text for r in done.result.clusters if r.turns}
    assert '"log2FC": 3.0' in told["0"]
    assert '"log2FC": -2.0' in told["10"]


def test_the_booster_is_told_the_numbers_of_clusters_that_it_names(tmp_path) -> None:
    """The own numbers and those of a neighbour stand side by side."""
    finish(tmp_path)
    done = boosted(open_table_run(tmp_path), ScriptedModel(boost_genes=("CD3D",), boost_clusters=("0",)), ["10"])
    told = next(r for r in done.result.clusters if r.cluster == "10").turns[1].messages[-1].text
    assert '"log2FC": -2.0' in told
    assert '"in_other_clusters": {"0": {"log2FC": 3.0' in told


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.UNAUTHORISED, Fault.PROSE])
def test_what_cannot_be_asked_changes_nothing(tmp_path, fault: Fault) -> None:
    """A booster that fails leaves label, score and outcome, and says why."""
    finish(tmp_path / "run")
    with ModelServer(plan=lambda r, _n: fault if r.role == "booster" else None) as server:
        settings = ModelSettings(provider=server.url, model="m", cache="off", retries=0)
        with ClientTeam(settings) as team:
            done = boost_clusters(open_table_run(tmp_path / "run"), {"": team.main}, ["1"])
    row = done.changes.iloc[0]
    assert row["label_after"] == row["label_before"] == EXPECTED["1"]
    assert (row["status_after"], row["score_after"]) == ("ok", 90)
    assert row["error"]
    assert done.errors.keys() == {"1"}


def test_a_worse_label_is_not_taken_and_a_confirmed_one_stays_strong(tmp_path) -> None:
    """The rules of a first annotation hold: the score must not fall, and no more checks may fail."""
    finish(tmp_path)
    stored = open_table_run(tmp_path)
    lower = boosted(
        stored, ScriptedModel(boost_label={"10": ("myeloid cell", "macrophage")}, score_after_boost=80), ["10"]
    ).changes.iloc[0]
    assert (lower["label_after"], lower["status_after"]) == ("monocyte", "low_confidence")
    wrong = boosted(stored, ScriptedModel(boost_label={"10": ("neuron", "neuron")}, score_after_boost=99), ["10"])
    assert wrong.changes["label_after"].tolist() == ["monocyte"]
    same = boosted(stored, ScriptedModel(score_after_boost=80), ["10"]).changes.iloc[0]
    assert (same["label_after"], same["status_after"], same["score_after"]) == ("monocyte", "boosted", 90)


def test_a_cluster_without_a_proposal_is_annotated(tmp_path) -> None:
    """What failed in the run can be made up for on demand."""

    class Silent(ScriptedModel):
        def answer(self, request):
            return "" if request.cluster == "1" else super().answer(request)

    finish(tmp_path, Silent())
    stored = open_table_run(tmp_path)
    assert stored.result.failed == ["1"]
    row = boosted(stored, ScriptedModel(), ["1"]).changes.iloc[0]
    assert (row["label_before"], row["label_after"], row["status_after"]) == ("Unknown", EXPECTED["1"], "ok")


def test_clusters_that_do_not_exist_are_refused(tmp_path) -> None:
    """The message says which there are."""
    finish(tmp_path)
    with pytest.raises(InputError, match=r"no cluster '100'.*did you mean '10'.*there are 0, 1, 10, CD4\+ T_x"):
        boosted(open_table_run(tmp_path), ScriptedModel(), ["100"])


@pytest.mark.parametrize("strategy", ["free", "breadth", "depth"])
def test_a_strategy_is_told_and_depth_takes_two_requests(tmp_path, strategy: str) -> None:
    """A model that concludes at once is sent back to the numbers in depth only, and at most twice."""
    finish(tmp_path)
    done = boosted(open_table_run(tmp_path), ScriptedModel(boost_genes=()), ["10"], strategy=strategy)
    turns = [t for t in next(r for r in done.result.clusters if r.cluster == "10").turns if t.role == "booster"]
    assert (f"Work in {strategy}" in turns[0].messages[0].text) == (strategy != "free")
    put_off = [t.messages[-1].text.startswith("It is too early") for t in turns[1:]]
    assert put_off == ([True, True] if strategy == "depth" else [])
    trace = boost_trace(next(r for r in done.result.clusters if r.cluster == "10"))
    assert trace.count("sent back for further genes") == len(put_off)
    assert done.changes["status_after"].tolist() == ["boosted"]


def test_a_label_can_be_withheld_from_the_booster(tmp_path) -> None:
    """Without history it sees neither label nor objections, and is told so; its label is still judged by the rules."""
    finish(tmp_path)
    labels = {"10": ("myeloid cell", "macrophage")}
    model = ScriptedModel(boost_label=labels, score_after_boost=93)
    done = boosted(open_table_run(tmp_path), model, ["10"], history="none")
    first = next(r for r in done.result.clusters if r.cluster == "10").turns[0].messages[0].text
    assert '"proposal"' not in first
    assert '"objections"' not in first
    assert "former annotation is withheld" in first
    assert done.changes["label_after"].tolist() == ["macrophage"]


def follow(verb: str, run: Path, *options: str) -> tuple[int, str]:
    """Run a command about a finished run; return its exit code and what it printed."""
    done = CliRunner().invoke(build_app(), ["llm", verb, str(run), *options])
    return done.exit_code, done.output


@pytest.mark.parametrize(("verb", "options", "calls", "part"), [
    ("boost", ("-c", "10", "--rounds", "4"), "Calls: 2 to 7, about 4", '"objections"'),
    ("score", (), "Calls: 4 to 8, about 4", '"proposal"'),
    ("merge", ("--by", "model"), "Calls: 1 to 3, about 1", '"labels_by_cluster"'),
    ("merge", (), "No model is asked", "Cost: $0.00"),
])  # fmt: skip
def test_a_preview_of_asking_again_sends_and_writes_nothing(tmp_path, verb, options, calls, part, monkeypatch) -> None:
    """Calls, tokens and money as ranges, and the first question to the letter; no key is needed."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    finish(tmp_path / "run")
    before = contents(tmp_path)
    model = ("--provider", "openai", "--model", "gpt-4o", "--preview")
    code, output = follow(verb, tmp_path / "run", *options, *model)
    assert code == 0, output
    assert calls in output
    assert part in output
    assert "accepted" not in output  # nothing was
    assert contents(tmp_path) == before


def test_what_a_preview_says_holds_what_asking_takes(tmp_path) -> None:
    """The calls and tokens that a server counts lie inside the ranges."""
    finish(tmp_path / "run")
    with ModelServer() as server:
        asked = ("-c", "0", "-c", "10", "--provider", server.url, "--model", "m", "--cache", "off", "--no-probe")
        _, told = follow("boost", tmp_path / "run", *asked, "--preview", "--input-cost", "1")
        assert server.served == []
        code, output = follow("boost", tmp_path / "run", *asked, "--out", str(tmp_path / "new"))
        assert code == 0, output
        totals = server.totals()
    calls = re.search(r"Calls: (\d+) to (\d+)", told)
    tokens = re.search(r"([\d,]+) to ([\d,]+) together", told)
    assert int(calls[1]) <= totals["calls"] <= int(calls[2])
    low, high = (int(part.replace(",", "")) for part in tokens.groups())
    assert low <= totals["input_tokens"] + totals["output_tokens"] <= high
    assert "(option price)" in told


def test_another_model_scores_and_labels_stay(tmp_path) -> None:
    """Scores and outcomes are new; a score below the threshold is low confidence; disagreement stays one."""
    finish(tmp_path)
    done = score_clusters(open_table_run(tmp_path), {"": client_of(ScriptedModel(scores={"1": 40}))})
    assert done.result.labels == EXPECTED
    table = done.changes.set_index("cluster")
    assert table.loc["1", ["score_before", "score_after", "status_after"]].tolist() == [90, 40, "low_confidence"]
    assert set(table.loc[["0", "10"], "status_after"]) == {"ok"}
    assert not table["changed"].any()


def test_labels_are_grouped_again_without_a_model(tmp_path) -> None:
    """By the ontology nobody is asked; by a model one call is made."""
    finish(tmp_path, workflow=WorkflowParameters(merge="off"))
    stored = open_table_run(tmp_path)
    assert set(stored.result.table["broad_group"]) == {""}
    client = client_of(ScriptedModel())
    assert merge_labels(stored, {"": client}).result.table["broad_group"].tolist()[0] == "T cell"
    assert not client.journal.calls
    assert all(merge_labels(stored, {"": client}, "model").result.table["specific_group"] != "")
    assert [c.role for c in client.journal.calls] == ["merger"]


def test_roles_can_have_models_of_their_own(tmp_path) -> None:
    """``score_model`` and its relatives name a model, or a provider and a model; the record has the prices of all."""
    settings = ModelSettings(
        provider="openai", model="gpt-4o", score_model="anthropic:claude-x", boost_model="llama3.1:8b"
    )
    assert settings.for_role("scorer").provider == "anthropic"
    assert settings.for_role("scorer").model == "claude-x"
    assert (settings.for_role("booster").provider, settings.for_role("booster").model) == ("openai", "llama3.1:8b")
    assert settings.for_role("merger") is settings
    assert set(settings.price_by_model()) == {"gpt-4o", "claude-x", "llama3.1:8b"}
    with ModelServer(ScriptedModel(scores={"0": 10})) as server:
        table = tmp_path / "m.csv"
        planted_markers().to_csv(table, index=False)
        chosen = ModelSettings(provider=server.url, model="small", score_model="strict", boost_model="big", cache="off")
        annotate_table_file(table, tmp_path / "out", model=chosen)
    calls = json.loads((tmp_path / "out" / "token_tracking.json").read_text())["api_calls"]
    models = {(c["role"], c["requested_model"]) for c in calls}
    assert {("annotator", "small"), ("scorer", "strict"), ("booster", "big"), ("validator", "small")} <= models
    assert {m for r, m in models if r == "probe"} == {"small", "strict", "big"}


def test_directories_in_use_and_unfinished_runs_are_refused(tmp_path) -> None:
    """Nothing is overwritten; the message says what is missing."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RunError, match="not empty"), asking_in(tmp_path / "full", ModelSettings(provider="scripted")):
        pass
    with pytest.raises(RunError, match=r"run_manifest\.json is missing"):
        open_table_run(tmp_path / "none")


def test_the_trace_of_a_boost_can_be_read(tmp_path) -> None:
    """Questions, numbers as a table, and the conclusion; what a model or a name says is text and no markup."""
    finish(tmp_path)
    model = ScriptedModel(
        boost_genes=("CD3D", "NOTAGENE", "<b>|x"),
        boost_clusters=("0",),
        boost_label={"10": ("myeloid cell", "*macro*")},
    )
    done = boosted(open_table_run(tmp_path), model, ["10"])
    text = boost_trace(next(r for r in done.result.clusters if r.cluster == "10"))
    assert "Hypothesis: lineage" in text
    assert "| CD3D | -2.0 | 5% | 60% | 1e-48 | 0: log2FC 3.0, 90% | 0: log2FC 3.0, 90% |" in text
    assert "| NOTAGENE | not tested |" in text
    assert "\\<b\\>\\|x" in text
    assert "Detailed types: macro" in text
    assert "<data>" not in text
