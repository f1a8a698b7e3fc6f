"""Rows of the speed benchmark that do not start from cells: P5, P8, P9, P10 (clusters, types), P11."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from _data import Setting
from _pairs import Contestant, goal, measure, paired, ratios, slope, spread

__all__ = ["enrichment", "isoforms", "language", "scaling_groups", "start"]


def enrichment(setting: Setting) -> dict[str, Any]:
    """P5: enrichment scoring and routing on one core, against plain loops."""
    n_clusters, n_genes = setting.pick(200, 40), setting.pick(20_000, 4000)
    found = paired([Contestant("arrays and loops", "enrichment_speed.py", (n_clusters, n_genes, 4), threads=1)],
                   setting.pairs, warm=False)
    runs = found["runs"].get("arrays and loops", [])
    return {
        "sizes": {"clusters": n_clusters, "genes": n_genes, "types": 100}, **found,
        "goals": [
            goal("under 1 s on one core", spread([r["arrays_s"] for r in runs]) if runs else None, 1, at_least=False,
                 unit=" s", limit="a few matrix products"),
            goal("against the loop reference (no goal was set)", spread([r["ratio"] for r in runs]) if runs else None,
                 None, limit="-"),
        ],
        "notes": ["The loops run on four clusters and are scaled up; both give the same scores (checked to 1e-9)."],
    }


def language(setting: Setting) -> dict[str, Any]:
    """P8: a batch of clusters named by a (scripted) language model over real sockets."""
    n_clusters, latency = setting.pick(100, 20), 0.5 if setting.full else 0.05
    program = Path(__file__).parent / "llm_batch.py"
    options = ("--clusters", n_clusters, "--latency", latency, "--workers", 10)
    found = paired([Contestant("cellkey", str(program), options)], setting.pairs, warm=False)
    runs = found["runs"].get("cellkey", [])
    return {
        "sizes": {"clusters": n_clusters, "latency_s": latency, "workers": 10}, **found,
        "goals": [
            goal("0.02 CPU s per cluster", spread([r["cpu_ms_per_cluster"] / 1000 for r in runs]) if runs else None,
                 0.02, at_least=False, unit=" s", limit="CASSIA: 0.18 to 0.20"),
            goal("wall time within 1.2 of the ideal", spread([r["ratio"] for r in runs]) if runs else None, 1.2,
                 at_least=False, limit="latency x calls / workers",
                 reason="with a latency of 0.05 s the work between calls counts" if not setting.full else ""),
        ],
        "notes": [],
    }


def isoforms(setting: Setting) -> dict[str, Any]:
    """P9: a fit of isoform modules; R's WGCNA and PyWGCNA on the feature matrix of a smaller data set."""
    n_genes, n_samples = setting.pick(12_000, 800), setting.pick(240, 80)
    small = setting.pick(2000, 300)
    runs = {}
    whole = Contestant("cellkey, all genes", "isoforms_cellkey.py", ("realistic", n_genes, n_samples))
    alone = paired([whole], setting.pairs)
    runs |= alone["runs"]
    features = setting.new("features.csv")
    measure(Contestant("features", "isoforms_cellkey.py", ("simple", small, n_samples, features)))
    ours = Contestant("cellkey", "isoforms_cellkey.py", ("simple", small, n_samples))
    theirs = Contestant("R WGCNA", "isoforms_wgcna.R", (features,))
    python = _pywgcna_python()
    peers = [theirs, Contestant("PyWGCNA", "isoforms_pywgcna.py", (features,), python=python)] if python else [theirs]
    found = paired([ours, *peers], setting.pick(2, 1), warm=False)
    if not python:
        found["failed"]["PyWGCNA"] = "not installed (name its interpreter with CELLKEY_PYWGCNA)"
    runs |= {f"{name}, {small:,} genes": r for name, r in found["runs"].items()}
    mine = alone["runs"].get("cellkey, all genes", [])
    return {
        "sizes": {"genes": n_genes, "samples": n_samples, "genes of the pairs": small}, "runs": runs,
        "failed": alone["failed"] | found["failed"],
        "goals": [
            goal(f"{n_genes:,} genes x {n_samples} samples under 30 s (wall)",
                 spread([r["work_wall"] for r in mine]) if mine else None, 30, at_least=False, unit=" s",
                 limit="one blocked similarity: 0.3 Tflop, about 5 s"),
            goal("the same under 1.5 GB", spread([r["peak_mb"] / 1024 for r in mine]) if mine else None, 1.5,
                 at_least=False, unit=" GB", limit="the feature matrix, 46 MB, and one block"),
            goal(f"against R WGCNA at {small:,} genes (wall; no goal was set)",
                 ratios(found, "R WGCNA", "cellkey", "work_wall"), None, limit="-"),
            goal(f"against PyWGCNA at {small:,} genes (wall; no goal was set)",
                 ratios(found, "PyWGCNA", "cellkey", "work_wall"), None, limit="-"),
        ],
        "notes": ["Peers get the feature matrix; cellkey starts from transcript counts. Reading is not timed.",
                  "At 24,000 features WGCNA takes 155 to 877 s (published measurements), so pairs run on fewer genes."],
    }


