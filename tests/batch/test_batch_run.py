"""Whole batches on small files: the document's snippets, models on this machine, interruptions, strange names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from batch_helpers import TYPES, make_tree, write_cells_file, write_hierarchy
from typer.testing import CliRunner

from cellkey.batch import BatchSettings, InThisProcess, resume_batch, run_batch
from cellkey.batch.dataset import DatasetJob, annotate_dataset
from cellkey.batch.discovery import Dataset
from cellkey.cli import build_app
from cellkey.testing import Fault, ModelServer, ScriptedModel, every_nth

EXPECTED = {"T": "CD4-positive, alpha-beta T cell", "B": "mature B cell", "endothelial": "endothelial cell"}


def cellkey(*arguments: str | Path) -> tuple[int, str]:
    """Run a command in this process; return exit code and everything it printed."""
    done = CliRunner().invoke(build_app(), [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def settings(server: ModelServer | None = None, **changes) -> BatchSettings:
    model = {
        "provider": server.url if server else "scripted",
        "model": "scripted",
        "cache": "off",
        "retries": 8,
        **changes.pop("model", {}),
    }
    return BatchSettings.parse({"umap": False, "annotator": "llm", "model": model, **changes})


def offline(folder: Path, **changes) -> BatchSettings:
    """Settings as they are without any option, but for the hierarchy."""
    return BatchSettings(hierarchy=write_hierarchy(folder / "map.json"), **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of the command over two tissues, with one file that cannot be read."""
    base = tmp_path_factory.mktemp("batch")
    root = make_tree(
        base / "data", brain=["Data_Choudhury2022_Brain", "Data_Filbin2018_Brain"], breast=["Data_Bassez2021_Breast"]
    )
    (root / "breast" / "h5ad_unlabelled" / "Data_Broken_Breast.h5ad").write_bytes(b"this is no h5ad file")
    code, output = cellkey(
        "batch",
        "--data-root",
        root,
        "--output-dir",
        base / "batch_results",
        "--annotator",
        "both",
        "--provider",
        "scripted",
        "--cache",
        "off",
        "--tissues",
        "brain",
        "breast",
        "--note",
        "pilot",
        "--run-alias",
        "--no-umap",
        "--marker-map",
        write_hierarchy(base / "map.json"),
        "--dataset-workers",
        "2",
    )
    assert code == 3, output
    return next(p for p in (base / "batch_results").glob("run_brain_breast_*") if not p.is_symlink())


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


def test_python_analysis_snippet(finished: Path) -> None:
    """The document's first block, as written."""
    sc = pytest.importorskip("scanpy")
    run_dir = finished
    summary = pd.read_csv(run_dir / "batch_summary.csv")
    assert len(summary) == 4
    adata = sc.read_h5ad(run_dir / "brain" / "Data_Filbin2018_Brain" / "Data_Filbin2018_Brain_annotated.h5ad")
    counts = adata.obs["cell_type"].value_counts()
    assert counts.to_dict() == dict.fromkeys(EXPECTED.values(), 40)
    markers = pd.read_csv(run_dir / "brain" / "Data_Filbin2018_Brain" / "Data_Filbin2018_Brain_markers.csv")
    assert len(markers) == adata.n_vars * adata.obs["leiden"].nunique()
    assert list(markers.columns) == ["cluster", "gene", "avg_log2FC", "pct.1", "pct.2", "p_val", "p_val_adj", "score"]


def test_parse_token_usage_snippet(finished: Path) -> None:
    """The document's second block, as written."""
    run_dir = finished
    with open(run_dir / "token_tracking.json", "r") as f:  # noqa: PTH123, UP015
        tracking = json.load(f)
    lines = [
        f"Total API calls: {tracking['total_calls']}",
        f"Total tokens: {tracking['total_tokens']:,}",
        f"Total cost: ${tracking['total_cost']:.2f}",
    ]
    for call in tracking["api_calls"]:
        lines.append(f"  {call['timestamp']}: {call['input_tokens']} in, {call['output_tokens']} out")  # noqa: PERF401
    assert len(lines) == 3 + tracking["total_calls"]
    assert tracking["total_calls"] >= 3 * 3 * 3
    assert tracking["total_tokens"] == sum(c["input_tokens"] + c["output_tokens"] for c in tracking["api_calls"])
    assert set(tracking["by_dataset"]) == {
        "Data_Choudhury2022_Brain",
        "Data_Filbin2018_Brain",
        "Data_Bassez2021_Breast",
    }


