"""Speed and honesty of enrichment: array code against plain loops, and labels of clusters that are pure.

    python benchmarks/enrichment.py [--quick] [--hierarchy colon_tme] [--depths 300 1000]

Speed: 200 clusters x 20,000 genes x 100 cell types, scored and routed on one core; the loops run on a part of the
clusters and are scaled up. Labels: clusters of one type each with 15 to 55 % bleed-through on panels of three sizes;
every ``mixed`` is false, ``wrong`` is a reported type outside the true path. The published rules are repaired one after
another beside the default, at four depths; the table goes into the documentation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import enrichment_reference as reference
from _markdown import markdown_table
from cellkey.annotation.registry import METHODS
from cellkey.calls.export import ExportRules, export_labels
from cellkey.calls.route_table import PATH_JOIN, CandidateBy, route_table
from cellkey.hierarchy import CellType, Hierarchy, get_builtin
from cellkey.profiles.means import ClusterMeans, means_from_table, normalise_means
from cellkey.routing.branch_rule import BranchGating
from cellkey.routing.branch_support import route_branches
from cellkey.scoring.controls import expression_bins
from cellkey.scoring.enrichment import score_enrichment
from cellkey.scoring.enrichment_settings import RELEASED, EnrichmentScoring
from cellkey.scoring.key import measure_key
from pure_clusters import PureClusters, pure_clusters

DESIGNS = {
    "A": {"bleed": 0.15},
    "B": {"bleed": 0.45},
    "C": {"bleed": 0.55, "n_clusters": 27, "n_types": 11, "cells": (40, 400)},
}
"""A and B: one cluster per type, with 15 and 45 % bleed-through. C: 27 clusters of 11 types, 55 %, 40-400 cells."""
DEPTHS = (100, 300, 1000, 3000)
PANELS = (1000, 6000, 18000)

_released = EnrichmentScoring.released
_floors: dict[str, Any] = {"controls": "all", "floor_negative": True, "scale_floor": 0.25}
VARIANTS: dict[str, tuple[str, EnrichmentScoring]] = {
    "as released": (RELEASED, _released()),
    "all genes of the bin as controls": (RELEASED, _released(controls="all")),
    "+ N floored at 0": (RELEASED, _released(controls="all", floor_negative=True)),
    "+ scale >= 0.25 (N as released)": (RELEASED, _released(controls="all", scale_floor=0.25)),
    "+ both": (RELEASED, _released(**_floors)),
    "+ both, only child against its parent": (RELEASED, _released(**_floors, only_child="parent")),
    "no anti-markers, scale >= 0.25": (RELEASED, _released(controls="all", scale_floor=0.25, negative_weight=0.0)),
    "cellkey's default": ("enrichment", EnrichmentScoring()),
    "cellkey's default, cells unknown": ("enrichment", EnrichmentScoring(sampling_errors=0.0)),
}


def main() -> None:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds instead of six")
    parser.add_argument("--hierarchy", default="colon_tme")
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS), help="mean counts per cell")
    page = Path(__file__).parents[1] / "docs" / "reference" / "enrichment-labels.md"
    parser.add_argument("--output", type=Path, default=page)
    arguments = parser.parse_args()
    print(speed().to_string(index=False))
    seeds = range(2 if arguments.quick else 6)
    table = labels(get_builtin(arguments.hierarchy), seeds, arguments.depths)
    print(table.to_string(index=False))
    if not arguments.quick:
        arguments.output.write_text(as_markdown(table, arguments.depths), encoding="utf-8")


def labels(tree: Hierarchy, seeds: range, depths: Sequence[int] = DEPTHS) -> pd.DataFrame:
    """Return per cent of pure clusters by outcome (exact, mixed, wrong); the rest is broader or undecided."""
    rows = []
    for depth in depths:
        found = {(v, d): np.zeros(4) for v in VARIANTS for d in DESIGNS}
        for (name, settings), seed, n_genes in product(DESIGNS.items(), seeds, PANELS):
            data = pure_clusters(tree, n_genes=n_genes, seed=seed, depth=depth, **settings)
            for variant in VARIANTS:
                found[variant, name] += outcome(data, tree, variant)
        for variant in VARIANTS:
            row: dict[str, Any] = {"counts": depth, "variant": variant}
            for name in DESIGNS:
                exact, mixed, wrong, n = found[variant, name]
                row |= {f"{name} exact": exact / n, f"{name} mixed": mixed / n, f"{name} wrong": wrong / n}
            rows.append({k: round(100 * v, 1) if isinstance(v, float) else v for k, v in row.items()})
    return pd.DataFrame(rows)


def outcome(data: PureClusters, tree: Hierarchy, variant: str = "cellkey's default") -> np.ndarray:
    """Return the numbers of exact, mixed, wrong and all clusters."""
    table = calls(data, tree, variant)
    found = np.zeros(4)
    for truth, status, path in zip(data.truth, table["annot_export_status"], table["annot_path"], strict=True):
        called = tuple(path.split(PATH_JOIN))
        resolved = status == "resolved"
        found += [resolved and called == truth, status == "mixed", resolved and truth[: len(called)] != called, 1]
    return found


def calls(data: PureClusters, tree: Hierarchy, variant: str) -> pd.DataFrame:
    """Return the export table of a variant on mean counts."""
    name, scoring = VARIANTS[variant]
    method = METHODS[name]
    found = means_from_table(data.means, n_cells=data.n_cells)
    evidence = score_enrichment(found, measure_key(tree, found.genes), scoring)
    by: CandidateBy = "branch" if scoring.rescue_by_level else "decision"
    table = route_table(route_branches(evidence, BranchGating(**method.routing)), candidate_by=by)
    return export_labels(table, ExportRules(**method.export))


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


def as_markdown(table: pd.DataFrame, depths: Sequence[int]) -> str:
    """Return the page for the documentation."""
    parts = []
    for depth in depths:
        part = table[table["counts"] == depth].drop(columns="counts")
        parts += [f"## {depth:,} counts per cell", "", markdown_table(part), ""]
    return "\n".join([_PAGE, "", *parts]).rstrip() + "\n"


_PAGE = """# Labels of pure clusters

Measured by `benchmarks/enrichment.py` on mean counts of clusters that hold one cell type each, made from the markers of
`colon_tme`: 19 types, panels of 1,000, 6,000 and 18,000 genes, six seeds each. In A and B there is one cluster of 200
cells per type, and 15 or 45 % of its profile is that of the whole tissue; in C there are 27 clusters of 11 types, of 40
to 400 cells, with 55 %. *exact*: per cent of clusters reported with the true type; *mixed*: reported as mixed, which
is always false here; *wrong*: reported as a type outside the true path. The rest is broader, unknown or a candidate.

The first seven rows repair the published rules step by step. The default of cellkey contains the repairs, and knows
from the number of cells how much of a mean is chance; the last row shows it where that number is unknown."""


if __name__ == "__main__":
    main()
