"""The confusion figure counts pairs of labels and follows the tree."""

from __future__ import annotations

import numpy as np
import pytest

from cellkey.errors import InputError
from cellkey.plots import confusion, confusion_table


def test_pairs_are_counted_and_follow_the_tree() -> None:
    first, second = ["T", "T", "B", None, "zebra"], ["T", "B", "B", "T", "T"]
    table = confusion_table(first, second, [5, 1, 3, 2, 1], order=["B", "T"])
    assert list(table.index) == ["B", "T", "zebra", "Unassigned"]
    assert list(table.columns) == ["B", "T"]
    np.testing.assert_array_equal(table.to_numpy(), [[3, 0], [1, 5], [0, 1], [0, 2]])


def test_the_figure_says_how_many_agree_and_takes_hostile_names() -> None:
    ax = confusion(["T$_1$", "B"], ["T$_1$", "T$_1$"], [3, 1], names=("mine", "<script>"))
    texts = [t.get_text() for t in ax.texts]
    assert {"3", "1"} <= set(texts)
    assert any("75 % bear" in t for t in texts)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["B", "T$_1$"]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="same length"):
        confusion_table(["T"], ["T", "B"])
