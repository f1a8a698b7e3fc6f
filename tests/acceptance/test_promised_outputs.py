"""Every promised file, column, key, type and allowed value, on the files of real runs and with other readers than ours.

The promises are written out here once more, apart from the schemas that the program writes by.
"""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellkey.datasets import synthetic_protein, synthetic_rna
from cellkey.io.write import write_cells
from command_line import run_command

MERGED = [("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
QUICK = '{"min_cells": 30, "call_resamples": 2, "split_resamples": 2, "min_subcluster_cells": 10}'

S, N, F, B, J = "string", "int", "float", "bool", "json"
STOPS = {"leaf_reached", "no_children_pass", "low_margin", "insufficient_coverage", "max_depth", "no_root_passed"}
FAILS = {"below_gate", "low_coverage", "anti_markers", "outscored", ""}
TABLES: dict[str, dict[str, str]] = {
    "cluster_annotations": {
        "cluster_id": S, "assigned_label": S, "assigned_path": S, "assigned_level": N, "assigned_score": F,
        "root_label": S, "confidence": F, "stop_reason": S, "n_cells": N, "coverage": F, "resolved_markers": S,
        "is_ambiguous_root": B, "composition": J, "cluster": S, "final_annotation": S},
    "marker_scores": {
        "cluster_id": S, "label": S, "path": S, "level": N, "score": F, "coverage": F, "mean_enrichment": F,
        "mean_positive_fraction": F, "frac_markers_on": F, "de_component": F, "anti_penalty": F,
        "resolved_markers": S, "missing_markers": S, "n_cells": N},
    "decision_steps": {
        "cluster_id": S, "step_idx": N, "parent_label": S, "child_label": S, "child_passed_gate": B, "child_score": F,
        "child_coverage": F, "child_pos_frac": F, "child_enrichment": F, "child_anti_penalty": F, "selected": B,
        "margin_to_runner_up": F, "fail_reason": S},
    "gating_details": {"cluster": S, "root_type": S, "coverage": F, "pos_frac": F, "score": F, "passed": B},
    "diagnostic_report": {
        "cluster_id": S, "current_label": S, "recommendation": S, "reason": S, "criterion": S, "best_child": S,
        "child_score": F, "heterogeneity_score": F, "n_cells": N, "priority": N},
    "refinement_log": {
        "iteration": N, "cluster_id": S, "action": S, "old_label": S, "new_label": S, "new_clusters": S,
        "confidence_before": F, "confidence_after": F, "timestamp": S},
}
ALLOWED = {
    ("cluster_annotations", "stop_reason"): STOPS,
    ("decision_steps", "fail_reason"): FAILS,
    ("diagnostic_report", "recommendation"): {"SUBCLUSTER", "RELABEL", "SKIP"},
    ("refinement_log", "action"): {"SUBCLUSTER", "RELABEL", "KEEP"},
}
SHARES = {"coverage", "mean_positive_fraction", "frac_markers_on", "child_coverage", "child_pos_frac", "pos_frac"}
FIGURES = {"cluster_size_distribution.png", "confidence_distribution.png", "depth_distribution.png",
           "stop_reason_summary.png", "root_composition.png", "marker_coverage_heatmap.png"}
OBS = {"cluster_lvl0": S, "cell_type_auto": S, "cell_type_auto_root": S, "cell_type_auto_conf": F,
       "cell_type_auto_path": S, "annotation": S}
REFINED_OBS = {"cluster_lvl1": S, "cell_type_lvl1": S, "cell_type_lvl0": S, "refinement_action": S,
               "refinement_iteration": N}

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")


def command(*words: object) -> None:
    result = run_command(*words)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """RNA with clusters of two types, refined; protein with stain markers, diagnosed; a gate that stops early."""
    folder = tmp_path_factory.mktemp("runs")
    rna = synthetic_rna(520, 120, merged=MERGED, seed=6)
    protein = synthetic_protein(400)
    for name, made in (("rna", rna), ("protein", protein)):
        write_cells(made.adata, folder / f"{name}.h5ad")
        (folder / f"{name}.json").write_text(json.dumps(made.marker_map))
    command("annotate", folder / "rna.h5ad", "-o", folder / "refined", "--marker-map", folder / "rna.json",
            "--cluster-key", "true_cluster", "--refinement-params", QUICK, "--dpi", 30)
    command("annotate", folder / "protein.h5ad", "-o", folder / "diagnosed", "--marker-map", folder / "protein.json",
            "--diagnostic", "--refinement-params", QUICK, "--skip-figures")
    command("annotate", folder / "refined" / "output.h5ad", "-o", folder / "strict", "--annotation-only",
            "--skip-refinement", "--skip-figures", "--gating-params",
            '{"min_gap": 9, "max_ambiguity": 2, "level_defaults": {"0": {"min_gap": 2.6}}}')
    return {p.name: p for p in folder.iterdir() if p.is_dir()}


def cells_of(run: Path, name: str) -> ad.AnnData:
    return ad.read_h5ad(run / name)


def every_table(runs: dict[str, Path]) -> list[tuple[str, Path]]:
    return [(name, path) for run in runs.values() for name in TABLES if (path := run / f"{name}.csv").is_file()]


def is_time(text: str) -> bool:
    return datetime.fromisoformat(text).tzinfo is not None and bool(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text))


def test_every_promised_file_is_there(runs: dict[str, Path]) -> None:
    for run in runs.values():
        assert {"coarse_clusters.h5ad", "output.h5ad", "cluster_annotations.csv", "marker_scores.csv",
                "decision_steps.csv", "gating_details.csv"} <= {p.name for p in run.iterdir()}
    refined, diagnosed, strict = (runs[name] for name in ("refined", "diagnosed", "strict"))
    assert (refined / "refined.h5ad").is_file()
    assert (refined / "refinement_log.csv").is_file()
    assert (diagnosed / "diagnostic_report.csv").is_file()
    assert not (diagnosed / "refined.h5ad").exists()
    assert not (strict / "refined.h5ad").exists()
    drawn = {p.name: p.read_bytes() for p in (refined / "figures").iterdir()}
    assert drawn.keys() >= FIGURES
    assert all(drawn[name].startswith(b"\x89PNG") and len(drawn[name]) > 2000 for name in FIGURES)


def test_columns_are_of_their_type_for_any_reader(runs: dict[str, Path]) -> None:
    """As pandas reads them without being told anything, but for text that looks like numbers."""
    seen = set()
    for name, path in every_table(runs):
        text = {c for c, kind in TABLES[name].items() if kind in (S, J)}
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=True)
        assert list(table.columns)[: len(TABLES[name])] == list(TABLES[name])
        for column, kind in TABLES[name].items():
            values = table[column]
            if kind == N:
                assert pd.api.types.is_integer_dtype(values), (path, column, values.dtype)
            elif kind == B:
                assert pd.api.types.is_bool_dtype(values), (path, column, values.dtype)
            elif kind == F:
                numbers = pd.to_numeric(values).dropna()
                assert np.isfinite(numbers).all(), (path, column)
                assert column not in SHARES or numbers.between(0, 1).all(), (path, column)
            elif kind == J:
                assert all(isinstance(json.loads(v), dict) for v in values.dropna())
            allowed = ALLOWED.get((name, column))
            if allowed is not None:
                found = set(values.fillna(""))
                assert found <= allowed, (path, column)
                seen |= {(column, v) for v in found}
    words = {word for _, word in seen}
    assert {"leaf_reached", "low_margin", "SUBCLUSTER", "SKIP", "below_gate", "outscored", ""} <= words


