"""Aggregation against plain NumPy, for every storage, and what is done with missing and small clusters."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkey.compat.hierannot import (
    aggregate_anndata_to_cluster_means,
    aggregate_expression_to_cluster_means,
    cluster_and_aggregate_anndata,
    cluster_anndata_on_representation,
)
from cellkey.compat.hierannot import group_profiles as module
from cellkey.compat.hierannot.aggregation import aggregate_cells, matrix_source
from cellkey.compat.hierannot.group_profiles import aggregate_matrix, central_cells, group_codes
from cellkey.errors import CellkeyWarning, InputError, MissingFieldError, ParameterError

METHODS = ("mean", "sum", "median", "trimmed_mean")


def counts(n: int = 60, m: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.poisson(0.8, (n, m)).astype(np.float32), rng.choice(["b", "a", "c10"], n)


def naive(X: np.ndarray, labels: np.ndarray, method: str, group: str) -> np.ndarray:
    part = X[labels == group].astype(np.float64)
    if method == "trimmed_mean":
        cut = int(len(part) * 0.1) if len(part) > 2 else 0
        part = np.sort(part, axis=0)[cut : len(part) - cut]
        method = "mean"
    return getattr(np, method)(part, axis=0)


def stored(X: np.ndarray, kind: str, folder: Path) -> object:
    if kind == "backed":
        ad.AnnData(sp.csr_matrix(X)).write_h5ad(folder / "x.h5ad")
        return ad.read_h5ad(folder / "x.h5ad", backed="r").X
    return {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}[kind](X)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "backed"])
@pytest.mark.parametrize("method", METHODS)
def test_every_storage_gives_the_numbers_of_a_plain_loop(
    kind: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when cells and features come in many small blocks."""
    monkeypatch.setattr(module, "_BLOCK_CELLS", 7)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 150)
    X, labels = counts()
    groups, codes = group_codes(labels)
    found = aggregate_matrix(stored(X, kind, tmp_path), groups, codes, method=method)  # type: ignore[arg-type]
    assert found.groups == tuple(dict.fromkeys(labels))
    for i, group in enumerate(found.groups):
        np.testing.assert_allclose(found.values[i], naive(X, labels, method, group), rtol=1e-12)
        assert found.n_cells[i] == (labels == group).sum()


def test_missing_masked_and_small_groups_are_left_out() -> None:
    """Groups come in order of first appearance; positions of other cells are -1."""
    labels = ["b", None, "a", float("nan"), "b", "c"]
    assert group_codes(labels)[0] == ("b", "a", "c")
    assert group_codes(labels)[1].tolist() == [0, -1, 1, -1, 0, 2]
    assert group_codes(labels, np.array([False, True, True, True, True, True]))[0] == ("a", "b", "c")
    assert group_codes(labels, min_cells=2)[1].tolist() == [0, -1, -1, -1, 0, -1]
    assert group_codes([None])[0] == ()


def test_central_cells_by_distance_and_by_graph() -> None:
    """The nearest share of each group, rounded up, at least one; ties by position."""
    codes = np.array([0, 0, 0, 1, 1, -1])
    points = np.array([[0.0], [1.0], [9.0], [5.0], [5.0], [0.0]])
    assert central_cells(codes, points, fraction=0.5).tolist() == [True, True, False, True, False, False]
    sparse = central_cells(codes, sp.csr_matrix(points), fraction=0.5)
    assert sparse.tolist() == [True, True, False, True, False, False]
    graph = np.zeros((6, 6))
    graph[2, 1] = graph[1, 2] = 3
    graph[0, 3] = 9  # to another group: does not count
    kept = central_cells(codes, sp.csr_matrix(graph), fraction=0.3, mode="graph_degree")
    assert kept.tolist() == [False, True, False, True, False, False]
    for wrong in ({"fraction": 0}, {"fraction": 1.1}, {"mode": "middle"}):
        with pytest.raises(ParameterError):
            central_cells(codes, points, **wrong)  # type: ignore[arg-type]


def cells(n: int = 90) -> ad.AnnData:
    X, labels = counts(n, 6)
    adata = ad.AnnData(sp.csr_matrix(X), obs=pd.DataFrame({"g": labels}, index=[f"c{i}" for i in range(n)]))
    adata.var_names = ["Cd3d", "Cd3e", "Ms4a1", "Lyz2", "Epcam", "Krt8"]
    adata.layers["counts"] = adata.X * 2
    adata.raw = ad.AnnData(adata.X * 3, var=pd.DataFrame(index=[f"R{i}" for i in range(6)]))
    adata.obsm["emb"] = np.random.default_rng(1).normal(size=(n, 4))
    adata.obsm["table"] = pd.DataFrame(adata.obsm["emb"], columns=list("wxyz"), index=adata.obs_names)
    return adata


def test_sources_of_anndata() -> None:
    """X, raw, layers and embeddings, with the names of their features."""
    adata = cells()
    for source, key, first, factor in (("X", None, "CD3D", 1), ("layer", "counts", "CD3D", 2), ("RAW", None, "R0", 3)):
        found = aggregate_anndata_to_cluster_means(adata, "g", source=source, source_key=key)
        assert found.index[0] == first
        mean = naive(adata.X.toarray(), adata.obs["g"].to_numpy(), "mean", "a")
        np.testing.assert_allclose(found["a"], mean * factor)
    kept = aggregate_anndata_to_cluster_means(adata, "g", uppercase_genes=False)
    assert kept.index[0] == "Cd3d"
    assert matrix_source(adata, "obsm", "emb").names == ("emb_0", "emb_1", "emb_2", "emb_3")
    assert matrix_source(adata, "obsm", "table").names == tuple("wxyz")
    adata.uns["emb_feature_names"] = list("pqrs")
    assert aggregate_anndata_to_cluster_means(adata, "g", "obsm", "emb").index.tolist() == list("pqrs")


