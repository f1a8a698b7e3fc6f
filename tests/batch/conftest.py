"""The helpers of this folder can be imported, also by worker processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache of answers."""
    monkeypatch.setenv("CELLKEY_CACHE_DIR", str(tmp_path / "answer-cache"))
