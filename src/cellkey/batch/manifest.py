"""The state of a run on disk: enough to say what is done, and to go on after any interruption."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from cellkey.batch.discovery import Dataset
from cellkey.batch.rows import DatasetRow
from cellkey.batch.settings import BatchSettings
from cellkey.errors import RunError
from cellkey.llm.credentials import redact
from cellkey.llm.prompts import prompt_hash
from cellkey.records.atomic import write_text
from cellkey.records.run import file_hash, package_versions

__all__ = ["DatasetState", "Entry", "RunManifest", "described_input", "described_outputs"]

SCHEMA = "batch-run/1"
_HASH_BELOW = 2**30


class DatasetState(StrEnum):
    """Where a dataset of a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Entry:
    """One dataset of a run: its place, its state, its row, and what it wrote."""

    dataset: Dataset
    state: DatasetState = DatasetState.PENDING
    row: DatasetRow | None = None
    input: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_complete(self, run: Path) -> bool:
        """Whether the dataset is done, no question is open, and its files are still what they were."""
        if self.state is not DatasetState.DONE or not self.outputs or (self.row is not None and self.row.error_type):
            return False
        return all(_is_as_recorded(run / name, facts) for name, facts in self.outputs.items())


def _is_as_recorded(path: Path, facts: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != facts["bytes"]:
        return False
    return facts.get("blake2b") in (None, file_hash(path) if "blake2b" in facts else None)


@dataclass
class RunManifest:
    """Everything that a run was started with, and how far it is."""

    settings: BatchSettings
    entries: list[Entry]
    data_root: str
    tissues: list[str] | None
    started_at: str
    status: Literal["running", "complete", "interrupted", "stopped by budget"] = "running"
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """Write the manifest atomically; it holds no key."""
        content = {
            "schema": SCHEMA,
            "status": self.status,
            "started_at": self.started_at,
            "seconds": round(self.seconds, 2),
            "command": [redact(a) for a in sys.argv],
            "versions": package_versions(),
            "prompt_hash": prompt_hash(),
            "data_root": self.data_root,
            "tissues": self.tissues,
            "settings": self.settings.model_dump(mode="json"),
            "datasets": [_entry(e) for e in self.entries],
        }
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunManifest:
        """Return the manifest of a run directory.

        Raises
        ------
        RunError
            If there is none, or it is of another kind.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            msg = f"{path.parent} is not the directory of a batch run: it holds no {path.name}"
            raise RunError(msg) from None
        except (OSError, ValueError) as error:
            msg = f"cannot read {path}: {error}"
            raise RunError(msg) from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            msg = f"{path} is not of the form {SCHEMA}"
            raise RunError(msg)
        return cls(
            BatchSettings.parse(content["settings"]),
            [_read_entry(e) for e in content["datasets"]],
            content["data_root"],
            content["tissues"],
            content["started_at"],
            content["status"],
            content["seconds"],
        )


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "tissue": entry.dataset.tissue,
        "name": entry.dataset.name,
        "path": str(entry.dataset.path),
        "state": str(entry.state),
        "input": entry.input,
        "row": asdict(entry.row) if entry.row else None,
        "outputs": entry.outputs,
    }


def _read_entry(values: dict[str, Any]) -> Entry:
    dataset = Dataset(values["tissue"], values["name"], Path(values["path"]))
    row = DatasetRow.from_mapping(values["row"]) if values["row"] else None
    return Entry(dataset, DatasetState(values["state"]), row, values["input"], values["outputs"])


def described_input(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of an input file, or its time of change where it is larger than 1 GiB."""
    try:
        status = path.stat()
        facts: dict[str, Any] = {"bytes": status.st_size}
        if status.st_size > _HASH_BELOW:
            return {**facts, "mtime": status.st_mtime}
        with path.open("rb") as handle:
            return {**facts, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}
    except OSError as error:
        return {"error": error.strerror}


def described_outputs(run: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and hash of every file of a dataset, by path inside the run; hidden files left out."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        size = path.stat().st_size
        hashed = {"blake2b": file_hash(path)} if size <= _HASH_BELOW else {}
        found[path.relative_to(run).as_posix()] = {"bytes": size, **hashed}
    return found
