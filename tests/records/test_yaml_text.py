"""What is written as YAML reads back the same."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cellkey.records.yaml_text import yaml_text

values = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans())
def test_values_survive(value: object, short: bool) -> None:
    """Text, numbers, lists and mappings of any depth come back, in both layouts of lists."""
    assert yaml.safe_load(yaml_text({"value": value}, short_lists=short)) == {"value": value}


@pytest.mark.parametrize("text", ["a\x85", "\x85b", "a\u2028b", "a\u2029", "\ufeffx", "no", "1e3", " a ", "β: cells"])
def test_texts_that_yaml_reads_otherwise(text: str) -> None:
    """Line breaks of Unicode, words that mean numbers or truth, and blanks at the ends stay text."""
    assert yaml.safe_load(yaml_text({"k": [{"x": text}]})) == {"k": [{"x": text}]}
    assert yaml.load(yaml_text({"k": [{"x": text}]}), Loader=yaml.BaseLoader) == {"k": [{"x": text}]}
