"""A sparse matrix is never made dense as a whole, and memory stays within a small multiple of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scipy.sparse as sp
from anndata import AnnData

from cellkey.annotation.cells import annotate

pytestmark = pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")


@pytest.mark.parametrize("storage", ["csr", "csc"])
def test_no_step_makes_the_matrix_dense(
    small_cells: Callable[..., AnnData], small_map: dict, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adata = small_cells(n_per_type=120, n_other=700, storage=storage)
    n_cells, n_genes = adata.shape

    def guarded(usual: Callable[..., object]) -> Callable[..., object]:
        def convert(self, *a: object, **k: object) -> object:
            assert self.shape[0] < n_cells or self.shape[1] < n_genes / 2, f"{self.shape} was made dense"
            return usual(self, *a, **k)

        return convert

    for kind in (sp.csr_matrix, sp.csc_matrix, sp.coo_matrix):
        for name in ("toarray", "todense"):
            monkeypatch.setattr(kind, name, guarded(getattr(kind, name)))
    result = annotate(adata, small_map, clustering={"n_pcs": 5})
    assert (adata.obs["cell_type_auto"].astype(str) == adata.obs["truth"].astype(str)).mean() > 0.95
    assert result.facts["n_clusters"] >= 4
    assert sp.issparse(adata.X)
