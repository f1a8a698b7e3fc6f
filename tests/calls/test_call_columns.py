"""Columns of labels: every level, tree order, one colour per category, the same in every data set."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellkey import annotate
from cellkey.annotation.fields import colour_fields
from cellkey.calls.columns import in_order, level_labels, spread
from cellkey.errors import CellkeyWarning
from cellkey.hierarchy import Hierarchy
from cellkey.io.write import write_cells

pytestmark = pytest.mark.filterwarnings("ignore:X holds counts:cellkey.errors.CellkeyWarning")


def test_levels_repeat_the_deepest_label() -> None:
    """No level is empty, and an undecided or missing label fills them all."""
    assert level_labels(("A", "B"), "B", 4) == ["A", "B", "B", "B"]
    assert level_labels((), "Unassigned", 2) == ["Unassigned"] * 2
    assert level_labels((), "A~B", 1) == ["A~B"]


def test_categories_follow_the_tree() -> None:
    """Relatives stand together; what no tree knows comes after, unassigned last."""
    rank = {"T": 2, "B": 1, "Z": 0}
    assert in_order({"B", "Unassigned", "T", "A~B", "Z"}, rank) == ["Z", "B", "T", "A~B", "Unassigned"]
    values = spread(np.array([1, 0, -1]), ["T", "B"], "Unassigned", rank)
    assert list(values) == ["B", "T", "Unassigned"]
    assert list(values.categories) == ["B", "T", "Unassigned"]


@pytest.fixture
def labelled(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> AnnData:
    adata = small_cells()
    annotate(adata, small_map, groupby="truth")
    return adata


def test_companions_of_a_label(labelled: AnnData) -> None:
    """Columns of levels agree with the path, and there are as many as the hierarchy is deep."""
    obs = labelled.obs
    assert [c for c in obs if "_level_" in c] == ["cell_type_auto_level_0", "cell_type_auto_level_1"]
    paths = obs["cell_type_auto_path"].astype(str).str.split(" / ")
    assert obs["cell_type_auto_level_0"].astype(str).tolist() == [p[0] for p in paths]
    assert obs["cell_type_auto_level_1"].astype(str).tolist() == [p[-1] for p in paths]
    assert list(obs["cell_type_auto"].cat.categories) == [
        "T Cells", "B Cells", "Ciliated Epithelium", "Secretory Epithelium"]
    assert set(obs["cell_type_auto_status"]) == {"resolved"}
    np.testing.assert_array_equal(obs["cell_type_auto_margin"], obs["cell_type_auto_conf"])
    assert set(obs["cell_type_auto_runner_up"]) <= {"T Cells", "B Cells", "Ciliated Epithelium",
                                                    "Secretory Epithelium", "Immune Cells", "Epithelium", ""}


def test_colours_stay_with_the_cell_type(labelled: AnnData, small_map: dict[str, Any]) -> None:
    """One colour per category; leaving out a type changes no other's colour."""
    def by_name(adata: AnnData) -> dict[str, str]:
        return dict(zip(adata.obs["cell_type_auto"].cat.categories, adata.uns["cell_type_auto_colors"], strict=True))

    fewer = labelled[labelled.obs["truth"] != "T Cells"].copy()
    fewer.obs = fewer.obs[["truth"]]
    fewer.uns.clear()
    annotate(fewer, small_map, groupby="truth")
    assert by_name(fewer).items() <= by_name(labelled).items()
    assert len(set(by_name(labelled).values())) == 4
    for key in [k for k in labelled.uns if k.endswith("_colors")]:
        assert len(labelled.uns[key]) == len(labelled.obs[key.removesuffix("_colors")].cat.categories)


def test_undecided_and_unassigned_have_colours() -> None:
    """A~B looks like A, unassigned is grey."""
    tree = Hierarchy.from_dict({"A": {"markers": ["a"]}, "B": {"markers": ["b"]}})
    obs = {"cell_type_auto": pd.Categorical(["A", "A~B", "Unassigned"], categories=["A", "A~B", "Unassigned"])}
    first, undecided, grey = colour_fields(obs, tree)["cell_type_auto_colors"]
    assert first == undecided
    assert grey == "#BDBDBD"


def test_columns_and_colours_survive_files(labelled: AnnData, tmp_path: Path) -> None:
    """Everything comes back from .h5ad and .zarr."""
    pytest.importorskip("zarr")
    write_cells(labelled, tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labelled.write_zarr(tmp_path / "a.zarr")
        read = [ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")]
    for adata in read:
        assert adata.obs["cell_type_auto"].cat.categories.tolist() == (
            labelled.obs["cell_type_auto"].cat.categories.tolist())
        assert list(adata.uns["cell_type_auto_colors"]) == list(labelled.uns["cell_type_auto_colors"])


def test_scanpy_takes_the_colours(labelled: AnnData) -> None:
    """scanpy's own plot uses them without being told."""
    sc = pytest.importorskip("scanpy")
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex

    labelled.obsm["X_umap"] = np.arange(2.0 * labelled.n_obs).reshape(-1, 2)
    before = list(labelled.uns["cell_type_auto_colors"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = sc.pl.umap(labelled, color="cell_type_auto", show=False, return_fig=True)
    plt.close(figure)
    drawn = {to_hex(c, keep_alpha=False).upper() for c in figure.axes[0].collections[0].get_facecolors()}
    assert list(labelled.uns["cell_type_auto_colors"]) == before
    assert drawn == set(before)


def test_a_shallower_hierarchy_leaves_no_old_levels(labelled: AnnData) -> None:
    """Columns of levels that the new hierarchy does not have are removed."""
    annotate(labelled, {"Immune Cells": {"markers": ["PTPRC", "CD74"]}, "Epithelium": {"markers": ["EPCAM", "KRT8"]}},
             groupby="truth")
    assert [c for c in labelled.obs if "_level_" in c] == ["cell_type_auto_level_0"]


def test_colours_of_a_users_column_are_kept_with_it(
    small_cells: Callable[..., AnnData], small_map: dict[str, Any]
) -> None:
    """A column that makes way takes its colours along."""
    adata = small_cells()
    adata.obs["annotation"] = adata.obs["truth"]
    adata.uns["annotation_colors"] = ["#000000"] * 4
    with pytest.warns(CellkeyWarning, match="annotation_input"):
        annotate(adata, small_map, groupby="truth")
    assert list(adata.uns["annotation_input_colors"]) == ["#000000"] * 4
