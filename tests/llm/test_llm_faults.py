"""Whatever a service does, every cluster ends with a row, nothing is mislabelled, and the totals are right."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import pytest
from conftest_llm import EXPECTED, Room

from cellkey.errors import BudgetExceededError
from cellkey.llm import RetryPolicy, Timeouts, WorkflowParameters
from cellkey.llm.failures import CredentialsError, ModelNotFoundError
from cellkey.llm.workflow import State
from cellkey.testing import Fault, ScriptedModel, every_nth

if TYPE_CHECKING:
    from cellkey.llm import AnnotationResult

ENDS_THE_RUN = {Fault.UNAUTHORISED, Fault.PAYMENT, Fault.QUOTA, Fault.NO_MODEL}
SURVIVED = [f for f in Fault if f not in ENDS_THE_RUN]
SPOKEN = [f for f in SURVIVED if f not in (Fault.SILENT, Fault.DRIP, Fault.SLOW, Fault.UNSUPPORTED_OPTION)]


def assert_accounted(room: Room, result: AnnotationResult) -> None:
    """Every cluster has one row with an outcome, no label is another cluster's, sums equal the server's."""
    assert [r.cluster for r in result.clusters] == list(EXPECTED)
    for row in result.clusters:
        assert row.case.state.is_final
        assert row.label in (EXPECTED[row.cluster], "Unknown")
        assert row.is_labelled or row.case.error
    real = [c for c in result.calls if not c.is_hit]
    counted = [c for c in real if c.usage_source == "provider"]
    served = room.server.totals()
    assert len(real) == served["calls"]
    assert sum(c.input_tokens for c in counted) == served["input_tokens"]
    assert sum(c.output_tokens for c in counted) == served["output_tokens"]


@pytest.mark.parametrize("fault", SURVIVED)
def test_all_clusters_are_labelled_with_a_fault_on_every_second_call_of_every_role(room: Room, fault: Fault) -> None:
    """A fault on every second call of every role costs no label."""
    room.server.plan = every_nth(2, fault)
    room.server.model = ScriptedModel(scores={"1": 60})  # so that the booster takes part
    impatient = fault in (Fault.SILENT, Fault.DRIP)
    timeouts = Timeouts(1.0, 0.2, 0.25) if impatient else Timeouts(2.0, 5.0, 5.0)
    # One cluster at a time, so that every second call is every second call of a cluster, too.
    result = room.annotate(room.client(retry=RetryPolicy(retries=8), timeouts=timeouts), workers=1)
    assert_accounted(room, result)
    assert result.labels == EXPECTED
    assert {s.role for s in room.server.served} >= {"annotator", "validator", "scorer", "booster", "merger"}


def test_all_faults_in_turn_on_every_second_call_cost_no_label(room: Room) -> None:
    """A mixture of all faults costs no label either."""
    room.server.plan = every_nth(2, *SURVIVED)
    room.server.model = ScriptedModel(scores={"1": 60, "10": 50})
    result = room.annotate(room.client(retry=RetryPolicy(retries=12)), workers=1)
    assert_accounted(room, result)
    assert result.labels == EXPECTED


@pytest.mark.parametrize("fault", [*SPOKEN, Fault.UNSUPPORTED_OPTION])
def test_no_label_goes_to_another_cluster_when_many_fail_side_by_side(room: Room, fault: Fault) -> None:
    """With all clusters under way at once, an outcome is stated for each, and no label is another's."""
    room.server.plan = every_nth(2, fault)
    result = room.annotate(room.client(retry=RetryPolicy(retries=12)), workers=8)
    assert_accounted(room, result)


@pytest.mark.parametrize(
    ("provider", "effort", "kind"), [("anthropic", None, "messages"), ("openai", "low", "responses")]
)
@pytest.mark.parametrize("fault", SPOKEN)
def test_other_wire_formats_survive_the_same_faults(
    room: Room, fault: Fault, provider: str, effort: str | None, kind: str
) -> None:
    """All wire formats are read with the same care."""
    from cellkey.llm import provider_from

    room.server.plan = every_nth(2, fault)
    service = provider_from(provider, base_url=room.server.url, key="planted-key", environment={}, effort=effort)
    assert service.wire.kind == kind
    result = room.annotate(room.client(provider=service, retry=RetryPolicy(retries=8)), workers=1)
    assert_accounted(room, result)
    assert result.labels == EXPECTED