def test_aggregate_results_snippet(finished: Path) -> None:
    """The document's third block, as written: outer concatenation over datasets works."""
    sc = pytest.importorskip("scanpy")
    run_dir = finished
    all_datasets = []
    for tissue_dir in run_dir.iterdir():
        if tissue_dir.is_dir() and tissue_dir.name not in ["batch_summary.txt", "batch_summary.csv"]:
            for dataset_dir in tissue_dir.iterdir():
                if dataset_dir.is_dir():
                    h5ad_file = dataset_dir / f"{dataset_dir.name}_annotated.h5ad"
                    if h5ad_file.exists():
                        adata = sc.read_h5ad(h5ad_file)
                        adata.obs["dataset"] = dataset_dir.name
                        adata.obs["tissue"] = tissue_dir.name
                        all_datasets.append(adata)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells of all datasets have the same names
        combined = sc.concat(all_datasets, join="outer")
    assert (combined.n_obs, len(all_datasets)) == (360, 3)


SHELL = """
cd {parent}
set -e
ls -d batch_results/run_brain_*/ > /dev/null
for run in batch_results/run_*/; do
    echo "=== $run ==="
    grep "Total cost:" "$run/batch_summary.txt"
done
for run in batch_results/run_*/; do
    files=$(grep -c "success" "$run/batch_summary.csv" || echo "0")
    echo "$run: $files files"
done
ls -d batch_results/run_brain_* 2>/dev/null || echo "No brain runs found"
tar -czf archive_brain_runs.tar.gz batch_results/run_brain_*/
cat {run}/batch_summary.txt > /dev/null
find {run} -name "*Bassez*_annotated.h5ad"
ls -lh batch_results/run_*_*_2* > /dev/null
"""


def test_shell_snippets(finished: Path) -> None:
    """The document's shell commands, as written."""
    script = SHELL.format(parent=finished.parent.parent, run=finished)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("Total cost: $") == 2  # the run and its link
    assert f"batch_results/{finished.name}/: 3 files" in done.stdout
    assert done.stdout.count("Data_Bassez2021_Breast_annotated.h5ad") == 1


def test_failed_rows_snippet(finished: Path) -> None:
    """The document's check for failures, as written."""
    summary = pd.read_csv(finished / "batch_summary.csv")
    failed = summary[summary["status"] == "failed"]
    shown = failed[["dataset", "tissue", "error"]]
    assert shown["dataset"].tolist() == ["Data_Broken_Breast"]
    assert "no HDF5" in shown["error"].iloc[0]
    assert summary["n_genes"].iloc[0] == 224


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


def test_strange_names_are_handled_safely(tmp_path) -> None:
    """Folders, tables and texts take them as they are, without running or leaving anything."""
    names = ["a b", "=cmd", "<script>alert(1)", "-rf", "\u00fcml\u00e4ut"]
    root = tmp_path / "data"
    for tissue in ("x; rm -rf ~", "=tissue"):
        for i, name in enumerate(names):
            write_cells_file(root / tissue / "h5ad_unlabelled" / f"{name}.h5ad", seed=i)
    done = run_batch(root, tmp_path / "out", tissues=["=tissue"], settings=settings(), runner=InThisProcess())
    assert [r.status for r in done.rows] == ["success"] * len(names)
    assert {p.name for p in (done.path / "=tissue").iterdir()} == {
        "a b",
        "=cmd",
        "_script_alert(1)",
        "-rf",
        "\u00fcml\u00e4ut",
    }
    table = pd.read_csv(done.directory.summary_csv)
    assert set(table["tissue"]) == {"'=tissue"}
    assert "'=cmd" in set(table["dataset"])
    assert done.path.name.startswith("run_-tissue_")


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


