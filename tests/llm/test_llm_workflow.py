"""The way of one cluster: every state, every decision, and what each role is shown."""

from __future__ import annotations

import json
import threading

import pytest
from conftest_llm import EXPECTED, PLANTED, Room, planted_markers

from cellkey.llm import Knowledge, Study, WorkflowParameters, annotate_markers, provider_from
from cellkey.llm.client import ModelClient
from cellkey.llm.transport import HttpResponse, MockTransport
from cellkey.llm.workflow import _NEXT, Case, State, StateError
from cellkey.testing import ScriptedModel, scripted_transport
from cellkey.testing.scripted_model import read_request
from cellkey.testing.wire_answers import answer_body


def client_of(model: ScriptedModel) -> ModelClient:
    return ModelClient(provider_from("http://127.0.0.1:9/v1", environment={}), "scripted", scripted_transport(model))


def annotate(model: ScriptedModel | None = None, workflow: WorkflowParameters | None = None, **options):
    return annotate_markers(
        planted_markers(),
        client_of(model or ScriptedModel()),
        workflow=workflow,
        study=Study("blood", dataset="d"),
        **options,
    )


def states(result, cluster: str) -> list[str]:
    row = next(r for r in result.clusters if r.cluster == cluster)
    return [t.after.value for t in row.case.transitions]


def test_the_straight_way() -> None:
    """Proposal, rules, verdict, score, accepted: three calls."""
    result = annotate()
    assert states(result, "0") == ["annotate", "check", "validate", "score", "accepted"]
    assert result.labels == EXPECTED
    assert [t.role for t in result.clusters[0].turns] == ["annotator", "validator", "scorer"]


def test_a_step_that_the_diagram_does_not_have_names_both_states() -> None:
    """Final states are final; the error names where from and where to."""
    case = Case("7", State.ACCEPTED)
    with pytest.raises(StateError, match="'7' cannot go from accepted to annotate"):
        case.go(State.ANNOTATE, "", 0.0)
    assert all(not _NEXT[s] - {State.CONFLICT} for s in State if s.is_final)


def test_every_state_is_reachable_and_leads_to_an_end() -> None:
    """The diagram has no dead end but the final states."""
    reached, waiting = set(), [State.PENDING]
    while waiting:
        state = waiting.pop()
        reached.add(state)
        waiting += [s for s in _NEXT[state] if s not in reached]
        assert _NEXT[state] or state in (State.CONFLICT, State.UNLABELLED)
    assert reached == set(State)


@pytest.mark.parametrize(("score", "state"), [(75, "accepted"), (74.4, "boosted"), (90, "accepted"), (0, "boosted")])
def test_scores_below_the_threshold_are_boosted_and_the_threshold_is_not(score: float, state: str) -> None:
    """``score < threshold`` boosts; 75 does not."""
    result = annotate(ScriptedModel(scores={"1": score}))
    assert states(result, "1")[-1] == state


def test_boosting_changes_the_result_and_keeps_what_was_before() -> None:
    """The better label replaces the former one; both, and both scores, are kept."""
    result = annotate(ScriptedModel(scores={"1": 60}, boost_label={"1": ("B cell", "naive B cell")}))
    row = result.clusters[1]
    assert (row.label, row.status) == ("naive B cell", "boosted")
    assert row.case.before_boost.detailed_cell_type == "mature B cell"
    assert (row.case.score_before_boost.score, row.case.score.score) == (60, 88)
    table = result.table.set_index("cluster")
    assert table.loc["1", "label_before_boost"] == "mature B cell"
    assert bool(table.loc["1", "boost_changed"])
    assert states(result, "1")[-3:] == ["boost", "rescore", "boosted"]


def test_a_boosted_label_with_a_lower_score_is_not_taken() -> None:
    """The former label stays, with low confidence and the reason."""
    model = ScriptedModel(scores={"1": 60}, boost_label={"1": ("B cell", "naive B cell")}, score_after_boost=50)
    row = annotate(model).clusters[1]
    assert (row.label, row.status, row.case.score.score) == ("mature B cell", "low_confidence", 60)
    assert "former label stays" in row.case.transitions[-1].reason


def test_a_boosted_label_that_breaks_the_rules_is_not_taken() -> None:
    """The booster cannot make a B cell an endothelial cell against the genes."""
    model = ScriptedModel(scores={"1": 60}, boost_label={"1": ("endothelial cell", "endothelial cell")})
    row = annotate(model).clusters[1]
    assert (row.label, row.status) == ("mature B cell", "low_confidence")