@pytest.mark.parametrize("fault", [Fault.THROTTLED_SECONDS, Fault.THROTTLED_DATE])
def test_the_time_that_the_service_asks_for_is_waited(room: Room, fault: Fault) -> None:
    """No wait after a 429 is shorter than Retry-After says."""
    room.server.plan = lambda r, n: fault if r.role == "annotator" and n <= 1 else None
    room.annotate(workers=1)
    assert max(room.clock.waits) >= (2.0 if fault is Fault.THROTTLED_SECONDS else 1.5)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DRIP])
def test_a_peer_that_says_nothing_or_drips_is_left_in_time(room: Room, fault: Fault) -> None:
    """The limit of one exchange holds although single bytes keep coming, also inside the headers."""
    room.server.plan = lambda _r, n: fault if n <= 1 else None
    started = time.monotonic()
    result = room.annotate(room.client(timeouts=Timeouts(1.0, 0.4, 0.6)))
    assert time.monotonic() - started < 8
    assert result.labels == EXPECTED


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault.UNAUTHORISED, CredentialsError),
        (Fault.PAYMENT, BudgetExceededError),
        (Fault.QUOTA, BudgetExceededError),
        (Fault.NO_MODEL, ModelNotFoundError),
    ],
)
def test_a_failure_that_no_repetition_mends_ends_the_run_at_once(
    room: Room,
    fault: Fault,
    failure: type[Exception],
) -> None:
    """At most one request per worker is sent; every cluster has a row with the reason."""
    room.server.plan = lambda _r, _n: fault
    client = room.client()
    result = room.annotate(client, workers=2)
    assert isinstance(client.stopped, failure)
    assert len(room.server.served) <= 3
    assert [r.case.state for r in result.clusters] == [State.UNLABELLED] * 4
    assert all("status" in r.case.error for r in result.clusters)
    assert_accounted(room, result)


def test_labels_given_before_the_money_ran_out_are_kept(room: Room) -> None:
    """A run that stops keeps what it has: proposals without a verdict are of low confidence."""
    room.server.plan = lambda r, _n: Fault.PAYMENT if r.role == "validator" else None
    result = room.annotate(workers=1)
    first, *others = result.clusters
    assert (first.status, first.label) == ("low_confidence", EXPECTED["0"])
    assert {r.status for r in others} == {"unlabelled"}


def test_one_cluster_that_always_fails_takes_no_other_down(room: Room) -> None:
    """A service error that never ends leaves one cluster unlabelled, with the reason."""
    room.server.plan = lambda r, _n: Fault.SERVER_ERROR if r.cluster == "1" else None
    result = room.annotate(room.client(retry=RetryPolicy(retries=2)))
    assert result.failed == ["1"]
    assert "status 500" in result.clusters[1].case.error
    assert_accounted(room, result)


@pytest.mark.parametrize(
    ("role", "status"), [("validator", "ok"), ("scorer", "low_confidence"), ("booster", "low_confidence")]
)
def test_a_role_that_always_fails_loses_no_label(room: Room, role: str, status: str) -> None:
    """Without a validator the rules decide; without a score the cluster is weak; without a booster it stays so."""
    room.server.plan = lambda r, _n: Fault.SERVER_ERROR if r.role == role else None
    room.server.model = ScriptedModel(scores=dict.fromkeys(EXPECTED, 50) if role == "booster" else {})
    result = room.annotate(room.client(retry=RetryPolicy(retries=1)))
    assert result.labels == EXPECTED
    assert {r.status for r in result.clusters} == {status}
    assert all("500" in " ".join(r.case.notes) for r in result.clusters)


def test_a_merger_that_always_fails_leaves_groups_empty_with_a_warning(room: Room) -> None:
    """Groups are no labels: without them the result stands."""
    room.server.plan = lambda r, _n: Fault.SERVER_ERROR if r.role == "merger" else None
    result = room.annotate(room.client(retry=RetryPolicy(retries=1)))
    assert result.labels == EXPECTED
    assert all(r.groups is None for r in result.clusters)
    assert "not grouped" in result.warnings[0]


