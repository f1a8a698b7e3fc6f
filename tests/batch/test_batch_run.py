"""Whole batches on small files: the document's snippets, models on this machine, interruptions, strange names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from batch_helpers import EXPECTED, TYPES, cellkey, make_tree, settings, write_cells_file, write_hierarchy

from cellkey.batch import BatchSettings, InThisProcess, resume_batch, run_batch
from cellkey.batch.dataset import DatasetJob, annotate_dataset
from cellkey.batch.discovery import Dataset
from cellkey.records.run_tables import run_calls
from cellkey.report.conversations import answer_facts
from cellkey.report.reading import read_run
from cellkey.testing import Fault, ModelServer


def offline(folder: Path, **changes) -> BatchSettings:
    """Settings as they are without any option, but for the hierarchy."""
    return BatchSettings(hierarchy=write_hierarchy(folder / "map.json"), **changes)


def test_the_directory_is_as_documented(finished: Path) -> None:
    """Every file in its place, and no other directory at the top."""
    assert re.fullmatch(r"run_brain_breast_\d{8}_\d{6}", finished.name)
    assert sorted(p.name for p in finished.iterdir() if not p.name.startswith(".")) == [
        "NOTES.txt",
        "batch_summary.csv",
        "batch_summary.txt",
        "brain",
        "breast",
        "run_manifest.json",
        "token_tracking.json",
    ]
    name = "Data_Filbin2018_Brain"
    files = {p.name for p in (finished / "brain" / name).iterdir()}
    assert files == {
        f"{name}_markers.csv",
        f"{name}_annotated.h5ad",
        f"{name}_annotation.txt",
        f"{name}_summary.txt",
        "details",
    }
    broken = finished / "breast" / "Data_Broken_Breast"
    assert [p.name for p in broken.iterdir()] == ["Data_Broken_Breast_summary.txt"]
    assert "ERROR (InputError)" in (broken / "Data_Broken_Breast_summary.txt").read_text()
    links = [p for p in finished.parent.iterdir() if p.is_symlink()]
    assert [str(p.readlink()) for p in links] == [finished.name]


def test_the_labelled_file_holds_everything(finished: Path) -> None:
    """Input values in X, the normalised layer, embeddings, categories of text, the table of clusters."""
    import anndata

    adata = anndata.read_h5ad(next(finished.glob("brain/*/*Filbin*_annotated.h5ad")))
    assert adata.X.dtype == "int32"
    assert adata.layers["log1p_norm"].max() < 10
    assert adata.obsm["X_pca"].shape[0] == adata.n_obs
    for column in ("leiden", "cluster", "cell_type", "cell_type_status", "cell_type_by_markers", "cell_type_by_model"):
        assert isinstance(adata.obs[column].dtype, pd.CategoricalDtype)
        assert all(isinstance(c, str) for c in adata.obs[column].cat.categories)
    for column in ("cell_type", "cell_type_general", "cell_type_by_markers", "cell_type_by_model"):
        assert len(adata.uns[f"{column}_colors"]) == len(adata.obs[column].cat.categories)
    assert set(zip(adata.obs["truth"], adata.obs["cell_type"], strict=True)) == set(EXPECTED.items())
    table = adata.uns["cell_type_annotation"]
    assert list(table["cluster"]) == sorted(adata.obs["leiden"].cat.categories)
    assert json.loads(adata.uns["batch_params"])["settings"]["annotator"] == "both"
    assert adata.uns["rank_genes_groups"]["params"]["groupby"] == "leiden"
    assert adata.var["highly_variable"].dtype == bool


def test_nothing_is_overwritten_and_a_finished_run_is_left_alone(finished: Path) -> None:
    """Resuming a finished run does no work on what is done; only what failed is tried again."""
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*_annotated.h5ad")}
    done = resume_batch(finished)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*_annotated.h5ad")} == before
    assert [r.status for r in done.rows].count("success") == 3
    assert (finished / "NOTES.txt").read_text() == "pilot\n"


def test_a_damaged_dataset_is_made_again(tmp_path) -> None:
    """Files are compared with the hashes of the record."""
    root = make_tree(tmp_path / "data", t=["a", "b"])
    done = run_batch(
        root,
        tmp_path / "out",
        settings=settings(annotator="markers", hierarchy=write_hierarchy(tmp_path / "map.json")),
        runner=InThisProcess(),
    )
    victim = done.path / "t" / "a" / "a_markers.csv"
    kept = done.path / "t" / "b" / "b_markers.csv"
    text, stamp = victim.read_text(), kept.stat().st_mtime_ns
    victim.write_text(text[:-20])
    again = resume_batch(done.path, runner=InThisProcess())
    assert victim.read_text() == text
    assert kept.stat().st_mtime_ns == stamp
    assert again.exit_code == 0


def test_markers_work_offline_and_are_the_default(tmp_path, monkeypatch) -> None:
    """Without an option no model is asked: the network is not even looked for."""
    import socket

    def refuse(*_args, **_more):
        raise AssertionError("no connection may be made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = write_cells_file(tmp_path / "x.h5ad")
    job = DatasetJob(Dataset("blood", "x", path), tmp_path / "out", offline(tmp_path, umap=False))
    row = annotate_dataset(job)
    assert row.succeeded, row.error
    assert row.api_calls == 0
    text = (tmp_path / "out" / "x_annotation.txt").read_text()
    assert "Evidence:" in text
    assert "T " in text


@pytest.mark.slow
def test_umap_is_there_when_asked_for(tmp_path) -> None:
    """``obsm['X_umap']``, by default."""
    pytest.importorskip("umap")
    import anndata

    path = write_cells_file(tmp_path / "x.h5ad")
    job = DatasetJob(Dataset("blood", "x", path), tmp_path / "out", offline(tmp_path))
    assert annotate_dataset(job).succeeded
    assert anndata.read_h5ad(tmp_path / "out" / "x_annotated.h5ad").obsm["X_umap"].shape == (120, 2)


def test_preview_sends_and_writes_nothing(tmp_path) -> None:
    """Sizes, time, tokens and cost as ranges, without a key; unreadable files are listed."""
    root = make_tree(tmp_path / "data", brain=["a", "b"])
    (root / "brain" / "h5ad_unlabelled" / "c.h5ad").write_bytes(b"no file")
    before = sorted(tmp_path.rglob("*"))
    code, text = cellkey("batch", "--data-root", root, "--annotator", "llm", "--preview")
    assert code == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert text.startswith("PREVIEW MODE - Files to be processed:\n\nBRAIN (3 files):\n   1. a.h5ad\n")
    assert "120 cells × 224 genes" in text
    assert "cannot be read, will fail" in text
    assert re.search(r"Tokens: ~[\d.]+M tokens .*; [\d.]+M to [\d.]+M", text)
    assert re.search(r"Cost: ~\$[\d.]+; \$[\d.]+ to \$[\d.]+ \(\$2.5/M input, \$10/M output, table\)", text)
    _, unknown = cellkey("batch", "--data-root", root, "--annotator", "llm", "--model", "mystery", "--preview")
    assert "Cost: unknown for mystery" in unknown
    _, offline = cellkey("batch", "--data-root", root, "--preview")
    assert "no language model is asked" in offline


def test_bad_usage(tmp_path, monkeypatch) -> None:
    """Exit code 2 with the reason, and no run directory."""
    root = make_tree(tmp_path / "data", brain=["a"])
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    for arguments, words in (
        (["--tissue", "brian"], "did you mean 'brain'"),
        (["--tissue", "brain", "--tissues", "brain"], "not both"),
        (["brain"], "unexpected argument"),
        (["--annotator", "llm"], "OPENAI_API_KEY"),
        (["--annotator", "magic"], "annotator"),
        (["--score-threshold", "175"], "score_threshold"),
        (["--scheduler", "x:1", "--local-cluster", "2"], "not both"),
        (["--annotator", "llm", "--provider", "http://127.0.0.1:9/v1", "--max-retries", "0"], "127.0.0.1:9"),
    ):
        code, output = cellkey("batch", "--data-root", root, "-o", out, *arguments)
        assert (code, words in output) == (2, True), output
    assert cellkey("batch", "--data-root", root, "-o", out, "--files", "*none*")[0] == 3
    assert not out.exists()


@pytest.mark.parametrize("fault", [Fault.UNAUTHORISED, Fault.NO_MODEL])
def test_the_probe_finds_out_before_any_work(tmp_path, fault: Fault) -> None:
    """A key or a model that does not work costs one call and no directory."""
    from cellkey.errors import ServiceError

    root = make_tree(tmp_path / "data", brain=["a"])
    with ModelServer() as server:
        server.fault_for = lambda _request: fault
        with pytest.raises(ServiceError):
            run_batch(root, tmp_path / "out", settings=settings(server))
        assert len(server.served) <= 1 + (fault is Fault.NO_MODEL)
    assert not (tmp_path / "out").exists()


def test_ensembl_names_scaled_values_and_too_few_cells(tmp_path) -> None:
    """Symbols are taken from var; scaled values without raw, and tiny files, fail with the reason."""
    import anndata

    folder = tmp_path / "data" / "t" / "h5ad_unlabelled"
    write_cells_file(folder / "ensembl.h5ad", names="ensembl")
    plain = anndata.read_h5ad(write_cells_file(folder / "plain.h5ad"))
    plain[:20].copy().write_h5ad(folder / "tiny.h5ad")
    scaled = plain.copy()
    scaled.X = scaled.X.toarray().astype("float32") - 1.0
    scaled.write_h5ad(folder / "scaled.h5ad")
    done = run_batch(
        tmp_path / "data",
        tmp_path / "out",
        settings=settings(annotator="markers", hierarchy=write_hierarchy(tmp_path / "map.json")),
        runner=InThisProcess(),
    )
    rows = {r.dataset: r for r in done.rows}
    assert rows["ensembl"].succeeded
    assert rows["plain"].succeeded
    assert "at least 50 cells" in rows["tiny"].error
    assert "negative" in rows["scaled"].error
    assert rows["tiny"].n_cells is None
    written = anndata.read_h5ad(done.path / "t" / "ensembl" / "ensembl_annotated.h5ad")
    assert "CD3D" in written.var_names


def test_existing_clusters_are_used(tmp_path) -> None:
    """``cluster_key`` names a column; its values are the clusters."""
    path = write_cells_file(tmp_path / "x.h5ad")
    job = DatasetJob(Dataset("t", "x", path), tmp_path / "out", settings(cluster_key="truth"))
    assert annotate_dataset(job).n_clusters == 3
    markers = pd.read_csv(tmp_path / "out" / "x_markers.csv")
    assert set(markers["cluster"]) == set(TYPES)
    best = markers.groupby("cluster").head(8)
    assert {c: set(g) for c, g in best.groupby("cluster")["gene"]} == {c: set(g) for c, g in TYPES.items()}


def test_one_cluster_has_markers_without_contrast(tmp_path) -> None:
    """There is nothing to compare with: genes by their mean, and the dataset succeeds."""
    import anndata

    cells = anndata.read_h5ad(write_cells_file(tmp_path / "x.h5ad", n_per_type=60))[:60].copy()
    cells.obs["one"] = pd.Categorical(["only"] * cells.n_obs)
    cells.write_h5ad(tmp_path / "one.h5ad")
    job = DatasetJob(Dataset("t", "one", tmp_path / "one.h5ad"), tmp_path / "out", settings(cluster_key="one"))
    row = annotate_dataset(job)
    assert row.succeeded, row.error
    assert row.n_clusters == 1
    assert set(pd.read_csv(tmp_path / "out" / "one_markers.csv")["gene"][:8]) == set(TYPES["T"])


def test_markers_top_limits_the_file_and_keeps_the_whole_table(tmp_path) -> None:
    """The full table goes to details."""
    path = write_cells_file(tmp_path / "x.h5ad")
    annotate_dataset(DatasetJob(Dataset("t", "x", path), tmp_path / "out", settings(markers_top=10)))
    assert len(pd.read_csv(tmp_path / "out" / "x_markers.csv")) == 30
    assert len(pd.read_csv(tmp_path / "out" / "details" / "x_markers_full.csv.gz")) == 3 * 224


def test_marker_numbers_equal_scanpys(tmp_path) -> None:
    """Statistic, p-values, fold changes and fractions are those of ``rank_genes_groups``."""
    sc = pytest.importorskip("scanpy")
    path = write_cells_file(tmp_path / "x.h5ad")
    annotate_dataset(DatasetJob(Dataset("t", "x", path), tmp_path / "out", settings(cluster_key="truth")))
    ours = pd.read_csv(tmp_path / "out" / "x_markers.csv").set_index(["cluster", "gene"]).sort_index()
    cells = sc.read_h5ad(path)[:, sorted({g for _, g in ours.index})].copy()
    cells.X = cells.X.astype("float64")
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.tl.rank_genes_groups(cells, "truth", method="wilcoxon", tie_correct=True, pts=True)
    theirs = sc.get.rank_genes_groups_df(cells, None).set_index(["group", "names"]).sort_index()
    for mine, other in (
        ("score", "scores"),
        ("p_val", "pvals"),
        ("p_val_adj", "pvals_adj"),
        ("pct.1", "pct_nz_group"),
        ("pct.2", "pct_nz_reference"),
    ):
        assert ours[mine].to_numpy() == pytest.approx(theirs[other].to_numpy(), rel=1e-4, abs=1e-8)
    assert ours["avg_log2FC"].to_numpy() == pytest.approx(theirs["logfoldchanges"].to_numpy(), rel=1e-3, abs=1e-3)


def test_llm_annotate_needs_no_cells(tmp_path) -> None:
    """A marker table is enough: tables, conversations, costs; a second run goes into another directory."""
    table = tmp_path / "markers.csv"
    table.write_text('cluster,genes\n0,"CD3D, CD3E, TRAC"\n1,"MS4A1;CD79A"\n=x,VWF PECAM1 CDH5\n')
    out = tmp_path / "named"
    code, output = cellkey("llm", "annotate", table, "--provider", "scripted", "--out", out, "--tissue", "blood")
    assert code == 0, output
    assert "mature B cell" in output
    assert {p.name for p in out.iterdir()} == {
        ".token_calls.jsonl",
        "markers_FINAL_RESULTS.csv",
        "markers_annotation.txt",
        "markers_annotations.csv",
        "markers_conversations.json",
        "markers_markers.csv",
        "run_manifest.json",
        "token_tracking.json",
    }
    read = pd.read_csv(out / "markers_annotations.csv")
    assert read["cluster"].astype(str).tolist()[-1] == "'=x"
    code, output = cellkey("llm", "annotate", table, "--provider", "scripted", "--out", out)
    assert (code, "not empty" in output) == (2, True)
    code, _ = cellkey("llm", "annotate", table, "--provider", "scripted", "--out", out, "--tissue", "blood", "--resume")
    assert code == 0
    assert json.loads((out / "token_tracking.json").read_text())["total_calls"] == 9


def test_subclusters_from_files(tmp_path) -> None:
    """One row per sub-cluster and the exchange, in a directory of its own."""
    table = tmp_path / "t.csv"
    table.write_text('cluster,genes\n0,"CD3D, CD3E, TRAC"\n=x,"MS4A1, CD79A"\n')
    out = tmp_path / "named"
    options = ["--parent", "T cell", "--against-rest", table, "--provider", "scripted", "--out", out]
    code, output = cellkey("llm", "subclusters", table, *options)
    assert code == 0, output
    code, output = cellkey("llm", "subclusters", table, *options[:-2], "--preview", "--repeats", "3")
    assert code == 0
    assert "Calls: 3 to 9, about 3" in output
    assert '"genes_against_all_other_cells"' in output
    rows = pd.read_csv(out / "t_subclusters.csv")
    assert rows["cluster"].tolist() == ["0", "'=x"]
    assert rows["sub_cell_type"].tolist() == ["CD4-positive, alpha-beta T cell", "mature B cell"]
    assert json.loads((out / "t_conversations.json").read_text())["turns"]
    assert json.loads((out / "token_tracking.json").read_text())["total_calls"] == 1
    assert json.loads((out / "run_manifest.json").read_text())["parent"] == "T cell"
    code, output = cellkey("llm", "boost", out, "--cluster", "0", "--provider", "scripted")
    assert code == 2
    assert "this needs the results of 'llm annotate'" in output
    assert cellkey("report", out) == (0, f"written to {out / 'report.html'}\n")
    page = (out / "report.html").read_text()
    for part in ("CD4-positive, alpha-beta T cell", "as scripted", '"sub-clusters of"', "CD3D"):
        assert part in page
    told = dict(answer_facts(read_run(out).datasets[0].answers["0"]))
    assert told == {
        "model's label": "CD4-positive, alpha-beta T cell", "general type": "T cell", "outcome": "ok",
        "evidence": "as scripted", "key markers": "CD3D, CD3E, TRAC",
    }  # fmt: skip
    assert run_calls(out)["final_annotation"].tolist() == ["CD4-positive, alpha-beta T cell", "mature B cell"]


def test_llm_preview_and_providers(tmp_path) -> None:
    """What would be sent is shown; no key is asked for or printed."""
    table = tmp_path / "markers.csv"
    table.write_text('cluster,genes\n0,"CD3D, CD3E, TRAC"\n')
    code, output = cellkey("llm", "annotate", table, "--provider", "openai", "--preview")
    assert code == 0
    assert output.startswith("1 cluster\n")
    assert '"CD3D"' in output
    code, output = cellkey("llm", "providers")
    assert code == 0
    assert "openrouter" in output


def test_the_real_data_of_three_tissues_are_complete(labelled_data, tmp_path) -> None:
    """Six real datasets, offline, by markers: all complete."""
    tissues = {
        "blood": ["pbmc3k", "kang_ifnb_pbmc"],
        "brain": ["zeisel_mouse_cortex"],
        "other organs": ["baron_pancreas_islet", "mca_mouse_stomach", "zilionis_mouse_lung_immune"],
    }
    if not os.environ.get("CELLKEY_SLOW"):
        tissues = {"other organs": ["baron_pancreas_islet"]}
    for tissue, names in tissues.items():
        folder = tmp_path / "data" / tissue / "h5ad_unlabelled"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.h5ad").symlink_to(labelled_data / f"{name}.h5ad")
    done = run_batch(tmp_path / "data", tmp_path / "out", settings=BatchSettings(umap=False), runner=InThisProcess())
    assert [(r.dataset, r.status) for r in done.rows] == [
        (n, "success") for t in sorted(tissues) for n in sorted(tissues[t])
    ], [r.error for r in done.rows]


@pytest.mark.parametrize(
    "command",
    [
        ["batch"],
        ["annotate-table"],
        ["llm"],
        *(["llm", c] for c in ("annotate", "boost", "compare", "judge", "merge", "providers", "score", "subclusters")),
    ],
)
def test_help(command: list[str]) -> None:
    """Every command explains itself with examples."""
    code, output = cellkey(*command, "--help")
    assert code == 0
    assert "Usage" in output


def test_messages_of_a_silent_interface(tmp_path) -> None:
    """The Python interface prints nothing."""
    script = f"""
from cellkey.batch import BatchSettings, run_batch
if __name__ == "__main__":
    run_batch({str(tmp_path / "data")!r}, {str(tmp_path / "out")!r}, settings=BatchSettings(umap=False))
"""
    make_tree(tmp_path / "data", t=["a"])
    (tmp_path / "s.py").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "s.py")], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_errors_are_no_exceptions(tmp_path) -> None:
    """A dataset that goes wrong in a way nobody thought of is a row with a traceback in its log."""
    path = write_cells_file(tmp_path / "x.h5ad")
    job = DatasetJob(Dataset("t", "x", path), tmp_path / "out", settings(hierarchy=str(tmp_path / "none.json")))
    row = annotate_dataset(job)
    assert (row.status, bool(row.error)) == ("failed", True)
    assert (tmp_path / "out" / "x_summary.txt").is_file()
