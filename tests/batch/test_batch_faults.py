"""Whole batches against a service that fails: every cluster has a row, and the totals are what the service counted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest
from batch_helpers import EXPECTED, labels_of, make_tree, settings

from cellkey.batch import InThisProcess, LocalProcesses, resume_batch, run_batch
from cellkey.llm.journal import read_calls
from cellkey.testing import Fault, InstantClock, ModelServer, ScriptedModel, every_nth

ENDS_THE_RUN = {Fault.UNAUTHORISED, Fault.PAYMENT, Fault.QUOTA, Fault.NO_MODEL}
SURVIVED = [f for f in Fault if f not in ENDS_THE_RUN]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data"), brain=["a", "b"])


@pytest.fixture
def no_waiting(monkeypatch) -> InstantClock:
    """Waits between attempts take no time; limits of the connection are real."""
    clock = InstantClock(time.time())  # some services name a time of day
    for module in ("client", "lane", "annotate"):
        monkeypatch.setattr(f"cellkey.llm.{module}.SystemClock", lambda: clock, raising=False)
    return clock


def assert_reconciled(run: Path, server: ModelServer) -> None:
    """Compare every sum of the run with what the server counted, and the sums with each other."""
    tracking = json.loads((run / "token_tracking.json").read_text())
    calls, served = tracking["api_calls"], server.totals()
    told = [c for c in calls if c["usage_source"] == "provider"]
    assert tracking["total_calls"] == len(calls) == served["calls"]
    assert sum(c["input_tokens"] for c in told) == served["input_tokens"]
    assert sum(c["output_tokens"] for c in told) == served["output_tokens"]
    for name in ("input_tokens", "output_tokens"):
        total = tracking[f"total_{name}"]
        assert total == sum(c[name] for c in calls)
        for split in ("by_role", "by_model", "by_dataset"):
            assert total == sum(part[name] for part in tracking[split].values())
    assert tracking["total_tokens"] == tracking["total_input_tokens"] + tracking["total_output_tokens"]
    assert {s.role for s in server.served} == set(tracking["by_role"]) | ({"reviser"} & {s.role for s in server.served})
    summary = pd.read_csv(run / "batch_summary.csv")
    probe = tracking["by_role"]["probe"]["calls"]
    assert summary["api_calls"].sum() + probe == tracking["total_calls"]
    assert f"API calls: {tracking['total_calls']}\n" in (run / "batch_summary.txt").read_text()
    for name in tracking["by_dataset"].keys() - {""}:
        table = run / "brain" / name / "details" / f"{name}_annotations.csv"
        grouping = [c for c in calls if c["dataset"] == name and not c["cluster"]]
        rows = pd.read_csv(table)
        assert rows["calls"].sum() + len(grouping) == tracking["by_dataset"][name]["calls"]


@pytest.mark.parametrize("fault", SURVIVED)
def test_a_fault_on_every_second_call_of_every_role(tmp_path, root: Path, no_waiting, fault: Fault) -> None:
    """Over a whole batch: all clusters keep their labels, and every sum is what the service counted."""
    impatient = fault in (Fault.SILENT, Fault.DRIP)
    # One cluster at a time, so that every second call of a role is every second call of a cluster, too.
    chosen = settings(
        cluster_key="truth",
        model={"max_workers": 1, "timeout": 0.2 if impatient else 5.0},
        workflow={"merge": "model"},
    )
    with ModelServer(ScriptedModel(scores={"B": 60}), every_nth(2, fault)) as server:
        chosen = chosen.updated(model=chosen.model.updated(provider=server.url).model_dump())
        done = run_batch(root, tmp_path, settings=chosen, runner=InThisProcess())
    assert done.exit_code == 0, [r.error for r in done.rows]
    assert labels_of(done.path) == {n: dict.fromkeys(EXPECTED.values(), 40) for n in ("a", "b")}
    assert {s.role for s in server.served} >= {"annotator", "validator", "scorer", "booster", "merger"}
    assert_reconciled(done.path, server)


def test_all_faults_with_many_calls_at_once_in_several_processes(tmp_path, root: Path) -> None:
    """Side by side a cluster may meet one fault after another: it has a row and a reason, never another's label."""
    quick = [f for f in SURVIVED if f not in (Fault.THROTTLED_SECONDS, Fault.THROTTLED_DATE)]
    model = {"max_workers": 8, "timeout": 0.5, "retries": 3}
    with ModelServer(ScriptedModel(scores={"B": 60}), every_nth(2, *quick)) as server:
        chosen = settings(server, cluster_key="truth", model=model)
        done = run_batch(root, tmp_path, settings=chosen, runner=LocalProcesses(2), dataset_workers=2)
    for name in ("a", "b"):
        rows = pd.read_csv(done.path / "brain" / name / "details" / f"{name}_annotations.csv", dtype=str)
        assert rows["cluster"].tolist() == ["B", "T", "endothelial"]
        for row in rows.to_dict("records"):
            assert row["cell_type"] in (EXPECTED[row["cluster"]], "Unknown")
            assert row["cell_type"] != "Unknown" or isinstance(row["error"], str)
    assert_reconciled(done.path, server)


