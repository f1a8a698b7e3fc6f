"""Stored profiles are used again when nothing they depend on changed, and only then."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest

from cellkey.annotation import run as run_module
from cellkey.annotation.memory import least_memory, parse_bytes, tile_budget
from cellkey.annotation.run import annotate_file
from cellkey.errors import ParameterError

pytestmark = [
    pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning"),
    pytest.mark.filterwarnings("ignore:.*zarr v[23]:UserWarning"),
]


_MADE: dict[str, Path] = {}


@pytest.fixture
def first(tmp_path_factory: pytest.TempPathFactory, cells_file: Path, map_file: Path) -> Path:
    """A finished run, made once; tests work on copies of it."""
    if "run" not in _MADE:
        out = tmp_path_factory.mktemp("evidence") / "run"
        annotate_file(cells_file, out, hierarchy=map_file, figures=False)
        _MADE["run"] = out
    return _MADE["run"]


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Path:
    """A copy with the times of its files, as rsync or tar make it."""
    return Path(shutil.copytree(first, tmp_path / "run", copy_function=shutil.copy2))


def again(run: Path, **options: Any) -> Any:
    return annotate_file(run / "output.h5ad", run.parent / "again", annotation_only=True, figures=False, cells=False,
                         **options)


@pytest.fixture
def no_values(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading any value of a matrix fails the test."""
    from cellkey.io.stored import StoredMatrix

    monkeypatch.setattr(StoredMatrix, "_slice", lambda *_: pytest.fail("values were read"))
    monkeypatch.setattr(StoredMatrix, "__getitem__", lambda *_: pytest.fail("values were read"))


@pytest.mark.usefixtures("no_values")
@pytest.mark.parametrize("options", [
    {}, {"gating": {"min_gap": {"0": 0.3}}}, {"scoring": {"positive_quantile": 0.8}}, {"method": "enrichment"},
    {"method": "both"}, {"hierarchy": {"B cells": {"markers": ["MS4A1"]}, "T cells": {"markers": ["CD3E"]}}},
])
def test_another_gate_weight_method_or_hierarchy_reads_no_values(run: Path, options: dict[str, Any]) -> None:
    if "hierarchy" in options:
        names = ad.read_h5ad(run / "output.h5ad", backed="r").var_names
        options = {"hierarchy": {"one": {"markers": list(names[:3])}, "two": {"markers": list(names[3:6])}}}
    assert not again(run, votes=False, **options).read_matrix


@pytest.mark.parametrize("place", ["first", "last"])
def test_one_changed_value_anywhere_is_noticed(run: Path, place: str) -> None:
    with h5py.File(run / "output.h5ad", "r+") as file:
        values = file["X/data"]
        values[0 if place == "first" else values.shape[0] - 1] += 1
    result = again(run)
    assert result.read_matrix
    assert any("are not used" in m for m in result.result.messages)


def test_changed_clusters_and_names_are_noticed(run: Path) -> None:
    with h5py.File(run / "output.h5ad", "r+") as file:
        codes = file["obs/cluster_lvl0/codes"]
        old = codes[0]
        codes[0] = 1 if old == 0 else 0
    assert again(run).read_matrix
    with h5py.File(run / "output.h5ad", "r+") as file:
        file["obs/cluster_lvl0/codes"][0] = old
    assert not again(run).read_matrix
    with h5py.File(run / "output.h5ad", "r+") as file:
        names = file["var"][file["var"].attrs["_index"]]
        names[5] = "another"
    assert again(run).read_matrix


def test_a_rewritten_file_with_the_same_content_is_recognised(run: Path) -> None:
    adata = ad.read_h5ad(run / "output.h5ad")
    adata.X = adata.X.tocsc()
    adata.write_h5ad(run / "output.h5ad", compression="gzip")
    assert not again(run, votes=False).read_matrix


def test_another_layer_or_scale_is_not_taken_from_the_cache(run: Path) -> None:
    with h5py.File(run / "output.h5ad", "r+") as file:
        file.copy("X", file["layers"], name="raw_counts")
    assert again(run, layer="raw_counts").read_matrix
    assert again(run, normalize=False).read_matrix


