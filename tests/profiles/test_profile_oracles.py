"""Profiles against naive loops, SciPy and scanpy, for every storage format and every odd shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import ClusterProfiles, natural_key, profile_clusters

QUANTILES = (0.5, 0.75, 0.9)


def naive(X: np.ndarray, labels: np.ndarray, basis: str = "auto") -> dict[str, np.ndarray]:
    """The definitions, spelt out gene by gene and group by group."""
    X = X.astype(np.float32).astype(np.float64)
    groups = sorted(set(labels), key=natural_key)
    shape = (len(groups), X.shape[1])
    out = {k: np.zeros(shape) for k in ("mean", "median", "detection", "rank_z")}
    out["thresholds"] = np.zeros((len(QUANTILES), X.shape[1]))
    out["positive"] = np.zeros((len(QUANTILES), *shape))
    for j in range(X.shape[1]):
        x = X[:, j]
        nonzero = x[x != 0]
        zero_share = (x <= 0).mean()
        for k, q in enumerate(QUANTILES):
            if len(nonzero) and (basis == "nonzero" or (basis == "auto" and zero_share < 0.5)):
                threshold = np.quantile(nonzero, q)
            elif basis != "all" and not (x > 0).any():
                threshold = np.finfo(np.float32).tiny
            else:
                threshold = np.quantile(x, q)
                if basis == "auto" and (x > 0).any():
                    threshold = max(threshold, x[x > 0].min())
            out["thresholds"][k, j] = threshold
            for i, g in enumerate(groups):
                out["positive"][k, i, j] = (x[labels == g] >= threshold).mean()
        for i, g in enumerate(groups):
            mine, rest = x[labels == g], x[labels != g]
            out["mean"][i, j], out["median"][i, j] = mine.mean(), np.median(mine)
            out["detection"][i, j] = (mine > 0).mean()
            if len(mine) > 1 and len(rest) and len(set(x)) > 1:
                test = mannwhitneyu(mine, rest, use_continuity=False, method="asymptotic")
                n1, n2, n = len(mine), len(rest), len(x)
                counts = np.unique(x, return_counts=True)[1].astype(float)
                variance = n1 * n2 / 12 * ((n + 1) - (counts**3 - counts).sum() / (n * (n - 1)))
                out["rank_z"][i, j] = (test.statistic - n1 * n2 / 2) / np.sqrt(variance)
    return out


def check(profiles: ClusterProfiles, expected: dict[str, np.ndarray]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(profiles, name), values, rtol=1e-9, atol=1e-9, err_msg=name)


def matrix(kind: str, n: int = 60, m: int = 17, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.poisson(0.7, (n, m)).astype(float) if kind == "counts" else rng.normal(0.5, 1.0, (n, m))
    X[:, 0] = 0.0  # silent
    X[:, 1] = 2.0  # constant
    X[:, 2] = np.where(np.arange(n) == 3, 5.0, 0.0)  # one cell
    return X


STORAGE = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "float32": lambda X: sp.csr_matrix(X.astype(np.float32)),
}


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("kind", ["counts", "signed"])
def test_every_storage_equals_the_naive_loop(storage: str, kind: str) -> None:
    X = matrix(kind)
    labels = np.random.default_rng(1).choice(["0", "1", "2:0", "10"], len(X)).astype(object)
    profiles = profile_clusters(Expression(STORAGE[storage](X)), labels, [f"g{i}" for i in range(X.shape[1])],
                                quantiles=QUANTILES)
    assert profiles.groups == ("0", "1", "2:0", "10")
    check(profiles, naive(X, labels))
    np.testing.assert_allclose(profiles.overall_std, X.astype(np.float32).std(axis=0, dtype=np.float64), atol=1e-6)


@pytest.mark.parametrize("basis", ["auto", "nonzero", "all"])
def test_threshold_rules(basis: str) -> None:
    X = matrix("counts", seed=3)
    labels = np.repeat(np.array(["a", "b"], dtype=object), 30)
    names = [str(i) for i in range(X.shape[1])]
    profiles = profile_clusters(Expression(sp.csr_matrix(X)), labels, names, quantiles=QUANTILES, basis=basis)  # type: ignore[arg-type]
    check(profiles, naive(X, labels, basis))


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_a_gene_that_no_cell_expresses_is_positive_nowhere(form: Callable[[np.ndarray], object]) -> None:
    """As in a subset of cells; by the rule ``all`` zero reaches the threshold, as in the original program."""
    X = np.zeros((6, 3), dtype=np.float32)
    X[:3, 0] = [1.0, 2.0, 3.0]
    X[:, 2] = 5.0
    labels = np.array(["a", "a", "a", "b", "b", "b"], dtype=object)
    for basis, expected in (("auto", 0.0), ("nonzero", 0.0), ("all", 1.0)):
        found = profile_clusters(Expression(form(X)), labels, ["x", "silent", "constant"], basis=basis)  # type: ignore[arg-type]
        assert (found.positive[:, :, 1] == expected).all()
        assert (found.positive[:, :, 2] == 1.0).all()
        assert np.isfinite(found.thresholds).all()


def test_integer_input_and_unsorted_rows() -> None:
    X = matrix("counts").astype(np.int32)
    shuffled = sp.csr_matrix(X)
    for row in range(shuffled.shape[0]):  # reverse the order within each row
        part = slice(shuffled.indptr[row], shuffled.indptr[row + 1])
        shuffled.indices[part] = shuffled.indices[part][::-1]
        shuffled.data[part] = shuffled.data[part][::-1]
    shuffled.has_sorted_indices = False
    labels = np.repeat(np.array(["a", "b", "c"], dtype=object), 20)
    names = [str(i) for i in range(X.shape[1])]
    check(profile_clusters(Expression(shuffled), labels, names, quantiles=QUANTILES), naive(X, labels))


def test_backed_file_equals_memory(tmp_path: Path) -> None:
    import anndata as ad

    X = matrix("counts")
    labels = np.repeat(np.array(["a", "b", "c"], dtype=object), 20)
    for name, stored in (("csr", sp.csr_matrix(X)), ("csc", sp.csc_matrix(X)), ("dense", X)):
        ad.AnnData(stored).write_h5ad(tmp_path / f"{name}.h5ad")
        backed = ad.read_h5ad(tmp_path / f"{name}.h5ad", backed="r")
        profiles = profile_clusters(Expression(backed.X), labels, list(backed.var_names), quantiles=QUANTILES)
        backed.file.close()
        check(profiles, naive(X, labels))


@pytest.mark.parametrize("kind", [np.float16, np.uint8, np.int64, bool])
def test_narrow_and_wide_numbers(kind: type, tmp_path: Path) -> None:
    """Dense, in memory and on disk; half-precision values have no sparse form."""
    import anndata as ad

    X = matrix("counts")
    X = (X > 0) if kind is bool else np.round(X)
    labels = np.repeat(np.array(["a", "b", "c"], dtype=object), 20)
    ad.AnnData(X.astype(kind)).write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for stored in (X.astype(kind), backed.X):
        names = [str(i) for i in range(X.shape[1])]
        check(profile_clusters(Expression(stored), labels, names, quantiles=QUANTILES), naive(X.astype(float), labels))
    backed.file.close()


def test_counts_are_normalised_within_the_pass() -> None:
    X = matrix("counts")[:, 2:] + 1.0
    scale = 1e4 / X.sum(axis=1)
    labels = np.repeat(np.array(["a", "b"], dtype=object), 30)
    names = [str(i) for i in range(X.shape[1])]
    inside = profile_clusters(Expression(sp.csr_matrix(X), scale=scale), labels, names, quantiles=QUANTILES)
    check(inside, naive(np.log1p(X * scale[:, None]), labels))


def test_threads_give_bit_identical_results() -> None:
    X = sp.csr_matrix(matrix("counts", n=300, m=120))
    labels = np.random.default_rng(5).choice(list("abcd"), 300).astype(object)
    names = [str(i) for i in range(120)]
    one, four = (profile_clusters(Expression(X), labels, names, n_jobs=j) for j in (1, 4))
    for name in ("mean", "median", "detection", "rank_z", "positive", "thresholds", "overall_std"):
        assert np.array_equal(getattr(one, name), getattr(four, name)), name


def test_rank_sum_agrees_with_scanpy_with_tie_correction() -> None:
    sc = pytest.importorskip("scanpy")
    import anndata as ad
    import pandas as pd

    rng = np.random.default_rng(2)
    X = rng.poisson(rng.gamma(1.0, 0.6, 40), (150, 40)).astype(np.float32)
    labels = rng.choice(["0", "1", "2"], 150)
    adata = ad.AnnData(np.log1p(X), obs=pd.DataFrame({"g": pd.Categorical(labels)}, index=[str(i) for i in range(150)]))
    adata.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(adata, "g", method="wilcoxon", tie_correct=True)
    profiles = profile_clusters(Expression(sp.csr_matrix(adata.X)), labels.astype(object), list(adata.var_names))
    for i, group in enumerate(profiles.groups):
        table = sc.get.rank_genes_groups_df(adata, group).set_index("names").loc[list(adata.var_names)]
        np.testing.assert_allclose(profiles.rank_z[i], table["scores"].fillna(0), atol=1e-4)


def test_cells_without_a_group_count_nowhere() -> None:
    X = matrix("counts")
    labels = np.repeat(np.array(["a", "b", None], dtype=object), 20)
    names = [str(i) for i in range(X.shape[1])]
    check(profile_clusters(Expression(sp.csr_matrix(X)), labels, names, quantiles=QUANTILES),
          naive(X[:40], labels[:40]))


def test_one_group_and_single_cells_have_no_differential_genes() -> None:
    X = matrix("counts")
    names = [str(i) for i in range(X.shape[1])]
    assert not profile_clusters(Expression(X), np.full(60, "a", dtype=object), names).rank_z.any()
    labels = np.array(["a"] * 59 + ["b"], dtype=object)
    assert not profile_clusters(Expression(X), labels, names).rank_z[1].any()


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="labels"):
        profile_clusters(Expression(np.ones((3, 2))), ["a"] * 4, ["x", "y"])
    with pytest.raises(ValueError, match="no cell"):
        profile_clusters(Expression(np.ones((3, 2))), [None] * 3, ["x", "y"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["counts", "signed"]))
def test_order_of_cells_and_genes_and_names_of_groups_do_not_matter(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    X = matrix(kind, n=25, m=8, seed=seed)
    labels = rng.choice(["0", "1", "2"], 25).astype(object)
    names = np.array([f"g{i}" for i in range(8)], dtype=object)
    cells, genes = rng.permutation(25), rng.permutation(8)
    base = profile_clusters(Expression(sp.csr_matrix(X)), labels, names, quantiles=QUANTILES)
    other = profile_clusters(Expression(sp.csr_matrix(X[cells][:, genes])), labels[cells], names[genes],
                             quantiles=QUANTILES)
    back = other.subset(np.argsort(genes))
    for name in ("mean", "median", "detection", "rank_z", "positive", "thresholds"):
        np.testing.assert_allclose(getattr(base, name), getattr(back, name), rtol=1e-9, atol=1e-9)
    renamed = profile_clusters(Expression(X), np.array([f"x{v}" for v in labels], dtype=object), names)
    assert [g.removeprefix("x") for g in renamed.groups] == list(base.groups)


def test_natural_order_of_group_names() -> None:
    names = ["10", "2:0", "2", "2:1", "1", "b", "a"]
    assert sorted(names, key=natural_key) == ["1", "2", "2:0", "2:1", "10", "a", "b"]
