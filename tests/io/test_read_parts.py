"""One table of several: loom files, SpatialData stores, MuData files and old 10x files as their makers write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from cellkey.errors import CellkeyWarning, InputError, ParameterError
from cellkey.io import read_cells
from cellkey.io.forms import recognise
from cellkey.io.parts import spatialdata_problems

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(1.0, (30, 7)).astype(np.float32)


def cells(n_vars: int = 7, prefix: str = "g") -> ad.AnnData:
    obs = pd.DataFrame({"own": [f"o{i % 3}" for i in range(30)]}, index=[f"c{i}" for i in range(30)])
    return ad.AnnData(sp.csr_matrix(COUNTS[:, :n_vars]), obs=obs, var=pd.DataFrame(
        index=[f"{prefix}{i}" for i in range(n_vars)]))


# --- loom ---


def loom(path: Path, *, genes: str = "Gene", n_cells: int = 30) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=COUNTS.T, chunks=(4, 8), compression="gzip")
        file.create_dataset("layers/spliced", data=COUNTS.T * 2)
        file["row_attrs/" + genes] = np.array([f"g{i}" for i in range(7)], dtype=object)
        file["row_attrs/Chromosome"] = np.array([b"1"] * 7)
        file["col_attrs/CellID"] = np.array([f"c{i}" for i in range(n_cells)], dtype=object)
        file["col_attrs/Clusters"] = np.arange(n_cells) % 2
        file["col_attrs/Embedding"] = np.ones((n_cells, 2))
        file.create_group("col_graphs")
    return path


def test_loom_files_are_turned_around(tmp_path: Path) -> None:
    """Genes in rows become columns; layers, attributes and embeddings come along."""
    adata = read_cells(loom(tmp_path / "a.loom"))
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    np.testing.assert_array_equal(adata.layers["spliced"].toarray(), COUNTS * 2)
    assert adata.obs_names[:2].tolist() == ["c0", "c1"]
    assert adata.var_names.tolist() == [f"g{i}" for i in range(7)]
    assert adata.obs["Clusters"].tolist()[:3] == [0, 1, 0]
    assert adata.var["Chromosome"].tolist() == ["1"] * 7
    assert adata.obsm["Embedding"].shape == (30, 2)


def test_loom_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many blocks gives the same matrix."""
    monkeypatch.setattr("cellkey.io.loom._BLOCK_VALUES", 1)
    wide = np.arange(3 * 200, dtype=np.float32).reshape(200, 3)
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = wide.T
        file["row_attrs/Gene"] = np.array(["a", "b", "c"], dtype=object)
        file["col_attrs/CellID"] = np.array([str(i) for i in range(200)], dtype=object)
    np.testing.assert_array_equal(read_cells(tmp_path / "a.loom").X.toarray(), wide)


def test_loom_files_that_cannot_be_used(tmp_path: Path) -> None:
    """Genes without names and attributes of another length are refused."""
    with pytest.raises(InputError, match=r"names no genes: row_attrs holds Chromosome, Something"):
        read_cells(loom(tmp_path / "a.loom", genes="Something"))
    with pytest.raises(InputError, match=r"29 values for 30 cells"):
        read_cells(loom(tmp_path / "b.loom", n_cells=29))


# --- SpatialData ---


def spatial_table(region: str = "cells") -> ad.AnnData:
    table = cells()
    table.obs["region"] = pd.Categorical([region] * 30)
    table.obs["cell_id"] = np.arange(30)
    table.obsm["spatial"] = RNG.random((30, 2))
    table.uns["spatialdata_attrs"] = {"region": region, "region_key": "region", "instance_key": "cell_id"}
    return table


def spatial_store(path: Path, **tables: ad.AnnData) -> Path:
    zarr = pytest.importorskip("zarr")
    from anndata.io import write_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.open_group(str(path), mode="w")
        root.create_group("shapes")
        for name, table in tables.items():
            write_elem(root.require_group("tables"), name, table)
    return path


def test_the_only_table_of_a_store_is_read(tmp_path: Path) -> None:
    """Values, coordinates and the link to the regions come along."""
    adata = read_cells(spatial_store(tmp_path / "a.zarr", cells=spatial_table()))
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert adata.obsm["spatial"].shape == (30, 2)
    assert adata.uns["spatialdata_attrs"]["instance_key"] == "cell_id"
    assert spatialdata_problems(adata) == []


def test_several_tables_are_listed(tmp_path: Path) -> None:
    """A choice is never made in silence."""
    path = spatial_store(tmp_path / "a.zarr", cells=spatial_table(), nuclei=spatial_table())
    with pytest.raises(InputError, match=r"holds 2 tables \(cells, nuclei\): name one with --table NAME"):
        read_cells(path)
    with pytest.raises(InputError, match=r"no table 'nucleus'; did you mean 'nuclei'\?; it holds cells, nuclei"):
        read_cells(path, table="nucleus")
    assert read_cells(path, table="nuclei").n_obs == 30


