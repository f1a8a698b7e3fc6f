"""The data set of an isoform analysis: samples, feature tables and matrices under one manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator

from cellkey.errors import BundleError
from cellkey.isoforms.matrices import SUFFIXES
from cellkey.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "GENE_COUNTS", "PSI", "TRANSCRIPT_COUNTS", "Bundle", "BundleManifest", "Encoding", "FeatureKind",
    "FeatureTableSpec", "MatrixSpec", "leaves_directory", "make_bundle",
]

TRANSCRIPT_COUNTS = "transcript_counts"
GENE_COUNTS = "gene_counts"
PSI = "psi"

Encoding = Literal["dense_npz", "sparse_npz", "parquet"]


class FeatureKind(StrEnum):
    """Kinds of tables that a bundle may hold beside the sample table."""

    GENE = "gene"
    TRANSCRIPT = "transcript"
    PSI = "psi"
    JUNCTION = "junction"
    TRUTH_MODULE = "truth_module"
    TRUTH_SWITCH = "truth_switch"
    TRUTH_SWITCH_EVENT = "truth_switch_event"
    TRUTH_ABUNDANCE = "truth_abundance"
    TRUTH_CHANNEL_ROLE = "truth_channel_role"

    @property
    def is_truth(self) -> bool:
        """Whether tables of this kind hold the known truth of a synthetic data set."""
        return self.value.startswith("truth_")


_STEMS = {
    kind: kind.value
    for kind in (FeatureKind.PSI, FeatureKind.TRUTH_SWITCH, FeatureKind.TRUTH_ABUNDANCE, FeatureKind.TRUTH_CHANNEL_ROLE)
}
"""File names of tables that are not the plural of their kind."""


def leaves_directory(filename: str) -> bool:
    """Return whether a file name taken from a manifest points outside the directory of the manifest."""
    posix, windows = PurePosixPath(filename), PureWindowsPath(filename)
    absolute = posix.is_absolute() or bool(windows.drive) or bool(windows.root)
    return absolute or ".." in posix.parts or ".." in windows.parts or not filename.strip("./\\ ")


def _inside(filename: str) -> str:
    if leaves_directory(filename):
        msg = "must name a file inside the bundle directory"
        raise ValueError(msg)
    return filename


class _FileSpec(Parameters):
    filename: str

    @field_validator("filename")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        return _inside(value)


class FeatureTableSpec(_FileSpec):
    """One feature table: what it describes, its file and its number of rows."""

    kind: FeatureKind
    n_rows: int = Field(ge=0)


class MatrixSpec(_FileSpec):
    """One matrix (features x samples), its file and how it is stored (:mod:`cellkey.isoforms.matrices`)."""

    assay_name: str
    n_features: int = Field(gt=0)
    n_samples: int = Field(gt=0)
    encoding: Encoding = "dense_npz"


class BundleManifest(Parameters):
    """``manifest.json``: the names, kinds and sizes of all files of a bundle; unknown keys are errors."""

    dataset_name: str
    suite_name: str
    description: str
    sample_table: str
    feature_tables: tuple[FeatureTableSpec, ...]
    matrices: tuple[MatrixSpec, ...]
    provenance: dict[str, str]
    truth_tables: tuple[str, ...] = ()

    @field_validator("feature_tables", "matrices")
    @classmethod
    def _not_empty(cls, value: tuple[object, ...], info: object) -> tuple[object, ...]:
        if not value:
            msg = f"{info.field_name} must not be empty"  # type: ignore[attr-defined]
            raise ValueError(msg)
        return value

    @field_validator("sample_table", "truth_tables")
    @classmethod
    def _stay_inside(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            _inside(name)
        return value


@dataclass(frozen=True, slots=True)
class Bundle:
    """Samples, feature tables and matrices of one data set.

    Parameters
    ----------
    manifest
        Names, kinds and sizes.
    samples
        One row per sample with ``sample_id`` and any traits and covariates.
    tables
        Feature tables by kind; truth tables are also found under their file name.
    matrices
        Dense float64 matrices (features x samples) by assay; rows follow the feature table, columns the samples.
    """

    manifest: BundleManifest
    samples: pd.DataFrame
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    matrices: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", MappingProxyType(dict(self.tables)))
        object.__setattr__(self, "matrices", MappingProxyType(dict(self.matrices)))

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.manifest.dataset_name

    @property
    def sample_ids(self) -> list[str]:
        """Sample ids in the order of the matrix columns."""
        return [str(s) for s in self.samples["sample_id"]]

    @property
    def transcripts(self) -> pd.DataFrame:
        """Transcript table; its rows are the rows of :attr:`transcript_counts`."""
        return self._table(FeatureKind.TRANSCRIPT)

    @property
    def transcript_counts(self) -> NDArray[np.float64]:
        """Estimated reads (transcripts x samples)."""
        if TRANSCRIPT_COUNTS not in self.matrices:
            msg = (
                f"bundle {self.name!r} has no matrix {TRANSCRIPT_COUNTS!r}, only {sorted(self.matrices)}; "
                "prepare the bundle again from transcript counts"
            )
            raise BundleError(msg)
        return self.matrices[TRANSCRIPT_COUNTS]

    @property
    def gene_ids(self) -> list[str]:
        """Sorted ids of all genes of the transcript table."""
        return sorted(set(self.transcripts["gene_id"].astype(str)))

    def truth(self, kind: FeatureKind) -> pd.DataFrame | None:
        """Return a truth table, or None where the bundle has none of that kind."""
        return self.tables.get(kind.value)

    def select_samples(self, positions: NDArray[np.intp] | list[int]) -> Bundle:
        """Return the bundle restricted to (or reordered by) sample positions."""
        index = np.asarray(positions, dtype=np.intp)
        specs = tuple(m.updated(n_samples=len(index)) for m in self.manifest.matrices)
        return Bundle(
            manifest=self.manifest.model_copy(update={"matrices": specs}),
            samples=self.samples.iloc[index].reset_index(drop=True),
            tables=self.tables,
            matrices={name: matrix[:, index] for name, matrix in self.matrices.items()},
        )

    def in_sample_order(self) -> Bundle:
        """Return the bundle with its samples sorted by id."""
        return self.select_samples(np.argsort(np.array(self.sample_ids, dtype=object), kind="stable"))

    def _table(self, kind: FeatureKind) -> pd.DataFrame:
        if kind.value not in self.tables:
            msg = f"bundle {self.name!r} has no table of kind {kind.value!r}, only {sorted(self.tables)}"
            raise BundleError(msg)
        return self.tables[kind.value]


def make_bundle(
    *,
    dataset_name: str,
    samples: pd.DataFrame,
    tables: Mapping[FeatureKind, pd.DataFrame],
    matrices: Mapping[str, NDArray[np.float64]],
    suite_name: str = "user",
    description: str = "",
    provenance: Mapping[str, str] | None = None,
    encoding: Encoding = "dense_npz",
) -> Bundle:
    """Return a bundle from tables and matrices; the manifest is derived from them.

    Parameters
    ----------
    encoding
        How matrices are stored when the bundle is written.
    """
    names = {k: f"{_STEMS.get(k, f'{k.value}s')}.parquet" for k in tables}
    manifest = BundleManifest(
        dataset_name=dataset_name,
        suite_name=suite_name,
        description=description or f"isoform data set {dataset_name}",
        sample_table="samples.parquet",
        feature_tables=tuple(FeatureTableSpec(kind=k, filename=names[k], n_rows=len(t)) for k, t in tables.items()),
        matrices=tuple(
            MatrixSpec(
                assay_name=a,
                filename=f"{a}{SUFFIXES[encoding]}",
                n_features=m.shape[0],
                n_samples=m.shape[1],
                encoding=encoding,
            )
            for a, m in matrices.items()
        ),
        provenance=dict(provenance or {}),
        truth_tables=tuple(names[k] for k in tables if k.is_truth),
    )
    by_key: dict[str, pd.DataFrame] = {k.value: t.reset_index(drop=True) for k, t in tables.items()}
    by_key |= {names[k]: by_key[k.value] for k in tables if k.is_truth}
    return Bundle(manifest, samples.reset_index(drop=True), by_key, matrices)
