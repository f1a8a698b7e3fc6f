"""The command line in process: promised commands, one clear message per mistake, exit codes, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from command_line import run_command

QUICK = ["--skip-figures"]


def fails(result, *expected: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    for text in expected:
        assert text in result.output
    assert "Traceback" not in result.output


def test_annotate_explain_and_compare(cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    result = run_command("annotate", cells_file, "--output-dir", tmp_path / "v1", "--marker-map", map_file, "--dpi", 40)
    assert result.exit_code == 0, result.output
    assert "T Cells" in result.output
    again = run_command("annotate", tmp_path / "v1/output.h5ad", "--annotation-only", "--output-dir", tmp_path / "v2",
                        *QUICK, "--gating-params", '{"max_depth": 0}')
    assert again.exit_code == 0, again.output
    compared = run_command("compare", tmp_path / "v1", tmp_path / "v2", "--output", tmp_path / "c.csv")
    assert compared.exit_code == 0, compared.output
    assert "shallower" in compared.output
    assert set(pd.read_csv(tmp_path / "c.csv")["change"]) == {"shallower"}
    explained = run_command("explain", tmp_path / "v1", "--cluster", "0")
    assert "Step 1" in explained.output


@pytest.mark.parametrize("command", ["annotate", "explain", "compare"])
def test_help_has_examples(command: str) -> None:
    result = run_command(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output


@pytest.mark.parametrize("option", ["--output-dir", "--output", "--out", "-o"])
def test_synonyms_of_the_output_option(option: str, cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    result = run_command("annotate", "--input", cells_file, option, tmp_path / "r", "--marker-map", map_file, *QUICK,
                         "--skip-cells", "--random-state", 7)
    assert result.exit_code == 0, result.output


# --- bad input: one message, exit code 2, nothing written ---


@pytest.fixture
def refused(tmp_path: Path, map_file: Path):
    def check(source: object, *expected: str, options: tuple[object, ...] = ()) -> None:
        target = tmp_path / "out" / "run"
        result = run_command("annotate", source, "--output-dir", target, "--marker-map", map_file, *QUICK, *options)
        fails(result, *expected)
        assert not target.exists()
        assert not target.parent.exists()

    return check


def write(path: Path, adata: AnnData) -> Path:
    adata.write_h5ad(path)
    return path


@pytest.mark.parametrize(("limit", "expected"), [("lots", "4G"), ("10M", "least that works")])
def test_memory_limit_that_cannot_be_kept(refused, cells_file: Path, limit: str, expected: str) -> None:
    refused(cells_file, expected, options=("--memory-limit", limit))


def test_missing_file(refused, tmp_path: Path) -> None:
    refused(tmp_path / "absent.h5ad", "absent.h5ad")


def test_not_an_h5ad(refused, tmp_path: Path) -> None:
    (tmp_path / "text.h5ad").write_text("just text")
    refused(tmp_path / "text.h5ad", "text.h5ad")


def test_truncated(refused, cells_file: Path, tmp_path: Path) -> None:
    content = cells_file.read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.h5ad", "cut.h5ad")


def test_empty(refused, tmp_path: Path) -> None:
    refused(write(tmp_path / "e.h5ad", AnnData(np.zeros((0, 3), np.float32))), "0 ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(refused, small_cells, tmp_path: Path, value: float) -> None:
    adata = small_cells(storage="dense")
    adata.X[3, 2] = value
    refused(write(tmp_path / "n.h5ad", adata), "1 ", str(adata.var_names[2]))


def test_negative_counts(refused, small_cells, tmp_path: Path) -> None:
    adata = small_cells(storage="dense")
    adata.X[:3, 0] = -2
    refused(write(tmp_path / "n.h5ad", adata), "negative")


def test_no_marker_measured(refused, small_cells, tmp_path: Path) -> None:
    adata = small_cells()
    adata.var_names = [f"{n[:3]}zz{i}" for i, n in enumerate(adata.var_names)]
    refused(write(tmp_path / "m.h5ad", adata), "none of the 18 markers", "among the 78 measured variables",
            "'CD74': closest measured name is 'CD7zz4'")


def test_unknown_keys_get_a_suggestion(refused, cells_file: Path) -> None:
    refused(cells_file, "de_bonus", options=("--scoring-params", '{"de_bonuss": 1}'))
    refused(cells_file, "min_coverage", options=("--gating-params", '{"level_defaults": {"0": {"min_cov": 1}}}'))
    refused(cells_file, "not valid JSON", options=("--gating-params", '{"a": '))


def test_values_out_of_range(refused, cells_file: Path) -> None:
    refused(cells_file, "positive_quantile", options=("--scoring-params", '{"positive_quantile": 3}'))


def test_three_dots_are_explained(tmp_path: Path) -> None:
    fails(run_command("annotate", "...", "--output-dir", tmp_path / "r"), "stands for")


def test_placeholder_in_json(cells_file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"Immune Cells": { ... }}')
    fails(run_command("annotate", cells_file, "-o", tmp_path / "r", "--marker-map", tmp_path / "p.json"), "placeholder")


def test_missing_output_dir(cells_file: Path) -> None:
    fails(run_command("annotate", cells_file), "--output-dir")


def test_output_dir_is_a_file(cells_file: Path, map_file: Path) -> None:
    fails(run_command("annotate", cells_file, "-o", map_file, "--marker-map", map_file), str(map_file))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_dir_not_writable(cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir(mode=0o500)
    fails(run_command("annotate", cells_file, "-o", tmp_path / "ro", "--marker-map", map_file), "not writable")


def test_output_dir_reported_as_not_writable(cells_file, map_file, tmp_path, monkeypatch) -> None:
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK and usual(path, mode, **more))
    fails(run_command("annotate", cells_file, "-o", tmp_path / "ro", "--marker-map", map_file), "not writable")
    assert not (tmp_path / "ro").exists()


def test_disk_full_leaves_nothing(cells_file, map_file, tmp_path, monkeypatch) -> None:
    def full(*_a: object, **_k: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cellkey.records.schema.csv.writer", full)
    fails(run_command("annotate", cells_file, "-o", tmp_path / "r", "--marker-map", map_file, *QUICK), "No space left")
    assert not (tmp_path / "r").exists()


def test_failed_run_keeps_the_earlier_one(cells_file, map_file, tmp_path, monkeypatch) -> None:
    assert run_command("annotate", cells_file, "-o", tmp_path / "r", "--marker-map", map_file, *QUICK).exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file()}
    result = run_command("annotate", tmp_path / "absent.h5ad", "-o", tmp_path / "r", "--marker-map", map_file)
    fails(result)
    assert {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir() if p.is_file()} == before


def test_cluster_key_missing(refused, cells_file: Path) -> None:
    refused(cells_file, "trueth", "did you mean 'truth'", options=("--cluster-key", "trueth"))


def test_annotation_only_without_clusters(refused, cells_file: Path) -> None:
    refused(cells_file, "cluster_lvl0", "truth", options=("--annotation-only",))


# --- odd but usable input ---


@pytest.fixture
def works(tmp_path: Path, map_file: Path):
    def check(source: object, *options: object) -> pd.DataFrame:
        result = run_command("annotate", source, "-o", tmp_path / "ok", "--marker-map", map_file, *QUICK, *options)
        assert result.exit_code == 0, result.output
        return pd.read_csv(tmp_path / "ok" / "cluster_annotations.csv")

    return check


def test_zero_cells_duplicates_and_integers(works, small_cells, tmp_path: Path) -> None:
    adata = small_cells(storage="dense")
    adata.X[:4] = 0
    adata.obs_names = ["c"] * 2 + list(adata.obs_names[2:])
    adata.var_names = ["GENE_X"] * 2 + list(adata.var_names[2:])
    adata.X = adata.X.astype(np.int32)
    adata.write_h5ad(tmp_path / "odd.h5ad")
    works(tmp_path / "odd.h5ad")
    import anndata as ad

    with pytest.warns(UserWarning, match="not unique"):
        back = ad.read_h5ad(tmp_path / "ok" / "output.h5ad")
    assert list(back.obs_names[:3]) == ["c", "c", adata.obs_names[2]]
    assert list(back.var_names[:2]) == ["GENE_X", "GENE_X"]


def test_one_cluster(works, small_cells, tmp_path: Path) -> None:
    adata = small_cells()
    adata.obs["one"] = "all"
    assert len(works(write(tmp_path / "one.h5ad", adata), "--cluster-key", "one")) == 1


def test_panel_of_twenty_markers(works, small_cells, tmp_path: Path) -> None:
    adata = small_cells(n_other=2)
    assert adata.n_vars == 20
    labels = set(works(write(tmp_path / "p.h5ad", adata))["assigned_label"])
    assert {"T Cells", "B Cells"} <= labels


def test_three_cells(works, small_cells, tmp_path: Path) -> None:
    assert works(write(tmp_path / "t.h5ad", small_cells()[:3].copy()))["n_cells"].sum() == 3


def test_tables_of_the_tuning_loop(cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    """The evaluation blocks of a tuning session: columns are there and runs can be merged on the cluster."""
    gates = json.dumps({"level_defaults": {"0": {"min_coverage": 0.35}}})
    run_command("annotate", cells_file, "--output-dir", f"{tmp_path}/run_v1/", "--marker-map", map_file, *QUICK)
    run_command("annotate", f"{tmp_path}/run_v1/output.h5ad", "--annotation-only", "--gating-params", gates,
                "--output-dir", f"{tmp_path}/run_v2/", *QUICK)
    v1, v2 = (pd.read_csv(tmp_path / v / "cluster_annotations.csv") for v in ("run_v1", "run_v2"))
    assert (v1["final_annotation"] == "Unassigned").sum() >= (v2["final_annotation"] == "Unassigned").sum()
    changed = v1.merge(v2, on="cluster", suffixes=("_v1", "_v2"))
    assert len(changed) == len(v1)
    details = pd.read_csv(tmp_path / "run_v1" / "gating_details.csv")
    for cluster in v1["cluster"]:
        rows = details[details["cluster"] == cluster][["root_type", "coverage", "pos_frac", "score", "passed"]]
        assert len(rows) == 2
