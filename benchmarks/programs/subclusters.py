"""subclusters.py CELLS {cellkey,scanpy} CLUSTERS: part each of many clusters, from normalised counts in memory."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import scipy.sparse as sp
from _clock import Clock

from cellkey.clustering import cell_factors
from cellkey.profiles.expression import Expression

adata = ad.read_h5ad(sys.argv[1])
expression = Expression(adata.X, scale=cell_factors(adata.X))
members = np.array_split(np.argsort(adata.obs["true_type"].cat.codes.to_numpy(), kind="stable"), int(sys.argv[3]))
if sys.argv[2] == "cellkey":
    from cellkey.clustering import SubclusteringParameters, subcluster
    from cellkey.clustering._threads import n_threads
    from cellkey.threads import in_order  # as refinement does

    names = list(adata.var_names)
    settings = SubclusteringParameters(min_cells=50, device="cpu")
    with Clock() as clock:
        found = in_order(lambda c: subcluster(expression, names, c, params=settings), zip(members), n_threads())
        parts = [part.n_parts for part in found]
else:
    import scanpy as sc

    X = sp.vstack([block for _, block in expression.row_blocks()], format="csr")
    adata = ad.AnnData(X, obs=adata.obs, var=adata.var)
    parts = []
    with Clock() as clock:
        for cells in members:
            part = adata[np.sort(cells)].copy()
            sc.pp.highly_variable_genes(part, n_top_genes=min(2000, part.n_vars))
            part = part[:, part.var["highly_variable"]].copy()
            sc.pp.scale(part, max_value=10)
            sc.pp.pca(part, n_comps=30)
            sc.pp.neighbors(part, n_neighbors=15, transformer="sklearn")
            sc.tl.leiden(part, resolution=0.4, flavor="igraph", n_iterations=2, directed=False)
            parts.append(int(part.obs["leiden"].nunique()))
clock.report(parts=parts)
