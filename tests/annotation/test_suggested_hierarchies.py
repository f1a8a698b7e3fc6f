"""Hierarchies ranked on data: the right one first, chance told from fit, order without influence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellkey.annotation.cells import annotate
from cellkey.annotation.suggest import candidates_for, suggest_for_cells, suggest_for_profiles
from cellkey.errors import HierarchyError
from cellkey.hierarchy import Hierarchy, get_builtin

pytestmark = pytest.mark.filterwarnings("ignore:.*holds counts:cellkey.errors.CellkeyWarning")


@pytest.fixture
def wrong_map() -> dict[str, Any]:
    return {"Muscle": {"markers": ["ACTA1", "MYH1", "GENE3"]}, "Nerve": {"markers": ["GENE5", "GENE8", "SNAP25"]}}


def test_the_map_of_the_data_comes_before_one_of_other_cells(
    small_cells: Callable[..., Any], small_map: dict[str, Any], wrong_map: dict[str, Any]
) -> None:
    profiles = annotate(small_cells(), small_map, groupby="truth", votes=False).annotation.profiles
    trees = {"right": Hierarchy.from_dict(small_map), "wrong": Hierarchy.from_dict(wrong_map),
             "absent": Hierarchy.from_dict({"X": {"markers": ["ZZZ1", "ZZZ2"]}})}  # fmt: skip
    table = suggest_for_profiles(profiles, trees).set_index("name")
    assert table["rank"].to_dict()["right"] == 1
    assert table.loc["right", "verdict"] == "comparable to the best"
    assert table.loc["right", "p_value"] == pytest.approx(1 / 21)
    assert table.loc["wrong", "verdict"] == "no better than chance"
    assert table.loc["absent", ["verdict", "fit", "n_types_seen"]].tolist() == ["not measured", 0.0, 0]
    again = suggest_for_profiles(profiles, dict(reversed(trees.items()))).set_index("name")
    assert again.equals(table)
    assert (table["fit"].between(0, 1)).all()


def test_symbols_may_stand_in_a_column(small_cells: Callable[..., Any], small_map: dict[str, Any]) -> None:
    cells = small_cells()
    trees = {"right": Hierarchy.from_dict(small_map)}
    plain = suggest_for_profiles(annotate(cells, small_map, groupby="truth").annotation.profiles, trees)
    cells.var["gene_symbols"] = cells.var_names
    cells.var_names = [f"ENSG{i:011d}" for i in range(cells.n_vars)]
    profiles = annotate(cells, small_map, groupby="truth").annotation.profiles
    columns = {"gene_symbols": cells.var["gene_symbols"].tolist()}
    by_symbol = suggest_for_profiles(profiles, trees, var_columns=columns)
    assert by_symbol["explained"][0] == pytest.approx(plain["explained"][0])
    assert suggest_for_profiles(profiles, trees)["verdict"][0] == "not measured"


def test_candidates_leave_out_the_screen_and_protein_names_where_genes_were_counted() -> None:
    assert {"default", "lung", "lung_tme"} <= set(candidates_for("counts"))
    assert {"protein", "tissue_origin"}.isdisjoint(candidates_for("counts"))
    assert "protein" in candidates_for("intensity")


def test_words_narrow_the_choice(small_cells: Callable[..., Any]) -> None:
    table = suggest_for_cells(small_cells(), groupby="truth", query="colon cancer", n_permutations=2)
    assert set(table["name"]) == {"colon", "colon_tme", "tme_core", "default"}
    with pytest.raises(HierarchyError, match="for 'moon'"):
        suggest_for_cells(small_cells(), groupby="truth", query="moon")


def test_the_tissue_of_real_cells_comes_first(labelled_data: Path) -> None:
    import anndata

    cells = anndata.read_h5ad(labelled_data / "tms_mouse_liver.h5ad")
    profiles = annotate(cells, "default", groupby="cell_type", votes=False, copy=True).annotation.profiles
    trees = {n: get_builtin(n) for n in ("lung", "liver", "brain", "kidney")}
    table = suggest_for_profiles(profiles, trees)
    assert table["name"][0] == "liver"
    assert np.isfinite(table["fit"]).all()
