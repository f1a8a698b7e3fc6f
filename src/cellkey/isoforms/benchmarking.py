"""Run backends on fixtures with known truth, and write the evidence."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from cellkey.errors import InputError, did_you_mean
from cellkey.isoforms.backends import get_backend
from cellkey.isoforms.benchmark_table import benchmark_table
from cellkey.isoforms.bundle_io import read_bundle
from cellkey.isoforms.fit_files import write_json
from cellkey.isoforms.fitting import Fit, fit, fit_parameters
from cellkey.isoforms.memory import measured_memory
from cellkey.isoforms.metrics import giant_component_fraction, score_against_truth
from cellkey.isoforms.overrides import merge_settings
from cellkey.isoforms.presets import fixture_settings, recovery_threshold
from cellkey.isoforms.snapshots import save_snapshot, snapshot_name
from cellkey.isoforms.stability import stability_selection
from cellkey.isoforms.synthetic import FIXTURES, fixture_names, simulate
from cellkey.parameters import Parameters
from cellkey.records.atomic import safe_name, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cellkey.isoforms.settings import FitParameters

__all__ = ["BenchmarkParameters", "BenchmarkReport", "benchmark"]

SEED_STEP = 100
"""Distance between suite seeds, so that fixtures of different seeds share no generator."""


class BenchmarkParameters(Parameters):
    """What a benchmark runs and where it writes.

    Parameters
    ----------
    dataset_suite, fixture_filter
        Suite, and one fixture of it (or any fixture by name); None runs the whole suite.
    dataset_path
        A bundle of real data to run instead of a suite.
    seed, n_seeds
        First suite seed and number of seeds (7, 107, 207, ...); the first gives the written snapshot. None takes five,
        or one for fixtures of more than 2,000 genes and for real data.
    recovery_thresholds
        Least recovery per data set, in place of the built-in one.
    run_stability_selection
        Also choose thresholds by edge stability (real data; slow).
    fixture_settings
        Use the settings that published numbers of a backend need for a fixture.
    trace_memory
        Also report Python's own allocations; slows the run.
    """

    dataset_suite: str = "core_v1"
    fixture_filter: str | None = None
    dataset_path: str | None = None
    stage_name: str = "stage1_baseline"
    backend: str = "spectral"
    artifacts_root: str = "artifacts"
    report_root: str | None = None
    seed: int = Field(default=7, ge=0)
    n_seeds: int | None = Field(default=None, ge=1)
    recovery_thresholds: dict[str, float] = Field(default_factory=dict)
    run_stability_selection: bool = False
    n_stability_refits: int = Field(default=50, ge=2)
    fixture_settings: bool = True
    trace_memory: bool = False


@dataclass
class BenchmarkReport:
    """Results of a benchmark and the files that hold them."""

    results: list[dict[str, Any]] = field(default_factory=list)
    gate_failures: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every data set reached its recovery."""
        return not self.gate_failures


@dataclass(frozen=True)
class _Run:
    """What a fit of one seed cost and reached; the fit itself is kept of the first seed only."""

    n_modules: int
    seconds: float
    peak_rss_bytes: int
    traced_peak_bytes: int | None
    measures: Mapping[str, Any]


def benchmark(
    parameters: BenchmarkParameters | None = None, settings: Mapping[str, Any] | None = None
) -> BenchmarkReport:
    """Run a backend on fixtures, write snapshots and JSON reports, and return the results.

    Parameters
    ----------
    parameters
        What is run.
    settings
        Nested fit settings (``{"spectral": {"min_cosine": 0.9}}``); they win over settings per fixture.

    Returns
    -------
    Results and the written files: ``<artifacts>/benchmarks/<stage>/<data set>/`` with ``run.log`` and the snapshot,
    ``<reports>/<stage>-benchmark.json``, ``-benchmark.md`` (beside published results), ``-runtime-memory.json``,
    ``-calibration.json`` and ``-<data set>-stability.json``.

    Raises
    ------
    InputError
        For an unknown suite or fixture, or a fixture that is not of the suite.
    """
    options = parameters or BenchmarkParameters()
    get_backend(options.backend)
    artifacts, reports = Path(options.artifacts_root), _reports(options)
    reports.mkdir(parents=True, exist_ok=True)
    stage = safe_name(options.stage_name)
    report, costs, calibration = BenchmarkReport(), {}, {}
    for name in _data_sets(options):
        directory = artifacts / "benchmarks" / stage / safe_name(name)
        directory.mkdir(parents=True, exist_ok=True)
        found, runs = _measured(name, options, settings or {}, directory, report)
        report.files.append(directory)
        costs[name] = _cost(runs)
        if found.network.calibration:
            calibration[name] = dict(found.network.calibration)
    head = {"suite": options.dataset_suite, "backend": options.backend, "stage": stage}
    _write(
        report,
        reports / f"{stage}-benchmark.json",
        head | {"gate_failures": report.gate_failures, "results": report.results, **_top_level(report.results)},
    )
    _write(report, reports / f"{stage}-runtime-memory.json", costs)
    table = reports / f"{stage}-benchmark.md"
    write_text(table, benchmark_table(report.results, costs))
    report.files.append(table)
    if calibration:
        _write(
            report,
            reports / f"{stage}-calibration.json",
            {"calibration_by_fixture": calibration, "stage": stage, "backend": options.backend},
        )
    return report


