"""What newcomers hand in: each is refused with what was found and the way out, or works and says so."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from command_line import run_command


@pytest.fixture
def annotate(tmp_path: Path, map_file: Path) -> Callable[..., Any]:
    """Run ``annotate`` on cells or a path; returns the result and the run directory."""
    def call(source: AnnData | Path, *options: object, marker_map: Path = map_file) -> tuple[Any, Path]:
        path = source
        if isinstance(source, AnnData):
            path = tmp_path / "given.h5ad"
            source.write_h5ad(path)
        run = tmp_path / "new" / "run"
        words = ["annotate", path, "-o", run, "--marker-map", marker_map, "--skip-figures", "--skip-refinement",
                 "--resamples", 0, *options]
        return run_command(*words), run

    return call


@pytest.fixture
def refused(annotate: Callable[..., Any], tmp_path: Path) -> Callable[..., None]:
    def check(source: AnnData | Path, *expected: str, options: tuple[object, ...] = ()) -> None:
        result, _ = annotate(source, *options)
        assert result.exit_code == 2, result.output
        assert result.output.count("error:") == 1
        for text in expected:
            assert text in result.output
        assert not (tmp_path / "new").exists()

    return check


# --- files that are no cells ---


@pytest.mark.parametrize(("separator", "name"), [(",", "comma"), ("\t", "tab"), (";", "semicolon")])
def test_a_text_table_is_recognised(refused, small_cells, tmp_path: Path, separator: str, name: str) -> None:
    cells = small_cells(2)
    path = tmp_path / "counts.txt"
    pd.DataFrame(cells.X.toarray(), index=cells.obs_names, columns=cells.var_names).to_csv(path, sep=separator)
    refused(path, f"a {name}-separated text table", "write_h5ad", "add .T where genes are the rows")


def test_packed_and_cut_files(refused, cells_file: Path, tmp_path: Path) -> None:
    packed = gzip.compress(cells_file.read_bytes())
    for name, content in {"whole.h5ad.gz": packed, "half.h5ad.gz": packed[: len(packed) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "gzip: unpack it first")
    (tmp_path / "nothing.h5ad").touch()
    refused(tmp_path / "nothing.h5ad", "is an empty file, expected an .h5ad file")


def test_folders_and_links(refused, cells_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "some.h5ad").write_bytes(cells_file.read_bytes())
    refused(folder, "is a folder", "it holds some.h5ad")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    refused(tmp_path / "one", "symbolic link", "leads to no file")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    refused(tmp_path / "one", "symbolic link", "leads to no file")
    refused(tmp_path / ("x" * 300), "cannot be read: File name too long")


# --- cells with the values or names elsewhere ---


def test_genes_as_rows(refused, small_cells) -> None:
    cells = small_cells(5)
    refused(AnnData(cells.X.T, obs=cells.var, var=cells.obs), "18 of them are names of cells", "adata.T")


def scaled(cells: AnnData) -> AnnData:
    values = np.log1p(cells.X.toarray())
    other = cells.copy()
    other.X = ((values - values.mean(0)) / (values.std(0) + 1e-9)).astype(np.float32)
    return other


def test_scaled_values_beside_better_ones(annotate, small_cells) -> None:
    cells = small_cells()
    in_layer, in_raw = scaled(cells), scaled(cells)
    in_layer.layers["counts"] = cells.X.copy()
    in_raw.raw = cells
    for data, way in ((in_layer, "layers counts (choose with --layer)"), (in_raw, "adata.raw.to_adata()")):
        result, _ = annotate(data)
        assert result.exit_code == 0, result.output
        assert "X holds scaled values" in result.output
        assert way in result.output
    chosen, _ = annotate(in_layer, "--layer", "counts")
    assert "scaled values" not in chosen.output


def test_markers_in_raw_only(annotate, refused, small_cells) -> None:
    cells = small_cells()
    others = cells[:, [n for n in cells.var_names if n.startswith("GENE")]].copy()
    others.raw = cells
    refused(others, "18 of them are in raw")
    some = cells[:, [n for n in cells.var_names if n not in ("CD3D", "CD3E", "TRAC", "CD79A")]].copy()
    some.raw = cells
    result, _ = annotate(some)
    assert "4 of the 18 listed markers are not among the 74 variables but in raw (78 variables)" in result.output


def test_a_layer_alone(annotate, refused, small_cells) -> None:
    cells = small_cells()
    bare = AnnData(obs=cells.obs, var=cells.var)
    refused(bare, "the data have no X", "found: none")
    bare.layers["counts"] = cells.X
    refused(bare, "name a layer instead (found: counts)")
    result, _ = annotate(bare, "--layer", "counts")
    assert result.exit_code == 0, result.output


def test_ids_for_a_part_of_the_genes(annotate, small_cells) -> None:
    cells = small_cells()
    names = cells.var_names.to_numpy()
    mixed = [f"ENSG{i:011d}.{i % 9}" if i % 2 else n for i, n in enumerate(names)]
    cells.var_names = mixed
    result, _ = annotate(cells)
    assert result.exit_code == 0, result.output
    assert "39 of 78 variables are named by Ensembl ids" in result.output
    cells.var["gene_symbols"] = names
    result, run = annotate(cells)
    assert set(pd.read_csv(run / "cluster_annotations.csv")["assigned_label"]) == set(cells.obs["truth"])


def test_markers_in_other_letters_and_files_from_windows(annotate, small_cells, small_map, tmp_path: Path) -> None:
    text = json.dumps(small_map, indent=1).replace('"CD', '"cd').replace('"EPCAM"', '" epcam "')
    path = tmp_path / "windows.json"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    result, run = annotate(small_cells(), marker_map=path)
    assert result.exit_code == 0, result.output
    assert pd.read_csv(run / "marker_scores.csv", keep_default_na=False)["missing_markers"].eq("").all()


def test_names_in_any_script(annotate, small_cells, small_map, tmp_path: Path) -> None:
    small_map["Épithélium 上皮"] = small_map.pop("Epithelium")
    path = tmp_path / "карта.json"
    path.write_text(json.dumps(small_map, ensure_ascii=False), encoding="utf-8")
    cells = small_cells()
    cells.obs["Größe π"] = "ü"
    cells.write_h5ad(tmp_path / "zellen ü.h5ad")
    result, run = annotate(tmp_path / "zellen ü.h5ad", marker_map=path)
    assert result.exit_code == 0, result.output
    assert "Épithélium 上皮" in set(ad.read_h5ad(run / "output.h5ad").obs["cell_type_auto_root"])


def test_repeated_names_and_empty_cells_are_told(annotate, small_cells, tmp_path: Path) -> None:
    cells = small_cells(storage="dense")
    cells.X[:3] = 0
    cells.obs_names = ["c"] * 2 + list(cells.obs_names[2:])
    cells.var_names = ["GENE0"] * 2 + list(cells.var_names[2:])
    path = tmp_path / "repeated.h5ad"
    cells.write_h5ad(path)
    result, _ = annotate(path)
    assert result.exit_code == 0, result.output
    for text in ("1 cell names repeat (c)", "1 variable names repeat (GENE0)", "3 of 160 cells of X hold only zeros"):
        assert text in result.output


# --- columns of clusters ---


def clustered(cells: AnnData, values: object) -> AnnData:
    cells.obs["k"] = values
    return cells


def test_columns_that_are_no_clusters(refused, small_cells) -> None:
    n = 160
    key = ("--cluster-key", "k")
    refused(clustered(small_cells(), np.linspace(0, 1, n)), "numbers with fractions", "--cluster-key", options=key)
    refused(clustered(small_cells(), np.full(n, np.nan)), "holds no value at all", options=key)
    refused(clustered(small_cells(), " "), "holds no value at all", options=key)


@pytest.mark.parametrize(("values", "clusters"), [
    ([0, 1, 2, 3], ["0", "1", "2", "3"]),
    ([0.0, 1.0, 10.0, np.nan], ["0", "1", "10"]),
    (pd.Categorical([0.0, 1.0, np.nan, 2.0]), ["0", "1", "2"]),
    ([True, False, True, False], ["False", "True"]),
    (["a", "", "b", None], ["a", "b"]),
    (["10", "2", "2:10", "2:9"], ["2", "2:9", "2:10", "10"]),
    (['T/NK, "x"\n~é', "=1+1", "<b>", "T/NK"], None),
])
def test_clusters_of_any_kind(annotate, small_cells, values: Any, clusters: list[str] | None) -> None:
    cells = small_cells()
    column = pd.Series(list(values) * 40, index=cells.obs_names)
    cells.obs["k"] = column.astype("category") if isinstance(values, pd.Categorical) else column
    result, run = annotate(cells, "--cluster-key", "k")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(run / "cluster_annotations.csv", dtype={"cluster_id": str})
    missing = sum(v is None or v == "" or v != v for v in values)
    assert ("have no value in obs['k']" in result.output) == bool(missing)
    assert table["n_cells"].sum() == 40 * (4 - missing)
    if clusters is not None:
        assert table["cluster_id"].tolist() == clusters
    else:
        assert set(table["cluster_id"]) == set(values)
    kept = ad.read_h5ad(run / "output.h5ad").obs["cluster_lvl0"]
    assert set(kept.dropna()) == set(table["cluster_id"])


def test_one_cell_per_cluster(annotate, small_cells) -> None:
    result, run = annotate(clustered(small_cells(1), list("abcd")), "--cluster-key", "k")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(run / "cluster_annotations.csv")["n_cells"].tolist() == [1, 1, 1, 1]


def test_own_clusters_need_no_copy_and_others_are_kept(annotate, small_cells) -> None:
    cells = small_cells()
    cells.obs["cluster_lvl0"] = cells.obs["truth"]
    cells.obs["annotation"] = "mine"
    result, run = annotate(cells, "--annotation-only")
    assert "obs['annotation'] existed already" in result.output
    obs = ad.read_h5ad(run / "output.h5ad").obs
    assert "cluster_lvl0_input" not in obs
    assert set(obs["annotation_input"]) == {"mine"}
    other, run = annotate(cells)
    assert "obs['cluster_lvl0'] existed already" in other.output
    assert (ad.read_h5ad(run / "output.h5ad").obs["cluster_lvl0_input"] == cells.obs["truth"]).all()


# --- requests ---


def test_a_request_is_checked_before_the_matrix_is_read(annotate, small_cells, monkeypatch) -> None:
    from cellkey.annotation import cells as steps

    monkeypatch.setattr(steps, "decoded", lambda *_a, **_k: pytest.fail("the matrix was read"))
    result, _ = annotate(small_cells(), "--cluster-key", "trueth")
    assert "did you mean 'truth'" in result.output
    cells = small_cells()
    cells.var_names = [f"x{i}" for i in range(cells.n_vars)]
    result, _ = annotate(cells)
    assert "none of the 18 markers" in result.output


def test_rules_for_types_that_are_not_there(annotate, cells_file: Path) -> None:
    rules = {"root_veto_markers": {"Epithelia": {"markers": ["CD3D"], "max_pos_frac": 0.1}},
             "root_hard_requirements": {"Macrophages": {"marker": "CD3D"}, "T Cells": {"marker": "CD3D"}}}
    result, _ = annotate(cells_file, "--gating-params", json.dumps(rules))
    assert result.exit_code == 0, result.output
    unused = "which is not in the hierarchy, so the rule is not used"
    assert f"root 'Epithelia', {unused}; did you mean 'Epithelium'?\n" in result.output
    assert f"root 'Macrophages', {unused}" in result.output
    assert "as a root (it stands at 'Immune Cells / T Cells'), so the rule is not used\n" in result.output


def test_gating_may_be_given_as_the_settings_of_a_map(annotate, cells_file: Path, tmp_path: Path) -> None:
    """A comment in it is no hindrance; a map whose rules are not used says so once, refinement included."""
    (tmp_path / "g.json").write_text('// for tumours\n{"_gating_params": {"max_depth": 0, /* "a" */ "min_gap": 0.1}}')
    result, run = annotate(cells_file, "--gating-params", tmp_path / "g.json")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(run / "cluster_annotations.csv")["assigned_level"].max() == 0
    (tmp_path / "m.json").write_text(json.dumps({
        "_gating_params": {"root_veto_markers": {"Fibroblasts": {"markers": ["EPCAM"]}}},
        "Immune Cells": {"markers": ["PTPRC", "CD74"]}}))
    result, run = annotate(cells_file, "--marker-map", tmp_path / "m.json")
    assert result.output.count("Fibroblasts") == 1, result.output
    again = run_command("diagnose", run)
    assert again.exit_code == 0
    assert "Fibroblasts" not in again.output


def test_the_folder_of_the_input_may_be_the_run(cells_file: Path, map_file: Path) -> None:
    before = cells_file.read_bytes()
    words = ["annotate", cells_file, "-o", cells_file.parent, "--marker-map", map_file, "--skip-figures",
             "--skip-refinement"]
    result = run_command(*words)
    assert result.exit_code == 0, result.output
    assert cells_file.read_bytes() == before
    assert (cells_file.parent / "manifest.json").is_file()


@pytest.mark.parametrize("options", [("--threads", 0), ("--dpi", 0), ("--resamples", -1), ("--seed", -1)])
def test_numbers_that_make_no_sense(refused, cells_file: Path, options: tuple[object, ...]) -> None:
    result = run_command("annotate", cells_file, *options)
    assert result.exit_code == 2, result.output


def test_more_clusters_than_hdf5_takes_fields(annotate, small_cells) -> None:
    """As of metacells: their differential genes would need a header of more than 64 KiB."""
    cells = small_cells(300)
    cells.obs["k"] = [f"metacell {i:06d}" for i in range(1200)]
    result, run = annotate(cells, "--cluster-key", "k", "-q")
    assert result.exit_code == 0, result.output
    assert not [k for k in ad.read_h5ad(run / "output.h5ad").uns if k.startswith("de_wilcoxon")]
    assert "more than the differential genes" in (run / "manifest.json").read_text()


def test_a_record_that_was_damaged(annotate, cells_file: Path, tmp_path: Path) -> None:
    _, run = annotate(cells_file)
    cells = ad.read_h5ad(run / "output.h5ad")
    cells.uns["stage_h_marker_map"] = "lost"
    cells.write_h5ad(tmp_path / "damaged.h5ad")
    for words in (("annotate", "--annotation-only"), ("refine",)):
        arguments = [words[0], tmp_path / "damaged.h5ad", *words[1:], "-o", tmp_path / "again", "--skip-figures"]
        result = run_command(*arguments)
        assert result.exit_code == 2, result.output
        assert "stage_h_marker_map" in result.output
        assert not (tmp_path / "again").exists()


# --- what shells and systems do ---


@pytest.mark.parametrize(("words", "name"), [
    (["annotate", "cells.h5ad", "-o", ""], "--output-dir"), (["annotate", "", "-o", "run"], "INPUT"),
    (["explain", ""], "run"), (["consensus", "run1", "", "-o", "x"], "RUN"),
    (["keys", "export", "default", "-o", ""], "--output"),
    (["isoforms", "export", "--dataset-path", "", "--output-path", "x"], "--dataset-path"),
])
def test_an_empty_path_is_no_path(words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual cause is a variable of the shell that is not set; nothing may land in the current folder."""
    monkeypatch.chdir(tmp_path)
    result = run_command(*words)
    assert result.exit_code == 2
    assert f"error: {name}" in result.output
    assert "is empty" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "text"), [
    ("--gating-params", "--gating-params: an empty text"), ("--marker-map", "marker hierarchy has an empty name"),
])
def test_an_empty_setting_is_named(refused, small_cells, option: str, text: str) -> None:
    refused(small_cells(2), text, options=(option, ""))