def test_wrong_names_are_errors_with_a_suggestion() -> None:
    adata = cells()
    for call, error, text in (
        (lambda: matrix_source(adata, "layers", "counts"), ParameterError, "did you mean 'layer'"),
        (lambda: matrix_source(adata, "layer"), ParameterError, "source_key"),
        (lambda: matrix_source(adata, "layer", "count"), MissingFieldError, "did you mean 'counts'"),
        (lambda: aggregate_cells(adata, "gg"), MissingFieldError, "no column 'gg'"),
        (lambda: aggregate_anndata_to_cluster_means(adata, "g", method="means"), ParameterError, "did you mean 'mean'"),
        (lambda: aggregate_anndata_to_cluster_means(adata, "g", backend="gpu"), ParameterError, "backend"),
        (lambda: aggregate_cells(adata, "g", mask=[True]), ParameterError, "1 entries for 90 cells"),
        (lambda: aggregate_matrix(np.ones((2, 2)), ("a",), np.zeros(2, int), trim_fraction=1), ParameterError, "trim"),
    ):
        with pytest.raises(error, match=text):
            call()
    del adata.raw
    with pytest.raises(MissingFieldError, match="raw is empty"):
        matrix_source(adata, "raw")
    adata.var_names = ["A", "a", "b", "c", "d", "e"]
    with pytest.raises(InputError, match="repeat"):
        aggregate_anndata_to_cluster_means(adata, "g")


def test_cells_without_a_cluster_are_left_out_with_a_warning() -> None:
    """They form no cluster of their own."""
    adata = cells()
    adata.obs["g"] = adata.obs["g"].astype(object)
    adata.obs.iloc[:5, 0] = np.nan
    with pytest.warns(CellkeyWarning, match="5 of 90 cells"):
        found = aggregate_anndata_to_cluster_means(adata, "g")
    assert set(found.columns) == {"a", "b", "c10"}


def test_masks_and_central_cells_of_anndata() -> None:
    """By column, by booleans, and by a shorter Series matched by name."""
    adata = cells()
    keep = np.arange(90) < 45
    adata.obs["keep"] = keep
    wanted = aggregate_anndata_to_cluster_means(adata[:45], "g")
    for mask in ("keep", keep, pd.Series(True, index=adata.obs_names[:45])):
        pd.testing.assert_frame_equal(aggregate_anndata_to_cluster_means(adata, "g", include_obs_mask=mask), wanted)
    central = aggregate_anndata_to_cluster_means(adata, "g", method="central_cells_mean", centrality_source="obsm",
                                                 centrality_source_key="emb", central_fraction=0.5)
    assert central.shape == (6, 3)
    assert not np.allclose(central, aggregate_anndata_to_cluster_means(adata, "g")[central.columns])


def test_tables_and_arrays() -> None:
    """Feature names from the table, or counted; lengths are checked."""
    X, labels = counts()
    frame = pd.DataFrame(X, columns=[f"g{i}" for i in range(7)])
    pd.testing.assert_frame_equal(
        aggregate_expression_to_cluster_means(frame, labels),
        aggregate_expression_to_cluster_means(sp.csr_matrix(X), labels, feature_names=list(frame.columns)),
    )
    assert aggregate_expression_to_cluster_means(X, labels).index[0] == "feature_0"
    with pytest.raises(InputError, match="cluster_labels has 59"):
        aggregate_expression_to_cluster_means(X, labels[1:])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ImportWarning")
@pytest.mark.filterwarnings("ignore:n_jobs value:UserWarning")
def test_clustering_on_a_representation_writes_what_it_names() -> None:
    """Groups, graph and embedding under the names asked for; the object itself unless a copy is asked for."""
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    adata = cells(120)
    adata.obsm["emb"] = np.vstack([rng.normal(0, 0.3, (60, 5)), rng.normal(4, 0.3, (60, 5))])
    copy = cluster_anndata_on_representation(adata, source_key="emb", copy=True, compute_umap=False, do_pca=False)
    assert "hierannot_leiden" not in adata.obs
    assert copy.obs["hierannot_leiden"].iloc[:60].nunique() >= 1
    assert not set(copy.obs["hierannot_leiden"].iloc[:60]) & set(copy.obs["hierannot_leiden"].iloc[60:])
    cluster_anndata_on_representation(
        adata, "obsm", "emb", "lei", neighbors_key="near", umap_key="X_map", do_pca=False, leiden_resolution=0.1)
    assert adata.obsm["X_map"].shape == (120, 2)
    assert adata.obsp["near_connectivities"].shape == (120, 120)
    assert adata.uns["near"]["connectivities_key"] == "near_connectivities"
    found, means = cluster_and_aggregate_anndata(adata, "obsm", "emb", "layer", "counts", compute_umap=False)
    assert found is adata
    assert set(means.columns) == set(adata.obs["hierannot_leiden"].cat.categories)
    pca = cluster_anndata_on_representation(adata, "X", copy=True, n_pcs=3, compute_umap=False)
    assert pca.obsm["X_rep_X"].shape == (120, 3)
