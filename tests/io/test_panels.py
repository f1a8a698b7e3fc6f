"""Panels of genes from lists, tables and cells."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellkey.errors import InputError
from cellkey.io.panel import read_panel


@pytest.mark.parametrize(
    ("name", "text", "genes"),
    [
        ("a.txt", "CD3D\n# note\n CD3E \n\nCD3D\n", ["CD3D", "CD3E"]),
        ("a.txt", 'CD3D, "CD3E";CD4\tCD8A', ["CD3D", "CD3E", "CD4", "CD8A"]),
        ("a.csv", "id,Gene,plex\n1,CD3D,a\n2,CD3E,b\n", ["CD3D", "CD3E"]),
        ("a.tsv", "gene_name\tplex\nCD3D\ta\n", ["CD3D"]),
        ("a.csv", "CD3D\nCD3E\n", ["CD3D", "CD3E"]),
        ("a.csv", "probe,plex\nCD3D,1\n", ["CD3D"]),
    ],
)
def test_lists_and_tables(tmp_path: Path, name: str, text: str, genes: list[str]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_panel(tmp_path / name) == genes


def test_cells_give_their_variables_or_their_symbols(tmp_path: Path) -> None:
    var = pd.DataFrame({"gene_symbols": ["CD3D", "CD3E"]}, index=["ENSG00000000001", "ENSG00000000002"])
    anndata.AnnData(np.ones((2, 2), np.float32), var=var).write_h5ad(tmp_path / "a.h5ad")
    assert read_panel(tmp_path / "a.h5ad") == ["CD3D", "CD3E"]
    anndata.AnnData(np.ones((2, 2), np.float32), var=var.set_index("gene_symbols")).write_h5ad(tmp_path / "b.h5ad")
    assert read_panel(tmp_path / "b.h5ad") == ["CD3D", "CD3E"]


def test_files_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="names no gene"):
        read_panel(tmp_path / "empty.txt")
    with pytest.raises(InputError, match="not UTF-8"):
        read_panel(tmp_path / "binary.txt")
    with pytest.raises(InputError, match="cannot read"):
        read_panel(tmp_path / "absent.txt")
