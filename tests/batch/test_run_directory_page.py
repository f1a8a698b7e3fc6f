"""The page about run directories names every column, key and file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from cellkey.batch.rows import DatasetRow
from cellkey.batch.table_run import TABLE_CALLS
from cellkey.llm.accounting import Call, token_tracking
from cellkey.llm.comparison_run import OPINIONS, VERDICTS
from cellkey.llm.followup import CHANGES
from cellkey.llm.marker_tables import MARKERS
from cellkey.llm.result_tables import ANNOTATIONS, FINAL_RESULTS
from cellkey.llm.subclusters import SUBCLUSTERS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "run-directory.md"

NAMES = {
    "batch_summary.csv": [f.name for f in fields(DatasetRow)],
    "token_tracking.json": list(token_tracking([], run="", started_at="", finished_at="")),
    "api_calls": [f.name for f in fields(Call)],
    **{s.name: s.names for s in (ANNOTATIONS, FINAL_RESULTS, CHANGES, OPINIONS, VERDICTS)},
    **{s.name: s.names for s in (SUBCLUSTERS, TABLE_CALLS, MARKERS)},
}


@pytest.mark.parametrize("what", NAMES)
def test_every_name_is_explained(what: str) -> None:
    """A new column without a word about it fails here."""
    text = PAGE.read_text(encoding="utf-8")
    assert [n for n in NAMES[what] if f"`{n}`" not in text] == []
