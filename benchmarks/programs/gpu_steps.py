"""gpu_steps.py CELLS DEVICE OUTPUT.npz [CORES]: the steps that a GPU can take, each twice, from counts in memory.

The second time counts; the first one compiles, starts the device and fills its memory pool.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

if len(sys.argv) > 4:  # before libraries count the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[4])])

import anndata as ad
import numpy as np
from _clock import Clock

from cellkey.clustering.features import Moments, choose_features, gene_moments
from cellkey.clustering.neighbors import nearest_neighbors
from cellkey.clustering.pca import principal_components
from cellkey.device import choose_device, device_name
from cellkey.profiles.expression import Expression, factors_from_totals
from cellkey.profiles.profile import profile_clusters
from cellkey.profiles.resampling import Resampler

N_HELD = 200
path, device, output = sys.argv[1:4]
n_threads = len(os.sched_getaffinity(0))
cells = ad.read_h5ad(path)
names, labels = cells.var_names.to_numpy(object), cells.obs["true_type"].astype(str).to_numpy(object)
expression = Expression(cells.X, scale=factors_from_totals(np.asarray(cells.X.sum(axis=1), dtype=np.float64).ravel()))
moments = gene_moments(expression)
features = choose_features(moments, list(names), n_top=2000)
chosen = Moments(moments.n_cells, moments.mean[features], moments.sd[features])
held = np.linspace(0, len(names) - 1, min(N_HELD, len(names))).astype(int)

begun = time.perf_counter()
facts: dict[str, Any] = {"steps": {}, "cpu_steps": {}, "first": {}}
if choose_device(device) == "gpu":
    import cupy

    cupy.zeros(1).sum().item()
    facts["card"] = device_name()
facts["start"] = round(time.perf_counter() - begun, 3)
found: dict[str, Any] = {}


def profiles_and_resamples() -> Any:
    resampler = Resampler(cells.obs_names.to_numpy(object), held)
    profile_clusters(expression, labels, names, n_jobs=n_threads, resampler=resampler, device=device)
    return resampler.result()


STEPS = {
    "profiles": lambda: profile_clusters(expression, labels, names, n_jobs=n_threads, device=device),
    "profiles and resamples": profiles_and_resamples,
    "components": lambda: principal_components(expression, features, chosen, device=device),
    "neighbours": lambda: nearest_neighbors(found["components"].scores, 15, device=device),
}
with Clock() as clock:
    for turn in ("first", "steps"):
        for name, step in STEPS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = step()
            facts[turn][name] = round(time.perf_counter() - wall, 4)
            facts["cpu_steps"][name] = round(time.process_time() - cpu, 4)
if device == "gpu":
    facts["device_mb"] = round(cupy.get_default_memory_pool().total_bytes() / 2**20, 1)
np.savez(output, **{
    f"{kind}.{field}": value for kind, result in found.items() for field in result.__dataclass_fields__
    if isinstance(value := getattr(result, field), np.ndarray) and value.dtype != object
})
clock.report(**facts, search=found["neighbours"].method, recall=found["neighbours"].recall)
