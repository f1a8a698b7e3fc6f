"""Confidence: equal to resampling the cells by hand, whatever their order or storage, and kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellkey.annotation import confidence as confidence_module
from cellkey.annotation.cells import AnnotationResult, annotate
from cellkey.annotation.core import annotate_profiles
from cellkey.annotation.enrichment import call_by_enrichment
from cellkey.annotation.run import annotate_file
from cellkey.annotation.stability import stability_of_markers
from cellkey.calls.calibration import bundled_calibration
from cellkey.clustering import inspect_matrix, working_scale
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.resampling import Resampler

pytestmark = pytest.mark.filterwarnings("ignore:.* holds counts:cellkey.errors.CellkeyWarning")


@pytest.fixture
def vague_cells(small_cells: Callable[..., AnnData]) -> Callable[..., AnnData]:
    """Small clusters of which one cell in three belongs elsewhere, so that calls waver."""

    def make(storage: str = "csr") -> AnnData:
        cells = small_cells(n_per_type=30, n_other=80, storage=storage)
        rng = np.random.default_rng(4)
        truth = cells.obs["truth"].astype(str).to_numpy()
        kinds = sorted(set(truth))
        home = np.where(rng.random(len(truth)) < 0.35, rng.choice(kinds, len(truth)), truth)
        cells.obs["group"] = [f"{kinds.index(k)}:{i % 3}" for i, k in enumerate(home)]
        return cells

    return make


def confidence_of(cells: AnnData, key: dict[str, Any], **options: Any) -> pd.DataFrame:
    options = {"method": "both", "groupby": "group", "copy": True, "n_jobs": 1, "resamples": 12, **options}
    return annotate(cells, key, **options).tables["confidence"]


def test_shares_equal_those_of_cells_resampled_by_hand(
    vague_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    cells = vague_cells()
    result = annotate(cells, small_map, method="both", groupby="group", copy=True, n_jobs=1, resamples=12)
    weights = Resampler(cells.obs_names, [], n_resamples=12, seed=1337).weights
    scale = working_scale(cells.X, inspect_matrix(cells.X, var_names=list(cells.var_names)))
    labels = cells.obs["group"].astype(str).to_numpy(dtype=object)
    a = result.annotation
    again: dict[str, list[dict[str, tuple[int, ...]]]] = {"markers": [], "enrichment": []}
    for b in range(12):
        rows = np.repeat(np.arange(cells.n_obs), weights[:, b])
        profiles = profile_clusters(Expression(cells.X[rows], scale=scale[rows]), labels[rows], a.profiles.var_names)
        profiles.info.update(a.profiles.info)
        calls = annotate_profiles(profiles, a.key.hierarchy, key=a.key).calls
        again["markers"].append({c.group: c.walk.path for c in calls})
        walks = call_by_enrichment(profiles, a.key).routes.walks
        again["enrichment"].append({w.group: w.path for w in walks})
    shares = []
    for s in a.stability:
        for level in range(len(s.path)):
            expected = np.mean([o.get(s.group, ())[: level + 1] == s.path[: level + 1] for o in again[s.method]])
            np.testing.assert_allclose(s.held[level], expected)
            shares.append(expected)
        if not s.path:
            np.testing.assert_allclose(s.held, [np.mean([o.get(s.group) == () for o in again[s.method]])])
    assert min(shares) < 0.9 < max(shares)  # the data are vague enough to test something


def test_order_of_cells_and_genes_and_names_of_groups_mean_nothing(
    vague_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    cells = vague_cells()
    base = confidence_of(cells, small_map)
    rng = np.random.default_rng(1)
    shuffled = cells[rng.permutation(cells.n_obs)][:, rng.permutation(cells.n_vars)].copy()
    pd.testing.assert_frame_equal(confidence_of(shuffled, small_map), base)
    names = {g: f"x{i}" for i, g in enumerate(rng.permutation(sorted(set(cells.obs["group"]))))}
    cells.obs["group"] = cells.obs["group"].map(names)
    other = confidence_of(cells, small_map)
    moved = base.assign(cluster_id=base["cluster_id"].map(names)).sort_values(["method", "cluster_id", "level"])
    ordered = other.sort_values(["method", "cluster_id", "level"])
    pd.testing.assert_frame_equal(ordered.reset_index(drop=True), moved.reset_index(drop=True))


@pytest.mark.parametrize("storage", ["csc", "dense", "backed"])
def test_storage_means_nothing(
    storage: str, vague_cells: Callable[..., AnnData], small_map: dict[str, Any], tmp_path: Path
) -> None:
    base = confidence_of(vague_cells(), small_map)
    if storage == "backed":
        vague_cells().write_h5ad(tmp_path / "cells.h5ad")
        cells = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    else:
        cells = vague_cells(storage)
    pd.testing.assert_frame_equal(confidence_of(cells, small_map), base)
    pd.testing.assert_frame_equal(confidence_of(cells, small_map, n_jobs=3), base)


def test_the_seed_decides(vague_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    one, two, three = (confidence_of(vague_cells(), small_map, clustering={"seed": s}) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert (one["share_held"] != three["share_held"]).any()


def test_confidence_is_a_probability_that_falls_along_the_path(
    vague_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    cells = vague_cells()
    result = annotate(cells, small_map, groupby="group", n_jobs=1)
    table = result.tables["confidence"]
    called = table[table["level"] >= 0]
    assert called["confidence"].between(0, 1).all()
    for _, rows in called.groupby("cluster_id"):
        assert (np.diff(rows["confidence"]) <= 0).all()
        assert rows["is_call"].tolist() == [False] * (len(rows) - 1) + [True]
    by_cluster = table[table["is_call"]].set_index("cluster_id")["confidence"]
    expected = cells.obs["cluster_lvl0"].astype(str).map(by_cluster).to_numpy()
    np.testing.assert_array_equal(cells.obs["cell_type_auto_confidence"].to_numpy(), expected)
    cluster = called["cluster_id"].iloc[0]
    assert "probably right" in result.explain(cluster)
    assert table.loc[table["level"] < 0, "confidence"].isna().all()


def test_a_top_level_type_without_rival_does_not_hold_those_below_it_down(
    small_cells: Callable[..., AnnData]
) -> None:
    """Above the first step with siblings the lead is that of this step; a type is at least as likely as its subtype."""
    below = {"T": {"markers": ["CD3D", "CD3E"]}, "B": {"markers": ["MS4A1", "CD79A"]}}
    alone = {"Immune": {"markers": ["PTPRC"], "children": below}}
    found = annotate(small_cells(), alone, groupby="truth", copy=True).annotation
    stability = next(s for s in found.stability if s.group == "T Cells")
    lead = confidence_module.call_measurements(found, stability)["lead"]
    assert lead[0] == lead[1] > 0.3
    fitted = bundled_calibration().maps["markers"].probability(confidence_module.call_measurements(found, stability))
    table = confidence_module.confidence_table(found, 50).set_index(["cluster_id", "level"])["confidence"]
    assert table["T Cells", 1] == pytest.approx(fitted[1])  # although the top-level type rests on one marker
    assert table["T Cells", 0] == pytest.approx(fitted.max())


def test_none_are_measured_when_switched_off(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    cells = small_cells()
    result = annotate(cells, small_map, groupby="truth", resamples=0)
    assert "confidence" not in result.tables
    assert "cell_type_auto_confidence" not in cells.obs
    with pytest.raises(ValueError, match="0 \\(none\\) or more"):
        annotate(cells, small_map, groupby="truth", resamples=-1)


def test_the_marker_without_which_a_call_falls_is_named(small_cells: Callable[..., AnnData]) -> None:
    key = {"T": {"markers": ["CD3E"]}, "B": {"markers": ["MS4A1", "CD79A"]}}
    cells = small_cells()
    table = annotate(cells, key, groupby="truth", copy=True).tables["confidence"].set_index("cluster_id")
    assert table.loc["T Cells", "fragile_marker"] == "CD3E"
    assert table.loc["T Cells", "share_held_without_marker"] == 0.0  # its only marker
    assert table.loc["B Cells", "share_held_without_marker"] == 1.0  # either of two is enough
    assert table.loc["B Cells", "fragile_marker"] == ""


def stored_run(cells: AnnData, key: Path, folder: Path, **options: Any) -> Path:
    cells.write_h5ad(folder / "cells.h5ad")
    annotate_file(folder / "cells.h5ad", folder / "run", hierarchy=key, cluster_key="group", figures=False, **options)
    return folder / "run"


def again(run: Path, target: Path, **options: Any) -> AnnotationResult:
    found = annotate_file(run / "output.h5ad", target, annotation_only=True, figures=False, **options)
    assert not found.read_matrix
    return found.result


def test_stored_resamples_serve_other_settings_without_the_cells(
    vague_cells: Callable[..., AnnData], map_file: Path, small_map: dict[str, Any], tmp_path: Path
) -> None:
    run = stored_run(vague_cells(), map_file, tmp_path)
    assert (run / "resamples.h5").is_file()
    again(run, tmp_path / "same")
    assert (tmp_path / "same" / "confidence.csv").read_bytes() == (run / "confidence.csv").read_bytes()
    shallow = again(tmp_path / "same", tmp_path / "shallow", gating={"max_depth": 0}).tables["confidence"]
    assert set(shallow["level"]) <= {-1, 0}
    assert shallow["share_held"].notna().all()
    whole = annotate(vague_cells(), small_map, groupby="group", copy=True, gating={"max_depth": 0})
    pd.testing.assert_frame_equal(whole.tables["confidence"], shallow)
    both = again(run, tmp_path / "both", method="both").tables["confidence"]
    assert set(both["method"]) == {"markers", "enrichment"}


def test_genes_that_are_not_held_are_named_and_leave_a_gap(
    vague_cells: Callable[..., AnnData], map_file: Path, small_map: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confidence_module, "_SMALL_PANEL", 10)
    run = stored_run(vague_cells(), map_file, tmp_path)
    root = next(iter(small_map))
    small_map[root]["markers"] = [*small_map[root]["markers"], "GENE3"]
    result = again(run, tmp_path / "other", hierarchy=small_map)
    assert any("do not hold 1 of the genes" in m and "GENE3" in m for m in result.messages)
    table = result.tables["confidence"]
    hit = table["path"].str.startswith(root)
    assert table.loc[hit, "share_held"].isna().all()
    assert table.loc[hit, "confidence"].isna().all()
    assert table.loc[~hit & (table["level"] >= 0), "share_held"].notna().all()


def test_another_quantile_needs_the_cells(
    vague_cells: Callable[..., AnnData], map_file: Path, tmp_path: Path
) -> None:
    run = stored_run(vague_cells(), map_file, tmp_path)
    result = again(run, tmp_path / "other", scoring={"positive_quantile": 0.6})
    assert any("of positive_quantile 0.75, not 0.6" in m for m in result.messages)
    assert "confidence" not in result.tables


def test_files_of_an_earlier_run_do_not_stay(
    vague_cells: Callable[..., AnnData], map_file: Path, tmp_path: Path
) -> None:
    run = stored_run(vague_cells(), map_file, tmp_path)
    stored_run(vague_cells(), map_file, tmp_path, resamples=0)
    assert not (run / "resamples.h5").exists()
    assert not (run / "confidence.csv").exists()


def test_a_wide_panel_keeps_the_ranking_of_its_markers(
    vague_cells: Callable[..., AnnData], small_map: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the genes of the key are held, and the shares by marker evidence are the same as with all genes."""
    cells = vague_cells()
    noise = cells[:, [f"GENE{i}" for i in range(80)]].copy()
    noise.var_names = [f"NOISE{i}" for i in range(80)]
    more = noise.copy()
    more.var_names = [f"MORE{i}" for i in range(80)]
    wide = ad.concat([cells, noise, more], axis=1, merge="first")
    assert wide.n_vars > 200  # so that the markers of the key alone are ranked
    wide.obs["group"] = cells.obs["group"]
    everything = confidence_of(wide, small_map, method="markers")
    monkeypatch.setattr(confidence_module, "_SMALL_PANEL", 10)
    pd.testing.assert_frame_equal(confidence_of(wide, small_map, method="markers"), everything)


def test_stability_needs_no_more_than_profiles(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> None:
    result = annotate(small_cells(), small_map, groupby="truth", copy=True)
    assert result.resamples is not None
    found = stability_of_markers(result.annotation, result.resamples)
    assert [s.group for s in found] == list(result.annotation.profiles.groups)
