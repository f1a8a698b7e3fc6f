"""The same cells in unusual files give the same labels, and very small data give defined ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkey.annotation.run import annotate_file
from cellkey.datasets import synthetic_rna
from cellkey.datasets.known_tree import marker_map
from cellkey.errors import MissingGenesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")


def _symbols_in_var(cells: AnnData) -> AnnData:
    cells.var["gene_symbols"] = cells.var_names.to_numpy()
    cells.var_names = [f"ENSG{i:011d}.{i % 9 + 1}" for i in range(cells.n_vars)]
    return cells


def _with(cells: AnnData, X: object) -> AnnData:
    cells.X = X
    return cells


def _odd_names(cells: AnnData) -> AnnData:
    cells.obs_names = [f'é, "{i}" / =1+1' for i in range(cells.n_obs)]
    cells.obs.index.name = "cell_type_auto"
    return cells


FORMS: dict[str, Callable[[AnnData], AnnData]] = {
    "gene-major": lambda a: _with(a, sp.csc_matrix(a.X)),
    "wide integers": lambda a: _with(a, a.X.astype(np.int64)),
    "narrow integers": lambda a: _with(a, a.X.astype(np.uint16)),
    "half precision": lambda a: _with(a, a.X.toarray().astype(np.float16)),
    "Ensembl ids with versions": _symbols_in_var,
    "unusual names of cells": _odd_names,
}


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return synthetic_rna(n_cells=300, n_genes=400, seed=4).adata


@pytest.fixture(scope="module")
def map_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "map.json"
    path.write_text(json.dumps(synthetic_rna(n_cells=20, n_genes=400, seed=4).marker_map))
    return path


def _labels(cells: AnnData, map_file: Path, folder: Path, **options: object) -> pd.DataFrame:
    cells.write_h5ad(folder / "cells.h5ad")
    annotate_file(folder / "cells.h5ad", folder / "run", hierarchy=map_file, figures=False, **options)
    table = pd.read_csv(folder / "run" / "cluster_annotations.csv", dtype={"cluster_id": str})
    return table[["cluster_id", "n_cells", "assigned_path", "stop_reason"]]


@pytest.fixture(scope="module")
def usual(cells: AnnData, map_file: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return _labels(cells.copy(), map_file, tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_file_changes_no_label(
    form: str, cells: AnnData, usual: pd.DataFrame, map_file: Path, tmp_path: Path
) -> None:
    pd.testing.assert_frame_equal(_labels(FORMS[form](cells.copy()), map_file, tmp_path), usual)


def test_genes_that_are_silent_in_a_subset_veto_nothing(cells: AnnData, tmp_path: Path) -> None:
    """As after taking some cells of an atlas: markers of absent types stay in the file, without a count."""
    (tmp_path / "map.json").write_text(json.dumps(marker_map(gates=True)))
    silent = cells[~cells.obs["true_label"].astype(str).str.contains("Endothel")].copy()
    absent = silent.var_names.isin(["PECAM1"])
    X = silent.X.tolil()
    X[:, absent] = 0
    silent.X = sp.csr_matrix(X)
    found = []
    for name, data in (("silent", silent), ("left out", silent[:, ~absent].copy())):
        (tmp_path / name).mkdir()
        found.append(_labels(data, tmp_path / "map.json", tmp_path / name)["assigned_path"])
    assert found[0].notna().mean() > 0.8
    assert found[0].fillna("").tolist() == found[1].fillna("").tolist()


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("method", ["markers", "both"])
def test_three_cells_have_a_defined_result(
    n: int, method: str, cells: AnnData, map_file: Path, tmp_path: Path
) -> None:
    assert _labels(cells[:n].copy(), map_file, tmp_path, method=method)["n_cells"].sum() == n


def test_ensembl_ids_without_symbols_are_refused_with_the_way_out(
    cells: AnnData, map_file: Path, tmp_path: Path
) -> None:
    named = _symbols_in_var(cells.copy())
    del named.var["gene_symbols"]
    with pytest.raises(MissingGenesError, match="give the symbols in a column such as"):
        _labels(named, map_file, tmp_path)
    assert not (tmp_path / "run").exists()
