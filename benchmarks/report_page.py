"""Size of the review page, and how soon it can be used, for 500 clusters of a hierarchy with 100 cell types.

``python benchmarks/report_page.py --clusters 500 --output docs/explanation/report_page.json``

Cells are simulated and annotated as any others are, so the page holds what a real run of this size holds. The page is
then opened from disk in a headless Chromium. "Usable" is the time from the start of the navigation until the scripts
have built the table and the figures and the browser has painted a frame; further times are from a key press or a click
to the next painted frame. Every number is the median of several fresh browsers.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from cellkey.annotation.run import annotate_file
from cellkey.report import write_report
from cellkey.testing import Chromium

MARKERS = 8
PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0)))"


def hierarchy(n_types: int) -> dict[str, Any]:
    """Ten lineages with three branches each, and leaves below the branches until there are ``n_types``."""
    counter = iter(range(10**6))

    def node(name: str) -> dict[str, Any]:
        number = next(counter)
        return {"markers": [f"G{number}_{i}" for i in range(MARKERS)], "children": {}, "name": name}

    roots = [node(f"Lineage {r}") for r in range(10)]
    branches = [(r, node(f"Branch {r}.{b}")) for r in range(10) for b in range(3)]
    for r, branch in branches:
        roots[r]["children"][branch.pop("name")] = branch
    for leaf in range(n_types - 40):
        made = node(f"Type {leaf}")
        branches[leaf % 30][1]["children"][made.pop("name")] = made
    return {root.pop("name"): root for root in roots}


def leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[list[str], tuple[str, ...]]]:
    """Markers along the way and path of every type without subtypes."""
    found = []
    for name, node in tree.items():
        below = leaves(node["children"], (*above, name))
        found += [(node["markers"] + m, p) for m, p in below] if below else [(node["markers"], (*above, name))]
    return found


def simulated(n_clusters: int, n_types: int, cells_each: int, seed: int = 1) -> tuple[anndata.AnnData, dict[str, Any]]:
    """Counts of clusters that each belong to a leaf, with an embedding and a place in a tissue."""
    rng = np.random.default_rng(seed)
    tree = hierarchy(n_types)
    kinds = leaves(tree)
    genes = [f"G{n}_{i}" for n in range(n_types) for i in range(MARKERS)]
    column = {g: i for i, g in enumerate(genes)}
    blocks, cluster, centre = [], [], rng.normal(size=(n_clusters, 2)) * 12
    for c in range(n_clusters):
        rate = np.full(len(genes), 0.08) * rng.lognormal(0, 0.3, len(genes))
        rate[[column[g] for g in kinds[c % len(kinds)][0]]] = rng.lognormal(1.0, 0.5, len(kinds[c % len(kinds)][0]))
        blocks.append(sparse.csr_matrix(rng.poisson(rate, (cells_each, len(genes))).astype(np.float32)))
        cluster += [str(c)] * cells_each
    adata = anndata.AnnData(
        sparse.vstack(blocks, format="csr"),
        obs=pd.DataFrame({"cluster": pd.Categorical(cluster)}, index=[f"cell{i}" for i in range(len(cluster))]),
        var=pd.DataFrame(index=genes),
    )
    adata.obsm["X_umap"] = np.repeat(centre, cells_each, axis=0) + rng.normal(size=(len(cluster), 2)) * 0.4
    adata.obsm["spatial"] = rng.uniform(size=(len(cluster), 2)) * 5000
    return adata, tree


def measured(page: Path, repeats: int) -> dict[str, float]:
    """Times in milliseconds, medians over fresh browsers."""
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        with Chromium() as browser:
            browser.open(page)
            browser.wait("document.documentElement.dataset.ready")
            if browser.problems:
                raise RuntimeError(browser.problems)
            one = {
                "usable": browser.run("performance.getEntriesByName('usable')[0].startTime"),
                "filter": after(browser, "const s = document.getElementById('search'); s.value = 'lineage 3';"
                                " s.dispatchEvent(new Event('input'));"),
                "open_cluster": after(browser, "document.querySelector('#clusters tbody tr').click();"),
                "open_next": after(browser, "document.querySelectorAll('#clusters tbody tr')[1].click();"),
            }
            for name, value in one.items():
                times.setdefault(name, []).append(value)
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


def after(browser: Chromium, script: str) -> float:
    """Milliseconds from an action to the next painted frame."""
    timed = f"(async () => {{ const t = performance.now(); {script} return (await {PAINTED}) - t; }})()"
    return float(browser.run(timed))


def main() -> None:
    """Make the run and the page, measure, and print or write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--types", type=int, default=100)
    parser.add_argument("--cells-each", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", type=Path, help="Folder to keep the run and the page in.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run = folder / "run"
        if not (run / "manifest.json").is_file():
            adata, tree = simulated(chosen.clusters, chosen.types, chosen.cells_each)
            adata.write_h5ad(folder / "cells.h5ad")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                annotate_file(folder / "cells.h5ad", run, hierarchy=tree, cluster_key="cluster", figures=False)
        started = time.perf_counter()
        page = write_report(run)
        result = {
            "clusters": chosen.clusters, "types": chosen.types, "cells": chosen.clusters * chosen.cells_each,
            "seconds_to_write": round(time.perf_counter() - started, 2),
            "megabytes": round(page.stat().st_size / 1e6, 2), "milliseconds": measured(page, chosen.repeats),
            "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
    text = json.dumps(result, indent=1)
    print(text)
    if chosen.output:
        chosen.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
