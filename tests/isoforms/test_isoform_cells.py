"""From single cells with transcript counts to a network per called cell type."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from cellkey import annotate
from cellkey.errors import CellkeyWarning
from cellkey.isoforms.bundle_io import read_bundle, write_bundle
from cellkey.isoforms.fitting import fit_parameters
from cellkey.isoforms.gene_sets import enrich_fit, hierarchy_sets
from cellkey.isoforms.grouped import fit_groups
from cellkey.isoforms.prepare import prepare_bundle
from cellkey.isoforms.quantification import read_transcript_counts
from cellkey.isoforms.settings import PrepareParameters
from cellkey.isoforms.synthetic import simulate_cells
from cellkey.isoforms.synthetic.cells import MARKERS

MAP = {kind: {"markers": list(genes)} for kind, genes in MARKERS.items()}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Cells with a call from their gene counts."""
    cells = simulate_cells()
    genes, position = np.unique(cells.var["gene_name"], return_inverse=True)
    to_gene = csr_matrix((np.ones(len(position)), (np.arange(len(position)), position)))
    counts = ad.AnnData(cells.X @ to_gene, cells.obs.copy(), pd.DataFrame(index=genes))
    with pytest.warns(CellkeyWarning, match="X holds counts"):
        annotate(counts, MAP)
    cells.obs["called"] = counts.obs["cell_type_auto"].astype(str)
    return cells


@pytest.fixture(scope="module")
def networks(cells: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network per called type."""
    root = tmp_path_factory.mktemp("cells")
    cells.write_h5ad(root / "cells.h5ad")
    counts = read_transcript_counts(root / "cells.h5ad", sample_key="donor", groupby=["called"])
    settings = PrepareParameters(group="called", matrix_format="sparse_npz")
    write_bundle(prepare_bundle(counts, parameters=settings).bundle, root / "bundle")
    bundle = read_bundle(root / "bundle")
    fit_groups(bundle, fit_parameters({"evidence": {"n_null": 0}}), "called", root / "networks")
    return root / "networks"


def test_cells_are_called_and_summed(cells: ad.AnnData, networks: Path) -> None:
    """Every type is called, and the reads of a sample are those of its cells."""
    assert (cells.obs["called"] == cells.obs["cell_type"].astype(str)).all()
    bundle = read_bundle(networks.parent / "bundle")
    assert len(bundle.samples) == 3 * 24
    own = (cells.obs["donor"] == "D03") & (cells.obs["called"] == "T cell")
    column = bundle.sample_ids.index("D03|T cell")
    summed = pd.Series(np.asarray(cells.X[own.to_numpy()].sum(axis=0)).ravel(), index=cells.var_names)
    stored = bundle.transcript_counts[:, column]
    np.testing.assert_array_equal(stored, summed[bundle.transcripts["transcript_id"]])
    assert bundle.samples["treatment"][column] == "treated"


def test_every_type_has_its_own_modules(cells: ad.AnnData, networks: Path) -> None:
    """The network of a type has the two modules planted in it, and none of the other types."""
    truth = cells.var.drop_duplicates("gene_id").set_index("gene_id")["module"]
    for kind in MARKERS:
        modules = pd.read_parquet(networks / kind / "modules.parquet")
        found = {frozenset(part["gene_id"]) for _, part in modules.groupby("module_id")}
        assert found == {frozenset(truth.index[truth == f"{kind}: {what}"]) for what in ("switch", "markers")}
        roles = pd.read_parquet(networks / kind / "module_gene_roles.parquet").set_index("gene_id")
        switching = truth.index[truth == f"{kind}: switch"]
        assert (roles.loc[switching, "significant_role"] == "switch_only").mean() > 0.8
    assert len(pd.read_parquet(networks / "module_overlap.parquet")) == 0


def test_marker_programs_and_gene_sets(networks: Path, tmp_path: Path) -> None:
    """The marker module of every type is enriched for that type of a hierarchy, and only there."""
    (tmp_path / "map.json").write_text(json.dumps(MAP))
    table = enrich_fit(networks, hierarchy_sets(tmp_path / "map.json"), tmp_path / "programs.parquet")
    assert list(table["group"]) == list(table["gene_set"]) == sorted(MARKERS)
    assert (table["n_overlap"] == 8).all()
    assert (table["qvalue"] < 1e-8).all()
    assert pd.read_parquet(tmp_path / "programs.parquet").equals(table)
