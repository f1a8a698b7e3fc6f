"""Refinement on the command line: every documented form runs, and says what is wrong when it cannot."""

from __future__ import annotations

import os
import shlex
import shutil
import warnings
from pathlib import Path

import anndata
import pandas as pd
import pytest

from cellkey.datasets import synthetic_protein, synthetic_rna
from command_line import run_command

MERGED = [("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
SMALL = '{"min_cells": 30, "call_resamples": 2, "split_resamples": 3, "min_subcluster_cells": 10}'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sparse RNA and dense protein cells, and marker maps for them."""
    import json

    folder = tmp_path_factory.mktemp("inputs")
    found = {}
    for kind, made in (("rna", synthetic_rna(520, 120, merged=MERGED, seed=6)), ("protein", synthetic_protein(600))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.adata.write_h5ad(folder / f"{kind}.h5ad")
        (folder / f"{kind}.json").write_text(json.dumps(made.marker_map), encoding="utf-8")
        found[kind], found[f"{kind}_map"] = folder / f"{kind}.h5ad", folder / f"{kind}.json"
    return found


@pytest.fixture(scope="module")
def annotated(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    result = run_command("annotate", inputs["rna"], "-o", out, "--marker-map", inputs["rna_map"], "--cluster-key",
                         "true_cluster", "--skip-refinement", "--skip-figures")
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def run(annotated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(annotated, tmp_path / "run"))


def fails(result, *expected: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    for text in expected:
        assert text in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["refine", "diagnose"])
def test_help_has_examples(command: str) -> None:
    result = run_command(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output


# The tuning guide's commands, with INPUT and an output directory in place of the dots.
GUIDE = [
    """ctr annotate ... --refinement-params '{"score_threshold": 1.5}'""",
    """ctr annotate ... --refinement-params '{"score_threshold": 2.0}'""",
    """ctr annotate ... --refinement-params '{"min_cells": 1000}'""",
    """ctr annotate ... --refinement-params '{"min_cells": 2000}'""",
    """ctr annotate ... --refinement-params '{"heterogeneity_gap": 0.4}'""",
    """ctr annotate ... --skip-refinement""",
    """ctr annotate ... --refinement-params '{"score_threshold": 0.7}'""",
    """ctr annotate ... --refinement-params '{"min_cells": 300}'""",
    """ctr annotate ... --refinement-params '{"heterogeneity_gap": 0.2}'""",
    """ctr annotate ... --refinement-params '{
        "score_threshold": 1.5,
        "min_cells": 1000,
        "heterogeneity_gap": 0.4,
        "max_iterations": 2
    }'""",
    """ctr annotate ... --refinement-params '{
        "score_threshold": 0.7,
        "min_cells": 300,
        "heterogeneity_gap": 0.2,
        "max_iterations": 5
    }'""",
    """ctr annotate ... --scoring-params '{"anti_weight": 0.8}' \\
        --gating-params '{"level_defaults": {"0": {"min_coverage": 0.35, "min_pos_frac": 0.20}}}' \\
        --refinement-params '{"score_threshold": 0.8, "min_cells": 300}'""",
    """ctr annotate ... --scoring-params '{"anti_weight": 0.9, "anti_agg": "max"}' \\
        --gating-params '{"level_defaults": {"0": {"min_coverage": 0.55, "min_gap": 0.50}}}' \\
        --refinement-params '{"score_threshold": 1.5}'""",
]


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@pytest.mark.parametrize("kind", ["rna", "protein"])
@pytest.mark.parametrize("snippet", GUIDE)
def test_commands_of_the_tuning_guide_run(
    inputs: dict[str, Path], tmp_path: Path, snippet: str, kind: str
) -> None:
    own = f"{inputs[kind]} --output-dir {tmp_path / 'out'} --marker-map {inputs[kind + '_map']}"
    text = snippet.replace("\\\n", " ").replace("...", own)
    result = run_command(*shlex.split(text)[1:], "--skip-figures", "--cluster-key", "true_cluster")
    assert result.exit_code == 0, result.output
    refined = "--skip-refinement" not in snippet
    assert (tmp_path / "out" / "refined.h5ad").is_file() == refined
    assert "annotation" in anndata.read_h5ad(tmp_path / "out" / "output.h5ad", backed="r").obs


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
def test_the_tuning_loop_runs_as_written(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 1 to 6 of the guide, with their Python blocks."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(inputs["rna"], "input.h5ad")
    assert run_command("annotate", "input.h5ad", "--output-dir", "run_v1/").exit_code == 0

    results = pd.read_csv("run_v1/cluster_annotations.csv")
    assert len(results["final_annotation"].value_counts())
    assert len(results["stop_reason"].value_counts())
    unassigned = results[results["final_annotation"] == "Unassigned"]
    details = pd.read_csv("run_v1/gating_details.csv")
    for cluster in unassigned["cluster"]:
        cluster_details = details[details["cluster"] == cluster]
        assert len(cluster_details[["root_type", "coverage", "pos_frac", "score"]])

    again = run_command(*shlex.split("""annotate run_v1/output.h5ad --annotation-only
        --gating-params '{"level_defaults": {"0": {"min_coverage": 0.35}}}' --output-dir run_v2/"""))
    assert again.exit_code == 0, again.output
    v1 = pd.read_csv("run_v1/cluster_annotations.csv")
    v2 = pd.read_csv("run_v2/cluster_annotations.csv")
    changed = v1.merge(v2, on="cluster", suffixes=("_v1", "_v2"))
    changed = changed[changed["final_annotation_v1"] != changed["final_annotation_v2"]]
    assert len(v1) == len(v2)
    assert len(changed) <= len(v1)


def test_annotate_refines_at_once_and_the_same_as_afterwards(inputs, run: Path, tmp_path: Path) -> None:
    """One command or two: the same clusters, labels and tables."""
    both = run_command("annotate", inputs["rna"], "-o", tmp_path / "both", "--marker-map", inputs["rna_map"],
                       "--cluster-key", "true_cluster", "--refinement-params", SMALL, "--skip-figures")
    assert both.exit_code == 0, both.output
    after = run_command("refine", run, "--refinement-params", SMALL, "--no-gpu", "--skip-figures")
    assert after.exit_code == 0, after.output
    for name in ("refined_annotations", "cluster_annotations", "diagnostic_report", "refined_decision_steps"):
        assert (run / f"{name}.csv").read_bytes() == (tmp_path / "both" / f"{name}.csv").read_bytes(), name
    one, two = (anndata.read_h5ad(d / "output.h5ad").obs for d in (run, tmp_path / "both"))
    assert one["cluster_lvl1"].astype(str).equals(two["cluster_lvl1"].astype(str))
    assert any(":" in c for c in one["cluster_lvl1"].cat.categories)


def test_a_new_annotation_voids_earlier_refinement(run: Path) -> None:
    assert run_command("refine", run, "--refinement-params", SMALL, "--skip-figures", "-q").exit_code == 0
    result = run_command("annotate", run / "output.h5ad", "--annotation-only", "-o", run, "--skip-refinement",
                         "--skip-figures")
    assert result.exit_code == 0, result.output
    cells = anndata.read_h5ad(run / "output.h5ad")
    assert "cluster_lvl1" not in cells.obs
    assert not [k for k in cells.uns if k.startswith(("stage_refine", "stage_i"))]
    assert "refinement_history" not in cells.obsm
    assert not list(run.glob("refine*"))


def test_a_new_annotation_does_not_replace_what_a_person_reviewed(run: Path, tmp_path: Path) -> None:
    plan = tmp_path / "review.yaml"
    plan.write_text("overrides: [{cluster_id: '1', cell_type: Mine, reason: seen}]\n", encoding="utf-8")
    assert run_command("refine", run, "--plan", plan, "--skip-figures", "-q").exit_code == 0
    again = ("annotate", run / "output.h5ad", "--annotation-only", "-o", run, "--skip-refinement", "--skip-figures")
    fails(run_command(*again), "a person reviewed (1 operation(s)", "another output directory")
    assert "Mine" in (run / "refined_annotations.csv").read_text(encoding="utf-8")
    assert run_command("refine", run, "--undo", 1, "--skip-figures", "-q").exit_code == 0
    assert run_command(*again).exit_code == 0


@pytest.mark.parametrize("command", [("diagnose",), ("refine", "--diagnostic")])
def test_diagnosis_writes_a_report_and_a_plan(run: Path, command: tuple[str, ...]) -> None:
    result = run_command(command[0], run, *command[1:], "--refinement-params", SMALL)
    assert result.exit_code == 0, result.output
    assert "SUBCLUSTER" in result.output
    assert (run / "plan.yaml").is_file()
    assert not (run / "refined.h5ad").exists()
    done = run_command("refine", run, "--plan", run / "plan.yaml", "--refinement-params", SMALL, "--skip-figures")
    assert done.exit_code == 0, done.output
    assert "plan_done" in done.output


def test_what_a_diagnosis_prints(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns stand below their heads; the next command can be pasted; a folder of others is told."""
    home = run.rename(run.parent / "my run")
    shown = run_command("diagnose", home, "--refinement-params", SMALL).output.splitlines()
    head, *rows = [line for line in shown if "recommendation  reason" in line or "heterogeneity" in line]
    assert len(rows) > 3
    assert {row[head.index("recommendation"):].split()[0] for row in rows} <= {"SUBCLUSTER", "RELABEL", "SKIP"}
    assert shown[-1].endswith(f"cellkey refine '{home}' --plan '{home}/plan.yaml'")
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK and usual(path, mode, **more))
    for command in ("refine", "diagnose"):
        fails(run_command(command, home), f"the run directory {home} is not writable: name another with --output-dir")


def test_annotate_can_diagnose_alone(inputs, tmp_path: Path) -> None:
    result = run_command("annotate", inputs["rna"], "-o", tmp_path / "d", "--marker-map", inputs["rna_map"],
                         "--cluster-key", "true_cluster", "--diagnostic", "--refinement-params", SMALL,
                         "--skip-figures")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "d" / "diagnostic_report.csv").is_file()
    assert (tmp_path / "d" / "plan.yaml").is_file()
    assert not (tmp_path / "d" / "refined.h5ad").exists()


def test_undo_and_restart(run: Path) -> None:
    assert run_command("refine", run, "--refinement-params", SMALL, "--skip-figures", "-q").exit_code == 0
    undone = run_command("refine", run, "--undo", 1, "--skip-figures")
    assert undone.exit_code == 0, undone.output
    assert "undone" in undone.output
    fails(run_command("refine", run, "--undo", 4), "iteration 4 cannot be undone")
    assert run_command("refine", run, "--restart", "--refinement-params", SMALL, "--skip-figures").exit_code == 0


def test_mistakes_and_exit_codes(run: Path, tmp_path: Path) -> None:
    fails(run_command("refine", "..."), "'...' stands for your own RUN")
    fails(run_command("refine"), "RUN is missing")
    fails(run_command("refine", tmp_path / "nothing"), "does not exist")
    (tmp_path / "taken").touch()
    fails(run_command("refine", run, "-o", tmp_path / "taken"), "a file of that name is in the way")
    fails(run_command("refine", run, "--refinement-params", '{"min_cels": 3}'), "did you mean 'min_cells'")
    fails(run_command("annotate", run / "output.h5ad", "-o", tmp_path / "x", "--refinement-params",
                      '{"policy": "wild"}'),
          "policy")
    fails(run_command("refine", run, "--score-threshold", -1), "score_threshold")
    fails(run_command("refine", run, "--diagnostic", "--undo", 1), "--diagnostic changes nothing")
    fails(run_command("refine", run, "--focus-labels", "Epitelium"), "did you mean 'Epithelium'")
    fails(run_command("refine", run, "--force-subcluster", "99"), "there is no cluster '99'")
    plan = tmp_path / "plan.yaml"
    plan.write_text("overrides: [{cluster_id: 44, cell_type: x}]\n", encoding="utf-8")
    fails(run_command("refine", run, "--plan", plan), "there is no cluster '44'")
    fails(run_command("refine", run, "--focus-clusters", "99"), "selects no cluster", code=3)
    assert not (run / "refined.h5ad").exists()
    assert not (tmp_path / "x").exists()


def test_a_plan_with_the_automatic_policy(run: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "overrides: [{cluster_id: 4, cell_type: B Cells, reason: seen}]\nskip: [{cluster_id: 2}]\n"
        f"auto_policy: {SMALL}\n", encoding="utf-8")
    result = run_command("refine", run, "--config", plan, "--auto", "--skip-figures")
    assert result.exit_code == 0, result.output
    log = pd.read_csv(run / "refinement_log.csv", dtype=str)
    assert set(log["action"]) == {"OVERRIDE", "SUBCLUSTER"}
    assert "2" not in set(log["cluster_id"])
