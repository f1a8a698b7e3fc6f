"""Generated data hold what they promise, and repeat under a seed."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import anndata as ad
import numpy as np
import pytest

from cellkey.clustering import inspect_matrix
from cellkey.datasets import large as large_module
from cellkey.datasets import (
    large_counts,
    marker_map,
    pbmc68k_reduced,
    synthetic_protein,
    synthetic_rna,
    write_large_counts,
)
from cellkey.datasets.known_tree import PROTEIN_MAP, RNA_MAP, leaves
from cellkey.errors import MissingDependencyError, ParameterError


@pytest.mark.parametrize("nodes", [RNA_MAP, PROTEIN_MAP])
def test_markers_of_the_tree_are_exclusive(nodes):
    """A marker belongs to one node only, labels do not repeat."""
    found = leaves(nodes)
    labels = [leaf.label for leaf in found]
    assert len(set(labels)) == len(labels)
    own: dict[str, tuple[str, ...]] = {}

    def walk(node, path):
        for label, child in node.items():
            for marker in child["markers"]:
                assert marker not in own, marker
                own[marker] = (*path, label)
            walk(child.get("children", {}), (*path, label))

    walk(nodes, ())
    for leaf in found:
        assert set(leaf.markers) == {m for m, path in own.items() if path == leaf.path[: len(path)]}


@pytest.mark.parametrize("density", [0.1, 0.2])
def test_counts_have_the_promised_density_and_markers(density):
    """Whole counts, 10 to 20 % not zero; markers are seen in their types and hardly elsewhere."""
    data = synthetic_rna(800, 600, density=density, seed=1)
    X = data.adata.X
    assert X.format == "csr"
    assert (X.data == np.round(X.data)).all()
    assert X.nnz / (800 * 600) == pytest.approx(density, rel=0.25)
    seen = X.toarray() > 0
    place = {name: i for i, name in enumerate(data.adata.var_names)}
    for leaf in leaves(data.marker_map):
        inside = data.labels == leaf.label
        root = data.adata.obs["true_root"].to_numpy() == leaf.path[0]
        for marker in leaf.markers:
            assert seen[inside, place[marker]].mean() > 0.75
            assert seen[~root, place[marker]].mean() < 0.05
    assert inspect_matrix(X, warn=False).kind == "counts"


def test_truth_is_complete():
    """Labels, paths and roots belong together; merged leaves share an id."""
    data = synthetic_rna(400, 300, merged=[("Monocytes", "Macrophages")], gates=True)
    obs = data.adata.obs.astype(str)
    np.testing.assert_array_equal(obs["true_label"], data.labels)
    assert (obs["true_path"].str.split(" / ").str[-1] == obs["true_label"]).all()
    assert (obs["true_path"].str.split(" / ").str[0] == obs["true_root"]).all()
    ids = obs.groupby("true_label")["true_cluster"].unique()
    assert all(len(i) == 1 for i in ids)
    assert ids["Monocytes"][0] == ids["Macrophages"][0]
    assert obs["true_cluster"].nunique() == 12
    assert "root_veto_markers" in data.marker_map["_gating_params"]
    assert "_gating_params" not in marker_map()


def test_thinning_keeps_a_share_of_the_same_molecules():
    """Thinned counts are at most the full ones and 40 % of them in sum."""
    full, thin = synthetic_rna(300, 300), synthetic_rna(300, 300, thin=0.4)
    assert (thin.adata.X > full.adata.X).nnz == 0
    assert thin.adata.X.sum() / full.adata.X.sum() == pytest.approx(0.4, abs=0.02)
    np.testing.assert_array_equal(full.labels, thin.labels)


def test_doublets_show_markers_of_two_types():
    """Doublets are marked and hold more molecules."""
    data = synthetic_rna(1000, 300, doublets=0.2)
    double = data.adata.obs["is_doublet"].to_numpy()
    assert double.mean() == pytest.approx(0.2, abs=0.04)
    total = np.asarray(data.adata.X.sum(axis=1)).ravel()
    assert total[double].mean() > 1.2 * total[~double].mean()


def test_seed_and_proportions():
    """Same seed, same cells; another seed, others; proportions are kept to a cell."""
    a, b, c = (
        synthetic_rna(200, 200, seed=3),
        synthetic_rna(200, 200, seed=3),
        synthetic_rna(200, 200, seed=4),
    )
    assert (a.adata.X != b.adata.X).nnz == 0
    assert (a.adata.X != c.adata.X).nnz > 0
    share = [2.0] + [1.0] * 12
    data = synthetic_rna(1400, 200, proportions=share)
    assert (data.labels == "CD4 T Cells").sum() == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_genes": 50},
        {"thin": 1.5},
        {"doublets": -0.1},
        {"merged": [("Monocyte",)]},
        {"proportions": [1.0]},
        {"n_cells": 0},
    ],
)
def test_impossible_requests_are_refused(wrong):
    """Sizes and shares out of range and unknown labels are named."""
    with pytest.raises(ParameterError):
        synthetic_rna(**wrong)


@pytest.mark.parametrize("n_markers", [20, 40, 60])
def test_protein_panels(n_markers):
    """Dense intensities with technical markers; markers are bright in their cells."""
    data = synthetic_protein(1200, n_markers)
    X = data.adata.X
    assert isinstance(X, np.ndarray)
    assert X.dtype == np.float32
    assert X.shape == (1200, n_markers)
    assert {"DAPI", "Collagen IV", "Beta-actin"} <= set(data.adata.var_names)
    report = inspect_matrix(X, warn=False)
    assert (report.kind, report.transform) == ("intensity", "none")
    bright = data.adata[:, "CD45"].X.ravel() > 1.4
    immune = data.adata.obs["true_root"].to_numpy() == "Immune Cells"
    assert (bright == immune).mean() > 0.98


def test_protein_epithelium_is_one_cluster_with_a_nearly_pure_ciliated_half():
    """The case of a pure subcluster whose own lineage is not enriched within its parent."""
    data = synthetic_protein(2000)
    obs = data.adata.obs
    half = obs["epithelial_half"].to_numpy() == "ciliated"
    assert (data.labels[half] == "Ciliated Epithelium").mean() == pytest.approx(0.97, abs=0.005)
    assert set(obs["true_cluster"][obs["epithelial_half"] != ""].astype(str)) == {"Epithelium"}
    rest = obs["epithelial_half"].to_numpy() == "rest"
    assert set(data.labels[rest]) == {"Secretory Epithelium", "Basal Cells"}
    assert half.sum() == rest.sum()


def test_large_counts_do_not_depend_on_blocks(monkeypatch, tmp_path):
    """Memory and file hold the same cells, whatever the blocks; rows have ascending genes."""
    X, types, nodes = large_counts(700, 300, seed=2)
    monkeypatch.setattr(large_module, "_BLOCK_CELLS", 128)
    assert write_large_counts(tmp_path / "x.h5ad", 700, 300, seed=2, compression="lzf") == nodes
    stored = ad.read_h5ad(tmp_path / "x.h5ad")
    assert (stored.X != X).nnz == 0
    np.testing.assert_array_equal(stored.obs["true_type"].astype(int), types)
    assert X.has_sorted_indices
    assert stored.var_names[0] == "PTPRC"
    stored.write_h5ad(tmp_path / "y.h5ad")


def test_large_counts_look_like_counts():
    """About a tenth of the values of a whole transcriptome is not zero; types differ."""
    X, types, _ = large_counts(200, 20_000)
    assert X.nnz / (200 * 20_000) == pytest.approx(0.11, abs=0.02)
    assert inspect_matrix(X, warn=False).kind == "counts"
    assert len(np.unique(types)) == 20
    deep, _, _ = large_counts(100, 500, depth=1000)
    assert np.asarray(deep.sum(axis=1)).mean() == pytest.approx(1000, rel=0.15)


def test_bundled_blood_cells():
    """X is log-normalised, labels of the authors are there, and nothing is fetched."""
    if find_spec("scanpy") is None:
        pytest.skip("scanpy is not installed")
    adata = pbmc68k_reduced()
    assert adata.shape == (700, 765)
    assert adata.X.format == "csr"
    assert adata.X.min() == 0
    assert adata.X.max() < 7
    assert inspect_matrix(adata.X, warn=False).kind == "log-normalised"
    assert "CD19+ B" in set(adata.obs["bulk_labels"])
    assert adata.raw is None


def test_bundled_data_without_their_package(monkeypatch):
    """A missing package is one message with the extra."""
    from cellkey.datasets import bundled

    monkeypatch.setattr(bundled, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"cellkey\[scanpy\]"):
        pbmc68k_reduced()


def test_bundled_data_load_without_importing_scanpy():
    """Reading the file does not pay for the import of the package."""
    import subprocess

    code = (
        "import sys; from cellkey.datasets import pbmc68k_reduced; pbmc68k_reduced(); "
        "print('scanpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