def _pywgcna_python() -> str:
    """Interpreter that has PyWGCNA: ``CELLKEY_PYWGCNA``, or this one."""
    from importlib.util import find_spec

    named = os.environ.get("CELLKEY_PYWGCNA", "")
    if named and shutil.which(named):
        return named
    return sys.executable if find_spec("PyWGCNA") is not None else ""


def scaling_groups(setting: Setting) -> dict[str, Any]:
    """P10: time of scoring and walking against clusters and cell types."""
    clusters = [50, 100, 200, 400, 800] if setting.full else [20, 40, 80]
    types = [50, 100, 200, 400, 800] if setting.full else [20, 40, 80]
    curves, goals, runs = {}, [], {}
    for axis, sizes in (("clusters", clusters), ("types", types)):
        seconds = []
        for size in sizes:
            run = measure(Contestant("walk", "walk_profiles.py", (size, 100) if axis == "clusters" else (100, size)))
            runs[f"{size:,} {axis}"] = [run]
            seconds.append(run["work_cpu"])
        exponent = slope(sizes, seconds)
        curves[axis] = {"sizes": sizes, "seconds": seconds, "exponent": exponent}
        goals.append(goal(f"CPU time of scoring and walking: exponent over {axis}", spread([exponent]), 1.1,
                          at_least=False, unit="", limit="1"))
    return {"sizes": {"clusters": clusters, "types": types}, "curves": curves, "runs": runs, "failed": {},
            "goals": goals, "notes": ["2,000 genes; 100 types with growing clusters, 100 clusters with growing types."]}


def start(setting: Setting) -> dict[str, Any]:
    """P11: how long the package and its command line take to start."""
    contestants = [
        Contestant(name, "do_nothing.py", (what,))
        for name, what in (("interpreter", "nothing"), ("import cellkey", "cellkey"), ("cellkey --help", "--help"),
                           ("import scanpy", "scanpy"))
    ]
    found = paired(contestants, max(5, setting.pairs))

    def beyond(name: str) -> dict[str, Any] | None:
        bare = found["runs"].get("interpreter", [])
        return spread([r["wall"] - b["wall"] for r, b in zip(found["runs"][name], bare, strict=True)]) \
            if name in found["runs"] and bare else None

    def whole(name: str) -> dict[str, Any] | None:
        return spread([r["wall"] for r in found["runs"][name]]) if name in found["runs"] else None

    return {
        "sizes": {}, **found,
        "goals": [
            goal("import cellkey under 0.3 s", beyond("import cellkey"), 0.3, at_least=False, unit=" s",
                 limit="interpreter 0.03 s"),
            goal("cellkey --help under 0.5 s", whole("cellkey --help"), 0.5, at_least=False, unit=" s",
                 limit="interpreter 0.03 s"),
        ],
        "notes": ["import: beyond the bare interpreter; help: the whole process."],
    }
