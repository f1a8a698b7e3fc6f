"""Verbs over run directories, called by the protocol's own client: nothing outside the root, nothing without a verb."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from anndata import AnnData

from cellkey.errors import InputError, MissingDependencyError, ParameterError
from cellkey.mcp.verbs import RunFolder

CHANGE = {"cluster": "T Cells", "label": "B Cells", "reason": "the markers were swapped at the bench"}


@pytest.fixture
def root(small_cells: Callable[..., AnnData], small_map: dict[str, Any], tmp_path: Path) -> Path:
    from cellkey.annotation.run import annotate_file

    folder = tmp_path / "runs"
    small_cells(15, 20).write_h5ad(tmp_path / "cells.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate_file(tmp_path / "cells.h5ad", folder / "study" / "first", hierarchy=small_map, cluster_key="truth",
                      figures=False)
    return folder


def test_runs_are_listed_and_described(root: Path) -> None:
    """Ids are places below the root; a description has a row per cluster."""
    runs = RunFolder(root)
    assert [r["run"] for r in runs.list_runs()] == ["study/first"]
    found = runs.describe_run("study/first")
    assert {c["cluster_id"]: c["assigned_label"] for c in found["clusters"]} == {
        t: t for t in ("T Cells", "B Cells", "Ciliated Epithelium", "Secretory Epithelium")}
    assert found["n_cells"] == 60
    assert all(0 <= c["confidence"] <= 1 < c["margin"] for c in found["clusters"])
    assert "which top-level type?" in runs.explain_cluster("study/first", "T Cells")


def test_nothing_outside_the_root_is_opened(root: Path, tmp_path: Path) -> None:
    """Paths that leave the root are unknown runs, by name, by dots and by link."""
    outside = tmp_path / "secret"
    (root / "study" / "first").rename(outside)
    (root / "link").symlink_to(outside)
    runs = RunFolder(root)
    assert runs.list_runs() == []
    for name in ("../secret", str(outside), "link", "study/../../secret", "", "\0", "."):
        with pytest.raises(InputError, match="there is no run"):
            runs.describe_run(name)


def test_a_proposal_changes_nothing(root: Path) -> None:
    """The plan is saved beside the run, and the tables are as before."""
    runs = RunFolder(root)
    table = root / "study" / "first" / "cluster_annotations.csv"
    before = table.read_bytes()
    plan = runs.propose_relabel("study/first", [CHANGE], reviewer="someone")
    assert plan["applied"] is False
    assert plan["changes"] == [{"cluster": "T Cells", "from": "T Cells", "to": "B Cells", "reason": CHANGE["reason"]}]
    assert (root / plan["file"]).is_file()
    command = shlex.split(plan["next"].partition(": ")[2])
    assert command[:3] == ["cellkey", "refine", str(root / "study" / "first")]
    assert Path(command[-1]) == root / plan["file"]
    assert table.read_bytes() == before
    assert not (root / "study" / "first" / "refined.h5ad").exists()
    with pytest.raises(ParameterError, match="may not change runs"):
        runs.apply_plan("study/first", plan["plan"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ([], "there is none"),
        ([{"cluster": "T Cells", "label": "B Cells"}], "incomplete: T Cells"),
        ([{**CHANGE, "cluster": "T Cell"}], "did you mean 'T Cells'"),
        ([{**CHANGE, "label": "Neurons"}], "Neurons"),
        ([CHANGE, CHANGE], "problem"),
    ],
)
def test_proposals_that_cannot_be_carried_out(root: Path, changes: list[dict[str, str]], match: str) -> None:
    """What does not fit the run is refused before a plan is written."""
    with pytest.raises(InputError, match=match):
        RunFolder(root).propose_relabel("study/first", changes)
    assert not (root / "study" / "first" / "proposed_plans").exists()


def test_plans_are_applied_by_their_verb(root: Path) -> None:
    """With permission the plan is carried out, logged, and shown by the other verbs."""
    runs = RunFolder(root, allow_apply=True)
    plan = runs.propose_relabel("study/first", [CHANGE])["plan"]
    for name in ("../plan", "0" * 12, "plan.yaml"):
        with pytest.raises(InputError, match="has no plan"):
            runs.apply_plan("study/first", name)
    done = runs.apply_plan("study/first", plan)
    assert done["changed"] == [{"cluster": "T Cells", "from": "T Cells", "to": "B Cells"}]
    log = pd.read_csv(root / "study" / "first" / "refinement_log.csv")
    assert log["reason"].tolist() == [CHANGE["reason"]]
    described = {c["cluster_id"]: c["assigned_label"] for c in runs.describe_run("study/first")["clusters"]}
    assert described["T Cells"] == "B Cells"
    assert "Cluster T Cells: B Cells" in runs.explain_cluster("study/first", "T Cells")


def test_a_second_plan_is_taken_back_alone_and_an_old_one_is_refused(root: Path) -> None:
    """The way back names the iteration that was made; a plan for calls that are gone is not carried out."""
    runs = RunFolder(root, allow_apply=True)
    other = {**CHANGE, "cluster": "B Cells", "label": "T Cells"}
    first, second = (runs.propose_relabel("study/first", [c])["plan"] for c in (CHANGE, other))
    assert runs.apply_plan("study/first", first)["next"].endswith("--undo 1")
    with pytest.raises(ParameterError, match="earlier state"):
        runs.apply_plan("study/first", second)
    again = runs.propose_relabel("study/first", [other])["plan"]
    assert runs.apply_plan("study/first", again)["next"].endswith("--undo 2")


def test_a_consensus_is_described_and_not_changed(root: Path) -> None:
    """Its clusters and votes are shown; a proposal is refused with what to do."""
    from cellkey.annotation.agreement_files import consensus

    first = root / "study" / "first"
    calls = pd.read_csv(first / "cluster_annotations.csv")
    calls[["cluster_id", "final_annotation"]].to_csv(root / "person.csv", index=False)
    consensus([first], tables=[f"{root / 'person.csv'}:final_annotation"], output_dir=root / "agreed", figures=False)
    runs = RunFolder(root)
    assert [(r["run"], r["input"]) for r in runs.list_runs()] == [
        ("agreed", "first, person.csv:final_annotation"), ("study/first", "cells.h5ad")]
    found = runs.describe_run("agreed")
    assert {c["cluster_id"]: c["assigned_label"] for c in found["clusters"]} == dict(
        zip(calls["cluster_id"], calls["final_annotation"], strict=True))
    assert "person:final_annotation" in runs.explain_cluster("agreed", "T Cells")
    with pytest.raises(InputError, match="propose for one of the runs behind it"):
        runs.propose_relabel("agreed", [CHANGE])
    assert not (root / "agreed" / "proposed_plans").exists()


def test_hierarchies_are_listed() -> None:
    """All built-in ones by name, one with its cell types."""
    runs = RunFolder(Path())
    assert {"default", "protein"} <= {h["name"] for h in runs.list_hierarchies()["hierarchies"]}
    assert {"path", "markers", "ontology_id"} == set(runs.list_hierarchies("protein")["cell_types"][0])


# --- over the protocol ---


def talk(server: Any, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[Any]]:
    from mcp.client import Client

    async def session() -> tuple[list[str], list[Any]]:
        async with Client(server) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            return names, [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(session())


def test_the_protocols_client_calls_the_verbs(root: Path) -> None:
    """Answers are structured, mistakes are told in words, and applying is not offered."""
    pytest.importorskip("mcp")
    from cellkey.mcp.server import build_server

    names, (listed, wrong, plan, applied) = talk(build_server(root), [
        ("list_runs", {}), ("describe_run", {"run": "study/frist"}),
        ("propose_relabel", {"run": "study/first", "changes": [CHANGE]}),
        ("apply_plan", {"run": "study/first", "plan": "0" * 12}),
    ])
    assert names == ["list_runs", "describe_run", "explain_cluster", "list_hierarchies", "propose_relabel"]
    assert "study/first" in listed.content[0].text
    assert wrong.is_error
    assert "did you mean 'study/first'" in wrong.content[0].text
    assert '"applied": false' in plan.content[0].text
    assert applied.is_error
    assert not (root / "study" / "first" / "refined.h5ad").exists()


def test_applying_is_offered_on_request(root: Path) -> None:
    """The verb that changes labels is there when the server was started for it, and says that it changes."""
    pytest.importorskip("mcp")
    from cellkey.mcp.server import build_server

    names, _ = talk(build_server(root, allow_apply=True), [])
    assert names[-1] == "apply_plan"


@pytest.mark.slow
def test_the_command_serves_over_standard_streams(root: Path) -> None:
    """The command line starts a server that a client of the protocol can use."""
    pytest.importorskip("mcp")
    from mcp.client.stdio import StdioServerParameters

    command = StdioServerParameters(
        command=sys.executable, args=["-c", "from cellkey.cli import main; main()", "mcp", "--root", str(root)],
        env=dict(os.environ))
    _, (answer,) = talk(command, [("explain_cluster", {"run": "study/first", "cluster": "B Cells"})])
    assert "Cluster B Cells: B Cells" in answer.content[0].text


def test_a_missing_package_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the message says what to install; a root that is no folder is refused."""
    from cellkey.mcp.server import build_server

    monkeypatch.setitem(sys.modules, "mcp.server", None)
    with pytest.raises(MissingDependencyError, match=r"cellkey\[mcp\]"):
        build_server(root)
    monkeypatch.undo()
    pytest.importorskip("mcp")
    with pytest.raises(InputError, match="is no folder"):
        build_server(root / "nothing")
