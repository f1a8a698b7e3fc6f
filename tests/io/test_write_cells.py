"""A written file is whole, holds the values of the input, and survives a second reading and writing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkey.errors import CellkeyWarning, ParameterError, RunError
from cellkey.io import link_or_copy, read_cells, write_cells
from cellkey.io import write as write_module


def rich(form=sp.csr_matrix) -> ad.AnnData:
    """An object that uses every slot."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.5, size=(30, 6)).astype(np.float32)
    adata = ad.AnnData(form(X))
    adata.obs_names = [f"c{i}" for i in range(30)]
    adata.var_names = list("abcdef")
    adata.obs["sample"] = ["x", "y", "z"] * 10
    adata.obs["unique"] = [f"u{i}" for i in range(30)]
    adata.obs["label"] = pd.Categorical(["T", "B"] * 15)
    adata.obs["part"] = pd.Categorical([1, 2] * 15)
    adata.obs["some"] = ["a", None, np.nan] * 10
    adata.obs["yes"] = [True, False] * 15
    adata.obs["n"] = np.arange(30)
    adata.obs["s"] = pd.array(["p", "q"] * 15, dtype="string")
    adata.var["mt"] = [True, False] * 3
    adata.layers["counts"] = sp.csc_matrix(X)
    adata.obsm["spatial"] = rng.random((30, 2))
    adata.obsp["graph"] = sp.eye(30, format="csr")
    adata.varm["PCs"] = rng.random((6, 2))
    adata.uns["source"] = {"doi": "10.1/x", "n": 3, "names": np.array(["a", "b"], dtype=object)}
    adata.raw = adata.copy()
    return adata


def values(X: object) -> np.ndarray:
    return X.toarray() if sp.issparse(X) else np.asarray(X)


def same(a: ad.AnnData, b: ad.AnnData) -> None:
    np.testing.assert_array_equal(values(a.X), values(b.X))
    assert a.X.dtype == b.X.dtype
    assert a.obs_names.tolist() == b.obs_names.tolist()
    assert a.var_names.tolist() == b.var_names.tolist()
    assert list(a.obs.columns) == list(b.obs.columns)
    for slot in ("layers", "obsm", "obsp", "varm"):
        assert set(getattr(a, slot)) == set(getattr(b, slot))
        for key in getattr(a, slot):
            np.testing.assert_array_equal(values(getattr(a, slot)[key]), values(getattr(b, slot)[key]))


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
@pytest.mark.parametrize("x_format", ["csr", "as-input"])
@pytest.mark.parametrize("compression", ["lzf", "gzip", "none"])
def test_round_trip_of_every_slot(tmp_path, form, x_format, compression):
    """What is written is read back, twice over, and X is CSR unless asked otherwise."""
    adata = rich(form)
    write_cells(adata, tmp_path / "a.h5ad", x_format=x_format, compression=compression)
    once = ad.read_h5ad(tmp_path / "a.h5ad")
    same(once, adata)
    expected = sp.csr_matrix if x_format == "csr" else type(form(np.eye(2)))
    assert isinstance(once.X, expected)
    once.write_h5ad(tmp_path / "b.h5ad")
    same(ad.read_h5ad(tmp_path / "b.h5ad"), adata)
    write_cells(read_cells(tmp_path / "b.h5ad"), tmp_path / "c.h5ad")
    third = ad.read_h5ad(tmp_path / "c.h5ad")
    same(third, adata)
    assert third.uns["source"]["doi"] == "10.1/x"
    np.testing.assert_array_equal(values(third.raw.X), values(adata.raw.X))


def test_text_becomes_categories(tmp_path):
    """Repeated text is categorical, missing stays missing, unique text and numbers stay as they are."""
    adata = rich()
    before = adata.obs.copy()
    write_cells(adata, tmp_path / "a.h5ad")
    obs = ad.read_h5ad(tmp_path / "a.h5ad").obs
    for column in ("sample", "label", "some", "s"):
        assert isinstance(obs[column].dtype, pd.CategoricalDtype), column
    assert obs["some"].isna().sum() == 20
    assert obs["unique"].dtype == object
    assert obs["part"].cat.categories.tolist() == [1, 2]
    assert obs["yes"].dtype == bool
    pd.testing.assert_frame_equal(adata.obs, before)  # the input is not changed


