"""Figures from results, runs and AnnData: what they show, and ax, show and save."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellkey import annotate, pl
from cellkey.annotation.result import AnnotationResult
from cellkey.errors import InputError
from cellkey.plots import composition_table, score_matrix, spatial_map, tree_counts

TYPES = ["T Cells", "B Cells", "Ciliated Epithelium", "Secretory Epithelium"]


@pytest.fixture
def labelled(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> tuple[AnnData, AnnotationResult]:
    adata = small_cells(15, 20)
    adata.obsm["spatial"] = np.random.default_rng(0).random((adata.n_obs, 2))
    adata.obs["donor"] = [f"d{i % 2}" for i in range(adata.n_obs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adata, annotate(adata, small_map, groupby="truth")


def calls(**paths: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [(c, path.split(" / ")[-1] or "Unassigned", path, path.count(" / ") if path else -1, n, "")
         for c, (path, n) in paths.items()],
        columns=["cluster_id", "assigned_label", "assigned_path", "assigned_level", "n_cells", "runner_up_label"],
    )


# --- what is shown ---


def test_counts_add_up_along_the_tree() -> None:
    """Cells of a subtree went through its top; cells of a label stopped there."""
    counts = tree_counts(calls(a=("I", 5), b=("I / T", 7), c=("I / T", 1), d=("", 9)), [("E",)])
    assert counts.index.tolist() == [("E",), ("I",), ("I", "T")]
    assert counts["through"].tolist() == [0, 13, 8]
    assert counts["stopped"].tolist() == [0, 5, 8]
    assert counts["clusters"].tolist() == [0, 1, 2]


def test_winner_and_rival_are_siblings() -> None:
    """The runner-up is found beside the path, also above the last step; where there is none nothing is marked."""
    table = calls(a=("I / T", 1), b=("E", 1), c=("", 1))
    table["runner_up_label"] = ["B", "I", ""]
    scores = pd.DataFrame([(c, p, i) for c in "abc" for i, p in enumerate(("I", "I / T", "I / B", "E", "X"))],
                          columns=["cluster_id", "path", "score"])
    matrix = score_matrix(scores, table)
    assert matrix.paths == (("E",), ("I",), ("I", "B"), ("I", "T"))
    by_cluster = {c: (matrix.winner[i], matrix.runner_up[i]) for i, c in enumerate(matrix.clusters)}
    assert by_cluster == {"a": (3, 2), "b": (0, 1), "c": (-1, -1)}
    assert matrix.values[0].tolist() == [3, 0, 2, 1]
    assert len(score_matrix(scores, table, everything=True).paths) == 5


def test_shares_sum_to_one_in_category_order() -> None:
    """Every sample is whole, labels keep the order of the tree, samples that of their numbers or categories."""
    labels = pd.Series(pd.Categorical(["Z", "A", "A", "Z"], ["Z", "A", "unused"]))
    samples = pd.Series(["d10", "d10", "d9", "d9"])
    shares = composition_table(labels, samples)
    assert shares.columns.tolist() == ["Z", "A"]
    assert shares.index.tolist() == ["d9", "d10"]
    assert composition_table(labels, samples.astype("category")).index.tolist() == ["d10", "d9"]
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_maps_need_a_place_for_every_cell() -> None:
    """Missing coordinates are counted, not dropped."""
    with pytest.raises(InputError, match="2 coordinates for 2 labels, 1 of them not finite"):
        spatial_map([[0, 0], [np.nan, 1]], pd.Series(["a", "b"]), colours={})


# --- ax, show, save ---

FROM_TABLES: list[tuple[str, tuple[Any, ...]]] = [
    ("tree", ()), ("scores", ()), ("confidence_by_depth", ()), ("marker_dots", ()), ("coverage", ()),
    ("decision_path", ("T Cells",)),
]


@pytest.mark.parametrize(("name", "arguments"), FROM_TABLES)
def test_figures_of_results(
    name: str, arguments: tuple[Any, ...], labelled: tuple[AnnData, AnnotationResult], tmp_path: Path
) -> None:
    """Each draws on the axes it is given, saves by the ending of the name, and leaves nothing in pyplot."""
    draw = getattr(pl, name)
    before = plt.get_fignums()
    ax = draw(labelled[1], *arguments, save=tmp_path / "figure.svg")
    assert ax is not None
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert plt.get_fignums() == before
    _, own = plt.subplots()
    assert draw(labelled[1], *arguments, ax=own) is own
    plt.close("all")


def test_figures_of_cells(labelled: tuple[AnnData, AnnotationResult]) -> None:
    """Labels are drawn in their stored colours, at the level that is asked for."""
    adata, _ = labelled
    ax = pl.spatial(adata, level=0)
    assert [t.get_text().split(" (")[0] for t in ax.get_legend().get_texts()] == ["Immune Cells", "Epithelium"]
    assert len(pl.spatial(adata, library_key="donor", library_id="d0").collections) == 4
    ax = pl.composition(adata, "donor")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == TYPES
    drawn = [ax.containers[i][0].get_facecolor() for i in range(4)]
    from matplotlib.colors import to_hex

    assert [to_hex(c).upper() for c in drawn] == list(adata.uns["annotation_colors"])
    assert pl.composition(adata, "donor", legend=False).get_legend() is None


def test_confusion_of_two_columns(labelled: tuple[AnnData, AnnotationResult]) -> None:
    """The names of the columns are on the axes, labels in the order of the tree."""
    adata, _ = labelled
    ax = pl.confusion(adata, "truth", "cell_type_auto")
    assert [t.get_text() for t in ax.get_xticklabels()] == TYPES
    with pytest.raises(InputError, match="obs has no column 'trut'"):
        pl.confusion(adata, "trut", "cell_type_auto")


def test_figures_say_what_they_lack(labelled: tuple[AnnData, AnnotationResult], tmp_path: Path) -> None:
    """Missing columns, coordinates, tables and runs are named."""
    adata, _ = labelled
    with pytest.raises(InputError, match="obs has no column 'donr'; did you mean 'donor'"):
        pl.composition(adata, "donr")
    with pytest.raises(InputError, match="obsm has no 'xy'; it holds spatial"):
        pl.spatial(adata, spatial_key="xy")
    with pytest.raises(InputError, match="library_id needs library_key"):
        pl.spatial(adata, library_id="d0")
    with pytest.raises(InputError, match="needs the table marker_scores"):
        pl.scores({"cluster_annotations": pd.DataFrame()})
    with pytest.raises(InputError, match="not an annotation run"):
        pl.tree(tmp_path)


def test_showing_returns_nothing(
    labelled: tuple[AnnData, AnnotationResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With show=True the figure is shown once and closed; in a notebook that is the default."""
    before = plt.get_fignums()
    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.get_fignums()) - len(before)))
    assert pl.tree(labelled[1], show=True) is None
    assert shown == [1]
    assert plt.get_fignums() == before
    display = pytest.importorskip("IPython.display")
    pictures: list[object] = []
    monkeypatch.setattr(display, "display", pictures.append)
    monkeypatch.setattr("cellkey.pl.in_notebook", lambda: True)
    assert pl.tree(labelled[1]) is None
    assert len(pictures) == 1
    assert pl.tree(labelled[1], show=False) is not None
