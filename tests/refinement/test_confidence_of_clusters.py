"""Confidence of refined clusters: of the same draws, by the same rules, and equal to that of the annotation."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellkey.annotation.cells import annotate
from cellkey.calls.call import Call
from cellkey.datasets import synthetic_rna
from cellkey.errors import CellkeyWarning
from cellkey.io.names import cell_keys
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.resampling import Resampler
from cellkey.records.tables import ALL_TABLES
from cellkey.refinement import confidence as confidence_module
from cellkey.refinement import refine, refine_run
from cellkey.refinement.cell_access import Cells
from cellkey.refinement.confidence import _Settled
from cellkey.refinement.lineage import part_call, with_node
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.profiling import resamples_of_ids
from cellkey.refinement.source import open_source
from cellkey.routing.walk import walk_key

MERGED = [("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium")]
SETTINGS = {"min_cells": 30, "split_resamples": 3, "min_subcluster_cells": 10}


def test_parts_are_resampled_as_if_they_had_been_there_from_the_start() -> None:
    """Split, split again, and united: the draws are those of one pass with the final groups."""
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(1, 1, (400, 40))).astype(np.float64)
    X[:, 35:] += 2  # genes that most cells express, whose median moves
    labels = rng.choice(["1", "2", "3", "4"], 400).astype(object)
    ids = labels.copy()
    ids[ids == "1"] = np.where(np.arange((ids == "1").sum()) % 2, "1:0", "1:1")
    nested = np.flatnonzero(ids == "1:0")
    ids[nested] = np.where(np.arange(len(nested)) % 3, "1:0:0", "1:0:1")
    ids[np.isin(ids.astype(str), ["2", "3"])] = "2+m"
    names = [f"cell {i}" for i in range(400)]
    genes = np.array([f"g{i}" for i in range(40)], dtype=object)
    held = np.array([0, 3, 7, 20, 35, 39])

    def collected(groups: np.ndarray) -> Resampler:
        resampler = Resampler(names, held, n_resamples=9, seed=5)
        resampler.profiles = profile_clusters(Expression(X), groups, genes, resampler=resampler)  # type: ignore[attr-defined]
        return resampler

    first = collected(labels)
    direct = collected(ids).result()
    found = resamples_of_ids(
        ids, labels, first.profiles, first.result(), Cells(X, genes), cell_keys(names))  # type: ignore[attr-defined]
    assert found.groups == direct.groups
    np.testing.assert_array_equal(found.columns, held)
    for name in ("n_cells", "mean", "median", "detection", "positive", "thresholds", "overall_mean", "overall_std"):
        np.testing.assert_allclose(getattr(found, name), getattr(direct, name), rtol=1e-6, err_msg=name)
    united = found.groups.index("2+m")
    np.testing.assert_allclose(found.rank_z[:, united], direct.rank_z[:, united], rtol=1e-4, atol=1e-4)
    parts = [found.groups.index(g) for g in ("1:0:0", "1:0:1")]
    assert not found.rank_z[:, parts].any()  # fewer than a hundred cells are not ranked among each other


@pytest.fixture(scope="module")
def annotated(annotated_run: Callable[..., Path]) -> Path:
    return annotated_run(MERGED, method="both", resamples=20)


@pytest.fixture
def run(annotated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(annotated, tmp_path / "run"))


def read(run: Path, name: str) -> pd.DataFrame:
    return ALL_TABLES[name].read_csv(run / f"{name}.csv")


def test_every_refined_cluster_has_a_confidence(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pass(*_: object) -> None:
        raise AssertionError("the stored resamples were to be used")

    monkeypatch.setattr(confidence_module, "_drawn", no_pass)
    refine_run(run, parameters=SETTINGS, figures=False)
    refined, first = read(run, "refined_confidence"), read(run, "confidence")
    calls = read(run, "refined_annotations").set_index("cluster_id")
    parts = [c for c in calls.index if ":" in c]
    assert len(parts) >= 4
    last = refined[refined["is_call"]].set_index("cluster_id")
    assert set(last.index) == set(calls.index)
    assert (last["path"] == calls["assigned_path"].reindex(last.index)).all()
    assert last["confidence"].notna().all()
    assert last.loc[parts, "confidence"].min() > 0.5  # the parts are pure
    same = [c for c in calls.index if ":" not in c]
    kept = first[first["method"].eq("markers") & first["cluster_id"].isin(same)].reset_index(drop=True)
    pd.testing.assert_frame_equal(refined[refined["cluster_id"].isin(same)].reset_index(drop=True), kept)
    cells = anndata.read_h5ad(run / "output.h5ad", backed="r").obs
    told = cells.groupby("cluster_lvl1", observed=True)["cell_type_lvl1_confidence"].first()
    np.testing.assert_allclose(told, last["confidence"].reindex(told.index))
    np.testing.assert_allclose(calls["label_stability"], last["share_held"].reindex(calls.index))


def test_resamples_are_drawn_again_where_none_were_kept(run: Path) -> None:
    """The draws hang on the names of the cells, so they are the same."""
    kept, drawn = run, Path(shutil.copytree(run, run.parent / "other"))
    (drawn / "resamples.h5").unlink()
    for one in (kept, drawn):
        refine_run(one, parameters={**SETTINGS, "call_resamples": 20}, figures=False)
    a, b = read(kept, "refined_confidence"), read(drawn, "refined_confidence")
    pd.testing.assert_frame_equal(a, b)


def test_what_a_person_says_is_measured_by_the_data(run: Path) -> None:
    calls = read(run, "cluster_annotations").set_index("cluster_id")["assigned_label"]
    right, wrong, foreign = (
        str(calls.index[calls == t][0]) for t in ("CD4 T Cells", "CD8 T Cells", "Smooth Muscle Cells"))
    plan = {"version": "1.0", "operations": [
        {"op_type": "override", "cluster_id": right, "label": "CD4 T Cells"},
        {"op_type": "override", "cluster_id": wrong, "label": "CD4 T Cells"},
        {"op_type": "override", "cluster_id": foreign, "label": "Ghosts"},
    ]}
    with pytest.warns(CellkeyWarning, match="Ghosts"):
        refine_run(run, plan=plan, parameters={"call_resamples": 20}, figures=False)
    table = read(run, "refined_confidence")
    last = table[table["is_call"]].set_index("cluster_id")
    assert last.loc[right, "confidence"] > 0.6 > 0.3 > last.loc[wrong, "confidence"]
    assert last.loc[wrong, "share_held"] == 0
    assert foreign not in last.index
    cells = anndata.read_h5ad(run / "output.h5ad", backed="r").obs
    assert cells.loc[cells["cluster_lvl1"] == foreign, "cell_type_lvl1_confidence"].isna().all()


@pytest.mark.parametrize("method", ["markers", "enrichment"])
def test_parts_end_up_where_the_rule_of_parts_puts_them(method: str) -> None:
    made = synthetic_rna(500, 200, thin=0.5, seed=3)
    adata = made.adata
    rng = np.random.default_rng(1)
    truth = adata.obs["true_label"].astype(str).to_numpy()
    adata.obs["mixed"] = np.where(rng.random(len(truth)) < 0.3, rng.choice(truth, len(truth)), truth)
    adata.obs["mixed"] = [f"{t}:{i % 4}" for i, t in enumerate(adata.obs["mixed"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate(adata, made.marker_map, groupby="mixed", method=method, resamples=0)
    state = open_source(adata, RefinementParameters()).first
    verdict, tree = state.verdict, state.verdict.key.hierarchy

    def walked(roots: list[int] | None = None) -> np.ndarray:
        found = np.full((len(verdict.groups), tree.depth), -1)
        walks = walk_key(verdict.key, verdict.groups, verdict.rule, max_depth=verdict.max_depth, roots=roots)
        for row, walk in zip(found, walks, strict=True):
            row[: len(walk.path)] = walk.path
        return found

    def settled(calls: dict[str, Call]) -> dict[str, tuple[str, ...]]:
        found = _Settled(replace(state, calls=calls))(verdict.groups, verdict.rule, walked(), lambda one: walked([one]))
        return {g: tuple(tree.nodes[n].name for n in nodes[nodes >= 0]) for g, nodes in zip(
            verdict.groups, found, strict=True)}

    for root in (n for n in tree.nodes if n.level == 0):
        lineage = tree.index(root.path)
        calls = {c: with_node(verdict, call, lineage) for c, call in verdict.calls.items()}
        for group, path in settled(calls).items():
            expected, _ = part_call(verdict, group, calls[group])
            gate = verdict.passed[verdict.position(group), lineage]
            assert path == (expected.path if gate or expected.path[0] != root.name else ())
    kept = 0
    for node in range(len(tree.nodes)):  # parts that bear their parent's label, against the same rule
        named = {g: part_call(verdict, g, with_node(verdict, call, node))[0] for g, call in verdict.calls.items()}
        found = settled(named)
        for group, call in named.items():
            if tuple(tree.index(call.path[:d]) for d in range(1, len(call.path) + 1)) != call.walk.path:
                kept += 1
                assert found[group] == call.path
    assert kept or method == "markers"  # by markers no part of these cells ends short of a label that it could keep


def test_a_type_without_measured_markers_can_be_set() -> None:
    """It has no score of enrichment, and neither the tables nor the confidence fail for it."""
    made = synthetic_rna(200, 100, seed=3)
    tree = dict(made.marker_map)
    tree["Ghosts"] = {"markers": ["GHOST1", "GHOST2", "GHOST3"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate(made.adata, tree, groupby="true_cluster", method="enrichment", resamples=0)
        cluster = str(made.adata.obs["cluster_lvl0"].iloc[0])
        done = refine(made.adata, plan={"overrides": [{"cluster_id": cluster, "cell_type": "Ghosts"}]},
                      parameters={"call_resamples": 2})
    row = done.tables["refined_annotations"].set_index("cluster_id").loc[cluster]
    assert (row["assigned_label"], row["assigned_score"]) == ("Ghosts", 0.0)
    assert row["decision_trace"] == '[["Ghosts", null]]'


def test_without_resamples_nothing_is_said() -> None:
    made = synthetic_rna(400, 100, merged=MERGED, seed=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate(made.adata, made.marker_map, groupby="true_cluster")
    result = refine(made.adata, parameters={**SETTINGS, "call_resamples": 0})
    assert "refined_confidence" not in result.tables
    assert "cell_type_lvl1_confidence" not in made.adata.obs
    assert result.tables["refined_annotations"]["label_stability"].isna().all()
    refine(made.adata, parameters={**SETTINGS, "call_resamples": 3})
    assert made.adata.obs["cell_type_lvl1_confidence"].notna().any()
    refine(made.adata, parameters={**SETTINGS, "call_resamples": 0})
    assert "cell_type_lvl1_confidence" not in made.adata.obs
