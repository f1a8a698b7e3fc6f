"""Profiles and their resamples on disk, and the fingerprint that says which matrix and which groups they are of."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import RunError
from cellkey.io.guarded import new_hdf5
from cellkey.profiles.profile import ClusterProfiles
from cellkey.profiles.resampling import Resamples
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "FORMAT_VERSION", "evidence_stamp", "fingerprint", "load_profiles", "load_resamples", "save_profiles",
    "save_resamples", "stored_resamples",
]

FORMAT_VERSION = 2
_RESAMPLES_VERSION = 1
_ARRAYS = (
    "n_cells", "mean", "median", "detection", "rank_z", "overall_mean", "overall_median", "overall_std",
    "zero_share", "thresholds", "positive",
)
_BY_QUANTILE = ("thresholds", "positive")


def save_profiles(profiles: ClusterProfiles, path: str | Path) -> None:
    """Write profiles atomically as HDF5, one data set per array; float64 throughout.

    The arrays are stored as they are: digits of means and Z hardly compress (by 15 to 25 per cent), and unpacking would
    take most of the time of reading them.
    """
    with _writing(path, "profiles", FORMAT_VERSION, basis=profiles.basis, info=json.dumps(profiles.info)) as file:
        file.create_dataset("quantiles", data=np.asarray(profiles.quantiles))
        _put(file, profiles, ("groups", "var_names"), _ARRAYS, compression="lzf")


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
    with _reading(path, "profiles", FORMAT_VERSION) as file:
        held = file["quantiles"][:]
        kept = np.arange(len(held)) if quantiles is None else _positions(held, quantiles)
        return ClusterProfiles(
            groups=tuple(file["groups"].asstr()[:]),
            var_names=file["var_names"].asstr()[:].astype(object) if var_names is None else var_names,
            quantiles=tuple(float(q) for q in held[kept]),
            basis=file.attrs["basis"],
            info=json.loads(file.attrs["info"]),
            **{name: file[name][kept if name in _BY_QUANTILE else slice(None)] for name in _ARRAYS},
        )


def save_resamples(resamples: Resamples, path: str | Path) -> None:
    """Write resamples atomically as HDF5, one data set per array; statistics as float32."""
    facts = {name: getattr(resamples, name) for name in ("basis", "quantile", "seed")}
    with _writing(path, "resamples", _RESAMPLES_VERSION, **facts, info=json.dumps(resamples.info)) as file:
        _put(file, resamples, ("groups", "genes"), ("columns", *_ARRAYS))


def load_resamples(path: str | Path) -> Resamples:
    """Read resamples written by :func:`save_resamples`.

    Raises
    ------
    RunError
        If the file is missing, damaged or of another format version.
    """
    with _reading(path, "resamples", _RESAMPLES_VERSION) as file:
        return Resamples(
            groups=tuple(file["groups"].asstr()[:]),
            genes=np.asarray(file["genes"].asstr()[:], dtype=object),
            quantile=float(file.attrs["quantile"]),
            basis=file.attrs["basis"],
            seed=int(file.attrs["seed"]),
            info=json.loads(file.attrs["info"]),
            **{name: file[name][:] for name in ("columns", *_ARRAYS)},
        )


def stored_resamples(path: str | Path, profiles: ClusterProfiles) -> Resamples | None:
    """Return the resamples of a file if they were made with ``profiles``; None if not, or if there are none."""
    try:
        resamples = load_resamples(path)
    except RunError:
        return None
    return resamples if resamples.info.get("fingerprint") == profiles.info.get("fingerprint") else None


@contextlib.contextmanager
def _writing(path: str | Path, kind: str, version: int, **facts: Any) -> Iterator[Any]:
    """A new HDF5 file of a kind, with plain facts; it appears whole or not at all."""
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        file.attrs[f"cellkey_{kind}"] = version
        for name, value in facts.items():
            file.attrs[name] = value
        yield file


def _put(file: Any, values: Any, texts: Iterable[str], arrays: Iterable[str], **options: Any) -> None:
    import h5py

    for name in texts:
        file.create_dataset(name, data=[str(t) for t in getattr(values, name)], dtype=h5py.string_dtype(), **options)
    for name in arrays:
        file.create_dataset(name, data=getattr(values, name))


@contextlib.contextmanager
def _reading(path: str | Path, kind: str, version: int) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = int(file.attrs.get(f"cellkey_{kind}", 0))
            if found != version:
                msg = f"{path} holds {kind} of format {found}, this version reads {version}: run without it"
                raise RunError(msg)
            yield file
    except (OSError, KeyError, ValueError) as error:
        msg = f"cannot read {kind} from {path}: {error}"
        raise RunError(msg) from error


def _positions(held: NDArray[np.float64], wanted: Iterable[float]) -> NDArray[np.intp]:
    asked = np.asarray(list(wanted))
    return np.flatnonzero(np.isclose(held[:, None], asked[None], rtol=0, atol=1e-9).any(axis=1))


def fingerprint(X: Any, labels: Any, var_names: Iterable[str], **settings: Any) -> str:
    """Return a short hash of all values of a matrix, the groups of its cells, its gene names and settings.

    The same for a matrix in memory and on disk, however it is stored.
    """
    from cellkey.profiles.survey import matrix_digest

    return evidence_stamp(matrix_digest(X), labels, var_names, **settings)


def evidence_stamp(digest: str, labels: Any, var_names: Iterable[str], **settings: Any) -> str:
    """Return a short hash of what profiles are made from; see :func:`fingerprint`.

    Parameters
    ----------
    digest
        Of the matrix, from :func:`~cellkey.profiles.survey.matrix_digest`.
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
