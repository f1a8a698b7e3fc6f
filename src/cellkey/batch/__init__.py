"""Many datasets at once: a folder tree in, a run directory out, every dataset and every cluster accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellkey.batch.discovery import Dataset, discover
    from cellkey.batch.run import BatchRun, resume_batch, run_batch
    from cellkey.batch.settings import Annotator, BatchSettings
    from cellkey.batch.workers import DaskCluster, InThisProcess, LocalProcesses

_HOMES = {
    "Annotator": "settings",
    "BatchRun": "run",
    "BatchSettings": "settings",
    "DaskCluster": "workers",
    "Dataset": "discovery",
    "InThisProcess": "workers",
    "LocalProcesses": "workers",
    "discover": "discovery",
    "resume_batch": "run",
    "run_batch": "run",
}

__all__ = [
    "Annotator",
    "BatchRun",
    "BatchSettings",
    "DaskCluster",
    "Dataset",
    "InThisProcess",
    "LocalProcesses",
    "discover",
    "resume_batch",
    "run_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"cellkey.batch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
