"""Parts of one population, straight from a file of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from batch_helpers import TYPES, cellkey, write_cells_file

from cellkey.batch.subclusters import part_population
from cellkey.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.filterwarnings("ignore:X holds counts")


def test_parts_are_compared_with_each_other_and_with_the_rest(tmp_path: Path) -> None:
    """Two planted types in one population are parted; both tables are led by their genes, and count the right cells."""
    path = write_cells_file(tmp_path / "cells.h5ad", n_per_type=60)
    found = part_population(path, "truth", ["T", "B"])
    assert found.sizes == {"0": 60, "1": 60}
    kind = {found.parts[f"cell{i}"]: name for i, name in ((0, "T"), (60, "B"))}
    assert sorted(kind.values()) == ["B", "T"]
    assert found.parts.index.tolist() == [f"cell{i}" for i in range(120)]
    for table in (found.siblings, found.against_rest):
        assert sorted(set(table["cluster"])) == ["0", "1"]
        for part, own in table.groupby("cluster"):
            assert set(own["gene"].head(8)) == set(TYPES[kind[part]])
    other = {r.gene: r for r in found.against_rest.itertuples() if r.cluster == "0"}
    same = {r.gene: r for r in found.siblings.itertuples() if r.cluster == "0"}
    assert other["VWF"].avg_log2FC < -3  # the endothelium is in the rest only
    assert abs(same["VWF"].avg_log2FC) < 1


def test_what_cannot_be_parted_is_said(tmp_path: Path) -> None:
    """A value that is not there, and a population of one kind."""
    path = write_cells_file(tmp_path / "cells.h5ad", n_per_type=60)
    with pytest.raises(InputError, match=r"no cell has 'endothelia' in obs\['truth'\]; did you mean 'endothelial'"):
        part_population(path, "truth", ["endothelia"])
    with pytest.raises(InputError, match=r"B of .* stays whole: .* one group; --resolution 0.2 parts finer"):
        part_population(path, "truth", ["B"], resolution=0.1)


def test_the_command_labels_the_cells_of_a_population(tmp_path: Path) -> None:
    """Sub-clusters from an .h5ad file: the usual files, and a label for every cell."""
    path = write_cells_file(tmp_path / "cells.h5ad", n_per_type=60)
    options = ["--cluster-key", "truth", "--parent", "lymphocyte", "--member", "T", "--member", "B"]
    options += ["--provider", "scripted", "--out", tmp_path / "out"]
    code, output = cellkey("llm", "subclusters", path, *options)
    assert code == 0, output
    cells = pd.read_csv(tmp_path / "out" / "cells_cells.csv", index_col=0)
    assert cells["cell_type_sub"].value_counts().to_dict() == {
        "CD4-positive, alpha-beta T cell": 60, "mature B cell": 60,
    }  # fmt: skip
    assert cells.loc["cell0", "cell_type_sub"] == "CD4-positive, alpha-beta T cell"
