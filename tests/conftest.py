"""Shared fixtures: where the labelled data are, and a quiet, headless matplotlib."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


def _data_folder() -> Path | None:
    named = os.environ.get("CELLKEY_DATA")
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared" / "data"]
    return next((c for c in candidates if c.is_dir()), None)


@pytest.fixture(scope="session")
def labelled_data() -> Path:
    """Folder of real labelled data sets; tests that need it are skipped where it is absent."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("labelled data not found: set CELLKEY_DATA to the folder that holds pbmc3k.h5ad")
    return folder
