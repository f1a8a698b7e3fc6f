"""Tiles give the numbers of the matrix they were made from, in memory and in a file, and notice every change."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import Moments, cell_factors, gene_moments, principal_components
from cellkey.clustering.inspect import scan_matrix
from cellkey.errors import RunError
from cellkey.io.stored import StoredMatrix
from cellkey.profiles import cell_blocks, shelf
from cellkey.profiles.expression import Expression, take_cells
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.survey import matrix_digest, survey_matrix
from cellkey.profiles.tiles import TiledExpression, TileStore

FORMS = ["csr", "csc", "dense"]


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tiles of few cells, so that edges between them are crossed."""
    monkeypatch.setattr(cell_blocks, "block_rows", lambda *_: 37)
    monkeypatch.setattr(StoredMatrix, "rows_per_block", 37)


def counts(dtype: Any = np.float32, *, largest: int = 300) -> sp.csr_matrix:
    rng = np.random.default_rng(5)
    X = sp.random(300, 40, 0.2, format="csr", random_state=5)
    X.data = rng.integers(1, largest, X.nnz)
    X.data[:50] = 0  # stored zeros count as zeros
    X = X.tolil()
    X[13] = 0
    return sp.csr_matrix(X, dtype=dtype)


def stored(tmp_path: Path, X: sp.csr_matrix, form: str, store: str = "h5") -> StoredMatrix:
    from anndata.io import write_elem

    value = X.toarray() if form == "dense" else X.asformat(form)
    if store == "h5":
        group: Any = h5py.File(tmp_path / f"{form}.h5", "w")
        write_elem(group, "X", value, dataset_kwargs={"compression": "gzip"})
    else:
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(tmp_path / f"{form}.zarr", mode="w", zarr_format=int(store[-1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # anndata announces a change of its defaults
            write_elem(group, "X", value)
    return StoredMatrix(group["X"])


@pytest.mark.parametrize("budget", [None, 2000, 0])
@pytest.mark.parametrize("form", FORMS)
def test_profiles_are_those_of_the_matrix_in_memory_bit_by_bit(tmp_path: Path, form: str, budget: int | None) -> None:
    X = counts()
    store = TileStore.of(stored(tmp_path, X, form), budget=budget)
    assert (store.in_file > 0) == (budget is not None)
    labels = (np.arange(300) % 4).astype(str).astype(object)
    names = [f"g{i}" for i in range(40)]
    factors = cell_factors(X)
    ours = profile_clusters(TiledExpression(store, scale=factors), labels, names, n_jobs=2)
    theirs = profile_clusters(Expression(X, scale=factors), labels, names)
    for name in ours.__dataclass_fields__:
        a, b = getattr(ours, name), getattr(theirs, name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, name


@pytest.mark.parametrize("store", ["zarr2", "zarr3"])
@pytest.mark.parametrize("form", FORMS)
def test_zarr_is_read_as_hdf5_is(tmp_path: Path, form: str, store: str) -> None:
    X = counts()
    tiled = TileStore.of(stored(tmp_path, X, form, store))
    assert abs(tiled[:] - X).nnz == 0
    assert tiled.survey.digest == matrix_digest(X)


def test_sharded_zarr_is_read(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    X = counts().toarray()
    array = zarr.create_array(
        str(tmp_path / "x.zarr"), shape=X.shape, dtype="float32", chunks=(10, 10), shards=(50, 40)
    )
    array[:] = X
    assert np.array_equal(TileStore.of(StoredMatrix(array))[:].toarray(), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.int64, np.bool_])
@pytest.mark.parametrize("budget", [None, 0])
def test_every_type_comes_back_as_it_was(dtype: Any, budget: int | None) -> None:
    X = counts(dtype, largest=2 if dtype == np.bool_ else 200)
    if np.dtype(dtype).kind == "f":
        X.data[::3] += dtype(0.1)
        X.data[::7] *= -1
    store = TileStore.of(X, budget=budget)
    rows = np.array([0, 5, 36, 37, 38, 200, 299])
    back = store[rows]
    assert back.dtype == X.dtype
    assert np.array_equal(back.toarray(), X[rows].toarray())
    columns = np.array([4, 3, 39, 0, 1, 2])
    expression, plain = TiledExpression(store), Expression(X)
    assert np.array_equal(expression.columns(columns).toarray(), plain.columns(columns).toarray())
    ours = np.vstack([b.toarray() for _, b in expression.row_blocks(columns, rows)])
    theirs = np.vstack([b.toarray() for _, b in plain.row_blocks(columns, rows)])
    assert np.array_equal(ours, theirs)


def test_large_whole_numbers_stay_exact() -> None:
    X = sp.csr_matrix(np.array([[2**31 + 1, 0], [70_000, 3]], dtype=np.int64))
    assert np.array_equal(TileStore.of(X)[:].toarray(), X.toarray())


def test_the_survey_is_what_separate_sweeps_find() -> None:
    X = counts()
    survey, scan = survey_matrix(X), scan_matrix(X)
    for name in ("minimum", "maximum", "n_not_finite", "n_not_zero", "integer_valued"):
        assert getattr(survey, name) == getattr(scan, name), name
    assert np.array_equal(survey.has_value, scan.has_value)
    assert not survey.has_value[13]
    assert np.array_equal(survey.totals, np.asarray(X.sum(axis=1)).ravel())


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize(("n_genes", "rate"), [(600, 0.9), (600, 0.1), (60, 0.9)])
def test_moments_and_components_are_those_of_the_matrix_in_memory_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch, n_genes: int, rate: float, budget: int | None
) -> None:
    monkeypatch.setattr(cell_blocks, "block_rows", lambda *_: 150)
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.poisson(rate * rng.gamma(1, 1, n_genes), (400, n_genes)).astype(np.float32))
    scale = 1000 / np.maximum(np.asarray(X.sum(axis=1)).ravel(), 1)
    features = np.arange(n_genes)[::-1].copy()
    found = []
    for expression in (TiledExpression(TileStore.of(X, budget=budget), scale=scale), Expression(X, scale=scale)):
        moments = gene_moments(expression, block_cells=150)
        usable = features[moments.sd[features] > 0]
        of_features = Moments(400, moments.mean[usable], moments.sd[usable])
        parts = principal_components(expression, usable, of_features, n_components=5, block_cells=150)
        found.append((moments.mean, moments.sd, parts.scores, parts.variance, parts.loadings))
    for ours, theirs in zip(*found, strict=True):
        assert np.array_equal(ours, theirs)


def test_threads_do_not_change_moments_and_components(monkeypatch: pytest.MonkeyPatch) -> None:
    expression = TiledExpression(TileStore.of(counts()), scale=np.full(300, 2.0))
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        moments = gene_moments(expression)
        features = np.flatnonzero(moments.sd > 0)
        of_features = Moments(300, moments.mean[features], moments.sd[features])
        found.append((moments.mean, principal_components(expression, features, of_features, n_components=4).scores))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("starts", [np.int32, np.int64])
def test_cells_are_taken_as_scipy_takes_them(starts: Any) -> None:
    X = counts()
    X.indptr = X.indptr.astype(starts)
    rows = np.array([0, 3, 4, 177, 299])
    taken = take_cells(X, rows)
    assert (taken != X[rows]).nnz == 0
    assert taken.dtype == X.dtype
    blocks = [block for _, block in Expression(X).row_blocks(np.array([5, 2, 30]), rows, 2)]
    assert np.array_equal(sp.vstack(blocks).toarray(), X[rows][:, [5, 2, 30]].toarray())
    assert np.array_equal(take_cells(X.toarray(), rows), X.toarray()[rows])


def test_the_digest_depends_on_values_and_places_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    X = counts()
    mark = matrix_digest(X)
    explicit = X.copy()
    explicit.eliminate_zeros()
    assert {matrix_digest(Y) for Y in (X.tocsc(), X.toarray(), explicit, TileStore.of(X, budget=0))} == {mark}
    monkeypatch.setattr(cell_blocks, "block_rows", lambda *_: 111)
    assert matrix_digest(X) == mark
    swapped = explicit[np.r_[0:100, 101, 100, 102:300]]
    moved = explicit[:, np.r_[1, 0, 2:40]]
    others = [swapped, moved]
    for place in (0, explicit.nnz // 2, explicit.nnz - 1):
        changed = explicit.copy()
        changed.data[place] += 1
        others.append(changed)
    assert len({mark, *map(matrix_digest, others)}) == 1 + len(others)


def test_threads_do_not_matter() -> None:
    X = counts()
    one, three = TileStore.of(X, n_jobs=1), TileStore.of(X, n_jobs=3)
    assert one.survey.digest == three.survey.digest
    assert np.array_equal(one.survey.totals, three.survey.totals)


def test_damaged_starts_are_refused(tmp_path: Path) -> None:
    from cellkey.errors import InputError

    node = stored(tmp_path, counts(), "csr").node
    node["indptr"][3] = 10**6
    with pytest.raises(InputError, match="damaged"):
        StoredMatrix(node)


def test_a_full_disk_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    class Full:
        def write(self, _: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(shelf.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(RunError, match="TMPDIR"):
        TileStore.of(counts(), budget=0)
