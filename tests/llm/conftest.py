"""Fixtures of this folder; the helpers are in ``conftest_llm``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_llm import journal_at, markers, patient, room

__all__ = ["journal_at", "markers", "patient", "room"]
