"""A bundle is read whole or not at all, and every problem of it is told at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellkey.errors import BundleError
from cellkey.isoforms.bundle import Bundle, BundleManifest, FeatureKind, leaves_directory
from cellkey.isoforms.bundle_io import read_bundle, write_bundle
from cellkey.isoforms.matrices import write_matrix
from cellkey.isoforms.synthetic import simulate
from cellkey.isoforms.validation import input_problems, validate_bundle, validate_bundle_inputs


def _edit(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    """Writing then reading gives the same tables and matrices, truth under both names."""
    bundle = simulate("toy_multiplex_v1")
    again = read_bundle(write_bundle(bundle, tmp_path / "b"))
    pd.testing.assert_frame_equal(again.samples, bundle.samples)
    for key, table in bundle.tables.items():
        pd.testing.assert_frame_equal(again.tables[key], table, check_dtype=False)
    np.testing.assert_array_equal(again.transcript_counts, bundle.transcript_counts)
    assert "truth_modules.parquet" in again.tables
    assert again.tables["truth_modules.parquet"] is again.tables["truth_module"]


def test_manifest_has_the_documented_fields_only(tmp_path: Path) -> None:
    """The manifest holds exactly the documented fields, sorted and indented by two."""
    write_bundle(simulate("toy_v1"), tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    content = json.loads(text)
    assert set(content) == {
        "dataset_name",
        "suite_name",
        "description",
        "sample_table",
        "feature_tables",
        "matrices",
        "provenance",
        "truth_tables",
    }
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"
    assert set(content["matrices"][0]) == {"assay_name", "filename", "n_features", "n_samples", "encoding"}
    assert all(isinstance(v, str) for v in content["provenance"].values())


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """A bundle depends on its content alone."""
    for name in ("a", "b"):
        write_bundle(simulate("toy_v1"), tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("name", ["../x.parquet", "/etc/passwd", "a/../../x", "C:\\x", "..\\x", "", ".", "\\\\host\\x"])
def test_names_that_leave_the_bundle_are_rejected(name: str) -> None:
    """Absolute names and names with a parent part never become paths."""
    assert leaves_directory(name)
    with pytest.raises(ValueError, match="inside the bundle"):
        BundleManifest(
            dataset_name="d",
            suite_name="s",
            description="x",
            sample_table=name,
            provenance={},
            feature_tables=({"kind": "gene", "filename": "g.parquet", "n_rows": 1},),
            matrices=({"assay_name": "a", "filename": "a.npz", "n_features": 1, "n_samples": 1},),
        )


def test_link_that_leaves_the_bundle_is_rejected(tmp_path: Path) -> None:
    """A symbolic link cannot smuggle in a file from elsewhere."""
    bundle = write_bundle(simulate("toy_v1"), tmp_path / "b")
    outside = (bundle / "samples.parquet").rename(tmp_path / "samples.parquet")
    (bundle / "samples.parquet").symlink_to(outside)
    with pytest.raises(BundleError, match="leaves the bundle"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_tables": []}, "feature_tables must not be empty"),
        ({"matrices": []}, "matrices must not be empty"),
        ({"surprise": 1}, "surprise: unknown setting"),
        ({"provenance": {"a": 1}}, "provenance.a"),
        ({"sample_table": "../s.parquet"}, "sample_table"),
    ],
)
def test_manifest_problems_name_the_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """Every rule of the manifest is reported with the field that breaks it."""
    write_bundle(simulate("toy_v1"), tmp_path)
    _edit(tmp_path, **change)
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path)


def test_directory_without_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    """An empty directory is answered with the command that makes a bundle."""
    with pytest.raises(BundleError, match="cellkey isoforms prepare"):
        read_bundle(tmp_path)


def test_changed_and_missing_files_are_all_reported(tmp_path: Path) -> None:
    """Damage of several files gives one error with one line per file."""
    write_bundle(simulate("toy_v1"), tmp_path)
    (tmp_path / "psi.parquet").unlink()
    write_matrix(np.zeros((48, 48)), tmp_path / "transcript_counts.npz")
    with pytest.raises(BundleError) as caught:
        read_bundle(tmp_path)
    assert len(caught.value.problems) == 2
    assert "psi.parquet: is named in the manifest but missing" in str(caught.value)
    assert "transcript_counts.npz: content differs" in str(caught.value)


def test_shapes_are_compared_without_hashes(tmp_path: Path) -> None:
    """A truncated matrix of a foreign bundle, which has no hashes, is noticed by its shape."""
    write_bundle(simulate("toy_v1"), tmp_path)
    _edit(tmp_path, provenance={})
    write_matrix(np.ones((40, 48)), tmp_path / "transcript_counts.npz")
    with pytest.raises(BundleError, match=r"shape \(40, 48\), the manifest says \(48, 48\)"):
        read_bundle(tmp_path)


def test_damaged_archive_and_table_are_one_clear_message(tmp_path: Path) -> None:
    """Bytes that are no archive or no parquet are named, not a traceback of the reader."""
    write_bundle(simulate("toy_v1"), tmp_path)
    _edit(tmp_path, provenance={})
    (tmp_path / "transcript_counts.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(BundleError, match=r"transcript_counts.npz: not a readable"):
        read_bundle(tmp_path)
    write_matrix(simulate("toy_v1").transcript_counts, tmp_path / "transcript_counts.npz")
    (tmp_path / "samples.parquet").write_bytes(b"no parquet")
    with pytest.raises(BundleError, match=r"samples.parquet: not a readable parquet"):
        read_bundle(tmp_path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    """An archive of Python objects is never loaded."""
    write_bundle(simulate("toy_v1"), tmp_path)
    _edit(tmp_path, provenance={})
    np.savez_compressed(tmp_path / "transcript_counts.npz", data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BundleError, match=r"transcript_counts.npz"):
        read_bundle(tmp_path)


def _inputs() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    samples = pd.DataFrame({"sample_id": ["S1", "S2", "S3", "S4"]})
    transcripts = pd.DataFrame({"transcript_id": ["t1", "t2", "t3"], "gene_id": ["g1", "g1", "g2"]})
    return samples, transcripts, np.arange(12.0).reshape(3, 4)


def test_good_inputs_pass() -> None:
    """Nothing is found where nothing is wrong."""
    assert input_problems(*_inputs()) == []


def test_every_problem_of_the_inputs_is_listed() -> None:
    """All findings come in one error with the number of problems and the first offending values."""
    samples, transcripts, counts = _inputs()
    samples.loc[1, "sample_id"] = "S1"
    transcripts.loc[1, "transcript_id"] = "t1"
    transcripts.loc[2, "gene_id"] = None
    counts[0, 0], counts[1, 1], counts[2, 2] = np.nan, np.inf, -1
    genes = pd.DataFrame({"gene_id": ["g9"]})
    with pytest.raises(BundleError) as caught:
        validate_bundle_inputs(samples, transcripts, counts, genes, None)
    text = str(caught.value)
    assert text.startswith(f"validate_bundle_inputs found {len(caught.value.problems)} problem(s):")
    for part in (
        "duplicate sample_id values: 'S1'",
        "duplicate transcript_id values: 't1'",
        "column 'gene_id' is empty",
        "1 NaN values",
        "1 infinite values",
        "1 negative values",
        "gene table but no gene matrix",
        "missing from the gene table: 'g1'",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t, c: (s.rename(columns={"sample_id": "x"}), t, c), "column 'sample_id' is missing"),
        (lambda s, t, c: (s, t.rename(columns={"gene_id": "x"}), c), "column 'gene_id' is missing"),
        (lambda s, t, c: (s, t, c.ravel()), "must be two-dimensional"),
        (lambda s, t, c: (s, t, c[:2]), "has 2 rows, the transcript table has 3"),
        (lambda s, t, c: (s, t, c[:, :3]), "has 3 columns, the sample table has 4 rows"),
    ],
)
def test_single_problems(change, message: str) -> None:
    """Each rule has its message."""
    assert any(message in str(p) for p in input_problems(*change(*_inputs())))


def test_version_suffix_is_recognised() -> None:
    """Gene ids that differ by their version only are answered with the remedy."""
    samples, transcripts, counts = _inputs()
    genes = pd.DataFrame({"gene_id": ["g1.4", "g2.1"]})
    assert any("version suffix" in str(p) for p in input_problems(samples, transcripts, counts, genes, np.ones((2, 4))))


def test_validate_tells_notes_and_missing_covariates(tmp_path: Path) -> None:
    """A usable bundle gives notes; a covariate that is needed and absent is a problem."""
    write_bundle(simulate("toy_multiplex_v1"), tmp_path)
    check = validate_bundle(tmp_path)
    assert check.passed
    assert any("have one transcript" in str(n) for n in check.notes)
    missing = validate_bundle(tmp_path, ["RIN"])
    assert not missing.passed
    assert "column 'RIN' is missing" in str(missing.problems[0])


def test_too_few_samples_are_a_problem(tmp_path: Path) -> None:
    """Three samples cannot be analysed."""
    write_bundle(simulate("toy_v1").select_samples([0, 1, 2]), tmp_path)
    assert "at least 4 are needed" in str(validate_bundle(tmp_path).problems[0])


def test_bundle_without_transcripts_is_refused(example: Bundle) -> None:
    """The assay that all analyses need is asked for by name."""
    empty = Bundle(example.manifest, example.samples, example.tables, {})
    with pytest.raises(BundleError, match="transcript_counts"):
        _ = empty.transcript_counts
    assert example.truth(FeatureKind.TRUTH_MODULE) is None