def test_mixed_columns_are_written_as_text_with_a_warning(tmp_path):
    """A column that no file can hold as it is does not stop the run."""
    adata = rich()
    adata.obs["mixed"] = [1, "a", None] * 10
    with pytest.warns(CellkeyWarning, match="'mixed'"):
        write_cells(adata, tmp_path / "a.h5ad")
    assert set(ad.read_h5ad(tmp_path / "a.h5ad").obs["mixed"].dropna()) == {"1", "a"}


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.uint8])
def test_values_keep_their_type(tmp_path, dtype):
    """Integers stay integers."""
    X = np.arange(12).reshape(4, 3).astype(dtype)
    write_cells(ad.AnnData(X), tmp_path / "a.h5ad")
    stored = ad.read_h5ad(tmp_path / "a.h5ad").X
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored.toarray(), X)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("x_format", ["csr", "as-input"])
def test_backed_input_is_copied_in_blocks(tmp_path, monkeypatch, form, x_format):
    """X on disk is written without being read as a whole, whatever its form; blocks do not show."""
    monkeypatch.setattr(write_module, "_BLOCK_CELLS", 7)
    adata = rich({"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[form])
    write_cells(adata, tmp_path / "a.h5ad", x_format="as-input")
    source = read_cells(tmp_path / "a.h5ad", backed=True)
    write_cells(source, tmp_path / "b.h5ad", x_format=x_format)
    source.file.close()
    again = ad.read_h5ad(tmp_path / "b.h5ad")
    same(again, adata)
    assert getattr(again.X, "format", "dense") == ("csr" if x_format == "csr" else form)
    again.write_h5ad(tmp_path / "c.h5ad")
    same(ad.read_h5ad(tmp_path / "c.h5ad"), adata)


def test_repeated_names_are_restored(tmp_path):
    """Names made unique for the work are written as they were."""
    adata = rich()
    adata.obs_names = ["c"] * 30
    adata.var_names = ["a", "a", "b", "b", "b", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(tmp_path / "in.h5ad")
        work = read_cells(tmp_path / "in.h5ad")
    assert work.var_names.is_unique
    write_cells(work, tmp_path / "out.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = ad.read_h5ad(tmp_path / "out.h5ad")
    assert back.var_names.tolist() == ["a", "a", "b", "b", "b", "c"]
    assert back.obs_names.tolist() == ["c"] * 30
    assert "cellkey_original_names" not in back.uns


def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    """A full disk leaves the earlier file and no temporary one."""
    import anndata.io

    path = tmp_path / "a.h5ad"
    write_cells(rich(), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(anndata.io, "write_elem", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_cells(rich(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_disk_that_fills_up_while_writing_is_one_message(tmp_path):
    """The reason that HDF5 reports in the middle of a write reaches the user as one sentence."""
    code = (
        "import resource, signal, sys\n"
        "import numpy as np, anndata as ad\n"
        "from cellkey.errors import RunError\n"
        "from cellkey.io import write_cells\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n"
        "    write_cells(ad.AnnData(np.random.default_rng(0).random((2000, 100))), sys.argv[1])\n"
        "except RunError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "a.h5ad"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot write {path}: File too large")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_a_run_error(tmp_path):
    """A folder that does not exist is told with the path."""
    with pytest.raises(RunError, match="No such file"):
        write_cells(rich(), tmp_path / "no" / "a.h5ad")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_a_run_error(tmp_path):
    """A folder that may not be written is told with the path."""
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        write_cells(rich(), tmp_path / "a.h5ad")


def test_options_are_checked(tmp_path):
    """Unknown forms and compressions are refused before anything is written."""
    with pytest.raises(ParameterError, match="x_format"):
        write_cells(rich(), tmp_path / "a.h5ad", x_format="coo")
    with pytest.raises(ParameterError, match="compression"):
        write_cells(rich(), tmp_path / "a.h5ad", compression="bzip")
    assert list(tmp_path.iterdir()) == []


def test_zstd_without_its_package_falls_back_with_a_warning(tmp_path, monkeypatch):
    """A compression that readers may lack is only used when its package is there."""
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.warns(CellkeyWarning, match="'lzf' is used"):
        write_cells(rich(), tmp_path / "a.h5ad", compression="zstd")
    same(ad.read_h5ad(tmp_path / "a.h5ad"), rich())


def test_link_or_copy(tmp_path, monkeypatch):
    """A second name costs no space; where links fail it is a copy; both replace an earlier file."""
    source, target = tmp_path / "a.h5ad", tmp_path / "b.h5ad"
    source.write_bytes(b"1")
    target.write_bytes(b"old")
    link_or_copy(source, target)
    assert target.read_bytes() == b"1"
    assert source.stat().st_ino == target.stat().st_ino
    link_or_copy(source, target)  # again, onto itself

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_or_copy(source, target)
    assert source.stat().st_ino != target.stat().st_ino
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


def test_labels_are_updated_in_a_copy(tmp_path):
    """New columns and entries go into a copy of the file; the matrix and the source stay as they were."""
    from cellkey.io.update import update_copy

    write_cells(rich(), tmp_path / "a.h5ad")
    before = (tmp_path / "a.h5ad").read_bytes()
    update_copy(
        tmp_path / "a.h5ad", tmp_path / "b.h5ad", obs={"new": pd.Categorical(["x"] * 30)}, uns={"note": "n"}
    )
    assert (tmp_path / "a.h5ad").read_bytes() == before
    changed = ad.read_h5ad(tmp_path / "b.h5ad")
    assert set(changed.obs["new"]) == {"x"}
    assert changed.uns["note"] == "n"
    np.testing.assert_array_equal(changed.X.toarray(), rich().X.toarray())


def test_a_copy_made_ahead_is_the_file_byte_by_byte(tmp_path, monkeypatch):
    from cellkey.io import update

    monkeypatch.setattr(update, "_PIECE", 1000)
    source = tmp_path / "a.h5ad"
    source.write_bytes(os.urandom(10_123))
    with update.CopyAhead(source, tmp_path) as ahead:
        ahead.take(tmp_path / "b.h5ad")
    assert (tmp_path / "b.h5ad").read_bytes() == source.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


def test_labels_go_into_a_copy_made_ahead(tmp_path):
    from cellkey.io.update import CopyAhead, update_copy

    write_cells(rich(), tmp_path / "a.h5ad")
    with CopyAhead(tmp_path / "a.h5ad", tmp_path) as ahead:
        update_copy(tmp_path / "a.h5ad", tmp_path / "b.h5ad", obs={"new": [1.0] * 30}, uns={}, ahead=ahead)
    assert (ad.read_h5ad(tmp_path / "b.h5ad").obs["new"] == 1).all()
    assert "new" not in ad.read_h5ad(tmp_path / "a.h5ad").obs


def test_a_copy_is_given_up_when_the_work_fails(tmp_path, monkeypatch):
    """A long copy neither holds the message back nor stays behind."""
    from cellkey.io import update

    monkeypatch.setattr(update, "_PIECE", 1)
    source = tmp_path / "a.h5ad"
    with source.open("wb") as file:
        file.truncate(2**40)  # takes no space, and days to copy byte by byte
    with pytest.raises(KeyError), update.CopyAhead(source, tmp_path):
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_a_copy_that_failed_is_told_where_it_is_needed(tmp_path):
    from cellkey.io.update import CopyAhead, update_copy

    gone = tmp_path / "gone.h5ad"
    with pytest.raises(RunError, match=r"cannot write .*No such file"), CopyAhead(gone, tmp_path) as ahead:
        update_copy(gone, tmp_path / "b.h5ad", obs={}, uns={}, ahead=ahead)
    assert not list(tmp_path.iterdir())