def test_a_quantile_that_is_not_held_makes_new_profiles(run: Path) -> None:
    assert again(run, scoring={"positive_quantile": 0.77}).read_matrix


@pytest.mark.parametrize("damage", ["version", "bytes"])
def test_an_unknown_version_and_a_damaged_file_fall_back_with_a_message(run: Path, damage: str) -> None:
    file = run / "profiles.h5"
    if damage == "version":
        with h5py.File(file, "r+") as handle:
            handle.attrs["cellkey_profiles"] = 99
    else:
        file.write_bytes(b"not HDF5")
    result = again(run)
    assert result.read_matrix
    assert any("are not used" in m for m in result.result.messages)


def test_the_same_size_and_time_are_trusted_and_the_manifest_says_so(run: Path) -> None:
    record = json.loads((run / "manifest.json").read_text())["evidence"]
    state = (run / "output.h5ad").stat()
    assert record["files"]["output.h5ad"] == {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
    assert len(record["matrix_digest"]) == 32


def test_a_touched_file_is_read_once_and_then_trusted_for_its_content(run: Path) -> None:
    os.utime(run / "output.h5ad")
    assert not again(run, votes=False).read_matrix


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "zarr"])
def test_streaming_gives_the_same_run(
    cells_file: Path, map_file: Path, tmp_path: Path, form: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / ("cells.zarr" if form == "zarr" else "cells.h5ad")
    adata = ad.read_h5ad(cells_file)
    if form == "zarr":
        pytest.importorskip("zarr")
        adata.write_zarr(source)
    else:
        adata.X = adata.X.toarray() if form == "dense" else adata.X.asformat(form)
        adata.write_h5ad(source)
    monkeypatch.setattr(run_module, "tile_budget", lambda *_: 0)
    result = annotate_file(source, tmp_path / "out", hierarchy=map_file, figures=False)
    assert any("temporary file" in m for m in result.result.messages)
    for name in ("cluster_annotations", "marker_scores", "decision_steps", "gating_details"):
        assert (first / f"{name}.csv").read_bytes() == (tmp_path / "out" / f"{name}.csv").read_bytes(), name
    written = ad.read_h5ad(tmp_path / "out" / "output.h5ad")
    assert written.X.format == "csr"
    assert np.array_equal(written.X.toarray(), np.asarray(ad.read_h5ad(cells_file).to_df()))


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_the_form_of_a_zarr_matrix_is_kept_or_refused_at_once(
    cells_file: Path, map_file: Path, tmp_path: Path, form: str
) -> None:
    pytest.importorskip("zarr")
    adata = ad.read_h5ad(cells_file)
    adata.X = adata.X.asformat(form)
    adata.write_zarr(tmp_path / "cells.zarr")

    def annotated() -> Any:
        return annotate_file(tmp_path / "cells.zarr", tmp_path / "out", hierarchy=map_file, figures=False,
                             x_format="as-input", resamples=0)

    if form == "csc":
        with pytest.raises(ParameterError, match="as-input"):
            annotated()
        assert not (tmp_path / "out").exists()
    else:
        annotated()
        assert ad.read_h5ad(tmp_path / "out" / "output.h5ad").X.format == "csr"


def test_amounts_of_memory() -> None:
    assert parse_bytes("4G") == parse_bytes("4 GiB") == parse_bytes(4 * 2**30) == 4 * 2**30
    assert parse_bytes("500MB") == 500 * 2**20
    assert parse_bytes("1.5g") == 3 * 2**29
    for wrong in ("much", "-4G", "0", "4X", ""):
        with pytest.raises(ParameterError, match=r"memory"):
            parse_bytes(wrong)


def test_a_limit_that_is_too_small_names_the_least_that_works() -> None:
    least = least_memory(1000, 200)
    with pytest.raises(ParameterError, match=f"--memory-limit {-(-least // 2**20)}M"):
        tile_budget("100M", 1000, 200)
    assert tile_budget(least, 1000, 200) == 0
    assert tile_budget(f"{-(-least // 2**20)}M", 1000, 200) >= 0
    assert tile_budget(None, 1000, 200) > 0
    assert np.isfinite(tile_budget("1T", 1000, 200))
