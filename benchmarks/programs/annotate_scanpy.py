"""annotate_scanpy.py CELLS: read, normalise, log1p, features, PCA, neighbours, Leiden, Wilcoxon; no UMAP.

Neighbours by exact search: the approximate default returns wrong neighbours with some releases of its library.
"""

from __future__ import annotations

import sys

import scanpy as sc
import scipy.sparse as sp
from _clock import Clock

with Clock() as clock:
    adata = sc.read_h5ad(sys.argv[1])
    X = adata.X  # scanpy's in-place steps need both index arrays of one type
    adata.X = sp.csr_matrix((X.data, X.indices, X.indptr.astype(X.indices.dtype)), shape=X.shape)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars))
    sc.pp.pca(adata, n_comps=30, mask_var="highly_variable")
    sc.pp.neighbors(adata, n_neighbors=15, transformer="sklearn")
    sc.tl.leiden(adata, resolution=0.6, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.rank_genes_groups(adata, "leiden", method="wilcoxon")
clock.report(clusters=int(adata.obs["leiden"].nunique()))
