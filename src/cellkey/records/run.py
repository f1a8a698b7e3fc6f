"""Run directories: all files of a run appear together, and one manifest says what they are."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cellkey.errors import RunError
from cellkey.records.atomic import flushed_together, fsync_directory, write_text
from cellkey.records.locks import claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "COARSE_CELLS", "MANIFEST", "OUTPUT_CELLS", "PROFILES", "REFINED_CELLS", "RESAMPLES", "file_hash",
    "listed_outputs", "package_versions", "read_manifest", "staged", "timestamp", "write_manifest",
]

MANIFEST = "manifest.json"
COARSE_CELLS, REFINED_CELLS, OUTPUT_CELLS = "coarse_clusters.h5ad", "refined.h5ad", "output.h5ad"
"""Cells with the labels of the annotation, with those of refinement, and with the last of both."""
PROFILES, RESAMPLES = "profiles.h5", "resamples.h5"
_MADE_LATER = ("diagnostic_report.csv", "plan.yaml", "report.html")
_PACKAGES = ("anndata", "faiss-cpu", "h5py", "igraph", "numba", "numpy", "pandas", "scipy")


def timestamp() -> str:
    """Return the current time as ISO 8601 with seconds and UTC offset."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    """Return the versions of Python, cellkey and the packages whose numbers reach the results."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "cellkey": metadata.version("cellkey")}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@contextlib.contextmanager
def staged(directory: str | Path) -> Iterator[Path]:
    """Yield an empty folder for the files of a run; move them into ``directory`` when the block succeeds.

    When the block fails, nothing is left behind: the staging folder goes, and so do folders that were made
    for it. A run replaces an earlier run in the directory: its files, as its manifest lists them, go, and so do
    the diagnosis and the report made of them. Other files stay, unless the run has one of the same name. What a
    process that was killed had staged there goes, too.

    Raises
    ------
    RunError
        If the directory cannot be created or written.
    """
    target = Path(directory)
    made = _make(target)
    staging = target / f".partial-{secrets.token_hex(4)}"
    try:
        for leftover in target.glob(".partial-*"):
            with _claimed(leftover) as abandoned:
                if abandoned:
                    shutil.rmtree(leftover, ignore_errors=True)
        staging.mkdir()
        with _claimed(staging):
            with flushed_together(staging):
                yield staging
            _publish(staging, target)
    except OSError as error:
        _remove(staging, made)
        msg = f"cannot write to {target}: {error.strerror or error}"
        raise RunError(msg) from error
    except BaseException:
        _remove(staging, made)
        raise


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Claim a staging folder as long as it is written; yield whether it is certain that nobody else has it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # gone, or a platform that opens no folders
        yield False
        return
    try:
        yield claim(handle) is True
    finally:
        os.close(handle)


def _make(target: Path) -> list[Path]:
    try:
        missing = [p for p in (target, *target.parents) if not p.exists()]
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file of that name is in the way" if isinstance(error, FileExistsError) else error.strerror
        msg = f"cannot create the output directory {target}: {reason}; choose another with --output-dir"
        raise RunError(msg) from error
    if not os.access(target, os.W_OK | os.X_OK):
        _remove(target / ".partial", missing)
        msg = f"the output directory {target} is not writable: choose another with --output-dir"
        raise RunError(msg)
    return missing


def _remove(staging: Path, made: list[Path]) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _publish(staging: Path, target: Path) -> None:
    # The manifest goes first and comes last, so that a directory without one is known to be incomplete.
    files = sorted(p for p in staging.rglob("*") if not p.is_dir())
    outdated = _files_of_run(target) if (staging / MANIFEST).exists() else []
    (target / MANIFEST).unlink(missing_ok=True)
    for name in outdated:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            (target / name).unlink()
    for folder in {(target / name).parent for name in outdated} - {target}:
        with contextlib.suppress(OSError):
            folder.rmdir()
    for path in sorted(files, key=lambda p: p.name == MANIFEST):
        place = target / path.relative_to(staging)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(staging, ignore_errors=True)
    fsync_directory(target)


def _files_of_run(directory: Path) -> list[str]:
    """Files that a run wrote into its directory, and those made of them later; none where there is no run."""
    try:
        listed = read_manifest(directory).get("outputs", {})
    except RunError:
        return []
    parts = {name: PurePosixPath(name) for name in listed}
    return [*_MADE_LATER, *(n for n, p in parts.items() if not p.is_absolute() and ".." not in p.parts)]


def file_hash(path: Path) -> str:
    """Return the BLAKE2b hash (32 hex digits) of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_manifest(
    staging: Path, content: Mapping[str, Any], *, hash_below: int = 64 * 2**20,
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Write the manifest of a staged run: ``content``, versions, command and the list of files.

    Files up to ``hash_below`` bytes are listed with their hash, larger ones with their size. ``hashes`` holds, by
    file, those that are known.
    """
    record = {
        "cellkey": metadata.version("cellkey"),
        "status": "complete",
        "created": timestamp(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **content,
        "versions": package_versions(),
        "outputs": listed_outputs(staging, hash_below=hash_below, hashes=hashes),
    }
    write_text(staging / MANIFEST, json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n")


def listed_outputs(
    staging: Path, *, hash_below: int = 64 * 2**20, hashes: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the files of a staged run as its manifest lists them; see :func:`write_manifest`."""
    outputs = {}
    for path in sorted(p for p in staging.rglob("*") if p.is_file()):
        name, size = path.relative_to(staging).as_posix(), path.stat().st_size
        known = (hashes or {}).get(name)
        outputs[name] = {"bytes": size, **({"blake2b": known or file_hash(path)} if size <= hash_below else {})}
    return outputs


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """Return the manifest of a run directory.

    Raises
    ------
    RunError
        If there is none (not a run directory, or a run that was interrupted) or it is damaged.
    """
    path = Path(directory) / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        state = "is not complete: it has no manifest" if Path(directory).is_dir() else "does not exist"
        msg = f"run directory {directory} {state}"
        raise RunError(msg) from None
    except (OSError, json.JSONDecodeError) as error:
        msg = f"cannot read {path}: {error}"
        raise RunError(msg) from error
    return content