def _measured(
    name: str, options: BenchmarkParameters, settings: Mapping[str, Any], directory: Path, report: BenchmarkReport
) -> tuple[Fit, list[_Run]]:
    """Fit a data set with every seed, write the snapshot of the first, and add what was reached to the report."""
    stage = safe_name(options.stage_name)
    preset = fixture_settings(options.backend, name) if options.fixture_settings else {}
    chosen = fit_parameters(merge_settings({"backend": options.backend, "evidence": {"n_null": 0}}, preset, settings))
    with _RunLog(directory / "run.log") as log:
        log.debug("settings %s", chosen.model_dump_json())
        first, *others = _seeds(name, options)
        found, run = _run(name, first, options, chosen, log)
        runs = [run, *(_run(name, seed, options, chosen, log)[1] for seed in others)]
        row = _row(name, found, runs, options)
        if options.run_stability_selection and options.dataset_path is not None:
            path = _reports(options) / f"{stage}-{safe_name(name)}-stability.json"
            row["recommended_alpha"] = _stability(name, found, options, path, report)
        save_snapshot(
            found,
            directory,
            name=snapshot_name(stage, name, options.backend, options.seed),
            metrics={"recovery": run.measures.get("recovery"), "runtime_seconds": run.seconds},
        )
        report.results.append(row)
        report.gate_failures += _gate(name, runs, options)
        log.info("%s: recovery %s, %d modules", name, row["recovery"], row["n_modules"])
    return found, runs


def _reports(options: BenchmarkParameters) -> Path:
    return Path(options.report_root) if options.report_root else Path(options.artifacts_root) / "reports"


def _data_sets(options: BenchmarkParameters) -> list[str]:
    if options.dataset_path is not None:
        return [read_bundle(options.dataset_path).name]
    names = fixture_names(options.dataset_suite)
    chosen = options.fixture_filter
    if chosen is None:
        return list(names)
    if chosen not in FIXTURES:
        msg = f"unknown fixture {chosen!r}{did_you_mean(chosen, FIXTURES)}; fixtures are {', '.join(FIXTURES)}"
        raise InputError(msg)
    if FIXTURES[chosen].suite != options.dataset_suite:
        msg = f"fixture {chosen!r} belongs to the suite {FIXTURES[chosen].suite!r}, not to {options.dataset_suite!r}"
        raise InputError(msg)
    return [chosen]


def _seeds(name: str, options: BenchmarkParameters) -> list[int]:
    if options.dataset_path is not None:
        return [options.seed]
    usual = 1 if FIXTURES[name].design.n_genes > 2000 else 5
    return [options.seed + SEED_STEP * i for i in range(options.n_seeds or usual)]


def _run(
    name: str, seed: int, options: BenchmarkParameters, settings: FitParameters, log: logging.Logger
) -> tuple[Fit, _Run]:
    bundle = read_bundle(options.dataset_path) if options.dataset_path is not None else simulate(name, seed=seed)
    start = time.perf_counter()
    with measured_memory(trace=options.trace_memory) as memory:
        found = fit(bundle, settings)
    seconds = time.perf_counter() - start
    for note in found.notes:
        log.warning("%s seed %d: %s", name, seed, note)
    measures = score_against_truth(
        bundle, found.modules, found.network.edges, found.roles, found.features.matrix, seed=seed
    )
    log.debug("seed %d: %d modules in %.2f s", seed, len(found.modules), seconds)
    return found, _Run(len(found.modules), seconds, memory.peak_rss_bytes, memory.traced_peak_bytes, measures)


