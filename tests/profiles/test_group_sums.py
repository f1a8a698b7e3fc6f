"""Sums, means and detection are those of the full profiles bit by bit, however the matrix is stored and divided."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import cell_factors
from cellkey.clustering.inspect import scan_matrix
from cellkey.io.stored import StoredMatrix
from cellkey.profiles import sums as module
from cellkey.profiles.expression import Expression
from cellkey.profiles.means import means_from_profiles
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.sums import GroupSums, sum_groups
from cellkey.profiles.tiles import TileStore

NAMES = [f"g{i}" for i in range(40)]
LABELS = np.random.default_rng(3).choice(np.array(["2", "10", "2:0", "1", None], dtype=object), 300)
STORES = ["h5", "gzip", "zarr2", "zarr3", "sharded"]


def counts(dtype: Any = np.float32) -> sp.csr_matrix:
    rng = np.random.default_rng(5)
    X = sp.random(300, 40, 0.3, format="csr", random_state=5)
    X.data = rng.choice([1, 2, 3, 7, 8, 63, 64, 100, 5000], X.nnz)
    X.data[:50] = 0  # stored zeros count as zeros
    X = X.tolil()
    X[13] = 0
    return sp.csr_matrix(X, dtype=dtype)


def stored(tmp_path: Path, X: sp.csr_matrix, form: str, store: str) -> StoredMatrix:
    from anndata.io import write_elem

    value = X.toarray() if form == "dense" else X.asformat(form)
    if store in ("h5", "gzip"):
        group: Any = h5py.File(tmp_path / f"{form}.h5", "w")
        write_elem(group, "X", value, dataset_kwargs={"compression": "gzip"} if store == "gzip" else {})
        return StoredMatrix(group["X"])
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / f"{form}.zarr", mode="w", zarr_format=2 if store == "zarr2" else 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata announces a change of its defaults
        write_elem(group, "X", value)
    if store == "sharded":
        nodes = ["X"] if form == "dense" else ["X/data", "X/indices"]
        for name in nodes:
            held, attributes = group[name][:], dict(group[name].attrs)
            del group[name]
            chunks, shards = ((10, 10), (50, 40)) if held.ndim == 2 else ((64,), (256,))
            array = group.create_array(name, shape=held.shape, dtype=held.dtype, chunks=chunks, shards=shards)
            array[:] = held
            array.attrs.update(attributes)
    return StoredMatrix(group["X"])


def same_bits(found: GroupSums, X: sp.csr_matrix, labels: Any, scale: Any) -> None:
    full = profile_clusters(Expression(X, scale=scale), labels, NAMES)
    assert found.groups == full.groups
    for name in ("n_cells", "mean", "detection", "var_names"):
        assert np.array_equal(getattr(found, name), getattr(full, name)), name
    dense = X.toarray().astype(np.float64)
    by_hand = [sum(dense[i] for i in np.flatnonzero(labels == g)) for g in found.groups]
    np.testing.assert_allclose(found.sums, by_hand, rtol=1e-12)


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("block_values", [50, 2_000_000])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("store", ["memory", *STORES])
def test_however_stored_and_divided_the_bits_are_those_of_the_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, form: str, block_values: int, n_jobs: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_VALUES", block_values)
    X = counts()
    held = stored(tmp_path, X, form, store) if store != "memory" else (
        X.toarray() if form == "dense" else X.asformat(form))
    found, survey = sum_groups(held, LABELS, NAMES, transform="normalise", n_jobs=n_jobs)
    same_bits(found, X, LABELS, cell_factors(X))
    scan = scan_matrix(X)
    for name in ("minimum", "maximum", "n_not_finite", "n_not_zero", "integer_valued"):
        assert getattr(survey, name) == getattr(scan, name), name
    assert np.array_equal(survey.has_value, scan.has_value)
    assert survey.digest == ""


@pytest.mark.parametrize("transform", ["none", "log1p", "normalise"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.int64, np.bool_])
def test_every_type_and_scale(dtype: Any, transform: str, tmp_path: Path) -> None:
    X = counts(np.int64).astype(dtype)
    if np.dtype(dtype).kind == "f":
        X.data[::3] += dtype(0.1)
        X.data[::7] *= -1 if transform == "none" else 1
    scale = {"none": None, "log1p": np.ones(300), "normalise": cell_factors(X)}[transform]
    for held in (X, TileStore.of(X, budget=0), X.tocsc(), stored(tmp_path, X, "csr", "h5")):
        found, _ = sum_groups(held, LABELS, NAMES, transform=transform)  # type: ignore[arg-type]
        same_bits(found, X, LABELS, scale)


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_rows_out_of_order_and_places_stored_twice(form: str) -> None:
    X = counts()
    entries = X.tocoo()
    halves = sp.coo_matrix((np.r_[entries.data - 1, np.ones(X.nnz)], (np.r_[entries.row, entries.row],
                                                                      np.r_[entries.col, entries.col])), X.shape)
    order = np.lexsort((-halves.col, halves.row) if form == "csr" else (-halves.row, halves.col))
    major = (halves.row if form == "csr" else halves.col)[order]
    minor = (halves.col if form == "csr" else halves.row)[order]
    starts = np.searchsorted(major, np.arange(X.shape[0 if form == "csr" else 1] + 1))
    kind = sp.csr_matrix if form == "csr" else sp.csc_matrix
    shuffled = kind((halves.data[order].astype(np.float32), minor, starts), shape=X.shape)
    found, _ = sum_groups(shuffled, LABELS, NAMES, transform="normalise")
    same_bits(found, X, LABELS, cell_factors(X))
    assert not shuffled.has_canonical_format  # the input stays as it is


def test_enrichment_gets_the_means_that_it_gets_from_profiles() -> None:
    X = counts()
    found, _ = sum_groups(X, LABELS, NAMES, transform="normalise")
    full = profile_clusters(Expression(X, scale=cell_factors(X)), LABELS, NAMES)
    ours, theirs = (means_from_profiles(p, logged=True) for p in (found, full))
    for name in ("genes", "values", "detection", "error", "n_cells"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_sums_do_not_pass_for_profiles() -> None:
    """They lack what scorers of markers need, so that none can take them by mistake."""
    found, _ = sum_groups(counts(), LABELS, NAMES)
    assert not {"rank_z", "median", "positive", "thresholds", "overall_std"} & set(dir(found))


@pytest.mark.parametrize(("labels", "names", "message"), [
    (LABELS[:10], NAMES, "10 labels"), (LABELS, NAMES[:3], "3 names"), (np.full(300, None), NAMES, "no cell"),
])
def test_what_does_not_fit_is_refused(labels: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sum_groups(counts(), labels, names)