def test_the_booster_is_shown_the_right_clusters_numbers() -> None:
    """Each cluster sees its own rows, and where else a gene is strongest."""
    seen = {}

    def handle(request):
        asked = read_request(request.url, request.body)
        if asked.role == "booster" and asked.n_turns == 3:
            seen[asked.cluster] = json.loads(asked.last.split("<data>\n")[1].split("\n</data>")[0])
        body, _, _ = answer_body(asked, model.answer(asked))
        return HttpResponse(200, json.dumps(body).encode())

    model = ScriptedModel(scores=dict.fromkeys(PLANTED, 50))
    client = ModelClient(provider_from("http://127.0.0.1:9/v1", environment={}), "m", MockTransport(handle))
    annotate_markers(planted_markers(), client)
    assert set(seen) == set(PLANTED)
    for cluster, block in seen.items():
        assert block["cluster"] == cluster
        numbers = {n["gene"]: n for n in block["numbers"]}
        assert numbers["NOTAGENE"] == {"gene": "NOTAGENE", "result": "not tested"}
        assert numbers["CD3D"]["log2FC"] == (3.0 if cluster == "0" else -2.0)
        assert numbers["MS4A1"]["log2FC"] == (3.0 if cluster == "1" else -2.0)
        assert numbers["CD3D"]["strongest_elsewhere"]["cluster"] != cluster
        if cluster != "0":
            assert numbers["CD3D"]["strongest_elsewhere"]["cluster"] == "0"


@pytest.mark.parametrize("genes", [("A",) * 500, tuple(f"G{i}" for i in range(500)), ("CD3D", "cd3d")])
def test_a_booster_that_never_ends_is_made_to_conclude(genes: tuple[str, ...]) -> None:
    """Hundreds of genes are capped at forty; asking for the same again, or for ever, ends the talk."""
    calls = []

    class Endless(ScriptedModel):
        def _boost(self, request):
            calls.append(request)
            wanted = {"genes": list(genes), "hypothesis": "", "expect": ""}
            return {"cluster": request.cluster, "request": wanted, "final": None, "changed": None, "reason": ""}

    row = annotate(Endless(scores={"1": 10})).clusters[1]
    assert (row.label, row.status) == ("mature B cell", "low_confidence")
    assert "went on asking" in row.case.error
    assert len(calls) <= 3
    assert max(c.last.count('"result"') for c in calls) <= 40


def test_a_validator_that_always_rejects_ends_after_three_proposals() -> None:
    """The label is kept with low confidence, or boosted."""
    result = annotate(ScriptedModel(verdicts={"1": "reject"}), WorkflowParameters(boost=False))
    row = result.clusters[1]
    assert (row.case.annotations, row.status, row.label) == (3, "low_confidence", "mature B cell")
    boosted = annotate(ScriptedModel(verdicts={"1": "reject"})).clusters[1]
    assert boosted.case.was_boosted


def test_a_lineage_that_the_genes_contradict_is_revised_before_any_verdict() -> None:
    """The rule checks come first, and their finding is what the reviser is told."""
    result = annotate(ScriptedModel(labels={"1": ("endothelial cell", "endothelial cell")}))
    row = result.clusters[1]
    assert row.case.annotations == 3
    revised = [t for t in row.turns if t.role == "reviser"]
    assert "lineage_conflict" in revised[0].messages[0].text
    assert not [f for f in result.clusters[0].case.findings if f.asks_for_revision]


def test_the_marker_hierarchys_call_takes_part() -> None:
    """A label of another lineage than the hierarchy's asks for a revision; an agreeing one does not."""
    row = annotate(knowledge=Knowledge(calls={"1": "Endothelial cells", "0": "T lymphocytes"})).clusters
    assert row[1].case.annotations == 3
    assert row[0].case.annotations == 1


def test_an_abstention_is_no_label() -> None:
    """``unknown`` from annotator and booster leaves the cluster unlabelled, with the reason."""

    class Shy(ScriptedModel):
        def _annotation(self, request):
            return {**super()._annotation(request), "unknown": True, "ranked_subtypes": []}

    result = annotate(Shy())
    assert result.failed == list(EXPECTED)
    assert all("no name" in r.case.error for r in result.clusters)
    assert set(result.table["cell_type"]) == {"Unknown"}


