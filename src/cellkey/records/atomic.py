"""Writing files so that a reader sees either the old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["atomic_directory", "atomic_path", "flushed_together", "fsync_directory", "safe_name", "write_text"]

_FORBIDDEN = '<>:"/\\|?*\0'
_FLUSHES = 8  # at once: the file system writes down together what is asked for together
_flushed_later: ContextVar[Path | None] = ContextVar("flushed_later", default=None)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The content is flushed to disk before the rename, or later inside :func:`flushed_together`. When the block fails,
    the temporary file is removed and an existing file at ``path`` stays as it was.

    Raises
    ------
    RunError
        If the file system refuses (no space, no permission), with the path and the reason.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:60]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        later = _flushed_later.get()
        if later is not None and target.is_relative_to(later):
            temporary.replace(target)
        else:
            _fsync(temporary)
            temporary.replace(target)
            fsync_directory(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        msg = f"cannot write {target}: {error.strerror}"
        raise RunError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def flushed_together(folder: Path) -> Iterator[None]:
    """Flush what the block writes below ``folder`` at its end, all files at once.

    For a folder whose files nobody sees before the block has succeeded: one flush at the end is then as safe as one
    per file, and takes a fraction of the time.
    """
    token = _flushed_later.set(folder)
    try:
        yield
    finally:
        _flushed_later.reset(token)
    with ThreadPoolExecutor(_FLUSHES) as pool:
        list(pool.map(_fsync, [p for p in folder.rglob("*") if not p.is_symlink()]))


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a new folder beside ``path``; put it in the place of ``path`` as a whole when the block succeeds.

    Parameters
    ----------
    ours
        Says of a folder that is there already whether it may be replaced; an empty one always may.

    Raises
    ------
    RunError
        If there is something else at ``path``, or the file system refuses. What was there stays as it was.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and (not any(target.iterdir()) or ours(target))):
        msg = f"{target} holds something else: name a new or empty folder with --output"
        raise RunError(msg)
    suffix = secrets.token_hex(4)
    temporary, old = (target.with_name(f".{target.name[:60]}.{kind}-{suffix}") for kind in ("partial", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.replace(old)
        temporary.replace(target)
        fsync_directory(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        msg = f"cannot write {target}: {error.strerror}"
        raise RunError(msg) from error
    finally:
        if old.exists() and not target.exists():
            old.replace(target)
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def fsync_directory(path: Path) -> None:
    """Flush a directory entry where the platform allows it, so that a rename survives a power cut."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _fsync(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def safe_name(name: str) -> str:
    """Return a file name for ``name`` that cannot leave its directory and is the same on all platforms.

    Path separators, control characters and characters that some file systems refuse become ``_``; leading
    dots are dropped; an empty result becomes ``_``.
    """
    cleaned = "".join("_" if c in _FORBIDDEN or not c.isprintable() else c for c in name).strip().lstrip(".")
    return cleaned[:120] or "_"
