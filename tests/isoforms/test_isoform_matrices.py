"""Matrices of a bundle: three encodings, one content, and clear words where they do not fit their tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cellkey.errors import BundleError
from cellkey.isoforms.bundle import Bundle, FeatureKind, make_bundle
from cellkey.isoforms.bundle_io import read_bundle, write_bundle
from cellkey.isoforms.matrices import read_matrix, write_matrix
from cellkey.isoforms.synthetic import simulate
from cellkey.isoforms.validation import validate_bundle

ENCODINGS = ("dense_npz", "sparse_npz", "parquet")


def _stored(encoding: str) -> Bundle:
    bundle = simulate("toy_v1")
    tables = {FeatureKind.TRANSCRIPT: bundle.transcripts, FeatureKind.PSI: bundle.tables["psi"]}
    return make_bundle(
        dataset_name="toy", samples=bundle.samples, tables=tables, matrices=bundle.matrices, encoding=encoding
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_hold_the_same_matrix(encoding: str, tmp_path: Path) -> None:
    """What is read is what was written, and two writes give the same bytes."""
    bundle = _stored(encoding)
    write_bundle(bundle, tmp_path / "a")
    write_bundle(bundle, tmp_path / "b")
    found = read_bundle(tmp_path / "a")
    for assay, matrix in bundle.matrices.items():
        np.testing.assert_array_equal(found.matrices[assay], matrix)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert {m.encoding for m in found.manifest.matrices} == {encoding}


def test_sparse_matrices_are_those_of_scipy(tmp_path: Path) -> None:
    """Either side reads what the other wrote."""
    matrix = np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]])
    write_matrix(matrix, tmp_path / "own.npz", encoding="sparse_npz")
    np.testing.assert_array_equal(sparse.load_npz(tmp_path / "own.npz").toarray(), matrix)
    sparse.save_npz(tmp_path / "theirs.npz", sparse.csr_matrix(matrix))
    np.testing.assert_array_equal(read_matrix(tmp_path / "theirs.npz", "sparse_npz"), matrix)


def test_other_encoding_than_the_manifest_says(tmp_path: Path) -> None:
    """The message names both encodings."""
    write_matrix(np.eye(3), tmp_path / "x.npz", encoding="sparse_npz")
    with pytest.raises(BundleError, match="stored as sparse_npz, the manifest says encoding = dense_npz"):
        read_matrix(tmp_path / "x.npz")


def test_broken_sparse_matrices_are_refused(tmp_path: Path) -> None:
    """Indices outside the shape are no matrix."""
    np.savez(
        tmp_path / "x.npz",
        data=np.ones(2), indices=np.array([0, 9]), indptr=np.array([0, 1, 2]), format=np.array(b"csr"),
        shape=np.array([2, 3]),
    )  # fmt: skip
    with pytest.raises(BundleError, match="not a sparse matrix"):
        read_matrix(tmp_path / "x.npz", "sparse_npz")


def test_parquet_rows_and_columns_must_follow_the_tables(tmp_path: Path) -> None:
    """A file whose samples were reordered is refused, with the first that differs."""
    write_bundle(_stored("parquet"), tmp_path)
    file = tmp_path / "transcript_counts.matrix.parquet"
    table = pd.read_parquet(file)
    first, *others = table.columns
    table[[first, *others[::-1]]].to_parquet(file, index=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["provenance"]["sha256:transcript_counts.matrix.parquet"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (problem,) = validate_bundle(tmp_path).problems
    assert "columns are in another order than samples.parquet" in str(problem)
    assert "'S047' where samples.parquet has 'S000'" in str(problem)
