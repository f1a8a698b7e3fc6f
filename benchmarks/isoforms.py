"""Isoform modules: how well every backend finds planted modules, what it costs, and what chance gives.

    python benchmarks/isoforms.py recover spectral [--suites core_v1 ...] [--seeds 5] [--fixtures NAME ...]
    python benchmarks/isoforms.py recover vae --label vae-leiden --set vae.leiden_resolution=1
    python benchmarks/isoforms.py noise | order | traits | cost | wgcna [--pywgcna-python PATH] | features
    python benchmarks/isoforms.py page

Every part writes JSON below --output (default artifacts/isoforms); ``page`` makes the documentation page of them.
Real data are found with CELLKEY_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from _isoform_page import write_page
from _truth import data_folder
from cellkey.isoforms import build_features, fit, prepare_bundle, simulate
from cellkey.isoforms.backend_settings import WgcnaParameters
from cellkey.isoforms.backends import get_backend
from cellkey.isoforms.benchmarking import BenchmarkParameters, benchmark
from cellkey.isoforms.bundle_io import write_bundle
from cellkey.isoforms.correlation import unit_rows
from cellkey.isoforms.feature_matrix import FeatureMatrix, zscore_rows
from cellkey.isoforms.memory import measured_memory
from cellkey.isoforms.overrides import parse_overrides
from cellkey.isoforms.quantification import read_transcript_counts
from cellkey.isoforms.settings import FitParameters, PrepareParameters, TraitParameters
from cellkey.isoforms.synthetic.catalogue import pure_noise
from cellkey.isoforms.traits import associate_traits
from cellkey.isoforms.wgcna.adjacency import adjacency_strip
from cellkey.isoforms.wgcna.detection import detect
from cellkey.isoforms.wgcna.overlap import average_linkage, condensed_dissimilarity, topological_overlap
from cellkey.isoforms.wgcna.r_engine import detect_in_r

SMALL_SUITES = ("core_v1", "multiplex_v1")
SEEDS = tuple(7 + 100 * i for i in range(5))


def main() -> None:
    """Run one part and write its JSON, or the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["recover", *_PARTS, "page"])
    parser.add_argument("backend", nargs="?", default="spectral")
    parser.add_argument("--suites", nargs="+", default=list(SMALL_SUITES))
    parser.add_argument("--fixtures", nargs="*", help="only these fixtures")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the fit, block.key=value")
    parser.add_argument("--label", help="name of the results in place of the backend's")
    parser.add_argument("--output", type=Path, default=Path("artifacts/isoforms"))
    parser.add_argument("--pywgcna-python", type=Path, help="Python of an environment with PyWGCNA")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.part == "page":
        write_page(options.output, Path(__file__).parents[1] / "docs" / "reference" / "isoform-accuracy.md")
    elif options.part == "recover":
        recover(options)
    else:
        found = _PARTS[options.part](options)
        (options.output / f"{options.part}.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        print(json.dumps(found, indent=2))


def recover(options: argparse.Namespace) -> None:
    """Run a backend on suites, and keep the results of every fixture."""
    for suite in options.suites:
        for fixture in options.fixtures or [None]:
            report = benchmark(
                BenchmarkParameters(
                    dataset_suite=suite,
                    fixture_filter=fixture,
                    backend=options.backend,
                    stage_name=f"{options.label or options.backend}-{suite}" + (f"-{fixture}" if fixture else ""),
                    n_seeds=options.seeds,
                    artifacts_root=str(options.output),
                ),
                parse_overrides(options.set),
            )
            print(next(p for p in report.files if p.suffix == ".md").read_text(), report.gate_failures)


def noise(_: argparse.Namespace) -> list[dict[str, Any]]:
    """Data without any module."""
    rows = []
    for backend in ("spectral", "correlation", "wgcna"):
        fits = [fit(pure_noise(seed=s), {"backend": backend, "evidence": {"n_null": 0}}) for s in SEEDS]
        genes = len(fits[0].features.matrix.genes)
        rows.append(
            {
                "backend": backend,
                "n_modules": [len(f.modules) for f in fits],
                "assigned_share": [len(f.modules.module_of) / genes for f in fits],
            }
        )
    return rows


def order(_: argparse.Namespace) -> dict[str, Any]:
    """The same data with genes, transcripts and samples in another order, and again unchanged."""
    differences = {"modules": 0, "roles": 0, "eigengenes": 0.0, "traits": 0.0, "n_fits": 0}
    for name in ("medium_v1", "noisy_v1", "noisy_multiplex_v1", "large_multiplex_v1"):
        bundle = simulate(name)
        first = fit(bundle)
        rng = np.random.default_rng(1)
        rows, columns = rng.permutation(len(bundle.transcripts)), rng.permutation(len(bundle.samples))
        shuffled = bundle.select_samples(columns)
        shuffled = type(bundle)(
            bundle.manifest,
            shuffled.samples,
            {**shuffled.tables, "transcript": shuffled.transcripts.iloc[rows].reset_index(drop=True)},
            {"transcript_counts": shuffled.transcript_counts[rows]},
        )
        second = fit(shuffled)
        differences["n_fits"] += 1
        differences["modules"] += int(dict(first.modules.members) != dict(second.modules.members))
        roles = ["module_id", "gene_id", "module_role", "significant_role", "coupling"]
        differences["roles"] += int(not first.roles[roles].equals(second.roles[roles]))
        for m, own in first.eigengenes.items():
            gap = float(np.abs(own.values - second.eigengenes[m].values).max())
            differences["eigengenes"] = max(differences["eigengenes"], gap)
        gap = np.abs(first.traits.tests["effect"] - second.traits.tests["effect"]).max()
        differences["traits"] = max(differences["traits"], float(gap))
    return differences


def traits(_: argparse.Namespace) -> list[dict[str, Any]]:
    """Traits that were permuted over the samples: how many pass, by trait and by module."""
    rows = []
    bundles = {"large_multiplex_v1": simulate("large_multiplex_v1")}
    bundles |= {name: _real(name) for name in ("macrophage", "tasic") if data_folder() is not None}
    columns = {
        "large_multiplex_v1": ("Dx", "Age", "Sex"),
        "macrophage": ("IFNg", "salmonella", "condition", "donor"),
        "tasic": ("brain_region", "cluster"),
    }
    for name, bundle in bundles.items():
        found = fit(bundle, {"evidence": {"n_null": 0}})
        profiles = {m: e.values for m, e in found.eigengenes.items()}
        ordered = found.bundle.samples
        settings = TraitParameters()
        true = associate_traits(profiles, ordered, settings, columns=columns[name]).tests
        rng, shares, families = np.random.default_rng(7), [], 0
        for _ in range(100):
            mixed = ordered.assign(**{c: rng.permutation(ordered[c].to_numpy()) for c in columns[name]})
            q = associate_traits(profiles, mixed, settings, columns=columns[name]).tests["qvalue"].to_numpy()
            shares.append(float((q <= 0.05).mean()))
            families += int((q <= 0.05).any())
        rows.append(
            {
                "data": name,
                "n_modules": len(found.modules),
                "traits": list(columns[name]),
                "share_true": float((true["qvalue"] <= 0.05).mean()),
                "share_permuted": float(np.mean(shares)),
                "permutations_with_any": families / 100,
            }
        )
    return rows


def cost(_: argparse.Namespace) -> dict[str, Any]:
    """The command on 12,000 genes and 240 samples, from the bundle to all files; then 20 modules explained."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for fixture in ("xxlarge_v1", "xxlarge_multiplex_v1"):
            write_bundle(simulate(fixture), root / fixture)
            found[f"fit {fixture}"] = _command(
                "fit", "--dataset-path", root / fixture, "--output-dir", root / "f" / fixture
            )
        modules = pd.read_parquet(root / "f" / "xxlarge_v1" / "modules.parquet")["module_id"].drop_duplicates()
        chosen = ",".join(modules[:20])
        found[f"explain {min(20, len(modules))} modules of xxlarge_v1"] = _command(
            "explain-module",
            "--artifact-dir",
            root / "f" / "xxlarge_v1",
            "--output-dir",
            root / "e",
            "--module-ids",
            chosen,
        )
        found["help"] = _command("--help")
    return found


def _command(*words: object) -> dict[str, float]:
    """Seconds and peak memory of a command in a process of its own."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(done.returncode, use.ru_utime + use.ru_stime, use.ru_maxrss)"
    )
    program = [sys.executable, "-c", "from cellkey.cli import main; main()", "isoforms"]
    start = time.perf_counter()
    line = subprocess.run(
        [sys.executable, "-c", code, *program, *map(str, words)], capture_output=True, text=True, check=True
    ).stdout
    status, cpu, peak = line.split()[-3:]
    if status != "0":
        msg = f"{words} failed"
        raise RuntimeError(msg)
    return {"wall_s": time.perf_counter() - start, "cpu_s": float(cpu), "peak_mb": float(peak) * 1024 / 1e6}