def test_csv_files_are_plain_csv(runs: dict[str, Path]) -> None:
    for path in (p for run in runs.values() for p in run.glob("*.csv")):
        raw = path.read_bytes()
        text = raw.decode("utf-8")
        assert not raw.startswith(b"\xef\xbb\xbf")
        assert b"\r" not in raw
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
        assert {len(r) for r in rows} == {len(rows[0])}, path
        assert all(re.fullmatch(r"\w+", column) for column in rows[0]), path
        assert '"' in text or "," not in "".join(v for r in rows for v in r)


def test_the_tables_of_one_run_agree(runs: dict[str, Path]) -> None:
    for run in runs.values():
        notes, scores, steps, roots = (
            pd.read_csv(run / f"{n}.csv", dtype={"cluster_id": str, "cluster": str}, keep_default_na=False,
                        na_values={"margin_to_runner_up": [""], "coverage": [""]})
            for n in ("cluster_annotations", "marker_scores", "decision_steps", "gating_details"))
        assert notes["n_cells"].sum() == cells_of(run, "output.h5ad").n_obs
        assert (notes["cluster"] == notes["cluster_id"]).all()
        found = scores["markers_found"]
        assert (scores["resolved_markers"].str.count(",")[found > 0] == found[found > 0] - 1).all()
        assert (scores["resolved_markers"][found == 0] == "").all()
        paths = scores["path"].unique()
        assert len(scores) == len(notes) * len(paths)  # every cluster by every type
        tops = {p for p in paths if " / " not in p}
        for note in notes.itertuples():
            walk = steps[steps["cluster_id"] == note.cluster_id]
            first = walk[walk["step_idx"] == 0]
            assert set(first["child_label"]) == tops
            assert set(first["parent_label"]) == {"ROOT"}
            assert set(roots.loc[roots["cluster"] == note.cluster_id, "root_type"]) == tops
            chosen = walk[walk["selected"]]
            assert note.assigned_level == len(chosen) - 1 or note.is_ambiguous_root
            assert (chosen["fail_reason"] == "").all()
            assert (walk.loc[~walk["child_passed_gate"], "fail_reason"] != "").all()
            assert "outscored" not in set(walk.loc[~walk["child_passed_gate"], "fail_reason"])
            assert walk["margin_to_runner_up"].notna().groupby(walk["step_idx"]).sum().le(1).all()
            if note.assigned_level >= 0 and not note.is_ambiguous_root:
                assert note.assigned_path == " / ".join(chosen["child_label"])
                own = scores[(scores["cluster_id"] == note.cluster_id) & (scores["path"] == note.assigned_path)]
                assert own["score"].item() == pytest.approx(note.assigned_score)
                assert own["resolved_markers"].item() == note.resolved_markers
                assert note.confidence == pytest.approx(walk["margin_to_runner_up"].min())
            elif note.is_ambiguous_root and note.assigned_level == 0:
                assert note.assigned_label == note.root_label
                assert "~" in note.assigned_label
            else:
                assert (note.assigned_label, note.assigned_path, note.root_label) == ("Unassigned", "", "Unassigned")
                assert (note.assigned_score, note.confidence) == (0, 0)
            if note.assigned_level < 0 or note.is_ambiguous_root:
                assert (note.resolved_markers, np.isnan(note.coverage)) == ("", True)


