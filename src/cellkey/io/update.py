"""New labels in a copy of an ``.h5ad`` file, without decoding its matrix."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Any

from cellkey import _keys
from cellkey.errors import CellkeyWarning
from cellkey.io.fields import kept_columns, without_kept_clusters
from cellkey.io.guarded import new_hdf5
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["update_copy"]

_COMPRESSED = {"compression": "lzf"}


def update_copy(
    source: str | Path,
    target: str | Path,
    *,
    obs: Mapping[str, Any],
    uns: Mapping[str, Any],
    obsm: Mapping[str, Any] | None = None,
    obsp: Mapping[str, Any] | None = None,
    drop: Iterable[str] = (),
) -> None:
    """Copy an ``.h5ad`` file and replace or add columns of ``obs``, entries of ``uns``, ``obsm``, ``obsp`` in the copy.

    ``drop`` names fields to remove first, such as ``"uns/key"`` or ``"obs/column"``.

    The copy is made by the operating system, byte for byte, so the cost does not depend on how the matrix is
    stored. A user's column with the name of a new one is kept as ``<name>_input``; embeddings and graphs are only
    added where the name is free or cellkey's own.
    """
    from anndata.io import read_elem, write_elem

    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*orward slash.*")  # names of clusters are the user's
        shutil.copyfile(source, temporary)
        with new_hdf5(temporary, "r+") as file:
            frame = read_elem(file["obs"])
            for field in drop:
                slot, _, name = field.partition("/")
                if slot == "obs":
                    frame = frame.drop(columns=name, errors="ignore")
                elif field in file:
                    del file[field]
            own = _keys.PARAMS in file.get("uns", {})
            ours = () if own else without_kept_clusters(frame, obs)
            for old, new in kept_columns(frame.columns, ours, own_output=own).items():
                frame[new] = frame[old]
                msg = f"obs[{old!r}] existed already; its values are kept as obs[{new!r}]"
                warnings.warn(msg, CellkeyWarning, stacklevel=2)
                if f"uns/{_keys.colours(old)}" in file:
                    file.copy(file[f"uns/{_keys.colours(old)}"], file["uns"], name=_keys.colours(new))
            for name, values in obs.items():
                frame[name] = values
            if frame.index.name in frame.columns:  # which AnnData does not store
                frame.index.name = None
            write_elem(file, "obs", frame)
            for name, value in uns.items():
                write_elem(file, f"uns/{name}", value)
            for slot, fields in (("obsm", obsm), ("obsp", obsp)):
                for name, value in (fields or {}).items():
                    if not own and f"{slot}/{name}" in file:
                        continue
                    # A table must carry the names of the cells as they are in the file.
                    rows = value.set_axis(frame.index, axis=0) if hasattr(value, "set_axis") else value
                    write_elem(file, f"{slot}/{name}", rows, dataset_kwargs=_COMPRESSED if slot == "obsp" else {})
