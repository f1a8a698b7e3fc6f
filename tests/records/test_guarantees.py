"""The page of guarantees names tests that exist, at least one on every line."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "guarantees.md"


def test_every_guarantee_names_tests_that_exist() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| Guarantee |")]
    assert len(promises) > 20
    for row in promises:
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            path = ROOT / "tests" / file
            assert path.is_file(), file
            text = path.read_text(encoding="utf-8")
            assert f"def {test or 'test_'}" in text, (file, test)
            assert not test or f"def {test}(" in text, (file, test)
