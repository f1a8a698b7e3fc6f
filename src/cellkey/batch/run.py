"""A batch from folder tree to run directory: discover, probe, run, and write what is known after every dataset."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.batch.dataset import DatasetJob, journal_of
from cellkey.batch.directory import RunDirectory, create_run_directory, remove_leftovers, run_label
from cellkey.batch.discovery import discover
from cellkey.batch.manifest import DatasetState, Entry, RunManifest, described_input, described_outputs
from cellkey.batch.rows import DatasetRow, write_summary
from cellkey.batch.settings import BatchSettings
from cellkey.batch.texts import RunFacts, dataset_log, run_summary
from cellkey.batch.workers import LocalProcesses, Runner, failed_row
from cellkey.errors import CellkeyError, InputError
from cellkey.llm.accounting import Call, token_tracking
from cellkey.llm.budget import Budget
from cellkey.llm.journal import Journal, read_calls
from cellkey.llm.panels import read_panels
from cellkey.records.atomic import write_text
from cellkey.records.event_log import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BatchRun", "resume_batch", "run_batch"]

log = logging.getLogger(__name__)

_MONEY = ("BudgetExceededError", "QuotaError")
_ENDS_ALL = (*_MONEY, "CredentialsError", "ModelNotFoundError")


@dataclass(frozen=True)
class BatchRun:
    """A finished run.

    ``exit_code``: 0 all datasets succeeded; 1 none did, or one failed under ``strict``; 3 some failed, or a model
    left a cluster without label; 130 interrupted.
    """

    directory: RunDirectory
    rows: tuple[DatasetRow, ...]
    status: str
    exit_code: int

    @property
    def path(self) -> Path:
        """Run directory."""
        return self.directory.path


def run_batch(
    data_root: str | Path,
    output_dir: str | Path = "batch_results",
    *,
    tissues: Sequence[str] | None = None,
    files: str = "*.h5ad",
    layout: str = "unlabelled",
    settings: BatchSettings | None = None,
    runner: Runner | None = None,
    dataset_workers: int = 1,
    probe: bool = True,
    note: str = "",
    alias: bool = False,
    strict: bool = False,
    on_step: Callable[[str, str], None] = lambda _dataset, _step: None,
) -> BatchRun:
    """Annotate every dataset of a folder tree into a new run directory.

    Parameters
    ----------
    data_root, tissues, files, layout
        Which datasets; see :func:`cellkey.batch.discover`.
    output_dir
        Parent of run directories. Nothing in it is ever changed.
    settings
        How datasets are annotated.
    runner
        Where they are; processes on this machine by default.
    dataset_workers
        Datasets at once, where ``runner`` is not given.
    probe
        Whether the model is tried with one tiny call before any work.
    note
        Text for ``NOTES.txt``.
    alias
        Whether a link ``run_<date>`` to the run is made beside it.
    strict
        Whether one failure makes the exit code 1.
    on_step
        Told of every step of every dataset.

    Raises
    ------
    InputError, NothingToDoError, ServiceError, RunError
        Before the run directory exists: nothing found, no key, a model that does not answer, no permission.
    """
    chosen = settings or BatchSettings()
    datasets = discover(data_root, tissues, files, layout="flat" if layout == "flat" else "unlabelled")
    if chosen.panels is not None:
        read_panels(chosen.panels)  # what is wrong with them is said before any work
    calls = _probe(chosen) if chosen.asks_a_model and probe else []
    started = datetime.now().astimezone()
    directory = create_run_directory(output_dir, run_label(tissues), started)
    if "success" in str(directory.path) or any("success" in str(d.path) for d in datasets):
        log.warning("a path contains the word that counts finished datasets in batch_summary.csv")
    if note:
        write_text(directory.path / "NOTES.txt", note.rstrip() + "\n")
    if alias:
        _link(directory, started)
    manifest = RunManifest(
        chosen,
        [Entry(d) for d in datasets],
        str(data_root),
        list(tissues) if tissues is not None else None,
        started.isoformat(timespec="seconds"),
    )
    _journal_probe(directory, calls)
    return _Conductor(directory, manifest, runner or LocalProcesses(dataset_workers), on_step).run(
        strict=strict, n_parallel=dataset_workers
    )


def resume_batch(
    run: str | Path,
    *,
    runner: Runner | None = None,
    dataset_workers: int = 1,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    api_keys: str | None = None,
    strict: bool = False,
    on_step: Callable[[str, str], None] = lambda _dataset, _step: None,
) -> BatchRun:
    """Finish a run: datasets that are done and unchanged stay, answers that were paid for are used again.

    Parameters
    ----------
    run
        Run directory. Settings and datasets are those of its manifest.
    runner, dataset_workers, strict, on_step
        See :func:`run_batch`.
    budget_usd, budget_tokens
        New limits of the whole run, what was spent before included; None keeps the former ones.
    api_keys
        Another key file.

    Raises
    ------
    RunError
        If the directory is no batch run.
    """
    directory = RunDirectory(Path(run))
    manifest = RunManifest.read(directory.manifest)
    changes: dict[str, Any] = {}
    if budget_usd is not None:
        changes["budget_usd"] = budget_usd
    if budget_tokens is not None:
        changes["budget_tokens"] = budget_tokens
    if api_keys is not None:
        changes["model"] = manifest.settings.model.updated(api_keys=api_keys).model_dump()
    if changes:
        manifest.settings = manifest.settings.updated(**changes)
    missing = [
        str(e.dataset.path)
        for e in manifest.entries
        if not e.dataset.path.is_file() and not e.is_complete(directory.path)
    ]
    if missing:
        msg = f"cannot resume {directory.path}: input files are gone: {', '.join(missing[:3])}"
        raise InputError(msg)
    for entry in manifest.entries:
        if not entry.is_complete(directory.path):
            entry.state, entry.row = DatasetState.PENDING, None
            remove_leftovers(directory.path / entry.dataset.folder)
    return _Conductor(directory, manifest, runner or LocalProcesses(dataset_workers), on_step).run(
        strict=strict, n_parallel=dataset_workers
    )


def _probe(settings: BatchSettings) -> list[Call]:
    """Find out before any work whether key and model can be used; return the calls that took."""
    from cellkey.llm.setup import ClientTeam

    with ClientTeam(settings.model.updated(cache="off")) as team:
        team.probe()
        return team.journal.calls


def _journal_probe(directory: RunDirectory, calls: list[Call]) -> None:
    if calls:
        journal = Journal(directory.calls)
        for call in calls:
            journal.append(call)
        journal.close()


def _link(directory: RunDirectory, started: datetime) -> None:
    link = directory.path.with_name(f"run_{started:%Y%m%d_%H%M%S}")
    try:
        link.symlink_to(directory.name, target_is_directory=True)
    except OSError as error:
        log.warning("no link %s: %s", link, error.strerror)


@dataclass
class _Conductor:
    """Runs what is pending and keeps the files at the top of the run up to date."""

    directory: RunDirectory
    manifest: RunManifest
    runner: Runner
    on_step: Callable[[str, str], None]
    begun: float = field(default_factory=time.monotonic)
    ending: str = ""

    def run(self, *, strict: bool, n_parallel: int) -> BatchRun:
        before = self.manifest.seconds
        self.manifest.status = "running"
        pending = [e for e in self.manifest.entries if e.state is DatasetState.PENDING]
        jobs = [self._job(e, max(min(n_parallel, len(pending)), 1)) for e in pending]
        entries = {id(j): e for j, e in zip(jobs, pending, strict=True)}
        self._open_budget()
        self._write(before)
        tell("run started", run=self.directory.name, datasets=len(pending))

        def on_row(job: DatasetJob, row: DatasetRow) -> bool:
            self._finish(entries[id(job)], row)
            self._write(before)
            return not self.ending

        def on_step(job: DatasetJob, step: str) -> None:
            tell("step", dataset=job.dataset.name, tissue=job.dataset.tissue, step=step)
            self.on_step(job.dataset.name, step)

        try:
            left = self.runner.run(jobs, on_row, on_step)
        except KeyboardInterrupt:
            self.manifest.status = "interrupted"
        else:
            for job in left:
                self._finish(entries[id(job)], failed_row(job, f"not started: {self.ending}", "NotStarted"))
            self.manifest.status = "stopped by budget" if self._is_about_money() else "complete"
        self._write(before)
        status, code = self.manifest.status, self._exit_code(strict=strict)
        tell("run ended", run=self.directory.name, status=status, exit_code=code)
        return BatchRun(self.directory, tuple(self._rows()), status, code)

    def _job(self, entry: Entry, n_parallel: int) -> DatasetJob:
        settings = self.manifest.settings
        limited = settings.budget_usd is not None or settings.budget_tokens is not None
        return DatasetJob(
            entry.dataset,
            self.directory.path / entry.dataset.folder,
            settings,
            self.directory.name,
            max(settings.model.max_workers // n_parallel, 1),
            self.directory.budget if limited else None,
        )

    def _open_budget(self) -> None:
        """Begin the shared account with what the journals say was spent, and nothing set aside."""
        settings = self.manifest.settings
        if settings.budget_usd is None and settings.budget_tokens is None:
            return
        self.directory.budget.unlink(missing_ok=True)
        calls = self._calls()
        Budget(
            settings.budget_usd,
            settings.budget_tokens,
            file=self.directory.budget,
            spent_usd=sum(c.cost for c in calls),
            spent_tokens=sum(c.input_tokens + c.output_tokens for c in calls),
        ).close()

    def _finish(self, entry: Entry, row: DatasetRow) -> None:
        folder = self.directory.path / entry.dataset.folder
        entry.row = row
        entry.state = DatasetState.DONE if row.succeeded else DatasetState.FAILED
        entry.input = described_input(entry.dataset.path)
        self._log_silent_end(entry, row, folder)
        entry.outputs = described_outputs(self.directory.path, folder) if folder.is_dir() else {}
        tell("dataset", **asdict(row))
        if row.error_type in _ENDS_ALL and not self.ending:
            self.ending = row.error or f"no further calls ({row.error_type})"

    def _log_silent_end(self, entry: Entry, row: DatasetRow, folder: Path) -> None:
        """Write the log of a dataset whose worker died before it could."""
        if row.succeeded or row.error_type not in ("WorkerDied", "NotStarted"):
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            parameters = self.manifest.settings.model_dump(mode="json", exclude_none=True)
            write_text(folder / f"{entry.dataset.prefix}_summary.txt", dataset_log(row, [], {}, parameters, [], {}))
        except (CellkeyError, OSError) as error:
            log.warning("no log for %s: %s", entry.dataset.name, error)

    def _is_about_money(self) -> bool:
        return any(e.row is not None and e.row.error_type in _MONEY for e in self.manifest.entries)

    def _rows(self) -> list[DatasetRow]:
        return [e.row for e in self.manifest.entries if e.row is not None]

    def _calls(self) -> list[Call]:
        calls = read_calls(self.directory.calls)
        for entry in self.manifest.entries:
            calls += read_calls(journal_of(self.directory.path / entry.dataset.folder, entry.dataset.prefix))
        return calls

    def _write(self, seconds_before: float) -> None:
        """Write the files at the top of the run; each is whole at any time."""
        self.manifest.seconds = seconds_before + time.monotonic() - self.begun
        rows, settings = self._rows(), self.manifest.settings
        calls = self._calls()
        price = settings.model.price_of()
        tracking = token_tracking(
            calls,
            run=self.directory.name,
            started_at=self.manifest.started_at,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            prices=settings.model.price_by_model() if settings.asks_a_model else {},
        )
        real = [c for c in calls if not c.is_hit]
        output_cost = sum(c.output_tokens for c in real) * price.output_per_million / 1e6
        total = tracking["total_cost"]
        prices = (
            f"${price.input_per_million:g}/M input, ${price.output_per_million:g}/M output ({price.source})"
            if settings.asks_a_model
            else "none needed"
        )
        facts = RunFacts(
            started=datetime.fromisoformat(self.manifest.started_at).strftime("%Y-%m-%d %H:%M:%S"),
            directory=str(self.directory.path),
            status=self.manifest.status,
            model=_model_text(settings),
            species=settings.species,
            tissues=list(dict.fromkeys(e.dataset.tissue for e in self.manifest.entries)),
            seconds=self.manifest.seconds,
            prices=prices,
            output_cost=min(output_cost, total),
            input_cost=max(total - output_cost, 0.0),
        )
        write_summary(rows, self.directory.summary_csv)
        write_text(self.directory.tracking, json.dumps(tracking, indent=1, ensure_ascii=False) + "\n")
        write_text(self.directory.summary_text, run_summary(rows, facts, tracking))
        self.manifest.write(self.directory.manifest)

    def _exit_code(self, *, strict: bool) -> int:
        rows = self._rows()
        if self.manifest.status == "interrupted":
            return 130
        failed = [r for r in rows if not r.succeeded]
        # A hierarchy that has no name for a cluster has answered; a model that gave none has failed.
        asked = self.manifest.settings.asks_a_model
        unlabelled = asked and any(r.n_clusters_unlabelled for r in rows if r.succeeded)
        if len(failed) == len(rows) or (strict and (failed or unlabelled)):
            return 1
        is_open = any(r.error_type for r in rows)
        return 3 if failed or unlabelled or is_open or self.manifest.status != "complete" else 0


def _model_text(settings: BatchSettings) -> str:
    if not settings.asks_a_model:
        return "none (marker hierarchy)"
    from cellkey.llm.transport import shown_url

    provider = settings.model.provider
    return f"{settings.model.model} ({shown_url(provider) if '://' in provider else provider})"
