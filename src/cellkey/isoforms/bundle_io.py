"""Read and write bundle directories."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import BundleError, ParameterError, Problem
from cellkey.isoforms.bundle import GENE_COUNTS, PSI, TRANSCRIPT_COUNTS, Bundle, BundleManifest, FeatureKind
from cellkey.isoforms.matrices import label_problems, read_named_matrix, write_matrix
from cellkey.isoforms.parquet import read_parquet, sha256_of, write_parquet
from cellkey.isoforms.validation import bundle_problems
from cellkey.records.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["read_bundle", "read_manifest", "write_bundle"]

MANIFEST = "manifest.json"
_OF_A_FIT = "fit_config.json"
_HASH = "sha256:"


def write_bundle(bundle: Bundle, directory: str | Path) -> Path:
    """Write all files of a bundle and, last, its manifest with the SHA-256 of every file under ``provenance``.

    Raises
    ------
    BundleError
        If the directory holds a fit.
    """
    root = Path(directory)
    if (root / _OF_A_FIT).is_file():
        msg = f"{root} holds a fit, which a bundle would damage: name another --output-dir"
        raise BundleError(msg)
    root.mkdir(parents=True, exist_ok=True)
    manifest = bundle.manifest
    frames = {manifest.sample_table: bundle.samples}
    frames |= {entry.filename: bundle.tables[entry.kind.value] for entry in manifest.feature_tables}
    for name, frame in frames.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(frame, root / name)
    for entry in manifest.matrices:
        (root / entry.filename).parent.mkdir(parents=True, exist_ok=True)
        matrix = bundle.matrices[entry.assay_name]
        write_matrix(
            matrix,
            root / entry.filename,
            encoding=entry.encoding,
            rows=_row_ids(bundle.tables, entry.assay_name) or list(map(str, range(len(matrix)))),
            columns=bundle.sample_ids,
        )
    names = [*frames, *(entry.filename for entry in manifest.matrices)]
    provenance = {k: v for k, v in manifest.provenance.items() if not k.startswith(_HASH)}
    provenance |= {f"{_HASH}{name}": sha256_of(root / name) for name in names}
    content = manifest.model_dump(mode="json") | {"provenance": provenance}
    write_text(root / MANIFEST, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return root


def read_manifest(directory: str | Path) -> BundleManifest:
    """Read ``manifest.json``.

    Raises
    ------
    BundleError
        If it is missing or not valid JSON, or with one problem per field that breaks its rule.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        msg = (
            f"{directory} is no isoform bundle: it has no {MANIFEST}; make one with "
            "'cellkey isoforms prepare' or 'cellkey isoforms simulate'"
        )
        raise BundleError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not valid JSON: {error}"
        raise BundleError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path} must hold an object, but holds {type(content).__name__}"
        raise BundleError(msg)
    try:
        return BundleManifest.parse(content, option=str(path))
    except ParameterError as error:
        problems = [replace(p, where=f"{MANIFEST}, {p.where}") for p in error.problems]
        raise BundleError(error.message, problems) from None


def read_bundle(directory: str | Path, *, validate: bool = True) -> Bundle:
    """Read a bundle directory.

    Parameters
    ----------
    directory
        Directory with ``manifest.json``.
    validate
        Check shapes, ids, values and stored hashes; False only checks that the files can be read.

    Raises
    ------
    BundleError
        With every problem found.
    """
    root = Path(directory)
    manifest = read_manifest(root)
    names = [
        manifest.sample_table,
        *(t.filename for t in manifest.feature_tables),
        *(m.filename for m in manifest.matrices),
    ]
    problems = [p for name in dict.fromkeys(names) for p in _file_problems(root, name, manifest)]
    listed = {t.filename for t in manifest.feature_tables}
    problems += [
        Problem("is listed under truth_tables but not under feature_tables", name, "list it with its kind")
        for name in manifest.truth_tables
        if name not in listed
    ]
    if problems:
        msg = f"bundle {root} cannot be read: {len(problems)} problem(s)"
        raise BundleError(msg, problems)
    bundle = _load(root, manifest)
    if validate:
        problems = bundle_problems(bundle)
        if problems:
            msg = f"bundle {root} cannot be used: {len(problems)} problem(s)"
            raise BundleError(msg, problems)
    return bundle


def _file_problems(root: Path, name: str, manifest: BundleManifest) -> list[Problem]:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        return [Problem("is a link that leaves the bundle directory", name, "copy the file into the bundle")]
    if not path.is_file():
        return [Problem("is named in the manifest but missing", name, "restore the file or write the bundle again")]
    stored = manifest.provenance.get(f"{_HASH}{name}")
    if stored is not None and stored != sha256_of(path):
        return [
            Problem(
                "content differs from the SHA-256 in the manifest",
                name,
                "the file was changed or damaged: write the bundle again",
            )
        ]
    return []


def _load(root: Path, manifest: BundleManifest) -> Bundle:
    tables: dict[str, pd.DataFrame] = {}
    for entry in manifest.feature_tables:
        table = read_parquet(root / entry.filename)
        tables[entry.kind.value] = table
        if entry.filename in manifest.truth_tables:
            tables[entry.filename] = table
    samples = read_parquet(root / manifest.sample_table)
    matrices: dict[str, NDArray[np.float64]] = {}
    problems: list[Problem] = []
    for spec in manifest.matrices:
        matrices[spec.assay_name], rows, columns = read_named_matrix(root / spec.filename, spec.encoding)
        expected = _row_ids(tables, spec.assay_name)
        if expected is not None:
            problems += label_problems(spec.filename, rows, expected, "row", "its feature table")
        if "sample_id" in samples.columns:
            ids = [str(s) for s in samples["sample_id"]]
            problems += label_problems(spec.filename, columns, ids, "column", manifest.sample_table)
    if problems:
        msg = f"bundle {root} cannot be read: {len(problems)} problem(s)"
        raise BundleError(msg, problems)
    return Bundle(manifest, samples, tables, matrices)


_ROWS = {
    TRANSCRIPT_COUNTS: (FeatureKind.TRANSCRIPT, "transcript_id"),
    GENE_COUNTS: (FeatureKind.GENE, "gene_id"),
    PSI: (FeatureKind.PSI, "psi_uid"),
}
"""Table and column that name the rows of an assay."""


def _row_ids(tables: Mapping[str, pd.DataFrame], assay: str) -> list[str] | None:
    """Ids of the rows of an assay, or None where its table is absent or has none."""
    kind, column = _ROWS.get(assay, (None, ""))
    table = tables.get(kind.value) if kind is not None else None
    return [str(v) for v in table[column]] if table is not None and column in table.columns else None
