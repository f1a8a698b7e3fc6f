"""The input check says what a matrix holds and refuses what cannot be used."""

from __future__ import annotations

import warnings

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from cellkey.clustering import cell_factors, inspect_matrix, pick_layer, working_scale
from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError, ScaleError
from cellkey.profiles.expression import Expression
from cellkey.profiles.tiles import TileStore

STORAGES = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
}


@pytest.fixture
def counts() -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(0.3, 1.0, size=300), size=(120, 300)).astype(np.float32)
    X[0, 0] = 80
    X[5] = 0
    return X


def backed(X: np.ndarray, path: object, form: str) -> object:
    ad.AnnData(sp.csr_matrix(X) if form == "csr" else sp.csc_matrix(X) if form == "csc" else X).write_h5ad(
        path
    )
    return ad.read_h5ad(path, backed="r").X


def quiet(X: object, **named: object) -> object:
    return inspect_matrix(X, warn=False, **named)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
def test_report_does_not_depend_on_storage_or_type(counts, storage, dtype):
    """Minimum, maximum, density and empty cells are those of a naive look at the dense matrix."""
    report = quiet(STORAGES[storage](counts.astype(dtype)))
    assert (report.kind, report.transform, report.integer_valued) == ("counts", "normalise", True)
    assert (report.minimum, report.maximum) == (0.0, 80.0)
    assert report.density == np.count_nonzero(counts) / counts.size
    assert report.n_zero_cells == int((counts.sum(axis=1) == 0).sum()) >= 1
    assert report.shape == counts.shape


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_backed_matrices_are_swept_from_disk(counts, tmp_path, form):
    """A backed matrix gives the same report and factors as one in memory."""
    X = backed(counts, tmp_path / "x.h5ad", form)
    report = quiet(X)
    assert report.storage == quiet(TileStore.of(X)).storage == f"{form} (backed)"
    assert report.density == np.count_nonzero(counts) / counts.size
    np.testing.assert_array_equal(cell_factors(X), cell_factors(counts))


def test_stored_zeros_do_not_count():
    """Explicit zeros in a sparse matrix are zeros."""
    X = sp.csr_matrix(([0.0, 3.0, 0.0], [0, 1, 2], [0, 1, 3]), shape=(2, 3))
    report = quiet(X)
    assert report.n_zero_cells == 1
    assert report.density == 1 / 6


@pytest.mark.parametrize("storage", STORAGES)
def test_factors_bring_every_cell_to_the_target(counts, storage):
    """Scaled totals are 10,000; cells without counts keep factor 0 and value 0."""
    factors = cell_factors(STORAGES[storage](counts))
    totals = (counts * factors[:, None]).sum(axis=1)
    some = counts.sum(axis=1) > 0
    np.testing.assert_allclose(totals[some], 1e4)
    assert (factors[~some] == 0).all()
    assert factors.dtype == np.float64
    median = cell_factors(STORAGES[storage](counts), target_sum=None)
    np.testing.assert_allclose(median[some] * counts.sum(axis=1)[some], np.median(counts.sum(axis=1)[some]))


RULES = {
    # whole numbers
    "deep counts": ((400, 0.1, "counts", 300), "counts", "normalise"),
    "shallow imaging counts": ((30, 0.1, "counts", 150), "counts", "normalise"),
    "small panel of small whole numbers": ((4, 0.4, "counts", 6), "intensity", "none"),
    "presence and absence": ((1, 0.1, "counts", 300), "intensity", "none"),
    "dense scores": ((30, 1.0, "counts", 300), "intensity", "none"),
    # with fractions
    "log-normalised": ((6.5, 0.1, "float", 300), "log-normalised", "none"),
    "normalised protein panel": ((1.3, 0.5, "float", 30), "intensity", "none"),
    "raw fluorescence": ((50_000, 1.0, "float", 33), "intensity", "log1p"),
    "estimated counts": ((3_000, 0.2, "float", 300), "counts", "normalise"),
}


@pytest.mark.parametrize("case", RULES)
def test_rules(case):
    """Each kind of values that is met in practice is told apart."""
    (maximum, density, form, n_vars), kind, transform = RULES[case]
    rng = np.random.default_rng(1)
    X = rng.uniform(0, maximum, size=(200, n_vars)) * (rng.random((200, n_vars)) < density)
    if form == "counts":
        X = np.ceil(X)
    X[0, 0] = maximum
    report = quiet(X)
    assert (report.kind, report.transform) == (kind, transform)
    assert quiet(sp.csr_matrix(X)).kind == kind