def _row(name: str, found: Fit, runs: list[_Run], options: BenchmarkParameters) -> dict[str, Any]:
    first = runs[0]
    n_genes = len(found.features.matrix.genes)
    row: dict[str, Any] = {
        "dataset": name,
        "n_samples": found.features.matrix.n_samples,
        "n_genes": n_genes,
        "n_modules": len(found.modules),
        "n_edges": len(found.network.edges),
        "recovery": first.measures.get("recovery"),
        "runtime_seconds": first.seconds,
        "recommended_alpha": None,
        "giant_component_fraction": giant_component_fraction(found.network.edges, n_genes),
        "metrics": dict(first.measures),
        "seeds": _over_seeds(runs, options),
    }
    if first.measures.get("role_recall") is not None:
        row["role_recall"] = first.measures["role_recall"]
    if "selected_alpha_abundance" in found.network.calibration:
        row["selected_alpha_abundance"] = found.network.calibration["selected_alpha_abundance"]
    return row


_REPEATED = ("recovery", "matched_recovery", "ari", "background_assigned")


def _over_seeds(runs: list[_Run], options: BenchmarkParameters) -> dict[str, Any]:
    values: dict[str, list[float]] = {
        k: [float(r.measures[k]) for r in runs] for k in _REPEATED if k in runs[0].measures
    }
    values["n_modules"] = [float(r.n_modules) for r in runs]
    if runs[0].measures.get("role_recall"):
        values["min_role_recall"] = [min(r.measures["role_recall"].values()) for r in runs]
        values["role_accuracy"] = [r.measures["roles"]["accuracy"] for r in runs]
        values["significant_role_accuracy"] = [r.measures["significant_roles"]["accuracy"] for r in runs]
    return {"seeds": [options.seed + SEED_STEP * i for i in range(len(runs))]} | {
        k: {"values": v, "mean": float(np.mean(v)), "sd": float(np.std(v)), "min": min(v), "max": max(v)}
        for k, v in values.items()
    }


def _cost(runs: list[_Run]) -> dict[str, Any]:
    cost: dict[str, Any] = {
        "runtime_seconds": runs[0].seconds,
        "peak_memory_bytes": max(r.peak_rss_bytes for r in runs),
        "peak_rss_bytes": max(r.peak_rss_bytes for r in runs),
        "runtime_seconds_by_seed": [r.seconds for r in runs],
    }
    traced = [r.traced_peak_bytes for r in runs if r.traced_peak_bytes is not None]
    return cost | ({"traced_peak_bytes": max(traced)} if traced else {})


def _gate(name: str, runs: list[_Run], options: BenchmarkParameters) -> list[str]:
    needed = options.recovery_thresholds.get(name, recovery_threshold(options.backend, name))
    reached = [r.measures["recovery"] for r in runs if r.measures.get("recovery") is not None]
    if needed is None or not reached or min(reached) >= needed:
        return []
    return [f"{name}: recovery {min(reached):.3f} is below {needed:.3f} (least of {len(reached)} seed(s))"]


def _top_level(results: list[dict[str, Any]]) -> dict[str, Any]:
    recalls = {r["dataset"]: r["role_recall"] for r in results if "role_recall" in r}
    return {"role_recall": recalls} if recalls else {}


def _stability(
    name: str, found: Fit, options: BenchmarkParameters, path: Path, report: BenchmarkReport
) -> float | None:
    backend = get_backend(options.backend)
    selection = stability_selection(
        backend,
        found.parameters.backend_parameters(),
        found.features.matrix,
        found.features.reliability,
        np.random.default_rng(options.seed),
        n_refits=options.n_stability_refits,
    )
    _write(report, path, {"dataset": name, "stage": options.stage_name, "backend": options.backend, **selection})
    alpha: float | None = selection["recommended_alpha"]
    return alpha


def _write(report: BenchmarkReport, path: Path, content: Mapping[str, Any]) -> None:
    write_json(content, path)
    report.files.append(path)


class _RunLog:
    """A debug log appended to a file for the time of a block."""

    def __init__(self, path: Path) -> None:
        self._logger = logging.getLogger(f"cellkey.isoforms.benchmark.{path.parent.name}")
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __enter__(self) -> logging.Logger:
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)
        return self._logger

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._handler.close()
