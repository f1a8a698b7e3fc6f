"""Run directories: what is written, what survives a kill, what repeats, and what can be taken back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellkey.datasets import synthetic_rna
from cellkey.errors import CellkeyWarning, InputError, NothingToDoError, ParameterError, RunError
from cellkey.records.fields import ALL_FILES
from cellkey.records.fingerprint import CALLS, calls_fingerprint
from cellkey.records.tables import ALL_TABLES, DIAGNOSTIC_REPORT, REFINEMENT_LOG
from cellkey.refinement import diagnose_run, read_plan, refine_run, undo_run
from cellkey.refinement.publishing import prepared, working_on
from command_line import run_command

MERGED = [("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
SETTINGS = {"min_cells": 30, "call_resamples": 2, "split_resamples": 3, "min_subcluster_cells": 10}


@pytest.fixture(scope="module")
def annotated(annotated_run: Callable[..., Path]) -> Path:
    """A run with clusters that hold two populations, not refined yet."""
    return annotated_run(MERGED)


@pytest.fixture
def run(annotated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(annotated, tmp_path / "run"))


def tables(directory: Path) -> dict[str, str]:
    """Text of all tables, without the columns that hold times."""
    return {
        p.name: pd.read_csv(p, dtype=str, keep_default_na=False).drop(
            columns=["timestamp", "seconds"], errors="ignore").to_csv()
        for p in sorted(directory.glob("*.csv"))
    }


def test_clusters_parted_side_by_side_are_those_parted_one_by_one(run: Path, tmp_path: Path, monkeypatch) -> None:
    found = []
    for threads in ("1", "3"):
        copy = shutil.copytree(run, tmp_path / threads)
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert refine_run(copy, parameters=SETTINGS).result is not None
        found.append(tables(copy))
    assert found[0] == found[1]


def test_a_refined_run_holds_what_is_promised(run: Path) -> None:
    result = refine_run(run, parameters=SETTINGS).result
    assert result is not None
    for name in ("diagnostic_report", "refinement_log", "refined_annotations", "refined_marker_scores",
                 "refined_decision_steps", "cluster_annotations"):
        ALL_TABLES[name].read_csv(run / f"{name}.csv")
    assert (run / "figures" / "refinement_alluvial.png").is_file()
    cells = anndata.read_h5ad(run / "refined.h5ad")
    assert ALL_FILES["refined.h5ad"].missing("obs", cells.obs.columns) == []
    assert ALL_FILES["refined.h5ad"].missing("uns", cells.uns) == []
    assert (run / "refined.h5ad").samefile(run / "output.h5ad")
    assert set(cells.obs["refinement_action"]) == {"KEEP", "SUBCLUSTER"}
    parts = cells.obs["cluster_lvl1"].astype(str)
    assert any(":" in p for p in parts)
    assert (parts.str.split(":").str[0] == cells.obs["cluster_lvl0"].astype(str)).all()
    assert (cells.obs["cell_type_lvl0"].astype(str) == cells.obs["cell_type_auto"].astype(str)).all()
    assert (cells.obs["annotation"].astype(str) == cells.obs["cell_type_lvl1"].astype(str)).all()
    record = cells.uns["stage_refine_iteration_1"]
    assert set(record["subclustered"]) == {p.split(":")[0] for p in parts if ":" in p}
    assert record["relabeled"] == {}
    assert record["clusters_processed"] == len(record["skipped"]) + len(record["subclustered"])
    assert cells.uns["stage_i_summary"]["stop_reason"] == "converged"
    assert cells.uns["stage_i_params"]["min_cells"] == 30
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["refinements"][0]["summary"]["n_subclustered"] == 2
    assert "refined.h5ad" in manifest["outputs"]


def test_final_labels_are_those_of_most_cells(run: Path) -> None:
    refine_run(run, parameters=SETTINGS, figures=False)
    cells = anndata.read_h5ad(run / "output.h5ad").obs
    table = ALL_TABLES["cluster_annotations"].read_csv(run / "cluster_annotations.csv").set_index("cluster_id")
    for cluster, group in cells.groupby("cluster_lvl0", observed=True):
        counts = group["cell_type_lvl1"].astype(str).value_counts()
        row = table.loc[cluster]
        assert row["final_annotation"] == min(counts[counts == counts.max()].index)
        assert row["n_final_labels"] == len(counts)
        assert row["final_purity"] == pytest.approx(counts.max() / len(group))


def test_the_same_seed_gives_the_same_tables(run: Path, annotated: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(annotated, tmp_path / "other"))
    for directory in (run, other):
        refine_run(directory, parameters=SETTINGS, figures=False)
    assert tables(run) == tables(other)
    assert (run / "refined_annotations.csv").read_bytes() == (other / "refined_annotations.csv").read_bytes()
    assert (run / "diagnostic_report.csv").read_bytes() == (other / "diagnostic_report.csv").read_bytes()


def test_a_kill_leaves_the_old_state_and_the_same_command_completes(annotated: Path, tmp_path: Path) -> None:
    """At every fourth rename or removal; the moments before the files are ready leave the run untouched."""
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run(
        [sys.executable, str(script), str(annotated), str(tmp_path), "4"], capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["changed"]
    assert found["moments"] > 12
    for case in found["report"]:
        assert case["killed"] == 9, case
        assert case["readable"], case
        assert case["same"], case
        assert case["leftovers"] == [], case
    assert sum(case["untouched"] for case in found["report"]) >= 2


def test_a_ready_folder_is_finished_and_a_partial_one_forgotten(tmp_path: Path) -> None:
    from cellkey.refinement.publishing import finish_interrupted

    (tmp_path / "old.csv").write_text("old")
    with pytest.raises(RuntimeError), prepared(tmp_path, "q") as staging:
        (staging / "old.csv").write_text("new")
        raise RuntimeError
    assert (tmp_path / "old.csv").read_text() == "old"
    assert finish_interrupted(tmp_path) is None
    ready = tmp_path / ".refinement-ready"
    ready.mkdir()
    (ready / "old.csv").write_text("new")
    (ready / "order.json").write_text(json.dumps({"request": "q", "remove": ["stale.csv"]}))
    (tmp_path / "stale.csv").write_text("x")
    assert finish_interrupted(tmp_path) == "q"
    assert (tmp_path / "old.csv").read_text() == "new"
    assert not (tmp_path / "stale.csv").exists()
    assert not ready.exists()


def test_two_refinements_of_one_run_do_not_meet(run: Path) -> None:
    with working_on(run), pytest.raises(RunError, match="another refinement"):
        refine_run(run, parameters=SETTINGS)


def test_refinement_works_on_its_own_output(run: Path) -> None:
    """The second command builds on the first; identifiers before it are kept, and its iterations are numbered on."""
    refine_run(run, parameters=SETTINGS, figures=False)
    first = anndata.read_h5ad(run / "output.h5ad")
    part = next(c for c in first.obs["cluster_lvl1"].cat.categories if ":" in c)
    with pytest.warns(CellkeyWarning, match="not in the hierarchy"):
        result = refine_run(run, parameters=SETTINGS, figures=False,
                            plan={"overrides": [{"cluster_id": part, "cell_type": "Mine", "reason": "seen"}]}).result
    assert result is not None
    assert result.refinement.iterations[0].number == 2
    second = anndata.read_h5ad(run / "output.h5ad")
    mine = second.obs["cluster_lvl1"] == part
    assert set(second.obs.loc[mine, "annotation"]) == {"Mine"}
    assert set(second.obs.loc[mine, "refinement_action"]) == {"OVERRIDE"}
    assert set(second.obs.loc[mine, "refinement_iteration"]) == {2}
    assert (second.obs["cluster_lvl1_prev1"].astype(str) == first.obs["cluster_lvl1"].astype(str)).all()
    log = ALL_TABLES["refinement_log"].read_csv(run / "refinement_log.csv")
    assert log["iteration"].tolist() == [1, 1, 2]
    assert log["source"].tolist() == ["auto", "auto", "manual"]
    again = refine_run(run, parameters=SETTINGS, figures=False).result
    assert again is not None
    assert again.refinement.iterations == ()
    assert set(anndata.read_h5ad(run / "output.h5ad").obs.loc[mine, "annotation"]) == {"Mine"}


def test_merged_clusters_stay_merged(run: Path) -> None:
    """Scoring everything again, and refining again, changes nothing about them."""
    plan = {"merge": [{"source_clusters": ["7", "6"], "target_label": "Epithelium", "reason": "one gland"}],
            "rescoring": {"mode": "full", "recompute_de": True}}
    refine_run(run, parameters=SETTINGS, plan=plan, figures=False)
    refine_run(run, parameters={**SETTINGS, "score_threshold": 0.0}, figures=False)
    cells = anndata.read_h5ad(run / "output.h5ad").obs
    merged = cells["cluster_lvl0"].isin(["6", "7"])
    assert set(cells.loc[merged, "cluster_lvl1"]) == {"6+m"}
    assert set(cells.loc[merged, "cell_type_lvl1"]) == {"Epithelium"}


def test_a_reviewed_plan_leaves_its_words_in_the_record(run: Path) -> None:
    """Who decided and why stands in the log, in uns and in the plan; a remark changes nothing but the log."""
    plan = {
        "metadata": {"reviewer": "Ada", "created_at": "2025-01-02", CALLS: calls_fingerprint(run)},
        "operations": [
            {"op_type": "override", "cluster_id": "2", "label": "T Cells", "reason": "granules"},
            {"op_type": "skip", "cluster_id": "0", "reason": "looked at"},
            {"op_type": "skip", "cluster_id": "1"},
        ],
    }
    result = refine_run(run, plan=plan, parameters=SETTINGS, figures=False).result
    assert result is not None
    log = REFINEMENT_LOG.read_csv(run / "refinement_log.csv")
    assert log[["cluster_id", "action", "reason", "source", "reviewer"]].to_numpy().tolist() == [
        ["2", "OVERRIDE", "granules", "manual", "Ada"], ["0", "KEEP", "looked at", "manual", "Ada"],
    ]
    cells = anndata.read_h5ad(run / "output.h5ad")
    record = cells.uns["stage_refine_iteration_1"]
    assert (record["reviewer"], record["reviewed_at"]) == ("Ada", "2025-01-02")
    assert set(cells.obs.loc[cells.obs["cluster_lvl1"] == "2", "refinement_reason"]) == {"granules"}
    assert record["n_cells_modified"] == (cells.obs["cluster_lvl1"] == "2").sum()


def test_a_plan_for_other_calls_is_refused(run: Path, annotated: Path) -> None:
    """A plan that names the calls it was made for is carried out on these only, and only once."""
    plan = {"metadata": {"run": "elsewhere", CALLS: "0" * 16}, "skip": [{"cluster_id": "0", "reason": "x"}]}
    before = tables(run)
    with pytest.raises(ParameterError, match=r"made for another run or for an earlier state .* of run 'elsewhere'"):
        refine_run(run, plan=plan, parameters=SETTINGS, figures=False)
    assert tables(run) == before
    fitting = {"metadata": {CALLS: calls_fingerprint(run)}, "overrides": [{"cluster_id": "0", "label": "Unassigned"}]}
    refine_run(run, plan=fitting, parameters=SETTINGS, figures=False)
    with pytest.raises(ParameterError, match="earlier state"):
        refine_run(run, plan=fitting, parameters=SETTINGS, figures=False)


def test_a_log_without_the_column_of_reviewers_is_continued(run: Path) -> None:
    """Logs of runs that were refined before the column existed keep their rows."""
    refine_run(run, plan={"skip": [{"cluster_id": "0", "reason": "first"}]}, parameters=SETTINGS, figures=False)
    path = run / "refinement_log.csv"
    pd.read_csv(path, dtype=str).drop(columns="reviewer").to_csv(path, index=False)
    refine_run(run, plan={"skip": [{"cluster_id": "0", "reason": "second"}]}, parameters=SETTINGS, figures=False)
    assert REFINEMENT_LOG.read_csv(path)["reason"].tolist() == ["first", "second"]


def test_any_iteration_can_be_undone(run: Path) -> None:
    untouched = anndata.read_h5ad(run / "output.h5ad").obs["annotation"].astype(str)
    refine_run(run, parameters=SETTINGS, figures=False)
    first = anndata.read_h5ad(run / "output.h5ad")
    before = tables(run)
    refine_run(run, parameters=SETTINGS, figures=False,
               plan={"merge": [{"source_clusters": ["6", "7"], "target_label": "Epithelium"}]})
    undo_run(run, 2, figures=False)
    back = anndata.read_h5ad(run / "output.h5ad")
    for column in ("cluster_lvl1", "cell_type_lvl1", "cell_type_lvl1_path", "refinement_action"):
        assert (back.obs[column].astype(str) == first.obs[column].astype(str)).all()
    np.testing.assert_array_equal(back.obs["cell_type_lvl1_conf"], first.obs["cell_type_lvl1_conf"])
    assert "stage_refine_iteration_2" not in back.uns
    for name in ("refined_annotations.csv", "refinement_log.csv", "cluster_annotations.csv"):
        assert tables(run)[name] == before[name]
    undo_run(run, 1, figures=False)
    start = anndata.read_h5ad(run / "output.h5ad")
    assert (start.obs["annotation"].astype(str) == untouched).all()
    assert set(start.obs["refinement_action"]) == {"KEEP"}
    with pytest.raises(InputError, match="cannot be undone"):
        undo_run(run, 1)


def test_restart_forgets_earlier_refinement(run: Path) -> None:
    plan = {"overrides": [{"cluster_id": "4", "cell_type": "B Cells"}]}
    refine_run(run, parameters=SETTINGS, plan=plan, figures=False)
    result = refine_run(run, parameters=SETTINGS, restart=True, figures=False).result
    assert result is not None
    assert result.refinement.iterations[0].number == 1
    assert "OVERRIDE" not in set(anndata.read_h5ad(run / "output.h5ad").obs["refinement_action"])
    assert set(ALL_TABLES["refinement_log"].read_csv(run / "refinement_log.csv")["iteration"]) == {1}


def test_another_directory_becomes_a_whole_run(run: Path, tmp_path: Path) -> None:
    before = tables(run)
    refine_run(run, tmp_path / "new", parameters=SETTINGS, figures=False)
    assert tables(run) == before
    assert not (run / "refined.h5ad").exists()
    for name in ("coarse_clusters.h5ad", "profiles.h5", "decision_steps.csv", "refined.h5ad", "output.h5ad"):
        assert (tmp_path / "new" / name).is_file()
    again = refine_run(tmp_path / "new" / "output.h5ad", parameters=SETTINGS, figures=False).result
    assert again is not None
    assert again.refinement.iterations == ()


def test_diagnosis_changes_nothing_and_its_plan_can_be_carried_out(run: Path) -> None:
    before = (run / "output.h5ad").stat().st_mtime_ns
    found = diagnose_run(run, parameters=SETTINGS)
    assert (run / "output.h5ad").stat().st_mtime_ns == before
    assert not (run / "refined.h5ad").exists()
    DIAGNOSTIC_REPORT.read_csv(run / "diagnostic_report.csv")
    plan = read_plan(run / "plan.yaml")
    assert plan.operations == found.plan.operations
    by_plan = refine_run(run, parameters=SETTINGS, plan=run / "plan.yaml", figures=False).result
    assert by_plan is not None
    assert by_plan.stop == "plan_done"
    assert len(by_plan.refinement.last.clusters) == len(found.diagnoses) + 2


def test_focus_limits_what_is_touched(run: Path) -> None:
    result = refine_run(run, parameters=SETTINGS, focus={"labels": ["Immune Cells"]}, figures=False).result
    assert result is not None
    split = {e.cluster for i in result.refinement.iterations for e in i.log}
    labels = {c: call.path[:1] for c, call in result.refinement.first.calls.items()}
    assert {labels[c] for c in split} == {("Immune Cells",)}
    with pytest.raises(NothingToDoError), pytest.warns(CellkeyWarning):
        refine_run(run, focus={"clusters": ["99"]})
    with pytest.raises(ParameterError, match="did you mean 'Epithelium'"):
        refine_run(run, focus={"labels": ["Epitelium"]})
    with pytest.raises(ParameterError, match="outside the focus"):
        refine_run(run, focus={"clusters": ["4"]}, plan={"skip": ["4"], "relabel": [
            {"from_cluster": "5", "to_label": "T Cells"}]})


def test_iterations_are_limited(run: Path) -> None:
    result = refine_run(run, parameters={**SETTINGS, "max_iterations": 1, "score_threshold": 0.0,
                                         "min_split_stability": 0.0}, figures=False).result
    assert result is not None
    assert len(result.refinement.iterations) == 1


@pytest.mark.parametrize(("file", "said"), [
    ("consensus.csv", "is a consensus and cannot be refined: refine one of the runs behind it, or let a reviewer"),
    ("batch_summary.csv", "is a batch and cannot be refined: annotate the cells of one of its datasets"),
])
def test_a_run_of_another_kind_is_refused_with_what_to_do(tmp_path: Path, file: str, said: str) -> None:
    """The command says what the folder is and which one to take instead; nothing is written."""
    (tmp_path / file).write_text("cluster_id\n", encoding="utf-8")
    for arguments in (["refine"], ["diagnose"], ["refine", "--undo", "1"]):
        done = run_command(arguments[0], tmp_path, *arguments[1:])
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
    assert [p.name for p in tmp_path.iterdir()] == [file]


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        refine_run(tmp_path / "absent")
    with pytest.raises(InputError, match=r"holds no output\.h5ad"):
        refine_run(tmp_path)
    synthetic_rna(60, 120).adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="--output-dir"):
        refine_run(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="cellkey annotate"):
        refine_run(tmp_path / "cells.h5ad", tmp_path / "out")