def test_common_total_gives_away_log_normalised_panels():
    """Equal totals before the logarithm mean log-normalised data, however few genes there are."""
    rng = np.random.default_rng(2)
    X = rng.poisson(2.0, size=(50, 40)).astype(float) + np.eye(50, 40)
    X = np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4)
    report = quiet(X)
    assert report.kind == "log-normalised"
    assert report.common_total == pytest.approx(1e4)


def test_negative_values_of_panels_are_allowed_with_a_warning():
    """Z-scored intensities are used as they are."""
    X = np.random.default_rng(3).standard_normal((50, 20))
    with pytest.warns(CellkeyWarning, match="negative values"):
        report = inspect_matrix(X)
    assert (report.kind, report.transform) == ("intensity", "none")


@pytest.mark.parametrize("storage", STORAGES)
def test_negative_counts_are_refused(counts, storage):
    """Whole numbers below zero are no counts; the message names cells and variables."""
    counts[3, 7] = counts[4, 7] = -1
    with pytest.raises(ScaleError, match=r"negative counts in 2 of 120 cells; first variables: g7\."):
        inspect_matrix(STORAGES[storage](counts), var_names=[f"g{i}" for i in range(300)])


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(counts, storage, bad):
    """NaN and infinity are named with the number of cells and the first variables."""
    counts[[1, 2, 3], [10, 10, 20]] = bad
    with pytest.raises(
        ScaleError, match=r"NaN or infinite values in 3 of 120 cells; first variables: 10, 20\."
    ):
        inspect_matrix(STORAGES[storage](counts))


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.zeros((0, 5)), "empty"),
        (sp.csr_matrix((5, 0)), "empty"),
        (np.zeros((3, 3)), "only zeros"),
        (np.array([["a", "b"]]), "expected numbers"),
        (np.ones((2, 2), dtype=complex), "expected numbers"),
    ],
)
def test_unusable_matrices_are_refused(X, match):
    """Empty, all-zero and non-numeric matrices are input errors."""
    with pytest.raises(InputError, match=match):
        inspect_matrix(X)


def test_kind_can_be_given(counts):
    """The caller may overrule the rules, but not turn negative values into counts."""
    assert quiet(counts, assume="lognorm").transform == "none"
    assert quiet(counts, assume="intensity").transform == "log1p"
    assert quiet(np.minimum(counts, 3)[:, :20], assume="counts").transform == "normalise"
    with pytest.raises(ScaleError, match="negative counts"):
        quiet(counts - 0.5, assume="counts")
    with pytest.raises(ParameterError, match="did you mean 'lognorm'"):
        quiet(counts, assume="lognrm")


def test_report_reads_as_text_and_notes_are_warnings(counts):
    """The sentence names storage, range and what will be done; notes are given as warnings."""
    with pytest.warns(CellkeyWarning) as caught:
        report = inspect_matrix(sp.csr_matrix(counts))
    assert len(caught) == len(report.notes) == 2
    text = report.describe()
    assert "120 cells x 300 variables, csr, whole numbers from 0 to 80" in text
    assert "scaled to a total of 10,000" in text


def test_working_scale_gives_the_values_used(counts):
    """Counts are normalised, raw intensities logged, others left alone; the input keeps its values."""
    X = sp.csr_matrix(counts)
    before = X.copy()
    values = Expression(X, scale=working_scale(X, quiet(X))).columns(np.arange(300)).toarray()
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(values, np.log1p(counts / totals * 1e4), rtol=1e-6)
    assert (before != X).nnz == 0
    raw = np.random.default_rng(0).uniform(1, 900.5, (20, 10))
    np.testing.assert_array_equal(working_scale(raw, quiet(raw)), np.ones(20))
    assert working_scale(raw / 1000, quiet(raw / 1000)) is None


def test_layers_are_picked_in_order():
    """A named layer first, then batchcorr, aligned and X; unknown names get a suggestion."""
    data = ad.AnnData(np.ones((2, 2)), layers={"aligned": np.full((2, 2), 2.0)})
    assert pick_layer(data)[0] == "aligned"
    data.layers["batchcorr"] = np.full((2, 2), 3.0)
    name, X = pick_layer(data)
    assert name == "batchcorr"
    assert X[0, 0] == 3
    assert pick_layer(data, "X")[1][0, 0] == 1
    assert pick_layer(data, "aligned")[1][0, 0] == 2
    with pytest.raises(MissingFieldError, match="did you mean 'aligned'"):
        pick_layer(data, "alined")
    with pytest.raises(MissingFieldError, match="no X"):
        pick_layer(ad.AnnData(obs={"a": ["1", "2"]}))


def test_h5py_datasets_are_dense_matrices(tmp_path, counts):
    """A bare HDF5 dataset works like a dense array."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        X = file.create_dataset("X", data=counts)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert quiet(X).maximum == 80
