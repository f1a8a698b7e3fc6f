"""The whole way from values to groups, and splits inside one group."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from cellkey.clustering import (
    ClusteringParameters,
    SubclusteringParameters,
    cluster_cells,
    find_technical,
    gene_moments,
    intensity_column,
    merge_small_groups,
    subcluster,
    subcluster_components,
    technical_intensities,
    umap_embedding,
)
from cellkey.errors import CellkeyWarning, InputError, MissingDependencyError, ParameterError
from cellkey.profiles.expression import Expression

SMALL = ClusteringParameters(n_pcs=10)


def grouped(n_cells=400, n_genes=120, n_groups=4, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Log-normalised values in which each group has its own block of genes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_groups, n_cells)
    level = np.full((n_groups, n_genes), 0.2)
    for g in range(n_groups):
        level[g, g * 10 : (g + 1) * 10] = 4
    X = rng.poisson(level[truth]).astype(np.float64)
    X = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e3)
    return X.astype(np.float32), truth


def names(n: int) -> np.ndarray:
    return np.array([f"g{i:03d}" for i in range(n)])


def test_groups_are_found_and_numbered_by_size():
    """Four kinds of cells are four clusters."""
    X, truth = grouped()
    found = cluster_cells(Expression(sp.csr_matrix(X)), names(120), params=SMALL)
    assert adjusted_rand_score(truth, found.labels) > 0.98
    sizes = [int((found.labels == str(i)).sum()) for i in range(found.n_clusters)]
    assert sizes == sorted(sizes, reverse=True)
    assert found.device == "cpu"
    assert (found.search, found.recall) == ("exact", 1.0)
    assert "120 of 120 variables and 10 components" in found.notes[0]


@pytest.mark.parametrize("storage", [np.asfortranarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array])
def test_storage_does_not_matter(storage):
    """Dense, CSR and CSC give one answer."""
    X, _ = grouped()
    a = cluster_cells(Expression(X), names(120), params=SMALL)
    b = cluster_cells(Expression(storage(X)), names(120), params=SMALL)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_allclose(a.components.scores, b.components.scores, atol=1e-5)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_backed_values_give_the_same_groups(tmp_path, form):
    """Values on disk give the answer of values in memory."""
    X, _ = grouped()
    stored = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[form](X)
    ad.AnnData(stored).write_h5ad(tmp_path / "x.h5ad")
    disk = Expression(ad.read_h5ad(tmp_path / "x.h5ad", backed="r").X)
    a = cluster_cells(disk, names(120), params=SMALL, block_cells=128)
    b = cluster_cells(Expression(stored), names(120), params=SMALL, block_cells=128)
    np.testing.assert_array_equal(a.labels, b.labels)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_cells_and_genes_does_not_matter(seed):
    """Shuffled cells and genes give the same groups, as sets."""
    X, _ = grouped(seed=seed % 7)
    rng = np.random.default_rng(seed)
    cells, genes = rng.permutation(400), rng.permutation(120)
    a = cluster_cells(Expression(sp.csr_matrix(X)), names(120), params=SMALL)
    b = cluster_cells(Expression(sp.csr_matrix(X[cells][:, genes])), names(120)[genes], params=SMALL)
    assert adjusted_rand_score(a.labels[cells], b.labels) == 1.0
    np.testing.assert_array_equal(np.sort(names(120)[a.features]), names(120)[genes][b.features])


def test_input_stays_as_it_was():
    """Values, order of stored entries and names of the input are not changed."""
    X = sp.csr_matrix(grouped()[0])
    before = (X.data.copy(), X.indices.copy(), X.indptr.copy())
    cluster_cells(Expression(X, scale=np.ones(400)), names(120), params=SMALL)
    for old, new in zip(before, (X.data, X.indices, X.indptr), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(3, 20), (3, 1), (1, 5), (2, 5), (4, 2), (50, 1), (30, 20)])
def test_tiny_data_works(n_cells, n_genes):
    """Three cells, one gene and twenty markers are data too."""
    X = np.random.default_rng(0).random((n_cells, n_genes)).astype(np.float32)
    for values in (X, sp.csr_matrix(X)):
        found = cluster_cells(Expression(values), names(n_genes))
        assert len(found.labels) == n_cells
        assert "0" in found.labels


def test_constant_data_form_one_cluster():
    """Without any feature that varies, all cells are one cluster and the note says so."""
    found = cluster_cells(Expression(np.ones((10, 4), np.float32)), names(4))
    assert set(found.labels) == {"0"}
    assert "no feature varies" in found.notes[0]
    assert found.components is None


def test_masks_and_markers_decide_which_features_take_part():
    """Technical markers stay out; a mask of the caller replaces the ranking."""
    X, _ = grouped()
    allowed = np.arange(120) >= 10
    found = cluster_cells(Expression(X), names(120), params=SMALL, allowed=allowed)
    assert found.features.min() == 10
    chosen = np.arange(120) < 40
    found = cluster_cells(Expression(X), names(120), params=SMALL, chosen=chosen)
    assert found.features.max() == 39


def test_parameters_are_checked():
    """Unknown names get a suggestion; values out of range are refused."""
    with pytest.raises(ParameterError, match="resolution"):
        ClusteringParameters.parse({"resolutoin": 1})
    with pytest.raises(ParameterError):
        ClusteringParameters.parse({"n_neighbors": 0})
    assert ClusteringParameters().resolution == 0.6
    assert SubclusteringParameters().resolution == 0.4


def test_embedding_is_computed_when_asked_and_repeats():
    """UMAP needs the graph and the components only, and repeats under a seed."""
    pytest.importorskip("umap")
    X, truth = grouped(200)
    found = cluster_cells(Expression(X), names(120), params=SMALL)
    a = umap_embedding(found.graph, found.components.scores)
    np.testing.assert_array_equal(a, umap_embedding(found.graph, found.components.scores))
    assert a.shape == (200, 2)
    assert a.dtype == np.float32
    centres = np.array([a[truth == g].mean(axis=0) for g in range(4)])
    spread = np.mean([a[truth == g].std() for g in range(4)])
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(4, 1)]
    assert gaps.min() > spread


def test_embedding_without_its_package_names_the_extra(monkeypatch):
    """A missing optional package is one clear message."""
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setitem(sys.modules, "umap.umap_", None)
    with pytest.raises(MissingDependencyError, match=r"cellkey\[umap\]"):
        umap_embedding(sp.csr_matrix((3, 3)), np.zeros((3, 2), np.float32))


# Technical markers


def test_technical_columns_follow_the_promised_spelling():
    """Every character that is no letter, digit or underscore becomes an underscore."""
    assert intensity_column("Collagen IV") == "Collagen_IV_intensity"
    assert intensity_column("Beta-actin") == "Beta_actin_intensity"
    assert intensity_column("DAPI") == "DAPI_intensity"


def test_technical_markers_are_found_in_any_spelling():
    """Case, spaces, hyphens, underscores and commas are ignored; other variables stay features."""
    found, is_feature = find_technical(["CD3", "dapi", "COLLAGEN_IV", "beta actin", "Actin"])
    assert found == {"DAPI": 1, "Collagen IV": 2, "Beta-actin": 3}
    assert is_feature.tolist() == [True, False, False, False, True]
    found, is_feature = find_technical(["dapi", "DAPI"])
    assert found == {"DAPI": 1}
    assert not is_feature.any()


def test_absent_technical_markers_are_told_only_when_asked_for():
    """Defaults pass in silence, names of the user are warned about, an empty list means none."""
    assert find_technical(["CD3"])[0] == {}
    assert find_technical(["DAPI"], [])[0] == {}
    with pytest.warns(CellkeyWarning, match="did you mean 'Hoechst'"):
        assert find_technical(["Hoechst"], ["Hoecst"])[0] == {}


def test_technical_values_are_unscaled():
    """Columns hold the values of the working scale as float32."""
    X = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    found, _ = find_technical(["DAPI", "CD3", "Beta-actin"])
    columns = technical_intensities(Expression(X), found)
    np.testing.assert_array_equal(columns["DAPI_intensity"], X[:, 0])
    np.testing.assert_array_equal(columns["Beta_actin_intensity"], X[:, 2])
    assert technical_intensities(Expression(X), {}) == {}
    with pytest.raises(InputError, match="share a column"):
        technical_intensities(Expression(X), {"a b": 0, "a-b": 1})


# Splits inside a cluster

SPLIT = SubclusteringParameters(min_cells=50, n_pcs=10)


def one_cluster_of_two(n=300):
    """Cells that share most genes and differ in ten; many genes are constant among them."""
    X, truth = grouped(n * 2, seed=2)
    X[:, 60:] = 0
    X[:, 60] = 2.5  # constant and high
    members = np.flatnonzero(truth < 2)
    return X, truth, members


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_split_survives_constant_genes(storage):
    """Genes without variance inside the cluster take no part; the two kinds are found."""
    X, truth, members = one_cluster_of_two()
    found = subcluster(Expression(storage(X)), names(120), members, params=SPLIT)
    assert found.outcome == "split"
    assert adjusted_rand_score(truth[members], found.labels) > 0.95
    assert found.clustering.features.max() < 60


def test_split_does_not_depend_on_other_cells_or_the_order_of_members():
    """Other cells may hold anything; shuffled members give shuffled labels."""
    X, _, members = one_cluster_of_two()
    a = subcluster(Expression(X), names(120), members, params=SPLIT)
    changed = X.copy()
    changed[np.setdiff1d(np.arange(len(X)), members)] = 7
    b = subcluster(Expression(changed), names(120), members, params=SPLIT)
    np.testing.assert_array_equal(a.labels, b.labels)
    order = np.random.default_rng(0).permutation(len(members))
    c = subcluster(Expression(X), names(120), members[order], params=SPLIT)
    assert adjusted_rand_score(a.labels[order], c.labels) == 1.0


def test_clusters_that_stay_whole_say_why():
    """Too few cells, too few features, one group and fragments are outcomes, not errors."""
    X, truth, members = one_cluster_of_two()
    few = subcluster(Expression(X), names(120), members[:49], params=SPLIT)
    assert (few.outcome, few.n_parts) == ("too_few_cells", 1)
    assert "49 cells, fewer than the 50" in few.reason
    flat = subcluster(Expression(np.ones((80, 9), np.float32)), names(9), np.arange(80), params=SPLIT)
    assert flat.outcome == "too_few_features"
    two = np.random.default_rng(0).random((80, 2)).astype(np.float32)
    assert subcluster(Expression(two), names(2), np.arange(80), params=SPLIT).outcome == "too_few_features"
    fine = SPLIT.updated(resolution=50.0, min_subcluster_cells=40)
    broken = subcluster(Expression(X), names(120), members, params=fine)
    assert (broken.outcome, broken.n_parts) == ("fragmented", 1)
    coarse = SPLIT.updated(resolution=0.001)
    pure = members[truth[members] == 0]
    whole = subcluster(Expression(X), names(120), pure, params=coarse)
    assert whole.outcome == "one_group"
    assert set(whole.labels) == {"0"}


def test_focus_markers_restrict_the_split():
    """With chosen features only those take part."""
    X, truth, members = one_cluster_of_two()
    focus = np.arange(120) < 20
    found = subcluster(Expression(X), names(120), members, params=SPLIT, chosen=focus)
    assert found.clustering.features.max() < 20
    assert homogeneity_score(truth[members], found.labels) > 0.9


def test_split_by_stored_components_agrees():
    """Components of all cells can part a cluster without reading values."""
    X, truth, members = one_cluster_of_two()
    scores = cluster_cells(Expression(X), names(120), params=SMALL).components.scores
    found = subcluster_components(scores, members, params=SPLIT)
    assert found.outcome == "split"
    assert adjusted_rand_score(truth[members], found.labels) > 0.9
    assert subcluster_components(scores, members[:10], params=SPLIT).outcome == "too_few_cells"


def test_small_parts_join_the_nearest_part():
    """A part below the limit joins the nearest centre among parts above it."""
    scores = np.array([[0, 0]] * 5 + [[10, 0]] * 4 + [[9, 1]] * 2, dtype=np.float32)
    labels = np.array(["0"] * 5 + ["1"] * 4 + ["2"] * 2)
    merged = merge_small_groups(labels, scores, 3)
    assert merged.tolist() == ["1"] * 5 + ["0"] * 6
    assert set(merge_small_groups(labels, scores, 6)) == {"0"}
    np.testing.assert_array_equal(merge_small_groups(labels, scores, 1), labels)


def test_moments_of_members_only():
    """Moments over some rows are those of these rows."""
    X, _, members = one_cluster_of_two()
    found = gene_moments(Expression(sp.csr_matrix(X)), rows=members)
    np.testing.assert_allclose(found.sd, X[members].astype(np.float64).std(axis=0), atol=1e-9)
