"""Labels joined to cells by identifier."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellkey.batch.joining import add_labels
from cellkey.errors import InputError, MissingFieldError


def cells(clusters: list) -> anndata.AnnData:
    obs = pd.DataFrame({"k": pd.Categorical(clusters)}, index=[f"c{i}" for i in range(len(clusters))])
    return anndata.AnnData(np.zeros((len(clusters), 1), dtype=np.float32), obs=obs)


TABLE = pd.DataFrame(
    {
        "cluster": ["0", "10"],
        "cell_type": ["T cell", "B cell"],
        "general_cell_type": ["lymphocyte", "lymphocyte"],
        "subtype_1": ["CD4 T cell", ""],
        "ontology_id": ["CL:0000084", ""],
        "status": ["ok", "ok"],
        "score": [90.0, 80.0],
    }
)


def test_cluster_1_never_takes_the_label_of_10() -> None:
    """Exact identifiers, whatever their type; what does not meet is counted."""
    adata = cells([0, 1, 10, 10])
    joined = add_labels(adata, TABLE, "k")
    assert adata.obs["cell_type"].tolist() == ["T cell", "Unknown", "B cell", "B cell"]
    assert adata.obs["cell_type_status"].tolist() == ["ok", "unlabelled", "ok", "ok"]
    assert adata.obs["cell_type_score"].tolist()[2:] == [80.0, 80.0]
    assert len(set(adata.uns["cell_type_colors"])) == len(adata.obs["cell_type"].cat.categories) == 3
    assert (joined.matched, joined.cells_only, joined.table_only) == (("0", "10"), ("1",), ())


def test_what_is_refused() -> None:
    """Unknown column, columns that exist, clusters named twice, nothing in common."""
    adata = cells(["0"])
    with pytest.raises(MissingFieldError, match="no column 'leiden'"):
        add_labels(adata, TABLE, "leiden")
    with pytest.raises(InputError, match="twice"):
        add_labels(adata, pd.concat([TABLE, TABLE]), "k")
    with pytest.raises(InputError, match="no cluster of"):
        add_labels(cells(["cluster_0"]), TABLE, "k")
    add_labels(adata, TABLE, "k")
    with pytest.raises(InputError, match="already has"):
        add_labels(adata, TABLE, "k")
    add_labels(adata, TABLE, "k", overwrite=True)
    add_labels(adata, TABLE, "k", prefix="other_")
    assert adata.obs["other_cell_type"].tolist() == ["T cell"]
