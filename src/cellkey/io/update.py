"""New labels in a copy of an ``.h5ad`` file, without decoding its matrix."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from cellkey import _keys
from cellkey.errors import CellkeyWarning
from cellkey.io.fields import kept_columns, without_kept_clusters
from cellkey.io.guarded import new_hdf5
from cellkey.records.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["CopyAhead", "update_copy"]

_COMPRESSED = {"compression": "lzf"}
_PIECE = 2**20  # fits the cache of a core


class CopyAhead:
    """A copy of a file, made and flushed to disk on a thread of its own while other work goes on.

    It lasts as long as the block of ``with``: at its end a copy that is not finished is given up, and one that nobody
    took is removed.

    Parameters
    ----------
    source
        The file.
    folder
        Where the copy is made; on the file system of the final place.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self._source, self._copy = source, folder / f".copy-{secrets.token_hex(4)}"
        self._given_up = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> CopyAhead:
        self._finished = self._pool.submit(self._make)
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._pool.shutdown()
        self._copy.unlink(missing_ok=True)

    def take(self, target: Path) -> None:
        """Wait for the copy and put it at ``target``.

        Raises
        ------
        OSError
            If the copy failed.
        """
        self._finished.result()
        self._copy.replace(target)

    def _make(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        with self._source.open("rb", buffering=0) as original, self._copy.open("wb", buffering=0) as copy:
            while not self._given_up.is_set() and (size := original.readinto(buffer)):
                written = 0
                while written < size:
                    written += copy.write(buffer[written:size])
            os.fsync(copy.fileno())


def update_copy(
    source: str | Path,
    target: str | Path,
    *,
    obs: Mapping[str, Any],
    uns: Mapping[str, Any],
    obsm: Mapping[str, Any] | None = None,
    obsp: Mapping[str, Any] | None = None,
    drop: Iterable[str] = (),
    ahead: CopyAhead | None = None,
) -> None:
    """Copy an ``.h5ad`` file and replace or add columns of ``obs``, entries of ``uns``, ``obsm``, ``obsp`` in the copy.

    ``drop`` names fields to remove first, such as ``"uns/key"`` or ``"obs/column"``; ``ahead`` is a copy of the source
    that is being made already.

    The copy is made by the operating system, byte for byte, so the cost does not depend on how the matrix is
    stored. A user's column with the name of a new one is kept as ``<name>_input``; embeddings and graphs are only
    added where the name is free or cellkey's own.
    """
    from anndata.io import read_elem, write_elem

    with atomic_path(target) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*orward slash.*")  # names of clusters are the user's
        if ahead is None:
            shutil.copyfile(source, temporary)
        else:
            ahead.take(temporary)
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
