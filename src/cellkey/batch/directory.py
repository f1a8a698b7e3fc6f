"""The directory of a run: its name, made exclusively, and the files at its top."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cellkey.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RunDirectory", "create_run_directory", "remove_leftovers", "run_label"]

_LONGEST_LABEL = 120


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """State, settings and hashes of the run."""
        return self.path / "run_manifest.json"

    @property
    def summary_csv(self) -> Path:
        """One row per dataset."""
        return self.path / "batch_summary.csv"

    @property
    def summary_text(self) -> Path:
        """The same for readers."""
        return self.path / "batch_summary.txt"

    @property
    def tracking(self) -> Path:
        """Calls, tokens and costs."""
        return self.path / "token_tracking.json"

    @property
    def calls(self) -> Path:
        """Journal of calls that belong to no dataset."""
        return self.path / ".token_calls.jsonl"

    @property
    def budget(self) -> Path:
        """What all processes of the run have spent."""
        return self.path / ".budget.sqlite"


def run_label(tissues: Sequence[str] | None) -> str:
    """Return the part of the name that says which tissues a run is about.

    Characters outside ``A-Z a-z 0-9 . -`` become ``-``, so that ``_`` parts tissues and nothing else.
    """
    if tissues is None:
        return "all"
    names = [re.sub(r"[^A-Za-z0-9.\-]", "-", t).lstrip(".") or "-" for t in tissues]
    label = "_".join(names)
    return label if len(label) <= _LONGEST_LABEL else f"{names[0][: _LONGEST_LABEL - 12]}_plus{len(names) - 1}"


def create_run_directory(parent: str | Path, label: str, now: datetime) -> RunDirectory:
    """Make ``run_<label>_<YYYYMMDD_HHMMSS>`` under ``parent``; a second later where the name is taken.

    Raises
    ------
    RunError
        If the folder cannot be made or written.
    """
    base = Path(parent)
    moment = now
    try:
        base.mkdir(parents=True, exist_ok=True)
        while True:
            path = base / f"run_{label}_{moment:%Y%m%d_%H%M%S}"
            try:
                path.mkdir()
            except FileExistsError:
                moment += timedelta(seconds=1)
                continue
            return RunDirectory(path)
    except OSError as error:
        msg = f"cannot make a run directory in {base}: {error.strerror}; choose another with --output-dir"
        raise RunError(msg) from None


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written in the folder of a dataset."""
    if folder.is_dir():
        for path in folder.rglob(".*"):
            if path.name.startswith(".partial-") and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