def labels_of(path: Path) -> dict[str, dict[str, int]]:
    import anndata

    return {
        p.parent.name: anndata.read_h5ad(p).obs["cell_type"].value_counts().to_dict()
        for p in sorted(path.glob("*/*/*_annotated.h5ad"))
    }


def test_a_batch_with_a_faulty_model_is_complete_and_counted(tmp_path) -> None:
    """Faults on every second call of every role: all clusters labelled, totals equal to what the server counted."""
    root = make_tree(tmp_path / "data", brain=["a", "b"])
    faults = (Fault.PROSE, Fault.RESET, Fault.WRONG_CLUSTER, Fault.SERVER_ERROR, Fault.CUT_BODY, Fault.NULL_LABELS)
    with ModelServer(ScriptedModel(scores={"0": 60}), every_nth(2, *faults)) as server:
        done = run_batch(
            root,
            tmp_path / "out",
            settings=settings(server, cluster_key="truth", model={"max_workers": 1}),
            runner=InThisProcess(),
        )
        totals = server.totals()
    assert done.exit_code == 0, [r.error for r in done.rows]
    assert labels_of(done.path) == {n: dict.fromkeys(EXPECTED.values(), 40) for n in ("a", "b")}
    tracking = json.loads(done.directory.tracking.read_text())
    assert tracking["total_calls"] == totals["calls"]
    assert tracking["total_input_tokens"] == totals["input_tokens"]
    assert tracking["total_output_tokens"] == totals["output_tokens"]
    assert tracking["by_role"]["probe"]["calls"] == 1
    text = done.directory.summary_text.read_text()
    assert f"API calls: {totals['calls']}" in text


def test_credentials_that_stop_working_end_the_run(tmp_path) -> None:
    """After a 401 nothing more is sent; every dataset has a row; exit code 1."""
    root = make_tree(tmp_path / "data", brain=["a", "b", "c"])
    with ModelServer(plan=lambda _r, _n: Fault.UNAUTHORISED) as server:
        done = run_batch(
            root, tmp_path / "out", settings=settings(server, model={"max_workers": 2}), runner=InThisProcess()
        )
        sent = len([s for s in server.served if s.role != "probe"])
    assert sent <= 3
    assert [r.status for r in done.rows] == ["failed"] * 3
    assert done.exit_code == 1
    assert not list(done.path.rglob("*_annotated.h5ad"))


def test_a_budget_holds_over_all_datasets(tmp_path) -> None:
    """What is spent stays below the limit; the run says that it stopped."""
    root = make_tree(tmp_path / "data", brain=["a", "b"])
    with ModelServer() as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        limited = settings(server, budget_usd=12.0, model={"input_cost": 1000.0, "output_cost": 1000.0})
        done = run_batch(root, tmp_path / "out", settings=limited, runner=InThisProcess())
    tracking = json.loads(done.directory.tracking.read_text())
    assert 0 < tracking["total_cost"] <= 12.0
    assert done.status == "stopped by budget"
    assert done.exit_code in (1, 3)
    with ModelServer(port=port) as server:
        rest = resume_batch(done.path, budget_usd=1000.0, runner=InThisProcess())
        paid = server.totals()["calls"]
    assert rest.exit_code == 0
    assert json.loads(rest.directory.tracking.read_text())["total_calls"] == paid + tracking["total_calls"]


COMMAND = [sys.executable, "-c", "from cellkey.cli import main; main()", "batch"]


