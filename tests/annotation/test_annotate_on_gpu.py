"""A whole annotation on a GPU: the labels of the CPU, and a record of what ran where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from cellkey.annotation.cells import annotate
from cellkey.annotation.run import annotate_file
from cellkey.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")

Cells = Callable[..., Any]


@pytest.mark.usefixtures("gpu")
def test_given_clusters_get_identical_calls(small_cells: Cells, small_map: dict[str, Any]) -> None:
    """Of profiles that are equal, all that follows is equal: labels, scores and confidence."""
    cells = small_cells(n_per_type=80)
    runs = [annotate(cells, small_map, groupby="truth", copy=True, clustering={"device": d}) for d in ("cpu", "gpu")]
    assert [run.facts["device"] for run in runs] == ["cpu", "gpu"]
    assert runs[1].facts["on_gpu"] == "profiles"
    for name, table in runs[0].tables.items():
        pd.testing.assert_frame_equal(runs[1].tables[name], table, rtol=1e-9, obj=name)


@pytest.mark.usefixtures("gpu")
def test_cells_are_clustered_and_named_as_on_the_cpu(small_cells: Cells, small_map: dict[str, Any]) -> None:
    cells = small_cells(n_per_type=80)
    runs = [annotate(cells, small_map, copy=True, clustering={"device": d}) for d in ("cpu", "gpu")]
    assert adjusted_rand_score(*(run.labels for run in runs)) > 0.95
    named = [np.asarray(run.obs["cell_type_auto"]).astype(str) for run in runs]
    assert np.mean(named[0] == named[1]) > 0.99


def test_the_manifest_says_what_ran_where(gpu: str, cells_file: Path, map_file: Path, tmp_path: Path) -> None:
    run = annotate_file(cells_file, tmp_path / "run", hierarchy=map_file, figures=False, clustering={"device": "gpu"})
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    facts = manifest["parameters"]
    assert facts["device"] == "gpu"
    assert facts["on_gpu"].startswith("components,neighbours,")
    assert facts["on_gpu"].endswith("profiles")
    assert facts["gpu"] in " ".join(run.result.messages)
    assert gpu == "stand-in" or facts["gpu"].startswith(("NVIDIA", "Tesla", "GeForce", "Quadro"))


def test_the_command_line_refuses_a_gpu_that_is_not_there(
    cells_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from cellkey.device import why_no_gpu

    monkeypatch.setitem(sys.modules, "cupy", None)
    why_no_gpu.cache_clear()
    words = ["cellkey", "annotate", str(cells_file), "-o", str(tmp_path / "run"), "--device", "gpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    why_no_gpu.cache_clear()
    assert ended.value.code not in (0, None)
    assert "cellkey[gpu]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.real_data
def test_blood_cells_on_a_card(gpu: str, labelled_data: Path) -> None:
    """Real cells: nearly the same clusters, and the same calls where clusters are given."""
    if gpu != "card":
        pytest.skip("the stand-in is slow")
    import anndata as ad

    cells = ad.read_h5ad(labelled_data / "pbmc3k.h5ad")
    runs = [annotate(cells, copy=True, clustering={"device": d}) for d in ("cpu", "gpu")]
    assert adjusted_rand_score(*(run.labels for run in runs)) > 0.9
    cells.obs["given"] = pd.Categorical(runs[0].labels.astype(str))
    given = [annotate(cells, groupby="given", copy=True, clustering={"device": d}) for d in ("cpu", "gpu")]
    calls = [run.tables["cluster_annotations"] for run in given]
    pd.testing.assert_frame_equal(calls[1], calls[0], rtol=1e-9)