def test_clusters_can_be_looked_up_from_table_to_table(runs: dict[str, Path]) -> None:
    """Read without further words, the column of clusters is of one type in both tables of the tuning loop."""
    for run in runs.values():
        notes, details = (pd.read_csv(run / f"{n}.csv") for n in ("cluster_annotations", "gating_details"))
        assert notes["cluster"].dtype == details["cluster"].dtype
        assert all((details["cluster"] == cluster).any() for cluster in notes["cluster"])


def test_votes_are_shares(runs: dict[str, Path]) -> None:
    texts = pd.read_csv(runs["strict"] / "cluster_annotations.csv")["composition"].dropna()
    assert len(texts)
    for votes in map(json.loads, texts):
        shares = [v for k, v in votes.items() if not k.startswith("_")]
        assert sum(shares) == pytest.approx(1, abs=0.01)
        assert votes["_evidence_only"] is True


@pytest.mark.parametrize(("run", "file"), [
    ("refined", "coarse_clusters.h5ad"), ("refined", "refined.h5ad"), ("diagnosed", "output.h5ad"),
    ("strict", "coarse_clusters.h5ad"),
])
def test_fields_of_the_cells_and_a_second_writing(
    runs: dict[str, Path], run: str, file: str, tmp_path: Path
) -> None:
    cells = cells_of(runs[run], file)
    cells.write_h5ad(tmp_path / "again.h5ad")
    again = ad.read_h5ad(tmp_path / "again.h5ad")
    for data in (cells, again):
        wanted = {**OBS, **(REFINED_OBS if file == "refined.h5ad" else {})}
        for column, kind in wanted.items():
            values = data.obs[column]
            if kind == S:
                assert isinstance(values.dtype, pd.CategoricalDtype), column
                assert pd.api.types.infer_dtype(values.cat.categories) in ("string", "empty"), column
            else:
                assert (pd.api.types.is_float_dtype if kind == F else pd.api.types.is_integer_dtype)(values), column
        names = set(data.uns)
        assert {"stage_h_params", "stage_h_gating_params", "stage_h_marker_map", "stage_h_timestamp",
                "de_wilcoxon_X"} <= names
        assert is_time(str(data.uns["stage_h_timestamp"]))
        params = data.uns["stage_h_params"]
        assert {"layer", "scoring_positive_quantile", "scoring_anti_weight", "n_cells"} <= set(params)
        levels = json.loads(str(data.uns["stage_h_gating_params"]))["effective"]["levels"]
        assert {"min_coverage", "min_pos_frac", "min_gap"} <= set(levels[0])
        compiled = json.loads(str(data.uns["stage_h_marker_map"]))
        assert {n["path"] for n in compiled["nodes"]} >= set(data.obs["cell_type_auto_root"]) - {"Unassigned"} - {
            r for r in data.obs["cell_type_auto_root"] if "~" in r}
        if file == "refined.h5ad":
            check_refinement(data)
    pd.testing.assert_frame_equal(again.obs, cells.obs)
    assert set(again.uns) == set(cells.uns)
    assert (again.X != cells.X).nnz == 0


