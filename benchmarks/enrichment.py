"""Speed and honesty of enrichment: array code against plain loops, and labels of clusters that are pure.

    python benchmarks/enrichment.py [--quick] [--hierarchy colon_tme]

Speed: 200 clusters x 20,000 genes x 100 cell types, scored and routed on one core; the loops run on a part of the
clusters and are scaled up. Labels: clusters of one type each with 15 to 55 % bleed-through on panels of three sizes;
every ``mixed`` is false, ``wrong`` is a reported type outside the true path.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

import enrichment_reference as reference
from cellkey.annotation.registry import METHODS
from cellkey.calls.export import ExportRules, export_labels
from cellkey.calls.route_table import PATH_JOIN, route_table
from cellkey.hierarchy import CellType, Hierarchy, get_builtin
from cellkey.profiles.means import ClusterMeans, means_from_table, normalise_means
from cellkey.routing.branch_support import BranchGating, route_branches
from cellkey.scoring.controls import expression_bins
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.key import measure_key
from pure_clusters import PureClusters, pure_clusters

DESIGNS = {
    "A: one cluster per type, 15 % bleed-through": {"bleed": 0.15},
    "B: one cluster per type, 45 %": {"bleed": 0.45},
    "C: 27 clusters of 11 types, 55 %, 40-400 cells": {"bleed": 0.55, "n_clusters": 27, "n_types": 11,
                                                      "cells": (40, 400)},
}


def main() -> None:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds instead of six")
    parser.add_argument("--hierarchy", default="colon_tme")
    arguments = parser.parse_args()
    print(speed().to_string(index=False))
    seeds = range(2 if arguments.quick else 6)
    print(labels(get_builtin(arguments.hierarchy), seeds).round(1).to_string())


def labels(tree: Hierarchy, seeds: range, methods: tuple[str, ...] = ("enrichment", "hierannot-0.7")) -> pd.DataFrame:
    """Return per cent of pure clusters by outcome: exact, mixed, wrong; the rest is broader or undecided."""
    rows = {}
    for method in methods:
        for design, settings in DESIGNS.items():
            counts = np.zeros(4)
            for seed in seeds:
                for n_genes in (1000, 6000, 18000):
                    counts += outcome(pure_clusters(tree, n_genes=n_genes, seed=seed, **settings), tree, method)
            rows[method, design] = dict(zip(("exact", "mixed", "wrong"), 100 * counts[:3] / counts[3], strict=True))
    return pd.DataFrame.from_dict(rows, orient="index")


def outcome(data: PureClusters, tree: Hierarchy, method: str) -> np.ndarray:
    """Return the numbers of exact, mixed, wrong and all clusters."""
    table = calls(data.means, tree, method)
    found = np.zeros(4)
    for truth, status, path in zip(data.truth, table["annot_export_status"], table["annot_path"], strict=True):
        called = tuple(path.split(PATH_JOIN))
        resolved = status == "resolved"
        found += [resolved and called == truth, status == "mixed", resolved and truth[: len(called)] != called, 1]
    return found


def calls(means: pd.DataFrame, tree: Hierarchy, method: str) -> pd.DataFrame:
    """Return the export table of a method on mean counts."""
    chosen = METHODS[method]
    found = means_from_table(means)
    evidence = score_enrichment(found, measure_key(tree, found.genes), chosen.defaults)
    by = "branch" if chosen.defaults.rescue_by_level else "decision"
    table = route_table(route_branches(evidence, BranchGating(**chosen.routing)), candidate_by=by)
    return export_labels(table, ExportRules(**chosen.export))


def speed(n_clusters: int = 200, n_genes: int = 20_000, looped: int = 4) -> pd.DataFrame:
    """Return seconds for scoring and routing as arrays, and with loops on some clusters scaled to all."""
    means, tree = large_example(n_clusters, n_genes)
    key = measure_key(tree, means.genes)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        evidence = score_enrichment(means, key)
        routes = route_branches(evidence)
        export_labels(route_table(routes))
        seconds.append(time.perf_counter() - start)
    details = evidence.details
    nodes = [
        reference.Node(n.path_text, [str(means.genes[c]) for c in details.sets.scored[k]], [], int(key.parents[k]))
        for k, n in enumerate(tree.nodes)
    ]
    for k, node in enumerate(nodes):
        if node.parent >= 0:
            nodes[node.parent].children.append(k)
    panel = details.panel
    bins = expression_bins(means.bulk, panel.n_bins, low_limit=panel.low_limit if panel.collapse_low_tail else None)
    start = time.perf_counter()
    few = means.values[:looped].tolist()
    scores = reference.score(few, [str(g) for g in means.genes], bins.tolist(), nodes,
                             reference.Settings(False, panel.clip_quantile, panel.detection_floor))
    for c in range(looped):
        reference.route(scores, nodes, c)
    loops = (time.perf_counter() - start) * n_clusters / looped
    np.testing.assert_allclose(evidence["raw"][:looped], np.array(scores["R"]), rtol=1e-9, atol=1e-9)
    return pd.DataFrame([
        {"clusters": n_clusters, "genes": n_genes, "types": len(tree), "arrays_s": round(min(seconds[1:]), 3),
         "first_call_s": round(seconds[0], 3), "loops_s": round(loops, 1),
         "ratio": round(loops / min(seconds[1:]))},
    ])


def large_example(n_clusters: int, n_genes: int) -> tuple[ClusterMeans, Hierarchy]:
    """Return random profiles and a tree of 100 types with six markers each."""
    rng = np.random.default_rng(0)
    genes = np.array([f"G{i}" for i in range(n_genes)], dtype=object)

    def drawn() -> tuple[str, ...]:
        return tuple(str(g) for g in genes[rng.choice(3000, 6, replace=False)])

    paths = [(f"R{i}",) for i in range(5)]
    paths += [(f"R{i}", f"C{j}") for i in range(5) for j in range(4)]
    paths += [(f"R{i}", f"C{j}", f"D{k}") for i in range(5) for j in range(4) for k in range(4 if j < 3 else 3)]
    tree = Hierarchy(tuple(CellType(p, drawn()) for p in paths))
    values = normalise_means(rng.gamma(0.3, 1.0, (n_clusters, n_genes)))
    groups = tuple(str(i) for i in range(n_clusters))
    return ClusterMeans(groups, genes, values, np.full(n_clusters, 100)), tree


if __name__ == "__main__":
    main()
