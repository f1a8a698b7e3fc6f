"""Resamples on disk, beside the profiles that they belong to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from cellkey.errors import RunError
from cellkey.io.guarded import new_hdf5
from cellkey.profiles.resampling import Resamples
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from cellkey.profiles.profile import ClusterProfiles

__all__ = ["FORMAT_VERSION", "load_resamples", "save_resamples", "stored_resamples"]

FORMAT_VERSION = 1
_ARRAYS = (
    "columns", "n_cells", "mean", "median", "detection", "positive", "rank_z", "overall_mean", "overall_median",
    "overall_std", "zero_share", "thresholds",
)


def save_resamples(resamples: Resamples, path: str | Path) -> None:
    """Write resamples atomically as HDF5, one data set per array; statistics as float32."""
    import h5py

    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        file.attrs["cellkey_resamples"] = FORMAT_VERSION
        file.attrs["basis"] = resamples.basis
        file.attrs["quantile"] = resamples.quantile
        file.attrs["seed"] = resamples.seed
        file.attrs["info"] = json.dumps(resamples.info)
        for name, texts in (("groups", resamples.groups), ("genes", resamples.genes)):
            file.create_dataset(name, data=[str(t) for t in texts], dtype=h5py.string_dtype())
        for name in _ARRAYS:
            file.create_dataset(name, data=getattr(resamples, name))


def load_resamples(path: str | Path) -> Resamples:
    """Read resamples written by :func:`save_resamples`.

    Raises
    ------
    RunError
        If the file is missing, damaged or of another format version.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version = int(file.attrs.get("cellkey_resamples", 0))
            if version != FORMAT_VERSION:
                msg = f"{path} holds resamples of format {version}, this version reads {FORMAT_VERSION}: run without it"
                raise RunError(msg)
            values: dict[str, Any] = {name: file[name][:] for name in _ARRAYS}
            return Resamples(
                groups=tuple(file["groups"].asstr()[:]),
                genes=np.asarray(file["genes"].asstr()[:], dtype=object),
                quantile=float(file.attrs["quantile"]),
                basis=file.attrs["basis"],
                seed=int(file.attrs["seed"]),
                info=json.loads(file.attrs["info"]),
                **values,
            )
    except (OSError, KeyError, ValueError) as error:
        msg = f"cannot read resamples from {path}: {error}"
        raise RunError(msg) from error


def stored_resamples(path: str | Path, profiles: ClusterProfiles) -> Resamples | None:
    """Return the resamples of a file if they were made with ``profiles``; None if not, or if there are none."""
    try:
        resamples = load_resamples(path)
    except RunError:
        return None
    return resamples if resamples.info.get("fingerprint") == profiles.info.get("fingerprint") else None
