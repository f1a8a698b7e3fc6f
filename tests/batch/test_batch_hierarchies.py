"""Which hierarchy a dataset is read with: named, else by tissue, else the default, and never without saying so."""

from __future__ import annotations

import pytest
from batch_helpers import write_cells_file, write_hierarchy

from cellkey.batch.dataset import DatasetJob, annotate_dataset
from cellkey.batch.discovery import Dataset
from cellkey.batch.hierarchies import hierarchy_for
from cellkey.batch.settings import BatchSettings


@pytest.mark.parametrize(
    ("tissue", "name"), [("blood", "blood"), ("kidneys", "kidney"), ("Lung tumor", "lung_tme"), ("PBMC", "blood")]
)
def test_the_tissue_decides(tissue: str, name: str) -> None:
    """The built-in hierarchy of the tissue, and the reason names both."""
    chosen = hierarchy_for(tissue)
    assert chosen.hierarchy is not None
    assert chosen.hierarchy.name == name
    assert repr(name) in chosen.reason
    assert repr(tissue) in chosen.reason


@pytest.mark.parametrize("tissue", ["", "../x", "a b", "=cmd", "<script>", "tissue7"])
def test_no_match_takes_the_default(tissue: str) -> None:
    """No hierarchy, which leaves the default to the kind of data, and a reason."""
    chosen = hierarchy_for(tissue)
    assert chosen.hierarchy is None
    assert chosen.reason.startswith(f"no built-in marker hierarchy fits the tissue {tissue!r}")


def test_what_is_named_wins(tmp_path) -> None:
    """A file is used whatever the tissue."""
    path = write_hierarchy(tmp_path / "map.json")
    chosen = hierarchy_for("blood", path)
    assert chosen.hierarchy is not None
    assert {n.name for n in chosen.hierarchy.nodes} == {"T cells", "B cells", "endothelial cells"}
    assert path in chosen.reason


def test_the_log_says_which(tmp_path) -> None:
    """The log of the dataset holds the rule, also where nothing fitted."""
    source = write_cells_file(tmp_path / "cells.h5ad")
    job = DatasetJob(Dataset("nowhere", "cells", source), tmp_path / "out", BatchSettings(umap=False))
    row = annotate_dataset(job)
    assert row.succeeded, row.error
    log = (tmp_path / "out" / "cells_summary.txt").read_text(encoding="utf-8")
    assert "no built-in marker hierarchy fits the tissue 'nowhere'" in log
    assert "marker hierarchy: default" in log
