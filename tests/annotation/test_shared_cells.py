"""Cells that share their cluster in every run are one group, whatever clusters and cells are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cellkey.annotation.agreement import Source, Statement, agree
from cellkey.annotation.shared_cells import shared_cells, voices
from cellkey.errors import InputError
from cellkey.hierarchy import read_hierarchy


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


# --- voices ---


def divided(sizes: dict[str, int], **runs: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(runs, index=list(sizes))
    return voices(frame, pd.Series(sizes)).round(12)


def test_every_cell_speaks_once() -> None:
    """By hand: of 100 coarse cells 60 and 40 are on their own in both finer runs; a third of a voice is left of these.

    The first 60 are the same cluster in both finer runs: each has 1/3. The coarse cluster has 60 cells with 1/3 and 40
    that nobody else asks about there.
    """
    found = divided({"g": 60, "h": 40}, coarse=["0", "0"], fine=["1", "2"], finer=["a", "b"])
    np.testing.assert_allclose(found.loc["g"], [(60 / 3 + 40) / 100, 1 / 3, 1 / 3])
    np.testing.assert_allclose(found.loc["h"], [(40 / 3 + 60) / 100, 1 / 3, 1 / 3])


def test_voices_of_one_run_and_of_equal_runs() -> None:
    """A single run speaks whole; runs with the same clusters, whatever they are called, share one voice."""
    assert (divided({"g": 3, "h": 5}, one=["0", "1"]) == 1.0).all(axis=None)
    np.testing.assert_allclose(divided({"g": 3, "h": 5}, one=["0", "1"], two=["x", "y"], three=["1", "0"]), 1 / 3)


def test_voices_do_not_depend_on_the_order_of_runs_and_groups() -> None:
    """Nor on what clusters are called; they are positive and at most 1."""
    rng = np.random.default_rng(3)
    sizes = {f"g{i}": int(n) for i, n in enumerate(rng.integers(1, 50, 30))}
    runs = {f"r{k}": [f"c{c}" for c in rng.integers(0, 4 + k, 30)] for k in range(3)}
    found = divided(sizes, **runs)
    assert ((found > 1 / 3 - 1e-9) & (found <= 1.0)).all(axis=None)
    turned = voices(pd.DataFrame(runs, index=list(sizes)).iloc[::-1, ::-1], pd.Series(sizes)).round(12)
    pd.testing.assert_frame_equal(turned.loc[found.index, found.columns], found)


TREE = {"Immune": {"markers": ["A"], "subtypes": {"NK": {"markers": ["B"]}, "T": {"markers": ["C"]}}}}


def said(label: str, confidence: float, method: str, *names: str) -> list[Source]:
    path = ("Immune", label)
    return [Source(n, {"0": [Statement(label, path, confidence=(0.9, confidence))]}, method=method) for n in names]


@pytest.mark.parametrize(
    ("methods", "label"),
    [(("m", "m", "m"), "NK"), (("", "", ""), "T"), (("m", "n", "o"), "T")],
    ids=["one method", "unknown", "three methods"],
)
def test_the_same_cells_asked_twice_by_one_method_do_not_outvote_a_surer_call(
    methods: tuple[str, ...], label: str
) -> None:
    """Two finer clusters of the same cells are one piece of evidence, but two methods are two."""
    cells = [f"c{i}" for i in range(12)]
    coarse = pd.Series(["0"] * 12, index=cells)
    fine = pd.Series(["0"] * 4 + ["1"] * 8, index=cells)
    found = shared_cells([coarse, fine, fine.map({"0": "0", "1": "z"})])
    assert found is not None
    sources = [
        (i, s) for i, (method, name) in enumerate(zip(methods, "abc", strict=True))
        for s in said("NK" if i == 0 else "T", 0.75 if i == 0 else 0.7, method, name)
    ]
    asked = found.asked(sources)
    group = found.groups["c0"]
    outcome = agree(asked, read_hierarchy(TREE))
    assert outcome.consensus[group].path[-1] == label
    votes = outcome.tables["consensus_votes"]
    voice = votes.loc[votes["cluster_id"] == group, "voice"].to_numpy()
    alone = len(set(methods)) > 1 or not methods[0]
    np.testing.assert_allclose(voice, 1.0 if alone else [(4 / 3 + 8) / 12, 1 / 3, 1 / 3])