def test_an_option_that_the_model_refuses_is_left_out_from_then_on(room: Room) -> None:
    """Each refused option costs one call, not one call per question."""
    refused = itertools.count()

    def plan(request, _n):
        body = request.body
        if "temperature" in body or "response_format" in body or "max_tokens" in body:
            next(refused)
            return Fault.UNSUPPORTED_OPTION
        return None

    room.server.plan = plan
    result = room.annotate(workers=1)
    assert result.labels == EXPECTED
    # temperature, seed, response_format twice (schema, then any object), max_tokens
    assert next(refused) == 5


def test_the_messages_format_does_without_refused_options(room: Room) -> None:
    """Without tools the form of the answer is asked for in words."""
    from cellkey.llm import provider_from

    room.server.plan = lambda r, _n: Fault.UNSUPPORTED_OPTION if "temperature" in r.body or "tools" in r.body else None
    service = provider_from("anthropic", base_url=room.server.url, key="planted-key", environment={})
    result = room.annotate(room.client(provider=service), workers=1)
    assert result.labels == EXPECTED
    assert sum(s.fault is not None for s in room.server.served) == 2


def test_the_responses_format_does_without_refused_options(room: Room) -> None:
    """Effort, temperature and the schema are left out one after the other; thinking keeps its room."""
    from cellkey.llm import provider_from

    refused = ("reasoning", "temperature", "text")
    room.server.plan = lambda r, _n: Fault.UNSUPPORTED_OPTION if any(o in r.body for o in refused) else None
    service = provider_from("openai", base_url=room.server.url, environment={}, effort="high")
    result = room.annotate(room.client(provider=service), workers=1)
    assert result.labels == EXPECTED
    # reasoning, temperature, text twice (schema, then any object)
    assert sum(s.fault is not None for s in room.server.served) == 4


def test_a_prompt_that_is_too_long_is_shortened(room: Room) -> None:
    """The list of genes is halved, never below twenty."""
    genes = tuple(f"GENE{i}" for i in range(50))
    from conftest_llm import planted_markers

    room.server.plan = lambda r, _n: Fault.TOO_LONG if len(r.data["cluster"]["genes"]) > 30 else None
    result = room.annotate(markers=planted_markers({"0": ("CD3D", "CD3E", *genes), "1": ("MS4A1", "CD79A")}))
    assert not result.failed


def test_a_refusal_is_met_with_names_only(room: Room) -> None:
    """One retry shows names without numbers; a second refusal is final."""
    room.server.plan = lambda r, _n: Fault.REFUSED if "log2FC" in str(r.data["cluster"]["genes"]) else None
    assert room.annotate().labels == EXPECTED
    room.server.plan = lambda _r, _n: Fault.REFUSED
    result = room.annotate()
    assert {r.status for r in result.clusters} == {"unlabelled"}


def test_an_answer_that_stays_cut_never_becomes_a_label(room: Room) -> None:
    """A cut answer is asked for once more with twice the room, then given up."""
    room.server.plan = lambda _r, _n: Fault.CUT_ANSWER
    result = room.annotate()
    assert {r.status for r in result.clusters} == {"unlabelled"}
    limits = {s.role: 0 for s in room.server.served}
    assert limits.keys() == {"annotator"}
    assert len(room.server.served) == 2 * len(EXPECTED)


def test_rules_decide_alone_when_told_so(room: Room) -> None:
    """With ``validator="rules"`` no validator is asked, and a lineage conflict is revised."""
    room.server.model = ScriptedModel(labels={"1": ("T cell", "CD8-positive, alpha-beta T cell")})
    steps = WorkflowParameters(validator="rules", boost=False)
    result = room.annotate(workflow=steps)
    assert "validator" not in {s.role for s in room.server.served}
    wrong = result.clusters[1]
    assert wrong.status == "low_confidence"
    assert wrong.case.annotations == 3
    assert "lineage_conflict" in str(wrong.case.findings[0])
