"""Checks, agreement, grouping, sub-clusters, and what is written in the end."""

from __future__ import annotations

import csv
import json
import time

import pandas as pd
import pytest
from conftest_llm import EXPECTED, Room, planted_markers
from hypothesis import given
from hypothesis import strategies as st

from cellkey.hierarchy.aliases import aliases_of
from cellkey.hierarchy.ontology import Ontology, Term
from cellkey.llm import (
    ANNOTATIONS,
    Journal,
    Knowledge,
    LiveTransport,
    ModelClient,
    RecordedTransport,
    Study,
    WorkflowParameters,
    agreement_of,
    annotate_markers,
    marker_table,
    provider_from,
)
from cellkey.llm.accounting import Price
from cellkey.llm.agreement import Verdict
from cellkey.llm.answers import AnnotationAnswer
from cellkey.llm.estimate import Range, estimate_annotation, guess_clusters
from cellkey.llm.failures import ConnectionFailedError
from cellkey.llm.gene_queries import GeneQueries
from cellkey.llm.merging import merge_by_model, merge_by_ontology
from cellkey.llm.messages import ChatRequest, Message
from cellkey.llm.rule_checks import FindingKind, RuleChecks, lineage_of_label, lineage_scores
from cellkey.llm.spreadsheets import neutral_cell
from cellkey.llm.subclusters import annotate_subclusters
from cellkey.llm.terms import OntologyTerms, match_term
from cellkey.testing import ScriptedModel, scripted_transport

TERMS = OntologyTerms(
    Ontology(
        {
            t.id: t
            for t in (
                Term("CL:0", "cell"),
                Term("CL:1", "leukocyte", ("CL:0",)),
                Term("CL:2", "lymphocyte", ("CL:1",)),
                Term("CL:3", "T cell", ("CL:2",), ("T lymphocyte",)),
                Term("CL:4", "B cell", ("CL:2",)),
                Term("CL:5", "CD4-positive, alpha-beta T cell", ("CL:3",)),
                Term("CL:6", "endothelial cell", ("CL:0",)),
                Term("CL:7", "monocyte", ("CL:1",)),
                Term("CL:8", "mature B cell", ("CL:4",)),
                Term("CL:9", "myeloid cell", ("CL:1",)),
            )
        }
    )
)