def check_refinement(data: ad.AnnData) -> None:
    """Provenance of every iteration, parameters and summary, as a reader finds them."""
    assert set(data.obs["refinement_action"]) <= {"SUBCLUSTER", "RELABEL", "KEEP"}
    assert "SUBCLUSTER" in set(data.obs["refinement_action"])
    assert (data.obs["cell_type_lvl0"].astype(str) == data.obs["cell_type_auto"].astype(str)).all()
    assert (data.obs["annotation"].astype(str) == data.obs["cell_type_lvl1"].astype(str)).all()
    kept = data.obs["refinement_action"] == "KEEP"
    assert (data.obs.loc[kept, "refinement_iteration"] == 0).all()
    assert (data.obs.loc[~kept, "refinement_iteration"] >= 1).all()
    split = data.obs.loc[data.obs["refinement_action"] == "SUBCLUSTER"]
    assert all(a.startswith(f"{b}:") for a, b in zip(split["cluster_lvl1"], split["cluster_lvl0"], strict=True))
    done = sorted(k for k in data.uns if re.fullmatch(r"stage_refine_iteration_\d+", k))
    assert done
    for name in done:
        record = data.uns[name]
        assert is_time(str(record["timestamp"]))
        assert int(record["clusters_processed"]) > 0
        for key in ("subclustered", "skipped"):
            assert np.asarray(record[key]).dtype.kind in "OUT", key  # text, empty lists too
        assert isinstance(record["relabeled"], dict)
        assert float(record["parameters"]["score_threshold"]) == 1.0
    assert {"score_threshold", "min_cells", "heterogeneity_gap", "max_iterations"} <= set(data.uns["stage_i_params"])
    summary = data.uns["stage_i_summary"]
    assert int(summary["n_iterations"]) == len(done)
    assert {"converged", "stop_reason", "n_subclustered", "n_relabeled", "n_cells_modified"} <= set(summary)


def test_stain_markers_are_columns_of_the_cells(runs: dict[str, Path]) -> None:
    obs = cells_of(runs["diagnosed"], "coarse_clusters.h5ad").obs
    for column in ("DAPI_intensity", "Collagen_IV_intensity", "Beta_actin_intensity"):
        assert obs[column].dtype == np.float32
        assert obs[column].notna().all()


def test_the_files_open_in_scanpy(runs: dict[str, Path]) -> None:
    scanpy = pytest.importorskip("scanpy")
    for run in runs.values():
        cells = scanpy.read_h5ad(run / "output.h5ad")
        group = str(cells.obs["cluster_lvl0"].cat.categories[0])
        table = scanpy.get.rank_genes_groups_df(cells, group, key="de_wilcoxon_X")
        assert {"names", "scores", "pvals", "pvals_adj", "logfoldchanges", "pct_nz_group"} <= set(table.columns)
        assert table["scores"].is_monotonic_decreasing
        cells[:, str(cells.var_names[0])].X.toarray()


def test_the_log_says_what_happened_to_whom(runs: dict[str, Path]) -> None:
    run = runs["refined"]
    log = pd.read_csv(run / "refinement_log.csv", dtype={"cluster_id": str, "new_clusters": str})
    assert all(map(is_time, log["timestamp"]))
    assert (log["iteration"] >= 1).all()
    ids = set(cells_of(run, "refined.h5ad").obs["cluster_lvl1"].astype(str))
    split = log[(log["action"] == "SUBCLUSTER") & (log["status"] == "done")]
    assert len(split)
    for row in split.itertuples():
        parts = row.new_clusters.split(",")
        assert all(p.startswith(f"{row.cluster_id}:") for p in parts)
        assert any(i == p or i.startswith(f"{p}:") for i in ids for p in parts)
    report = pd.read_csv(run / "diagnostic_report.csv", dtype={"cluster_id": str})
    assert sorted(report["priority"]) == list(range(1, len(report) + 1))
    assert report["heterogeneity_score"].between(0, 3).all()
    assert set(split.loc[split["iteration"] == 1, "cluster_id"]) <= set(
        report.loc[report["recommendation"] == "SUBCLUSTER", "cluster_id"])
