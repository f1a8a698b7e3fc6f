"""Each input that cannot be read is one clear message; what can be read is read whole."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from cellkey.errors import CellkeyWarning, InputError, MissingDependencyError
from cellkey.io import read_cells
from cellkey.io.names import ORIGINAL_NAMES
from cellkey.io.on_disk import open_on_disk
from cellkey.io.opened import open_cells


def small(n_cells=20, n_genes=8) -> ad.AnnData:
    X = sp.random(n_cells, n_genes, density=0.4, format="csr", dtype=np.float32, random_state=0)
    adata = ad.AnnData(X)
    adata.obs_names = [f"c{i}" for i in range(n_cells)]
    adata.var_names = [f"g{i}" for i in range(n_genes)]
    return adata


def written(path: Path, adata: ad.AnnData | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (small() if adata is None else adata).write_h5ad(path)
    return path


def refused(path: Path, match: str, **named: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_cells(path, **named)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backed", [False, True])
def test_a_file_is_read(tmp_path, backed):
    """Values and names come back, in memory or on disk."""
    adata = read_cells(written(tmp_path / "a.h5ad"), backed=backed)
    assert adata.isbacked is backed
    np.testing.assert_array_equal(sp.csr_matrix(adata.X[:]).toarray(), small().X.toarray())
    assert ORIGINAL_NAMES not in adata.uns
    if backed:
        adata.file.close()


def test_missing_file_gets_a_suggestion(tmp_path):
    """A misspelt name is compared with its neighbours."""
    written(tmp_path / "cells.h5ad")
    refused(tmp_path / "cels.h5ad", r"does not exist; did you mean 'cells\.h5ad'")
    refused(tmp_path / "no" / "cells.h5ad", "there is no folder")


def test_folders_that_hold_no_matrix(tmp_path):
    """A folder is refused with the names of the files in it that could be meant."""
    refused(tmp_path, "is a folder")
    written(tmp_path / "cells.h5ad")
    refused(tmp_path, r"it holds cells\.h5ad")
    (tmp_path / "hg19").mkdir()  # as Cell Ranger 2 parts the genomes
    (tmp_path / "hg19" / "matrix.mtx").touch()
    refused(tmp_path, r"it holds cells\.h5ad, hg19")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty file"),
        (b"gene,cell\n", "no HDF5 file at all"),
        (gzip.compress(b"x", mtime=0), "unpack it first"),
        (b"PK\x03\x04abc", "unpack it first"),
    ],
)
def test_files_of_another_kind(tmp_path, content, match):
    """Text and archives are no HDF5 files."""
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    refused(path, match)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (["a"], "no obs and var, but a"),
        (["matrix", "row_attrs"], "looks like a loom file"),
        (["row_attrs", "col_attrs"], "looks like a loom file"),
        (["mod"], "looks like a MuData file"),
        ([], "nothing"),
    ],
)
def test_hdf5_files_of_another_kind(tmp_path, keys, match):
    """HDF5 files without obs and var are named for what they look like."""
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        for key in keys:
            file.create_group(key)
    refused(path, match)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files(tmp_path, share):
    """A file that ends too early is called truncated."""
    path = written(tmp_path / "a.h5ad")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "is truncated")


@pytest.mark.parametrize("backed", [False, True])
def test_damaged_files(tmp_path, backed):
    """Bytes overwritten inside give one line, not a trace of the library."""
    path = written(tmp_path / "a.h5ad", small(300, 50))
    content = bytearray(path.read_bytes())
    content[2048 : len(content) - 512] = bytes(len(content) - 2560)
    path.write_bytes(bytes(content))
    refused(path, "damaged|cannot be opened|is truncated|not an .h5ad file", backed=backed)


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_matrices(tmp_path, shape, backed):
    """No cells or no variables is refused."""
    path = written(tmp_path / "a.h5ad", ad.AnnData(np.ones(shape, np.float32)))
    refused(path, f"is empty: {shape[0]} cells x {shape[1]} variables", backed=backed)


@pytest.mark.parametrize("backed", [False, True])
def test_repeated_names_are_made_unique_with_a_warning(tmp_path, backed):
    """Duplicates do not stop the work; their originals are remembered."""
    data = small(4, 3)
    data.obs_names = ["a", "b", "a", "a"]
    data.var_names = ["CD4", "CD4", "CD8A"]
    path = written(tmp_path / "a.h5ad", data)
    with pytest.warns(CellkeyWarning) as caught:
        adata = read_cells(path, backed=backed)
    texts = [str(w.message) for w in caught]
    assert len(texts) == 2
    assert any("1 cell names repeat (a)" in t for t in texts)
    assert any("1 variable names repeat (CD4)" in t for t in texts)
    assert adata.obs_names.tolist() == ["a", "b", "a-1", "a-2"]
    assert adata.var_names.tolist() == ["CD4", "CD4-1", "CD8A"]
    assert list(adata.uns[ORIGINAL_NAMES]["obs"]) == ["a", "b", "a", "a"]
    if backed:
        adata.file.close()


def test_old_encodings_are_read_in_silence(tmp_path):
    """Files of early anndata versions load without a word."""
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((2, 3), np.float32)
        file["obs"] = np.array([(b"a",), (b"b",)], dtype=[("index", "S1")])
        file["var"] = np.array([(b"x",), (b"y",), (b"z",)], dtype=[("index", "S1")])
    assert read_cells(path).shape == (2, 3)


def test_zarr_stores_are_read(tmp_path):
    """A Zarr folder written by anndata gives the same values."""
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small().write_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_cells(tmp_path / "a.zarr").X.toarray(), small().X.toarray())


def test_zarr_without_its_package_names_the_extra(tmp_path, monkeypatch):
    """A missing optional package is one clear message."""
    import sys

    (tmp_path / "zarr.json").write_text("{}")
    for slot in ("obs", "var"):
        (tmp_path / slot).mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    for read in (read_cells, open_cells, open_on_disk):
        with pytest.raises(MissingDependencyError, match=r"cellkey\[spatial\]"):
            read(tmp_path)


def tenx_h5(path: Path, counts: np.ndarray, kinds: list[str]) -> Path:
    X = sp.csr_matrix(counts)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([b"AA-1", b"CC-1", b"GG-1"])
        group["data"], group["indices"], group["indptr"] = X.data, X.indices, X.indptr
        group["shape"] = np.array(counts.T.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([b"ENSG1", b"ENSG2", b"ENSG3", b"P1"])
        features["name"] = np.array([b"CD4", b"CD8A", b"MS4A1", b"CD4_protein"])
        features["feature_type"] = np.array([k.encode() for k in kinds])
    return path


COUNTS = np.array([[1, 0, 2, 9], [0, 3, 0, 8], [4, 0, 0, 7]], dtype=np.int32)


def test_10x_file(tmp_path):
    """Cells x genes, symbols as names, identifiers beside."""
    adata = read_cells(tenx_h5(tmp_path / "f.h5", COUNTS, ["Gene Expression"] * 4))
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert adata.var_names.tolist() == ["CD4", "CD8A", "MS4A1", "CD4_protein"]
    assert adata.var["gene_ids"].tolist() == ["ENSG1", "ENSG2", "ENSG3", "P1"]
    assert adata.obs_names.tolist() == ["AA-1", "CC-1", "GG-1"]


def test_10x_file_of_two_genomes_says_so(tmp_path):
    """All genes are kept; how many belong to which genome is told, without the antibodies."""
    path = tenx_h5(tmp_path / "f.h5", COUNTS, ["Gene Expression"] * 3 + ["Antibody Capture"])
    with h5py.File(path, "a") as file:
        file["matrix/features/genome"] = np.array([b"GRCh38", b"GRCh38", b"mm10", b""])
    with pytest.warns(CellkeyWarning) as said:
        adata = read_cells(path)
    assert "2 genomes: GRCh38 (2 genes), mm10 (1 genes)" in str(said[0].message)
    assert adata.n_vars == 3


def test_10x_file_with_proteins_keeps_genes(tmp_path):
    """Other feature types are left out with a warning."""
    path = tenx_h5(tmp_path / "f.h5", COUNTS, ["Gene Expression"] * 3 + ["Antibody Capture"])
    with pytest.warns(CellkeyWarning, match="Antibody Capture"):
        adata = read_cells(path)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS[:, :3])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_10x_folder(tmp_path, zipped, old):
    """Folders of version 2 (genes.tsv) and 3 (features.tsv.gz) are read."""
    scipy.io.mmwrite(tmp_path / "matrix.mtx", sp.coo_matrix(COUNTS[:, :3].T))
    (tmp_path / "barcodes.tsv").write_text("AA-1\nCC-1\nGG-1\n")
    names = ["ENSG1\tCD4", "ENSG2\tCD8A", "ENSG3\tNA"]
    kind = "" if old else "\tGene Expression"
    (tmp_path / ("genes.tsv" if old else "features.tsv")).write_text("".join(f"{n}{kind}\n" for n in names))
    if zipped:
        for path in list(tmp_path.iterdir()):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    adata = read_cells(tmp_path)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS[:, :3])
    assert adata.var_names.tolist() == ["CD4", "CD8A", "NA"]


def test_10x_folder_with_parts_missing_or_not_fitting(tmp_path):
    """Each missing part is named; numbers that do not fit are both told."""
    scipy.io.mmwrite(tmp_path / "matrix.mtx", sp.coo_matrix(COUNTS.T))
    refused(tmp_path, "no barcodes.tsv")
    (tmp_path / "barcodes.tsv").write_text("AA-1\nCC-1\n")
    refused(tmp_path, r"no features.tsv or genes.tsv")
    (tmp_path / "features.tsv").write_text("ENSG1\tCD4\nENSG2\tCD8A\n")
    refused(tmp_path, "3 cells x 4 variables, but there are 2 barcodes and 2 features")


def test_unreadable_permission(tmp_path, monkeypatch):
    """A file that may not be read says so."""
    path = written(tmp_path / "a.h5ad")

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)
    refused(path, "Permission denied")


def test_labelled_data_are_read(labelled_data):
    """Real files load without warnings."""
    adata = read_cells(labelled_data / "pbmc3k.h5ad", backed=True)
    assert adata.n_obs == 2638
    assert isinstance(adata.obs, pd.DataFrame)
    adata.file.close()


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
@pytest.mark.parametrize("repeated", [False, True])
def test_cells_have_the_keys_of_their_names_without_their_names_being_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, repeated: bool
) -> None:
    """Also where names repeat, inside a block of names and across blocks: then they are made unique first."""
    from cellkey.io import opened
    from cellkey.io.names import cell_keys

    monkeypatch.setattr(opened, "_NAMES", 4)
    names = [f"cell {i}" for i in range(10)]
    if repeated:
        names[1], names[9] = names[0], names[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata on repeated names, and on the form of Zarr stores
        adata = ad.AnnData(sp.csr_matrix(np.eye(10, dtype=np.float32)), obs=pd.DataFrame(index=names))
        getattr(adata, f"write_{store}")(tmp_path / f"cells.{store}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cells = opened.open_cells(tmp_path / f"cells.{store}")
    assert any("cell names repeat" in str(w.message) for w in said) == repeated
    assert cells is not None
    keys = cells.cell_keys()
    assert ("obs" in cells._frames) == repeated
    assert np.array_equal(keys, cell_keys(cells.obs_names))
    assert len(set(keys)) == 10
    assert list(cells.obs_names[:2]) == (["cell 0", "cell 0-1"] if repeated else names[:2])
