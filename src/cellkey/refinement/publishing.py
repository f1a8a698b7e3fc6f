"""Replacing files of a run so that a kill at any moment leaves the old state or the new one.

New files are prepared in a folder beside the old ones. One rename declares the folder ready; only then are files
moved to their places. A process that finds a ready folder finishes the move, so an interruption after the rename
completes and one before it leaves everything as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any

from cellkey.errors import RunError
from cellkey.records.atomic import fsync_directory, write_text
from cellkey.records.locks import claim
from cellkey.records.run import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["finish_interrupted", "prepared", "working_on"]

_READY = ".refinement-ready"
_PARTIAL = ".refinement-partial-"
_ORDER = "order.json"
_DONE = ".refinement-done"
_LOCK = ".refinement-lock"


@contextlib.contextmanager
def working_on(directory: Path) -> Iterator[None]:
    """Keep other refinements out of a run directory; the lock goes with the process, however that ends.

    Raises
    ------
    RunError
        If another process is at work there, or the directory cannot be made.
    """
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            msg = f"the run directory {directory} is not writable: name another with --output-dir"
            raise RunError(msg)
        with _locked(directory):
            yield
    except BaseException as error:
        if made:  # nothing came of it
            (directory / _LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()
        if isinstance(error, FileExistsError | NotADirectoryError):
            msg = f"cannot write to {directory}: a file of that name is in the way; choose another with --output-dir"
            raise RunError(msg) from error
        raise


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / _LOCK).open("w") as handle:
        if claim(handle.fileno()) is False:
            msg = f"another refinement is at work in {directory}: wait for it to end"
            raise RunError(msg)
        yield


def finish_interrupted(directory: Path) -> str | None:
    """Finish what an interrupted process had ready, and remove what it had not.

    Returns
    -------
    The request that was finished, None if there was nothing to finish.
    """
    for leftover in directory.glob(f"{_PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    ready = directory / _READY
    written = next((p for p in (directory / _DONE, ready / _ORDER) if p.is_file()), None)
    if written is None:
        shutil.rmtree(ready, ignore_errors=True)
        return None
    order: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    _move(ready, directory, order)
    return str(order["request"])


@contextlib.contextmanager
def prepared(directory: Path, request: str, *, remove: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield an empty folder for new files; put them in place when the block succeeds.

    Parameters
    ----------
    request
        Says what was asked for, so that a later process knows whether it finished the same.
    remove
        Names of files that no longer hold; files made again under these names stay.
    """
    staging = directory / f"{_PARTIAL}{secrets.token_hex(4)}"
    staging.mkdir(parents=True)
    try:
        yield staging
        order = {"request": request, "remove": [r for r in remove if not (staging / r).exists()]}
        write_text(staging / _ORDER, json.dumps(order))
        fsync_directory(staging)
        ready = directory / _READY
        staging.rename(ready)
        fsync_directory(directory)
        _move(ready, directory, order)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        msg = f"cannot write to {directory}: {error.strerror or error}"
        raise RunError(msg) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _move(ready: Path, directory: Path, order: dict[str, Any]) -> None:
    """Move what is still there; safe to repeat. The manifest goes last, the order of work after it.

    The order is kept until nothing else is left to do, so that whoever comes next knows that this was done.
    """
    files = [p for p in ready.rglob("*") if p.is_file() and p != ready / _ORDER]
    for path in sorted(files, key=lambda p: (p.name == MANIFEST, p.as_posix())):
        place = directory / path.relative_to(ready)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    for name in order["remove"]:
        (directory / name).unlink(missing_ok=True)
    fsync_directory(directory)
    if (ready / _ORDER).is_file():
        (ready / _ORDER).replace(directory / _DONE)
    shutil.rmtree(ready, ignore_errors=True)
    (directory / _DONE).unlink(missing_ok=True)
