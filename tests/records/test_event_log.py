"""The log as lines of JSON."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cellkey.errors import RunError
from cellkey.records.event_log import events_to, json_log, tell


def test_what_is_told_is_a_line_with_its_facts(tmp_path: Path) -> None:
    """Lines are appended at once; plain log messages are lines, too; nothing is written after the block."""
    path = tmp_path / "log.jsonl"
    level = logging.getLogger("cellkey").level
    tell("before", n=0)
    with json_log(path):
        tell("step", dataset="a\nb", n=1)
        logging.getLogger("cellkey.batch").warning("no link %s", "x")
        first = [json.loads(line) for line in path.read_text().splitlines()]
    tell("after", n=2)
    assert [line["event"] for line in first] == ["step", "message"]
    assert (first[0]["dataset"], first[0]["n"]) == ("a\nb", 1)
    assert (first[1]["level"], first[1]["message"]) == ("warning", "no link x")
    assert len(path.read_text().splitlines()) == 2
    assert logging.getLogger("cellkey").level == level


def test_without_a_file_nothing_is_written_and_a_bad_file_is_said(tmp_path: Path) -> None:
    """None is no log; a place that cannot be written is an error before any work."""
    with json_log(None):
        tell("step")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="cannot write the log"), json_log(tmp_path / "none" / "log.jsonl"):
        pass


def test_events_can_be_handed_over_instead() -> None:
    """Name and facts arrive as they were told, as long as the block lasts."""
    heard = []
    with events_to(lambda event, facts: heard.append((event, facts))):
        tell("cluster", cluster="0", label="B cell")
    tell("cluster", cluster="1")
    assert heard == [("cluster", {"cluster": "0", "label": "B cell"})]
