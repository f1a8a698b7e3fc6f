"""scores.py CELLS MAP {cellkey,decoupler}: a score of every cell type for every cluster, from counts in memory.

cellkey profiles the clusters and scores the profiles. decoupler's univariate linear model scores cells, which are
then averaged over the clusters, as its users do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from _clock import Clock

from cellkey.clustering import cell_factors
from cellkey.hierarchy import read_hierarchy
from cellkey.profiles.expression import Expression

adata = ad.read_h5ad(sys.argv[1])
tree = read_hierarchy(json.loads(Path(sys.argv[2]).read_text()))
expression = Expression(adata.X, scale=cell_factors(adata.X))
labels = adata.obs["true_type"].astype(object).to_numpy()
if sys.argv[3] == "cellkey":
    from cellkey.profiles.profile import profile_clusters
    from cellkey.scoring.key import measure_key
    from cellkey.scoring.marker_evidence import MarkerScoring, score_markers

    with Clock() as clock:
        profiles = profile_clusters(expression, labels, list(adata.var_names), n_jobs=2)
        key = measure_key(tree, profiles.var_names, usable=profiles.overall_std > 0)
        found = score_markers(profiles, key, MarkerScoring())
    clock.report(clusters=len(profiles.groups), types=len(tree))
else:
    import decoupler as dc

    X = sp.vstack([block for _, block in expression.row_blocks()], format="csr")
    logged = ad.AnnData(X, obs=adata.obs, var=adata.var)
    known = set(adata.var_names)
    net = pd.DataFrame(
        [(node.path_text, m, 1.0) for node in tree.nodes for m in dict.fromkeys(node.markers) if m in known],
        columns=["source", "target", "weight"],
    )
    with Clock() as clock:
        dc.mt.ulm(logged, net, tmin=1, verbose=False)
        scores = pd.DataFrame(np.asarray(logged.obsm["score_ulm"])).groupby(labels).mean()
    clock.report(clusters=len(scores), types=scores.shape[1])
