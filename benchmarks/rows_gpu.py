"""The row of the speed benchmark that needs a CUDA device: the same steps on the CPU and on the GPU of one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from _data import Setting, csr_mb
from _pairs import Contestant, goal, measure, paired, ratios, spread
from cellkey.clustering.neighbors import neighbor_recall
from cellkey.device import device_name, why_no_gpu

__all__ = ["NOTES", "agreement_goals", "gpu", "gpu_many_cells", "step_goals", "steps_name"]

_STEPS = ("profiles", "profiles and resamples", "components", "neighbours")


def gpu(setting: Setting) -> dict[str, Any]:
    """Profiles, resamples, components, neighbours and whole annotations, CPU against GPU."""
    return _row(setting, setting.pick(50_000, 4000), setting.pick(20_000, 2000), setting.pairs)


def gpu_many_cells(setting: Setting) -> dict[str, Any]:
    """The same with many cells and few genes, once."""
    return _row(setting, setting.pick(1_000_000, 10_000), 500, 1)


def _row(setting: Setting, n_cells: int, n_genes: int, pairs: int) -> dict[str, Any]:
    if why_no_gpu():
        return {"skipped": why_no_gpu()}
    cells, size = setting.counts(n_cells, n_genes), f"{n_cells:,} x {n_genes:,}"
    everywhere = len(os.sched_getaffinity(0))
    parts = [_steps(setting, cells, size, cores) for cores in sorted({min(2, everywhere), everywhere})]
    parts.append(_annotations(setting, cells, size, pairs))
    return {
        "card": device_name(), "sizes": {"cells": n_cells, "genes": n_genes}, "matrix_mb": csr_mb(cells),
        "runs": {name: runs for part in parts for name, runs in part["runs"].items()},
        "failed": {name: why for part in parts for name, why in part["failed"].items()},
        "goals": [g for part in parts for g in part["goals"]], "notes": list(NOTES),
    }


NOTES = (
    "CPU and GPU are of one machine, with the same cores on either side. Steps start from counts in memory and are"
    " timed the second time; annotations go from a file to all outputs, the start of the device included.",
    "Reading, taking logarithms, gathering genes, the graph and (without rapids-singlecell) communities stay on the"
    " CPU.",
)


def _steps(setting: Setting, cells: Path, size: str, cores: int) -> dict[str, Any]:
    outputs = {device: setting.new(f"steps_{device}.npz") for device in ("cpu", "gpu")}
    found = paired([
        Contestant(steps_name(d, size, cores), "gpu_steps.py", (cells, d, outputs[d], cores)) for d in ("cpu", "gpu")
    ], 1, warm=False)
    goals = [] if found["failed"] else [*step_goals(found["runs"], size, cores), *_agreement(outputs, size, cores)]
    return {**found, "goals": goals}


def steps_name(device: str, size: str, cores: int) -> str:
    """Name of a run of the steps."""
    return f"steps on the {device.upper()}, {size}, {cores} cores"


def step_goals(runs: dict[str, list[dict[str, Any]]], size: str, cores: int) -> list[dict[str, Any]]:
    """How many times faster each step is (no goals were set)."""
    goals = []
    for step in _STEPS:
        times = [[run["steps"][step] for run in runs[steps_name(d, size, cores)]] for d in ("cpu", "gpu")]
        faster = spread([a / max(b, 1e-4) for a, b in zip(*times, strict=True)])
        goals.append(goal(f"{step}, {size}, {cores} cores: times faster (wall)", faster, None, limit=_median_of(times)))
    return goals


def _median_of(times: list[list[float]]) -> str:
    cpu, gpu = (float(np.median(t)) for t in times)
    return f"{cpu:.3g} s on the CPU, {gpu:.3g} s on the GPU"


def _agreement(outputs: dict[str, Path], size: str, cores: int) -> list[dict[str, Any]]:
    """How far the results of the two devices agree."""
    with np.load(outputs["cpu"]) as a, np.load(outputs["gpu"]) as b:
        of = {kind: [n for n in a.files if n.startswith(f"{kind}.")] for kind in ("profiles", "profiles and resamples")}
        equal = {kind: float(all(np.array_equal(a[n], b[n]) for n in names)) for kind, names in of.items()}
        gap = float(np.abs(a["components.variance"] - b["components.variance"]).max() / a["components.variance"][0])
        recall = neighbor_recall(a["neighbours.indices"], b["neighbours.indices"])
    return agreement_goals(equal["profiles"], equal["profiles and resamples"], gap, recall, f"{size}, {cores} cores")


def agreement_goals(
    profiles: float, resamples: float, gap: float, recall: float, where: str
) -> list[dict[str, Any]]:
    """Results of the GPU against those of the CPU."""
    return [
        goal(f"profiles equal bit by bit, {where} (1: yes)", spread([profiles]), 1, unit="", limit="1"),
        goal(f"resamples equal bit by bit, {where} (1: yes)", spread([resamples]), 1, unit="", limit="1"),
        goal(f"variances of components, {where} (largest difference / largest variance)", spread([gap]), 1e-6,
             at_least=False, unit="", limit="rounding"),
        goal(f"neighbours of the GPU that the CPU finds, {where}", spread([recall]), None, unit="",
             limit="1 up to ties and the rounding of components; the CPU's search is approximate above 200,000 cells"),
    ]


def _annotations(setting: Setting, cells: Path, size: str, pairs: int) -> dict[str, Any]:
    marker_map = cells.parent / "map.json"
    outputs = {device: setting.new(f"annotate_{device}_{cells.parent.name}") for device in ("cpu", "gpu")}
    contestants = [
        Contestant(f"annotate on the {d.upper()}, {size}", "annotate_cellkey.py", (cells, outputs[d], marker_map, d))
        for d in ("cpu", "gpu")
    ]
    few = setting.counts(2000, 500)
    for device in ("cpu", "gpu"):  # kernels are compiled and kept before anything is timed
        measure(Contestant("warm", "annotate_cellkey.py", (few, setting.new("warm"), few.parent / "map.json", device)))
    found = paired(contestants, pairs, warm=False)
    names = [c.name for c in contestants]
    if found["failed"]:
        return {**found, "goals": []}
    labels = {device: _labels(folder) for device, folder in outputs.items()}
    from sklearn.metrics import adjusted_rand_score

    same = float(np.mean(labels["cpu"][1] == labels["gpu"][1]))
    return {**found, "goals": [
        goal(f"annotate, {size}: times faster (wall)", ratios(found, *names, "work_wall"), None,
             limit="what stays on the CPU"),
        goal(f"annotate, {size}: CPU seconds on the CPU / with the GPU", ratios(found, *names, "work_cpu"), None,
             limit="the same"),
        goal(f"clusters of CPU and GPU, {size} (ARI)",
             spread([float(adjusted_rand_score(labels["cpu"][0], labels["gpu"][0]))]), None, unit="", limit="1"),
        goal(f"cells with the same label, {size}", spread([same]), 0.99, unit="", limit="1"),
    ]}


def _labels(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cluster and label of every cell of a run."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(run / "output.h5ad") as file:
        return tuple(np.asarray(read_elem(file[f"obs/{n}"])).astype(str) for n in ("cluster_lvl0", "cell_type_auto"))