def answer(general: str, detailed: str = "", cluster: str = "0", **changes) -> AnnotationAnswer:
    return AnnotationAnswer.model_validate(
        {
            "cluster": cluster,
            "general_cell_type": general,
            "confidence": "high",
            "evidence": "",
            "ranked_subtypes": [{"name": detailed or general, "supporting_genes": changes.pop("genes", [])}],
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("name", "term", "exact"),
    [
        ("T cell", "CL:3", True),
        ("t cells", "CL:3", True),
        ("T lymphocytes", "CL:3", True),
        ("T_cell", "CL:3", True),
        ("Activated T cell", "CL:3", False),
        ("T cell (CD8+)", "CL:3", False),
        ("B cell_1", "CL:4", False),
        ("endothelial", "CL:6", True),
        ("neuron", None, None),
        ("", None, None),
        ("cells", "CL:0", True),
        ("FOXP3+ T cells", "CL:3", False),
    ],
)
def test_names_are_matched_to_terms(name: str, term: str | None, exact: bool | None) -> None:
    """Label, synonym, plural, without qualifiers; never by similarity."""
    found = match_term(name, TERMS)
    assert (found.id if found else None, found.exact if found else None) == (term, exact)


@pytest.mark.real_data
def test_labels_of_real_data_resolve_in_the_real_ontology(labelled_data) -> None:
    """Names that models use are found in the Cell Ontology."""
    from cellkey.hierarchy.ontology import read_ontology

    terms = OntologyTerms(read_ontology(labelled_data / "ontology" / "cl-basic.obo.gz"))
    for name, term in (
        ("B cells", "CL:0000236"),
        ("NK cells", "CL:0000623"),
        ("Classical monocytes", "CL:0000860"),
        ("fibroblast", "CL:0000057"),
        ("CD4-positive, alpha-beta T cell", "CL:0000624"),
    ):
        found = match_term(name, terms)
        assert found is not None
        assert found.id == term


def findings(proposal: AnnotationAnswer, **knowledge) -> set[str]:
    return {f.kind for f in RuleChecks(planted_markers(), **knowledge).findings(proposal)}


def test_rule_checks() -> None:
    """Each check finds what it is for, and a good label passes all of them."""
    assert findings(answer("T cell", "CD4-positive, alpha-beta T cell", genes=["CD3D", "cd3e"]), terms=TERMS) == set()
    assert FindingKind.UNSUPPORTED_GENES in findings(answer("T cell", genes=["CD3D", "FOO", "BAR"]))
    assert FindingKind.UNSUPPORTED_GENES not in findings(answer("T cell", genes=["CD3D", "CD3E", "CD2", "FOO"]))
    assert FindingKind.NOT_ENRICHED in findings(answer("T cell", genes=["MS4A1", "CD79A"]))
    assert FindingKind.LINEAGE_CONFLICT in findings(answer("endothelial cell"))
    assert FindingKind.INCONSISTENT_LEVELS in findings(answer("B cell", "T cell"), terms=TERMS)
    assert FindingKind.HIERARCHY_CONFLICT in findings(answer("T cell"), calls={"0": "Fibroblasts"})
    assert FindingKind.NO_CANONICAL_MARKERS in findings(
        answer("T cell"), canonical_markers={"T cells": ["MS4A1", "VWF"]}
    )
    assert findings(answer("T cell"), canonical_markers={"T cells": ["CD3D", "VWF"]}) == set()
    assert FindingKind.UNSUPPORTED_GENES in findings(answer("B cell", cluster="1", genes=["CD20"]))
    assert findings(answer("B cell", cluster="1", genes=["CD20"]), aliases=aliases_of) == set()
    unknown = AnnotationAnswer.model_validate(
        {"cluster": "0", "general_cell_type": "Unknown", "ranked_subtypes": [], "confidence": "low", "evidence": ""}
    )
    assert findings(unknown) == set()


def test_a_mixture_of_two_lineages_is_suspected() -> None:
    """Two unrelated lineages both strongly up."""
    table = planted_markers()
    double = table[(table["cluster"] == "0")].copy()
    high = double["gene"].isin(["MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "PAX5", "CD22", "VPREB3", "TCL1A", "FCRLA"])
    double.loc[high, ["avg_log2FC", "pct.1"]] = [2.8, 0.9]
    kinds = {f.kind for f in RuleChecks(double).findings(answer("T cell"))}
    assert FindingKind.MIXTURE_SUSPECTED in kinds
    named = RuleChecks(double).findings(answer("T cell", mixed_populations=["B cell"]))
    assert FindingKind.MIXTURE_SUSPECTED not in {f.kind for f in named}


def test_lineages_of_labels() -> None:
    """The longest word of a label decides; a plasmacytoid dendritic cell is no other dendritic cell."""
    for label, lineage in (
        ("CD8+ T cells", "T cell"),
        ("plasmacytoid dendritic cell", "plasmacytoid dendritic cell"),
        ("Kupffer cells", "myeloid"),
        ("gizmo", None),
        ("Natural Killer", "NK cell"),
        ("oligodendrocyte precursor", "oligodendrocyte"),
        ("endothelial", "endothelial"),
    ):
        assert lineage_of_label(label) == lineage
    scores = lineage_scores(planted_markers().query("cluster == '1'"))
    assert max(scores, key=scores.get) == "B cell"


def test_gene_queries_find_by_case_and_alias_and_never_by_pattern() -> None:
    """Exact, then case, then alias; a dot is no wildcard."""
    queries = GeneQueries(planted_markers(), aliases_of)
    by_gene = {n["gene"]: n for n in queries.numbers("1", ["ms4a1", "CD20", "MS4A.", "CD3D", "CD3D"])}
    assert set(by_gene) == {"MS4A1", "MS4A.", "CD3D"}
    assert by_gene["MS4A1"]["log2FC"] == 3.0
    assert by_gene["MS4A."]["result"] == "not tested"
    lists = GeneQueries(marker_table({"0": ["A"], "1": ["B"]}))
    assert lists.numbers("0", ["A", "B"]) == [{"gene": "A"}, {"gene": "B", "result": "not listed for this cluster"}]


def test_gene_queries_show_other_clusters_beside_the_own_one() -> None:
    """A type and the one it resembles are told apart by the same genes in both; unknown clusters are said to be so."""
    queries = GeneQueries(planted_markers())
    (answer,) = queries.numbers("1", ["MS4A1"], ["0", "1", "nowhere"])
    assert answer["log2FC"] == 3.0
    assert answer["in_other_clusters"]["0"]["log2FC"] == -2.0
    assert answer["in_other_clusters"]["nowhere"] == "no such cluster"
    assert set(answer["in_other_clusters"]) == {"0", "nowhere"}
    assert len(queries.numbers("1", ["MS4A1"], map(str, range(20)))[0]["in_other_clusters"]) == 5


def test_agreement() -> None:
    """Synonyms agree; shares, entropy and the closest common type are counted, abstentions are no votes."""
    t1, t2, t3 = answer("T cell", "CD4-positive, alpha-beta T cell"), answer("T lymphocytes"), answer("T cell", "gd T")
    vote = agreement_of([t1, t1, t2, None], TERMS)
    assert (vote.verdict, vote.general, vote.n_abstentions, vote.winner) == (Verdict.CONSENSUS, 1.0, 1, 0)
    assert vote.detailed == pytest.approx(2 / 3)
    assert agreement_of([t1, t2, t3], TERMS).verdict is Verdict.PARTIAL
    conflict = agreement_of([t1, answer("B cell")], TERMS, min_depth=2)
    assert (conflict.verdict, conflict.common) == (Verdict.CONFLICT, "lymphocyte")
    assert agreement_of([t1, answer("endothelial cell")], TERMS).common == ""
    assert agreement_of([t1]).verdict is Verdict.SINGLE
    assert agreement_of([None, None]).verdict is Verdict.NONE


@given(st.permutations([answer("T cell"), answer("T cell"), answer("B cell"), answer("B cell"), answer("x")]))
def test_the_order_of_runs_decides_nothing(order: list[AnnotationAnswer]) -> None:
    """Ties go by name."""
    vote = agreement_of(order)
    assert order[vote.winner].general_cell_type == "B cell"


def client_of(model: ScriptedModel) -> ModelClient:
    return ModelClient(provider_from("http://127.0.0.1:9/v1", environment={}), "m", scripted_transport(model))


def test_groups_are_joined_by_identifier() -> None:
    """Reordered, repeated, foreign and missing entries: every cluster gets its own group, missing ones are asked."""

    class Careless(ScriptedModel):
        def _merge(self, request):
            rows = super()._merge(request)["groups"][::-1]
            foreign = {"cluster": "77", "broad": "x", "detailed": "x", "specific": "x"}
            swapped = {**rows[-1], "broad": "wrong"}
            return {"groups": [foreign, *rows, swapped] if request.n_turns > 1 else [foreign, *rows[1:], swapped]}

    labels = {"0": ("T cell", "CD4 T"), "1": ("B cell", "naive B"), "10": ("T cell", "CD8 T")}
    outcome = merge_by_model(client_of(Careless()), labels, Study())
    assert {c: (g.detailed, g.specific) for c, g in outcome.groups.items()} == labels
    assert outcome.warnings == ()


def test_equal_labels_get_equal_groups() -> None:
    """What the model said first about a label counts for all clusters with it."""

    class Moody(ScriptedModel):
        def _merge(self, request):
            rows = request.data["labels_by_cluster"]
            return {
                "groups": [{"cluster": c, "broad": f"group {c}", "detailed": "T cell", "specific": c} for c in rows]
            }

    outcome = merge_by_model(client_of(Moody()), {"0": ("T cell", "T cell"), "1": ("T cells", "t cell")}, Study())
    assert outcome.groups["0"] == outcome.groups["1"]


def test_many_labels_are_grouped_in_several_calls() -> None:
    """Forty clusters per call."""
    labels = {str(i): ("T cell", f"T {i}") for i in range(95)}
    client = client_of(ScriptedModel())
    outcome = merge_by_model(client, labels, Study())
    assert set(outcome.groups) == set(labels)
    assert len(client.journal.calls) == 3


def test_grouping_by_ontology_asks_nobody() -> None:
    """Where the ontology knows the labels, no call is made."""
    groups = merge_by_ontology(
        {"0": ("T cells", "CD4-positive, alpha-beta T cell"), "1": ("B cell", "odd B cell")}, TERMS
    ).groups
    assert (groups["0"].broad, groups["0"].detailed, groups["1"].specific) == ("T cell", "T cell", "odd B cell")
    result = annotate_markers(planted_markers(), client_of(ScriptedModel()), knowledge=Knowledge(terms=TERMS))
    assert "merger" not in {c.role for c in result.calls}
    assert result.table.set_index("cluster").loc["0", "ontology_id"] == "CL:5"


def test_subclusters_are_joined_by_identifier_and_missing_ones_asked_again() -> None:
    """Wrong identifiers are never mapped by position."""

    class Careless(ScriptedModel):
        def _subclusters(self, request):
            rows = super()._subclusters(request)["clusters"][::-1]
            if request.n_turns == 1:
                rows = [{**r, "cluster": "99"} if r["cluster"] == "10" else r for r in rows]
            return {"clusters": rows}

    result = annotate_subclusters(planted_markers(), client_of(Careless()), parent="leukocytes", repeats=2)
    labels = dict(zip(result.table["cluster"], result.table["sub_cell_type"], strict=True))
    assert labels == EXPECTED
    assert set(result.table["status"]) == {"ok"}


def test_a_subcluster_that_is_never_named_has_a_row() -> None:
    """The reason is in the row."""

    class Silent(ScriptedModel):
        def _subclusters(self, request):
            return {"clusters": [r for r in super()._subclusters(request)["clusters"] if r["cluster"] != "10"]}

    table = annotate_subclusters(planted_markers(), client_of(Silent()), parent="p").table.set_index("cluster")
    assert table.loc["10", "status"] == "unlabelled"
    assert table.loc["10", "error"]


def test_files_of_a_result(tmp_path) -> None:
    """Tables follow their schemas, texts are one line each, formulas are neutral, the conversation is complete."""
    table = planted_markers()
    table["cluster"] = table["cluster"].replace({"0": "=cmd|'/c calc'!A0", "1": "<script>alert(1)</script>"})
    model = ScriptedModel(scores={"10": 60}, boost_label={"10": ("myeloid cell", "CD14 monocyte")})
    study = Study("blood", "human", dataset="../x y")
    result = annotate_markers(
        table, client_of(model), study=study, sizes={"10": 12}, workflow=WorkflowParameters(repeats=2)
    )
    files = result.write(tmp_path / "details")
    assert all(f.parent == tmp_path / "details" for f in files.values())
    read = ANNOTATIONS.read_csv(files["annotations"])
    assert read["cluster"].tolist() == [neutral_cell(r.cluster) for r in result.clusters]
    assert read["cluster"][0].startswith("'=") or read["cluster"].str.startswith("'=").any()
    original = pd.read_csv(files["final_results"], dtype=str)
    assert list(original.columns)[:3] == ["Cluster ID", "Predicted General Cell Type", "Predicted Detailed Cell Type"]
    with files["annotations"].open(newline="") as handle:
        assert len(list(csv.reader(handle))) == len(files["annotations"].read_text().splitlines()) == 5
    talk = json.loads(files["conversations"].read_text())
    roles = [t["role"] for t in talk["clusters"]["10"]["turns"]]
    assert roles == ["annotator", "validator", "scorer", "booster", "booster", "scorer", "annotator", "validator"]
    assert talk["clusters"]["10"]["before_boost"]["ranked_subtypes"][0]["name"] == "monocyte"
    assert all(t["messages"] for t in talk["clusters"]["10"]["turns"])
    text = files["text"].read_text()
    assert text.startswith("DATASET ../x y  TISSUE blood")
    assert "Boosted: yes, was monocyte" in text
    result.write(tmp_path / "short", store_prompts=False)
    short = json.loads(next((tmp_path / "short").glob("*conversations.json")).read_text())
    assert not any(t["messages"] for c in short["clusters"].values() for t in c["turns"])
    assert short["prompt_hash"]


def test_costs_of_clusters_and_calls_add_up() -> None:
    """Tokens in the table plus those of grouping are all tokens."""
    client = client_of(ScriptedModel(scores={"0": 10}))
    result = annotate_markers(planted_markers(), client, study=Study(dataset="d"))
    grouping = sum(c.input_tokens for c in result.calls if not c.cluster)
    assert result.table["input_tokens"].sum() + grouping == sum(c.input_tokens for c in client.journal.calls)
    assert result.table["calls"].sum() == len([c for c in result.calls if c.cluster])


def test_one_label_for_most_clusters_is_pointed_out() -> None:
    """A sign that the model did not look."""
    labels = dict.fromkeys(EXPECTED, ("T cell", "T cell"))
    result = annotate_markers(
        planted_markers(), client_of(ScriptedModel(labels=labels)), workflow=WorkflowParameters(validator="llm")
    )
    assert any("4 of 4 clusters are called 'T cell'" in w for w in result.warnings)


def test_a_recording_replays_without_a_service(room: Room, tmp_path) -> None:
    """What was recorded is answered again, in the same order, and an unknown request is an error."""
    file = tmp_path / "recording.jsonl"
    recording = room.client(transport=RecordedTransport(file, LiveTransport()))
    first = room.annotate(recording)
    room.server.close()
    replaying = room.client(transport=RecordedTransport(file))
    second = room.annotate(replaying)
    assert second.table.to_csv() == first.table.to_csv()
    with pytest.raises(ConnectionFailedError, match="no answer"):
        from cellkey.llm import Origin, RetryPolicy

        ModelClient(room.clients[0].provider, "other", RecordedTransport(file), retry=RetryPolicy(retries=0)).ask(
            ChatRequest("s", (Message("user", "u"),)), Origin("x")
        )


def test_a_resumed_run_asks_nothing_twice_and_ends_the_same(room: Room, tmp_path) -> None:
    """Answers of the journal are used, also those that had to be mended, and cost nothing."""
    from cellkey.testing import Fault, every_nth

    room.server.plan = every_nth(3, Fault.PROSE, Fault.EMPTY_CONTENT, Fault.THROTTLED, Fault.CUT_ANSWER)
    first = room.annotate(room.client(journal=Journal(tmp_path / "j.jsonl")), workers=1)
    served = room.server.totals()
    room.server.plan = None
    again = room.annotate(room.client(journal=Journal(tmp_path / "j.jsonl")), workers=4)
    assert room.server.totals() == served
    assert again.labels == first.labels
    assert sorted(map(str, again.calls)) == sorted(map(str, first.calls))


def test_answers_kept_between_runs_cost_nothing_and_are_counted_apart(room: Room, tmp_path) -> None:
    """A second run with the same questions makes no call; changing the repeat or the tissue does."""
    from cellkey.llm import AnswerCache, token_tracking

    def run(**options):
        client = room.client(cache=AnswerCache(tmp_path / "c.sqlite"))
        return room.annotate(client, **options)

    first = run()
    calls = room.server.totals()["calls"]
    second = run()
    assert room.server.totals()["calls"] == calls
    assert second.labels == first.labels
    tracking = token_tracking(second.calls, run="r", started_at="", finished_at="")
    assert (tracking["total_calls"], tracking["total_cost"], tracking["cache_hits"]) == (0, 0, calls)
    run(study=Study("lung", dataset="planted"))
    assert room.server.totals()["calls"] == 2 * calls


def test_a_budget_stops_a_run_before_it_is_passed(room: Room) -> None:
    """Clusters that no money was left for have a row that says so."""
    from cellkey.llm import Budget, PriceTable

    prices = PriceTable(input_per_million=1000.0, output_per_million=1000.0)
    budget = Budget(usd=14.0)
    client = room.client(budget=budget, prices=prices)
    result = room.annotate(client, workers=2)
    cost = sum(c.cost for c in result.calls)
    assert 0 < cost <= 14.0
    assert any("budget" in r.case.error for r in result.clusters)
    assert any(line.startswith("cluster") and "budget of $14.00" in line for line in result.troubles)
    assert result.troubles[-1] == "--resume asks the open questions again"
    assert cost == pytest.approx(budget.spent()[0])


def test_connections_are_reused(room: Room) -> None:
    """One connection per worker, not per call."""
    room.annotate(workers=3)
    assert room.server.connections() <= 4
    assert room.server.totals()["calls"] == 13


def test_calls_run_side_by_side(room: Room) -> None:
    """Four clusters at 0.15 s per call take the time of one cluster and the grouping, not of four."""
    room.server.latency = 0.15
    started = time.monotonic()
    room.annotate(workers=4)
    assert time.monotonic() - started < 4 * 3 * 0.15
    assert room.server.peak == 4


def test_estimates_are_ordered_and_grow() -> None:
    """Low, point, high; more clusters cost more; switched-off roles cost nothing."""
    def price(_role: str) -> Price:
        return Price(1.25, 10.0)

    small, large = (estimate_annotation(n, WorkflowParameters(), price) for n in (5, 50))
    for name in ("calls", "input_tokens", "output_tokens", "cost", "seconds"):
        low, point, high = (getattr(getattr(small, name), w) for w in ("low", "point", "high"))
        assert low <= point <= high
        assert getattr(large, name).point > point
    bare = WorkflowParameters(score=False, boost=False, validator="off", merge="off")
    assert estimate_annotation(5, bare, price).calls.low == 5
    assert guess_clusters(500).point == 6
    assert guess_clusters(10).low >= 4
    assert Range(1, 2, 3) + Range(1, 1, 1) == Range(2, 3, 4)


def test_an_estimate_holds_what_a_run_really_takes(room: Room) -> None:
    """Counted by a server: the tokens of a plain run lie inside the range, taken in characters by four."""
    result = room.annotate()
    guess = estimate_annotation(4, WorkflowParameters(), lambda _role: Price(1, 1), n_genes=10)
    used = sum(c.input_tokens for c in result.calls)
    assert guess.calls.low <= len(result.calls) <= guess.calls.high
    assert 0.5 * guess.input_tokens.low <= used <= guess.input_tokens.high
