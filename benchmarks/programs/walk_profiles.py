"""walk_profiles.py CLUSTERS NODES: score clusters of 2,000 genes and walk them down a tree of types, five times."""

from __future__ import annotations

import sys

import numpy as np
from _clock import Clock

from cellkey.annotation.core import annotate_profiles
from cellkey.hierarchy import CellType, Hierarchy
from cellkey.profiles.expression import Expression
from cellkey.profiles.profile import profile_clusters

n_clusters, n_nodes, n_genes = int(sys.argv[1]), int(sys.argv[2]), 2000
rng = np.random.default_rng(0)
genes = np.array([f"G{i}" for i in range(n_genes)], dtype=object)
n_roots = max(1, n_nodes // 10)
paths = [(f"R{i}",) for i in range(n_roots)]
paths += [(f"R{i % n_roots}", f"C{i}") for i in range(n_nodes - n_roots)]
tree = Hierarchy(tuple(CellType(p, tuple(map(str, genes[rng.choice(n_genes, 6, replace=False)]))) for p in paths))
values = rng.poisson(0.4, (3 * n_clusters, n_genes)).astype(np.float32)
labels = np.repeat(np.arange(n_clusters).astype(str), 3).astype(object)
profiles = profile_clusters(Expression(values), labels, genes, quantiles=(0.75,), n_jobs=2)
annotate_profiles(profiles, tree)
with Clock() as clock:
    for _ in range(5):
        annotate_profiles(profiles, tree)
clock.report()
