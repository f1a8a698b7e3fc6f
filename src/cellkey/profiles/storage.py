"""Profiles on disk, and the fingerprint that says which matrix and which groups they belong to."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import RunError
from cellkey.io.guarded import new_hdf5
from cellkey.profiles.profile import ClusterProfiles
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT_VERSION", "evidence_stamp", "fingerprint", "load_profiles", "save_profiles"]

FORMAT_VERSION = 2
_ARRAYS = (
    "n_cells", "mean", "median", "detection", "rank_z", "overall_mean", "overall_median", "overall_std",
    "zero_share", "thresholds", "positive",
)


def save_profiles(profiles: ClusterProfiles, path: str | Path) -> None:
    """Write profiles atomically as HDF5, one data set per array; float64 throughout.

    The arrays are stored as they are: digits of means and Z hardly compress (by 15 to 25 per cent), and unpacking would
    take most of the time of reading them.
    """
    import h5py

    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        file.attrs["cellkey_profiles"] = FORMAT_VERSION
        file.attrs["basis"] = profiles.basis
        file.attrs["info"] = json.dumps(profiles.info)
        file.create_dataset("quantiles", data=np.asarray(profiles.quantiles))
        for name, texts in (("groups", profiles.groups), ("var_names", profiles.var_names)):
            file.create_dataset(name, data=[str(t) for t in texts], dtype=h5py.string_dtype(), compression="lzf")
        for name in _ARRAYS:
            file.create_dataset(name, data=getattr(profiles, name))


def load_profiles(
    path: str | Path, *, quantiles: Iterable[float] | None = None, var_names: NDArray[np.object_] | None = None
) -> ClusterProfiles:
    """Read profiles written by :func:`save_profiles`.

    Parameters
    ----------
    path
        The file.
    quantiles
        Read the positive shares of these quantiles only (those that the file holds); None reads all.
    var_names
        Gene names if they are at hand, as their fingerprint will tell; None reads them.

    Raises
    ------
    RunError
        If the file is missing, damaged or of another format version.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = int(file.attrs.get("cellkey_profiles", 0))
            if version != FORMAT_VERSION:
                msg = f"{path} holds profiles of format {version}, this version reads {FORMAT_VERSION}: run without it"
                raise RunError(msg)
            held = file["quantiles"][:]
            kept = np.arange(len(held)) if quantiles is None else _positions(held, quantiles)
            values: dict[str, Any] = {name: file[name][:] for name in _ARRAYS if name not in _BY_QUANTILE}
            values |= {name: file[name][kept] for name in _BY_QUANTILE}
            return ClusterProfiles(
                groups=tuple(file["groups"].asstr()[:]),
                var_names=file["var_names"].asstr()[:].astype(object) if var_names is None else var_names,
                quantiles=tuple(float(q) for q in held[kept]),
                basis=file.attrs["basis"],
                info=json.loads(file.attrs["info"]),
                **values,
            )
    except (OSError, KeyError) as error:
        msg = f"cannot read profiles from {path}: {error}"
        raise RunError(msg) from error


_BY_QUANTILE = ("thresholds", "positive")


def _positions(held: NDArray[np.float64], wanted: Iterable[float]) -> NDArray[np.intp]:
    asked = np.asarray(list(wanted))
    return np.flatnonzero(np.isclose(held[:, None], asked[None], rtol=0, atol=1e-9).any(axis=1))


def fingerprint(X: Any, labels: Any, var_names: Iterable[str], **settings: Any) -> str:
    """Return a short hash of all values of a matrix, the groups of its cells, its gene names and settings.

    The same for a matrix in memory and on disk, however it is stored.
    """
    from cellkey.profiles.tiles import matrix_digest

    return evidence_stamp(matrix_digest(X), labels, var_names, **settings)


def evidence_stamp(digest: str, labels: Any, var_names: Iterable[str], **settings: Any) -> str:
    """Return a short hash of what profiles are made from; see :func:`fingerprint`.

    Parameters
    ----------
    digest
        Of the matrix, from :func:`~cellkey.profiles.tiles.matrix_digest`.
    labels
        Group of each cell; any column, missing values count as no group.
    var_names, settings
        Gene names, and further settings that change the profiles.
    """
    import pandas as pd

    codes, different = pd.factorize(labels if hasattr(labels, "dtype") else np.asarray(labels, dtype=object))
    summary = hashlib.blake2b(digest_size=16)
    summary.update(json.dumps([FORMAT_VERSION, digest, settings], sort_keys=True, default=str).encode())
    summary.update("\x1f".join(map(str, var_names)).encode())
    summary.update("\x1e".join(["", *map(str, different)]).encode())
    summary.update(codes.astype("<i4").tobytes())
    return summary.hexdigest()
