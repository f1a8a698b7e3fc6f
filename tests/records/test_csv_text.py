"""Tables are written as pandas writes them, byte for byte."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cellkey.records import schema as module
from cellkey.records.schema import Column, TableSchema

SCHEMA = TableSchema("all_kinds.csv", "Every kind of column.", (
    Column("text", "string", "Text."), Column("number", "float", "Number."), Column("count", "int", "Count."),
    Column("flag", "bool", "Flag."), Column("names", "list", "Names."), Column("value", "json", "Value."),
))


@pytest.mark.parametrize("rows_at_once", [3, 1000])
@pytest.mark.parametrize("n", [0, 1, 12])
def test_the_text_is_that_of_pandas(n: int, rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", rows_at_once)
    texts = ["plain", "a,b", 'say "so"', "two\nlines", "", None, "βγ", " space ", "nan", "1e5", "'", "\t"]
    numbers = [0.1 + 0.2, np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-300, 123456789012.0, 1 / 3, 1e16, 5.0, -2.5e-7]
    frame = SCHEMA.frame({
        "text": texts[:n], "number": numbers[:n], "count": list(range(-5, 7))[:n], "flag": [True, False] * (n // 2) +
        [True] * (n % 2), "names": [("a", "b"), (), None, "c,d", ["x"], ("é",)] * 2 if n == 12 else [()] * n,
        "value": [{"a": 1}, [1.5, "x"], None, "", {"b": None}, [True]] * 2 if n == 12 else [None] * n,
    })
    SCHEMA.write_csv(frame, tmp_path / "ours.csv")
    frame.to_csv(tmp_path / "pandas.csv", index=False, float_format="%.10g", lineterminator="\n",
                 quoting=csv.QUOTE_MINIMAL)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()


def test_a_single_empty_text_is_a_row(tmp_path: Path) -> None:
    one = TableSchema("one.csv", "One column.", (Column("text", "string", "Text."),))
    frame = one.frame({"text": ["", "x"]})
    one.write_csv(frame, tmp_path / "ours.csv")
    frame.to_csv(tmp_path / "pandas.csv", index=False, lineterminator="\n")
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
    assert one.read_csv(tmp_path / "ours.csv")["text"].tolist() == ["", "x"]