@pytest.mark.parametrize(("error", "text"), [
    (OSError(28, "No space left on device"), "error: No space left on device"),
    (PermissionError(13, "Permission denied", "there.csv"), "error: there.csv: Permission denied"),
    (MemoryError("Unable to allocate 9 TiB"), "--memory-limit"),
    (KeyboardInterrupt(), "interrupted"),
])
def test_what_the_system_refuses_is_one_line(
    error: BaseException, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("cellkey.annotation.explain.explain_run", fail)
    result = run_command("explain", tmp_path)
    assert result.exit_code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert text in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "cellkey", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("cellkey")


def test_a_column_of_almost_unique_values_is_doubted(annotate, small_cells) -> None:
    result, _ = annotate(clustered(small_cells(12), [f"c{i}" for i in range(48)]), "--cluster-key", "k")
    assert result.exit_code == 0, result.output
    assert "48 different values in 48 cells: is it a column of clusters?" in result.output


def test_a_wish_that_another_command_fulfils_is_answered() -> None:
    result = run_command("cluster", "cells.h5ad")
    assert result.exit_code == 2
    assert "there is no command 'cluster': 'cellkey annotate'" in result.output


def test_a_table_of_two_columns_is_recognised(refused, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("cell,CD3D\na,1\n", encoding="utf-8")
    refused(path, "a comma-separated text table")
    path.write_text("Dear all,\nhere are the cells\n", encoding="utf-8")
    refused(path, "plain text")
