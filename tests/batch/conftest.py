"""The helpers of this folder can be imported, also by worker processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache of answers."""
    monkeypatch.setenv("CELLKEY_CACHE_DIR", str(tmp_path / "answer-cache"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A run of the command over two tissues, with one file that cannot be read."""
    base = tmp_path_factory.mktemp("batch")
    from batch_helpers import cellkey, make_tree, write_hierarchy

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