def test_stores_without_tables_and_other_stores(tmp_path: Path) -> None:
    """What a store holds instead is said."""
    with pytest.raises(InputError, match=r"without a table of cells \(it holds shapes\)"):
        read_cells(spatial_store(tmp_path / "a.zarr"))
    (tmp_path / "b.zarr" / "temperature").mkdir(parents=True)
    (tmp_path / "b.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no cells: expected obs and var, or tables, found temperature"):
        read_cells(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.obs.__setitem__("region", "other"), "holds other, but the regions are cells"),
        (lambda t: t.obs.__delitem__("cell_id"), "no column 'cell_id'"),
        (lambda t: t.obs.__setitem__("cell_id", 1), "29 cells repeat a pair"),
        (lambda t: t.uns["spatialdata_attrs"].pop("region_key"), "lacks region_key"),
    ],
)
def test_broken_links_to_regions_are_told(tmp_path: Path, change, match: str) -> None:
    """A table whose link is broken is read with a warning that says how."""
    table = spatial_table()
    change(table)
    assert any(match in p for p in spatialdata_problems(table))
    with pytest.warns(CellkeyWarning, match=match):
        read_cells(spatial_store(tmp_path / "a.zarr", cells=table))


# --- MuData ---


def mudata_file(path: Path) -> Path:
    mudata = pytest.importorskip("mudata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mudata.MuData({"rna": cells(), "prot": cells(3, "p")[:20].copy()})
        whole.obs["joint"] = np.arange(whole.n_obs)
        whole.obsm["X_wnn"] = np.arange(2 * whole.n_obs).reshape(-1, 2)
        (whole.write if path.suffix == ".h5mu" else whole.write_zarr)(path)
    return path


@pytest.mark.parametrize("name", ["a.h5mu", "a.zarr"])
def test_modalities_are_chosen_by_name(tmp_path: Path, name: str) -> None:
    """Each modality is read with its own cells and the joint columns."""
    path = mudata_file(tmp_path / name)
    with pytest.raises(InputError, match=r"holds 2 modalities \(prot, rna\): name one with --modality NAME"):
        read_cells(path)
    rna, protein = (read_cells(path, modality=m) for m in ("rna", "prot"))
    np.testing.assert_array_equal(rna.X.toarray(), COUNTS)
    assert protein.shape == (20, 3)
    assert protein.obs["joint"].tolist() == list(range(20))
    assert protein.obs["own"].tolist()[:3] == ["o0", "o1", "o2"]
    assert protein.obsm["X_wnn"][19].tolist() == [38, 39]
    assert not any(":" in c for c in rna.obs)


def test_a_part_of_a_form_without_parts(tmp_path: Path) -> None:
    """Naming a table or modality where there is none is an error, not ignored."""
    path = loom(tmp_path / "a.loom")
    with pytest.raises(ParameterError, match=r"of the form loom and has no modality: leave out --modality rna"):
        read_cells(path, modality="rna")
    with pytest.raises(ParameterError, match="has no table"):
        read_cells(path, table="cells")


# --- 10x of version 2, and folders as repositories hold them ---


def old_tenx(path: Path, *genomes: str) -> Path:
    X = sp.csr_matrix(COUNTS)
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr
            group["shape"] = np.array([7, 30])
            group["barcodes"] = np.array([f"c{i}".encode() for i in range(30)])
            group["genes"] = np.array([f"ENSG{i}".encode() for i in range(7)])
            group["gene_names"] = np.array([f"g{i}".encode() for i in range(7)])
    return path


def test_10x_files_of_version_2(tmp_path: Path) -> None:
    """One genome is read, several are listed."""
    path = old_tenx(tmp_path / "a.h5", "GRCh38")
    assert recognise(path) == "10x-h5-v2"
    adata = read_cells(path)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert adata.var["gene_ids"].tolist() == [f"ENSG{i}" for i in range(7)]
    with pytest.raises(InputError, match="genomes hg19, mm10: annotate one species"):
        read_cells(old_tenx(tmp_path / "b.h5", "hg19", "mm10"))


def test_folders_with_a_prefix(tmp_path: Path) -> None:
    """The three files may share a prefix; two sets in one folder are refused."""
    for prefix in ("GSM1_", "GSM2_"):
        scipy.io.mmwrite(tmp_path / f"{prefix}matrix.mtx", sp.coo_matrix(COUNTS.T))
        (tmp_path / f"{prefix}barcodes.tsv").write_text("\n".join(f"c{i}" for i in range(30)))
        (tmp_path / f"{prefix}features.tsv").write_text("\n".join(f"ENSG{i}\tg{i}" for i in range(7)))
        if prefix == "GSM1_":
            np.testing.assert_array_equal(read_cells(tmp_path).X.toarray(), COUNTS)
    with pytest.raises(InputError, match=r"holds 2 matrices \(GSM1_, GSM2_\)"):
        read_cells(tmp_path)


@pytest.mark.real_data
def test_real_cells_give_the_same_through_every_form(tmp_path: Path, labelled_data: Path) -> None:
    """Values of a real data set are the same from h5ad and loom."""
    adata = ad.read_h5ad(labelled_data / "pbmc3k.h5ad")[:200, :500].copy()
    X = np.asarray(adata.X.todense() if sp.issparse(adata.X) else adata.X)
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = X.T
        file["row_attrs/Gene"] = adata.var_names.to_numpy(dtype=object)
        file["col_attrs/CellID"] = adata.obs_names.to_numpy(dtype=object)
    read = read_cells(tmp_path / "a.loom")
    np.testing.assert_array_equal(read.X.toarray(), X)
    assert list(read.var_names) == list(adata.var_names)
