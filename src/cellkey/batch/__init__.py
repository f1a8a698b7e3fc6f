"""Many datasets at once: a folder tree in, a run directory out, every dataset and every cluster accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey._lazy import lazy_names

if TYPE_CHECKING:
    from cellkey.batch.discovery import Dataset as Dataset
    from cellkey.batch.discovery import discover as discover
    from cellkey.batch.run import BatchRun as BatchRun
    from cellkey.batch.run import resume_batch as resume_batch
    from cellkey.batch.run import run_batch as run_batch
    from cellkey.batch.settings import Annotator as Annotator
    from cellkey.batch.settings import BatchSettings as BatchSettings
    from cellkey.batch.workers import DaskCluster as DaskCluster
    from cellkey.batch.workers import InThisProcess as InThisProcess
    from cellkey.batch.workers import LocalProcesses as LocalProcesses

__getattr__, __dir__, __all__ = lazy_names(__name__, {
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
})
