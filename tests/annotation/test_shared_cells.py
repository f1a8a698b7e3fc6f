"""Cells that share their cluster in every run are one group, whatever clusters and cells are called."""

from __future__ import annotations

import pandas as pd
import pytest

from cellkey.annotation.shared_cells import shared_cells
from cellkey.errors import InputError


def clusters(**of: str) -> pd.Series:
    return pd.Series(of, dtype=object)


def test_groups_are_what_no_clustering_divides() -> None:
    """Groups are named by their clusters; cells that a run lacks are left out and counted over all runs."""
    first = clusters(a="0", b="0", c="1", only_first="1")
    found = shared_cells([first, clusters(b="x", a="x", c="x", only_second="y")])
    assert found is not None
    assert found.groups.to_dict() == {"a": "0+x", "b": "0+x", "c": "1+x"}
    assert found.clusters.loc["1+x"].tolist() == ["1", "x"]
    assert found.n_left_out == 2


def test_a_plus_in_a_name_unites_nothing() -> None:
    """``1`` with ``2+3`` is another group than ``1+2`` with ``3``."""
    found = shared_cells([clusters(a="1", b="1+2"), clusters(a="2+3", b="3")])
    assert found is not None
    assert found.groups.nunique() == len(found.clusters) == 2
    assert found.clusters.loc[found.groups["b"]].tolist() == ["1+2", "3"]


def test_equal_clusters_need_no_groups() -> None:
    """The order of the cells means nothing."""
    assert shared_cells([clusters(a="0", b="1"), clusters(b="1", a="0")]) is None


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (clusters(z="0"), "no cell is in all runs"),
        (pd.Series(["0", "1"], index=["a", "a"]), "names repeat, such as 'a'"),
    ],
)
def test_cells_that_cannot_be_matched(second: pd.Series, words: str) -> None:
    """One message says why."""
    with pytest.raises(InputError, match=words):
        shared_cells([clusters(a="0", b="1"), second])
