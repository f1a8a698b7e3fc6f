"""Asking again about a finished run, in a directory of its own: the finished run is never changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellkey.llm.followup import CHANGES, FollowUp
from cellkey.llm.result_tables import neutral_table
from cellkey.llm.run import asking_in, write_table_run
from cellkey.records.atomic import safe_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cellkey.llm.client import ModelClient
    from cellkey.llm.setup import ModelSettings
    from cellkey.llm.stored import StoredResult

__all__ = ["FollowUpRun", "follow_up"]

_ROLE_MODELS = ("score_model", "boost_model", "merge_model")


@dataclass(frozen=True)
class FollowUpRun:
    """What came of asking again, and where it was written."""

    directory: Path
    outcome: FollowUp

    @property
    def asked(self) -> tuple[str, ...]:
        """Clusters that were asked about."""
        return self.outcome.asked

    @property
    def errors(self) -> Mapping[str, str]:
        """Why clusters could not be asked about."""
        return self.outcome.errors

    def text(self) -> str:
        """Return before and after, or the groups, as text for readers."""
        if self.asked:
            names = ["cluster", "label_before", "label_after", "score_before", "score_after", "status_after", "error"]
            table = self.outcome.changes[names]
        else:
            names = ["cluster", "cell_type", "specific_group", "detailed_group", "broad_group"]
            table = self.outcome.result.table[names]
        warnings = "".join(f"Warning: {w}\n" for w in self.outcome.result.warnings)
        return f"{table.to_string(index=False, na_rep='')}\n{warnings}"


def follow_up(
    stored: StoredResult,
    ask: Callable[[StoredResult, Mapping[str, ModelClient]], FollowUp],
    output_dir: str | Path | None = None,
    *,
    verb: str,
    model: Mapping[str, Any] | None = None,
    budget_usd: float | None = None,
    budget_tokens: int | None = None,
    resume: bool = False,
    probe: bool = True,
) -> FollowUpRun:
    """Ask about a finished run and write the new results.

    Parameters
    ----------
    stored
        The finished annotation.
    ask
        One of the functions of :mod:`cellkey.llm.followup`, with its further arguments.
    output_dir
        A new directory, or with ``resume`` that of an interrupted follow-up; ``VERB_DATASET_DATE`` beside the run if
        None.
    verb
        What is done, as a participle, for the name of the directory.
    model
        Settings that differ from those of the run; a model or provider given here plays all roles.
    budget_usd, budget_tokens
        Limits of this follow-up.
    resume, probe
        See :func:`cellkey.llm.run.asking_in`.

    Raises
    ------
    RunError
        If the directory is in use.
    InputError, ServiceError
        If the model cannot be used.
    """
    settings = _settings(stored.asked.model, dict(model or {}))
    directory = Path(output_dir) if output_dir is not None else _beside(stored, verb)
    with asking_in(
        directory, settings, budget_usd=budget_usd, budget_tokens=budget_tokens, resume=resume, probe=probe
    ) as team:
        outcome = ask(stored, {"": team.main, **team.roles})
        source = {"follow_up": verb, "of": str(stored.source), "clusters": list(outcome.asked)}
        write_table_run(directory, outcome.result, stored.markers, replace(stored.asked, model=settings), source)
        if outcome.asked:
            name = safe_name(stored.asked.study.dataset)
            CHANGES.write_csv(neutral_table(outcome.changes), directory / f"{name}_changes.csv")
    return FollowUpRun(directory, outcome)


def _settings(before: ModelSettings, given: dict[str, Any]) -> ModelSettings:
    if "provider" in given or "model" in given:
        given = {**dict.fromkeys(_ROLE_MODELS), **given}
    if "provider" in given:
        given = {"base_url": None, **given}
    return before.updated(**{"record": None, "replay": None, **given})


def _beside(stored: StoredResult, verb: str) -> Path:
    """A name that does not look like a run of a batch, so that loops over runs pass it by."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d_%H%M%S")
    return stored.source.resolve().parent / f"{verb}_{safe_name(stored.asked.study.dataset)}_{stamp}"