def start(root: Path, out: Path, server: ModelServer, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *COMMAND,
            "--data-root",
            str(root),
            "-o",
            str(out),
            "--annotator",
            "llm",
            "--provider",
            server.url,
            "--model",
            "scripted",
            "--cache",
            "off",
            "--no-umap",
            "--max-workers",
            "2",
            "--quiet",
            *more,
        ],
        start_new_session=True,
    )


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def without_times(path: Path) -> dict[str, str]:
    """Tables of a run, without what differs from run to run."""
    found = {}
    for file in sorted(path.glob("*/*/details/*_annotations.csv")) + sorted(path.glob("*/*/*_markers.csv")):
        found[file.name] = file.read_text()
    summary = pd.read_csv(path / "batch_summary.csv")
    timed = [c for c in summary.columns if c.endswith(("_time", "_at")) or c == "output_dir"]
    found["summary"] = summary.drop(columns=[*timed, "api_calls", "file_path"]).to_csv()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Path, set[str]]:
    """Data, a run over them that nothing disturbed, and every question that it asked."""
    base = tmp_path_factory.mktemp("calm")
    root = make_tree(base / "data", brain=["a", "b"])
    with ModelServer(ScriptedModel(scores={"1": 60})) as server:
        done = run_batch(
            root,
            base / "out",
            settings=settings(server, model={"max_workers": 2, "retries": 5}),
            runner=InThisProcess(),
        )
        return root, done.path, {s.text for s in server.served if s.role != "probe"}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_a_killed_run_is_finished_without_paying_twice(tmp_path, undisturbed, victim: str) -> None:
    """``kill -9`` of the run or of a worker: ``--resume`` ends with the tables of an undisturbed run."""
    root, calm, asked = undisturbed
    model = ScriptedModel(scores={"1": 60})
    with ModelServer(model, latency=0.05) as server:
        process = start(root, tmp_path / "out", server)
        until(lambda: len(server.served) >= 8)
        run = next((tmp_path / "out").glob("run_all_*"))
        if victim == "run":
            process.send_signal(signal.SIGKILL)
        else:
            worker = next(
                p
                for p in Path("/proc").iterdir()
                if p.name.isdigit()
                and _parent(p) == process.pid
                and "spawn_main" in (p / "cmdline").read_bytes().decode()
            )
            os.kill(int(worker.name), signal.SIGKILL)
        process.wait(timeout=60)
        time.sleep(0.3)  # what was under way ends at the server
        recorded = _answered(run)
        code, output = cellkey("batch", "--resume", run, "--quiet")
        assert code == 0, output
        texts = [s.text for s in server.served if s.role != "probe"]
        totals = server.totals()
    assert set(texts) == asked
    twice = {t for t in texts if texts.count(t) > 1}
    assert len(twice) <= 2  # answers that were under way when the process was killed, one per worker at most
    assert recorded >= 4
    assert len(texts) - len(set(texts)) <= 2
    assert without_times(run) == without_times(calm)
    tracking = json.loads((run / "token_tracking.json").read_text())
    assert totals["calls"] - 2 <= tracking["total_calls"] <= totals["calls"]


def _answered(run: Path) -> int:
    return sum(len(p.read_bytes().splitlines()) for p in run.glob("*/*/details/*_calls.jsonl"))


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1


def test_a_killed_server_costs_rows_not_the_run(tmp_path) -> None:
    """Without a server clusters end unlabelled; with it again, ``--resume`` labels them and pays only for those."""
    root = make_tree(tmp_path / "data", brain=["a"])
    with ModelServer() as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        process = start(root, tmp_path / "out", server, "--max-retries", "1")
        until(lambda: len(server.served) >= 4)
        server.close()
        process.wait(timeout=60)
        first = {s.text for s in server.served}
    run = next((tmp_path / "out").glob("run_all_*"))
    assert process.returncode in (0, 1, 3)
    with ModelServer(port=port) as server:
        if process.returncode == 1:
            code, output = cellkey("batch", "--resume", run, "--quiet")
            assert code == 0, output
        again = [s.text for s in server.served]
    assert len(set(again) & first) <= 3


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


def test_llm_preview_and_providers(tmp_path) -> None:
    """What would be sent is shown; no key is asked for or printed."""
    table = tmp_path / "markers.csv"
    table.write_text('cluster,genes\n0,"CD3D, CD3E, TRAC"\n')
    code, output = cellkey("llm", "annotate", table, "--provider", "openai", "--preview")
    assert code == 0
    assert "1 clusters" in output
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


@pytest.mark.parametrize("command", [["batch"], ["llm"], ["llm", "annotate"], ["llm", "providers"]])
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
