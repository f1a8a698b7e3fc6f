"""ranks.py CELLS OUTPUT {cellkey,illico,scanpy,scanpy-ties}: rank-sum of all genes, each type against the rest.

Values are normalised and in memory (CSR) before the clock starts; the Z scores are written for comparison.
"""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import scipy.sparse as sp
from _clock import Clock

from cellkey.clustering import cell_factors
from cellkey.profiles.expression import Expression

adata = ad.read_h5ad(sys.argv[1])
counts = adata.X
blocks = [block for _, block in Expression(counts, scale=cell_factors(counts)).row_blocks()]
X = sp.vstack(blocks, format="csr")
X.indptr = X.indptr.astype(np.int32) if X.nnz < 2**31 else X.indptr
adata = ad.AnnData(X, obs=adata.obs, var=adata.var)
del counts, blocks
groups = sorted(adata.obs["true_type"].cat.categories, key=int)

if sys.argv[3] == "cellkey":
    from cellkey.profiles.profile import profile_clusters

    with Clock() as clock:
        found = profile_clusters(
            Expression(X), adata.obs["true_type"].astype(object).to_numpy(), list(adata.var_names), n_jobs=2
        )
    z = found.rank_z
elif sys.argv[3] == "illico":
    from illico import asymptotic_wilcoxon
    from loguru import logger

    logger.remove()
    with Clock() as clock:
        table = asymptotic_wilcoxon(
            adata, is_log1p=True, group_keys="true_type", use_continuity=False, tie_correct=True, n_threads=2
        )
    z = np.stack([table.loc[g]["z_score"].reindex(adata.var_names).to_numpy() for g in groups])
else:
    import scanpy as sc

    with Clock() as clock:
        sc.tl.rank_genes_groups(
            adata, "true_type", method="wilcoxon", tie_correct=sys.argv[3] == "scanpy-ties", use_raw=False
        )
    names, scores = adata.uns["rank_genes_groups"]["names"], adata.uns["rank_genes_groups"]["scores"]
    place = {name: i for i, name in enumerate(adata.var_names)}
    z = np.zeros((len(groups), adata.n_vars))
    for row, group in enumerate(groups):
        z[row, [place[n] for n in names[group]]] = scores[group]
np.save(sys.argv[2], np.nan_to_num(z))
clock.report()