def features(_: argparse.Namespace) -> list[dict[str, Any]]:
    """20,000 features of 200 samples: peak memory beside that of a dense float64 matrix of all pairs."""
    rng = np.random.default_rng(7)
    latent = rng.normal(size=(20, 200))
    values = rng.normal(size=(20_000, 200))
    values[:4000] += np.repeat(latent, 200, axis=0)
    table = pd.DataFrame({"gene_id": [f"G{i:05d}" for i in range(20_000)]})
    table["feature_id"], table["feature_type"] = table["gene_id"] + "::abundance", "abundance"
    matrix = FeatureMatrix(
        zscore_rows(values), table, tuple(f"S{i:03d}" for i in range(200)), np.full((200, 1), 200**-0.5)
    )
    rows = []
    for backend, block in (
        ("spectral", {}),
        ("correlation", {}),
        ("baseline", {}),
        ("wgcna", {}),
        ("wgcna", {"max_block_size": 20_000}),
    ):
        parameters = FitParameters.parse({"backend": backend, backend: block}).backend_parameters()
        start, cpu = time.perf_counter(), time.process_time()
        with measured_memory() as memory:
            network = get_backend(backend).infer(matrix, parameters, np.random.default_rng(7), pd.Series(dtype=float))
        rows.append(
            {
                "backend": backend + (" (one block)" if block else ""),
                "wall_s": time.perf_counter() - start,
                "cpu_s": time.process_time() - cpu,
                "peak_mb": memory.peak_rss_bytes / 1e6,
                "dense_float64_mb": 20_000**2 * 8 / 1e6,
                "n_modules": len(network.modules),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _real(name: str) -> Any:
    group = {"tasic": "cluster", "macrophage": "condition"}[name]
    counts = read_transcript_counts(Path(str(data_folder())) / f"isoform_{name}.h5ad")
    return prepare_bundle(counts, parameters=PrepareParameters(group=group), name=name).bundle


def wgcna(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Native WGCNA against R's and PyWGCNA on the same features of real data, one after the other."""
    if data_folder() is None:
        return []
    rows = []
    for name in ("tasic", "macrophage"):
        values = build_features(_real(name)).matrix.values
        values = values[values.std(axis=1) > 1e-9]
        values = values[:: max(1, len(values) // 700)][:700]
        for settings in (
            {"power": 12},
            {"power": 6, "network_type": "unsigned"},
            {"power": 6, "network_type": "unsigned", "min_module_size": 10, "deep_split": 3},
        ):
            parameters = WgcnaParameters(**settings)
            row: dict[str, Any] = {"data": name, "n_features": len(values), "settings": settings}
            row |= _against_r(values, parameters)
            if options.pywgcna_python is not None:
                row |= _against_pywgcna(values, parameters, options.pywgcna_python)
            rows.append(row)
            print(row, flush=True)
    return rows


def _against_r(values: np.ndarray, parameters: WgcnaParameters) -> dict[str, Any]:
    clock = _Clock()
    ours = detect(values, parameters)
    own = clock.lap()
    theirs = detect_in_r(values, parameters)
    other = clock.lap()
    cut = parameters.updated(merge_cut_height=0.0)
    return {
        "ari_r": float(adjusted_rand_score(ours.labels, theirs.labels)),
        "ari_r_before_merge": float(adjusted_rand_score(detect(values, cut).labels, detect_in_r(values, cut).labels)),
        "n_modules": _number(ours.labels),
        "n_modules_r": _number(theirs.labels),
        **{f"{k}_native": v for k, v in own.items()},
        **{f"{k}_r": v for k, v in other.items()},
    }


def _number(labels: np.ndarray) -> int:
    return len(set(labels[labels > 0].tolist()))


_PYWGCNA = """
import sys, time, resource
import numpy as np, pandas as pd
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from PyWGCNA import WGCNA
folder, kind, power, size, deep = sys.argv[1:6]
x = pd.DataFrame(np.load(folder + "/x.npy").T)
x.columns = [f"f{i}" for i in range(x.shape[1])]
start, cpu = time.perf_counter(), time.process_time()
a = WGCNA.adjacency(x, power=int(power), adjacencyType=kind)
tom = WGCNA.TOMsimilarity(np.array(a), TOMType="unsigned")
d = (1 - tom).round(8)
tree = linkage(squareform(d.values, checks=False), method="average")
d.columns = d.index = x.columns
print("TREE", time.perf_counter() - start, time.process_time() - cpu)
np.save(folder + "/a.npy", np.asarray(a, dtype=float)); np.save(folder + "/tom.npy", np.asarray(tom, dtype=float))
labels = WGCNA.cutreeHybrid(dendro=tree, distM=d, minClusterSize=int(size), deepSplit=int(deep), pamRespectsDendro=True)
labels = labels["Value"] if isinstance(labels, pd.DataFrame) and "Value" in labels else labels
np.save(folder + "/labels.npy", np.asarray(labels).ravel().astype(str))
"""


def _against_pywgcna(values: np.ndarray, parameters: WgcnaParameters, python: Path) -> dict[str, Any]:
    """Adjacency, overlap and tree timed in both; the cut before merging compared where it succeeds."""
    rows = unit_rows(values)
    power, kind = int(parameters.power or 0), parameters.network_type
    average_linkage(condensed_dissimilarity(rows[:50], power, kind), 50)  # compiled before the clock starts
    clock = _Clock()
    average_linkage(condensed_dissimilarity(rows, power, kind), len(rows))
    own = clock.lap()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", values)
        (folder / "run.py").write_text(_PYWGCNA)
        words = [kind, power, parameters.min_module_size, parameters.deep_split]
        done = subprocess.run(
            [str(python), str(folder / "run.py"), str(folder), *map(str, words)],
            capture_output=True, text=True, check=False, cwd=folder, env=os.environ | {"PYTHONPATH": ""},
        )  # fmt: skip
        line = next((li for li in done.stdout.splitlines() if li.startswith("TREE")), None)
        error = (done.stderr.strip().splitlines() or ["no output"])[-1][:120]
        if line is None:
            return {"pywgcna": error}
        _, wall, cpu = line.split()
        theirs = np.load(folder / "a.npy")
        np.fill_diagonal(theirs, 0)
        found: dict[str, Any] = {
            "tree_wall_s_native": own["wall_s"],
            "tree_cpu_s_native": own["cpu_s"],
            "tree_wall_s_pywgcna": float(wall),
            "tree_cpu_s_pywgcna": float(cpu),
            "adjacency_gap_pywgcna": float(np.abs(adjacency_strip(rows, 0, len(rows), power, kind) - theirs).max()),
            "overlap_gap_pywgcna": float(
                np.abs(topological_overlap(rows, power, kind) - np.load(folder / "tom.npy")).max()
            ),
        }
        if done.returncode != 0:
            return found | {"pywgcna": error}
        labels = np.load(folder / "labels.npy")
    ours = detect(values, parameters.updated(merge_cut_height=0.0)).labels
    return found | {"ari_pywgcna": float(adjusted_rand_score(ours, labels))}


class _Clock:
    """Wall and processor seconds since the last lap, child processes included."""

    def __init__(self) -> None:
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        use = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), time.process_time() + use.ru_utime + use.ru_stime

    def lap(self) -> dict[str, float]:
        now, last = self._now(), self._last
        self._last = now
        return {"wall_s": now[0] - last[0], "cpu_s": now[1] - last[1]}


_PARTS = {"noise": noise, "order": order, "traits": traits, "cost": cost, "features": features, "wgcna": wgcna}


if __name__ == "__main__":
    main()