def test_credentials_that_stop_working_end_the_run(tmp_path) -> None:
    """After a 401 nothing more is sent; every dataset has a row; exit code 1."""
    root = make_tree(tmp_path / "data", brain=["a", "b", "c"])
    with ModelServer(plan=lambda _r, _n: Fault.UNAUTHORISED) as server:
        done = run_batch(
            root, tmp_path / "out", settings=settings(server, model={"max_workers": 2}), runner=InThisProcess()
        )
        sent = len([s for s in server.served if s.role != "probe"])
    assert sent <= 3
    assert [r.status for r in done.rows] == ["failed"] * 3
    assert done.exit_code == 1
    rows = pd.read_csv(done.path / "brain" / "a" / "details" / "a_annotations.csv")
    assert len(rows) == 3
    assert set(rows["status"]) == {"unlabelled"}
    assert rows["error"].str.contains("401").all()
    assert not list(done.path.rglob("*_annotated.h5ad"))


def test_a_budget_holds_over_all_datasets(tmp_path) -> None:
    """What is spent stays below the limit; the run says that it stopped."""
    root = make_tree(tmp_path / "data", brain=["a", "b"])
    with ModelServer() as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        limited = settings(server, budget_usd=12.0, model={"input_cost": 1000.0, "output_cost": 1000.0})
        done = run_batch(root, tmp_path / "out", settings=limited, runner=InThisProcess())
    tracking = json.loads(done.directory.tracking.read_text())
    assert 0 < tracking["total_cost"] <= 12.0
    assert done.status == "stopped by budget"
    assert done.exit_code in (1, 3)
    with ModelServer(port=port) as server:
        rest = resume_batch(done.path, budget_usd=1000.0, runner=InThisProcess())
        paid = server.totals()["calls"]
    assert rest.exit_code == 0
    assert json.loads(rest.directory.tracking.read_text())["total_calls"] == paid + tracking["total_calls"]


def test_a_budget_is_never_passed_with_many_calls_at_once(tmp_path, root: Path) -> None:
    """What could be spent is set aside before a call: no moment of the run is above the limit, in any process."""
    prices = {"input_cost": 1000.0, "output_cost": 1000.0, "max_workers": 8}
    with ModelServer(latency=0.02) as server:
        chosen = settings(server, cluster_key="truth", budget_usd=12.0, model=prices)
        done = run_batch(root, tmp_path, settings=chosen, runner=LocalProcesses(2), dataset_workers=2)
        served = server.totals()
    spent = (served["input_tokens"] + served["output_tokens"]) * 1000.0 / 1e6
    assert 0 < spent <= 12.0
    assert json.loads(done.directory.tracking.read_text())["total_cost"] == pytest.approx(spent)
    assert done.status == "stopped by budget"
    calls = [c for p in done.path.glob("*/*/details/*_calls.jsonl") for c in read_calls(p)]
    assert sum(c.cost for c in calls) <= spent