def test_an_internal_error_takes_one_cluster_only(monkeypatch) -> None:
    """A fault of the program in one cluster is an outcome of that cluster."""
    from cellkey.llm.rule_checks import RuleChecks

    real = RuleChecks.findings

    def broken(self, answer):
        if answer.cluster == "10":
            raise ZeroDivisionError
        return real(self, answer)

    monkeypatch.setattr(RuleChecks, "findings", broken)
    result = annotate()
    assert result.clusters[2].status == "low_confidence"
    assert "internal error (ZeroDivisionError" in result.clusters[2].case.error
    assert [r.status for r in result.clusters if r.cluster != "10"] == ["ok"] * 3


def test_the_result_does_not_depend_on_workers_or_row_order() -> None:
    """One worker or many, rows forwards or backwards."""
    base = annotate(workers=1).table.drop(columns="calls")
    for workers, markers in ((8, planted_markers()), (3, planted_markers().iloc[::-1])):
        again = annotate_markers(
            markers, client_of(ScriptedModel()), study=Study("blood", dataset="d"), workers=workers
        ).table.drop(columns="calls")
        assert again.to_csv() == base.to_csv()


def test_answers_that_come_out_of_order_stay_with_their_clusters(room: Room) -> None:
    """The slowest answer first: labels follow identifiers, never positions."""
    gate = threading.Semaphore(0)

    class Slow(ScriptedModel):
        def answer(self, request):
            if request.role == "annotator" and request.cluster == "0":
                gate.acquire(timeout=2)
            elif request.role == "scorer":
                gate.release()
            return super().answer(request)

    room.server.model = Slow()
    assert room.annotate(workers=4).labels == EXPECTED


def test_other_models_for_single_roles() -> None:
    """The scorer may be another model; the record tells who answered what."""
    scorer = ModelClient(
        provider_from("http://127.0.0.1:9/v1", environment={}),
        "other",
        scripted_transport(ScriptedModel(scores={"0": 10})),
    )
    result = annotate(role_clients={"scorer": scorer})
    assert {c.requested_model for c in result.calls} == {"scripted", "other"}
    assert result.clusters[0].case.was_boosted


def test_repeats_vote_and_their_disagreement_is_a_conflict() -> None:
    """Three runs that say three things: status conflict; two of three alike: the majority's label."""

    class Fickle(ScriptedModel):
        def _annotation(self, request):
            answer = super()._annotation(request)
            repeat = request.body.get("seed", 0)
            if request.cluster == "0":
                answer["general_cell_type"] = f"type {repeat}"
                answer["ranked_subtypes"][0]["name"] = f"subtype {repeat}"
            if request.cluster == "1" and repeat == 0:
                answer["ranked_subtypes"][0]["name"] = "memory B cell"
            return answer

    result = annotate(Fickle(), WorkflowParameters(repeats=3, validator="off"))
    first, second, third, _ = result.clusters
    assert first.status == "conflict"
    assert (second.label, second.agreement.detailed, second.agreement.general) == ("mature B cell", 2 / 3, 1.0)
    assert third.agreement.similarity == 1.0
    assert result.table.set_index("cluster").loc["0", "entropy"] == pytest.approx(1.584962500721156)


def test_only_doubtful_clusters_are_repeated_when_told_so() -> None:
    """``repeat_below`` spends money where it tells something."""
    result = annotate(ScriptedModel(scores={"0": 80}), WorkflowParameters(repeats=3, repeat_below=85))
    assert [len(r.repeats) for r in result.clusters] == [2, 0, 0, 0]


def test_repeated_runs_show_other_genes_in_another_order() -> None:
    """At equal prompts repeats would measure nothing; the jitter is the same in every process."""
    from cellkey.llm.evidence import evidence_of
    from cellkey.llm.marker_selection import select_markers
    from cellkey.llm.marker_tables import marker_table

    table = marker_table({"0": [f"G{i}" for i in range(60)]})
    evidence = evidence_of(select_markers(table), Study(dataset="d"))["0"]
    names = [evidence.jittered(k).selection.names for k in range(3)]
    assert names[0] == evidence.selection.names
    assert names[1] != names[2]
    assert names[1] == evidence.jittered(1).selection.names
    assert set(names[1][:5]) == {f"G{i}" for i in range(5)}
    assert 35 <= len(names[1]) < 50


@pytest.mark.parametrize("validator", ["off", "rules", "llm", "both"])
@pytest.mark.parametrize("score", [True, False])
@pytest.mark.parametrize("boost", [True, False])
def test_all_choices_of_roles_end(validator: str, score: bool, boost: bool) -> None:
    """Whatever takes part, every cluster has its label."""
    steps = WorkflowParameters(validator=validator, score=score, boost=boost, merge="off")
    result = annotate(workflow=steps)
    assert result.labels == EXPECTED
    assert {r.status for r in result.clusters} == {"ok"}
