"""Pseudobulk from files and from memory: the numbers of scanpy, the scale that the values ask for, clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import cellkey
from cellkey.annotation import pseudobulk as module
from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError, ScaleError
from command_line import run_command

pytestmark = pytest.mark.filterwarnings("ignore:X holds counts")


def cells(n: int = 400, m: int = 120) -> ad.AnnData:
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(0.5 * rng.gamma(1, 1, m), (n, m)).astype(np.float32))
    X[0, 0] = 60
    obs = pd.DataFrame({"type": rng.choice(["B", "T", "NK"], n), "donor": rng.choice(["d1", "d2"], n)},
                       index=[f"c{i}" for i in range(n)])
    return ad.AnnData(X, obs=obs, var=pd.DataFrame({"id": np.arange(m)}, index=[f"g{i}" for i in range(m)]))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_numbers_are_those_of_scanpy(tmp_path: Path, form: str) -> None:
    sc = pytest.importorskip("scanpy")
    adata = cells()
    summed = sc.get.aggregate(adata, "type", ["sum"])
    logged = adata.copy()
    sc.pp.normalize_total(logged, target_sum=1e4)
    sc.pp.log1p(logged)
    theirs = sc.get.aggregate(logged, "type", ["mean", "count_nonzero"])
    on_disk = adata.copy()
    on_disk.X = adata.X.toarray() if form == "dense" else adata.X.asformat(form)
    on_disk.write_h5ad(tmp_path / "cells.h5ad")
    found = cellkey.pseudobulk(tmp_path / "cells.h5ad", "type", n_jobs=2)
    assert list(found.obs_names) == ["B", "NK", "T"]
    order = list(found.obs_names)
    assert np.array_equal(found.X, summed[order].layers["sum"])
    np.testing.assert_allclose(found.layers["mean"], theirs[order].layers["mean"], rtol=2e-6)
    detected = theirs[order].layers["count_nonzero"] / found.obs["n_cells"].to_numpy()[:, None]
    assert np.array_equal(found.layers["detection"], detected)
    assert found.obs["n_cells"].to_dict() == adata.obs["type"].value_counts().to_dict()
    assert found.var.equals(adata.var)
    assert found.uns["pseudobulk"] == {"layer": "X", "values": "counts", "transform": "normalise"}
    again = cellkey.pseudobulk(adata, "type", n_jobs=1)
    for name in ("mean", "detection"):
        assert np.array_equal(again.layers[name], found.layers[name])


def test_several_columns_make_a_group_of_every_combination(tmp_path: Path) -> None:
    adata = cells()
    adata.obs.loc["c7", "donor"] = None
    with pytest.warns(CellkeyWarning, match="1 of 400 cells have no value"):
        found = cellkey.pseudobulk(adata, ["donor", "type"])
    assert list(found.obs_names) == [f"{d}|{t}" for d in ("d1", "d2") for t in ("B", "NK", "T")]
    assert found.obs["n_cells"].sum() == 399
    for name, row in zip(found.obs_names, found.X, strict=True):
        donor, kind = found.obs.loc[name, ["donor", "type"]]
        chosen = ((adata.obs["donor"] == donor) & (adata.obs["type"] == kind)).to_numpy()
        assert np.array_equal(row, np.asarray(adata.X[chosen].sum(axis=0)).ravel())
    adata.obs["donor"], adata.obs["type"] = "d", "a|b"
    with pytest.raises(InputError, match="parts the names"):
        cellkey.pseudobulk(adata, ["donor", "type"])


def test_cells_that_disagree_with_the_first_ones_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale is a matter of all values: whole numbers in front do not make counts of logs behind."""
    passes: list[str] = []
    original = module.sum_groups

    def counted(*arguments: Any, **named: Any) -> Any:
        passes.append(named["transform"])
        return original(*arguments, **named)

    monkeypatch.setattr(module, "sum_groups", counted)
    adata = cells(2000)
    whole = cellkey.pseudobulk(adata, "type")
    assert passes == ["normalise"]
    assert whole.uns["pseudobulk"]["transform"] == "normalise"
    adata.X[0, 0] = 2  # no longer beyond what logs reach
    adata.X.data[-5:] += 0.5
    with_fractions = cellkey.pseudobulk(adata, "type")
    assert passes[1:] == ["normalise", "none"]
    assert with_fractions.uns["pseudobulk"]["transform"] == "none"
    chosen = (adata.obs["type"] == "B").to_numpy()
    np.testing.assert_allclose(with_fractions.layers["mean"][0], adata.X[chosen].toarray().mean(axis=0), rtol=1e-5)
    raw = cellkey.pseudobulk(adata, "type", normalize=False)
    assert np.array_equal(raw.layers["mean"], with_fractions.layers["mean"])


def test_values_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    adata = cells()
    with pytest.raises(MissingFieldError, match="no column 'typ'; did you mean 'type'"):
        cellkey.pseudobulk(adata, "typ")
    with pytest.raises(MissingFieldError, match="layer 'counts' is not there"):
        cellkey.pseudobulk(adata, "type", layer="counts")
    with pytest.raises(ParameterError, match="names no column"):
        cellkey.pseudobulk(adata, [])
    adata.X.data[3] = np.nan
    with pytest.raises(ScaleError, match="NaN"):
        cellkey.pseudobulk(adata, "type")


def test_the_command_writes_what_the_function_returns(tmp_path: Path) -> None:
    adata = cells()
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    done = run_command("pseudobulk", tmp_path / "cells.h5ad", "-g", "donor", "-g", "type", "--layer", "counts",
                       "-o", tmp_path / "out.h5ad")
    assert done.exit_code == 0, done.output
    assert "6 groups x 120 variables, 400 cells" in done.output
    found, expected = ad.read_h5ad(tmp_path / "out.h5ad"), cellkey.pseudobulk(adata, ["donor", "type"])
    assert np.array_equal(found.X, expected.X)
    assert list(found.obs["donor"]) == list(expected.obs["donor"])
    wrong = run_command("pseudobulk", "x.h5ad", "-g", "type", "-o", "out.csv")
    assert wrong.exit_code == 2
    assert not (tmp_path / "out.csv").exists()
