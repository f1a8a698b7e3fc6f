"""Paired measurements: every run is a fresh process, contestants alternate, ratios are taken pair by pair."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "Contestant", "MeasurementError", "goal", "machine", "measure", "paired", "ratios", "slope", "spread", "versions",
]

PROGRAMS = Path(__file__).parent / "programs"
_PACKAGES = (
    "cellkey", "numpy", "scipy", "numba", "pandas", "anndata", "scanpy", "illico", "decoupler", "scikit-learn",
    "faiss-cpu", "igraph", "h5py", "zarr", "dask", "distributed", "cupy-cuda13x",
)


class MeasurementError(Exception):
    """A measured process ended with an error; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program of ``benchmarks/programs`` with its arguments.

    Parameters
    ----------
    name
        Shown in tables.
    program
        File name; ``.R`` runs with ``Rscript``, everything else with ``python``.
    arguments
        Words of the command line.
    python
        Interpreter; that of this process if empty.
    threads
        Threads of all libraries; 0 leaves them alone.
    timeout
        Seconds after which the process is ended and counts as failed.
    """

    name: str
    program: str
    arguments: tuple[object, ...] = ()
    python: str = ""
    threads: int = 0
    timeout: float = 3600.0
    environment: dict[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the words of the command line."""
        start = ["Rscript"] if self.program.endswith(".R") else [self.python or sys.executable]
        return [*start, str(PROGRAMS / self.program), *map(str, self.arguments)]


def measure(contestant: Contestant) -> dict[str, Any]:
    """Run a contestant once; return seconds and memory of the process, and what the program said of its work.

    ``wall`` and ``cpu`` are of the whole process, start and imports included; ``work_wall``, ``work_cpu`` and
    ``above_mb`` (peak memory above what was used before the work) are reported by programs that time a part.

    Raises
    ------
    MeasurementError
        If the process ends with an error or takes too long.
    """
    environment = os.environ | contestant.environment
    if contestant.threads:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment |= dict.fromkeys(names, str(contestant.threads))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.perf_counter()
        try:
            process = subprocess.Popen(contestant.command(), stdout=out, stderr=err, env=environment)
        except FileNotFoundError as error:
            msg = f"{error.filename} is not installed"
            raise MeasurementError(msg) from None
        usage = _wait(process, contestant.timeout)
        wall = time.perf_counter() - begun
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise MeasurementError(_end(process.returncode, err.read()))
        lines = out.read().strip().splitlines()
    found = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    return {k: round(v, 4) for k, v in found.items()} | _said(lines)


def _said(lines: list[str]) -> dict[str, Any]:
    try:
        facts = json.loads(lines[-1]) if lines else {}
    except ValueError:
        msg = f"ended without its numbers: {lines[-1][:200]}"
        raise MeasurementError(msg) from None
    return dict(facts)


def _wait(process: subprocess.Popen[Any], timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage
        if time.monotonic() > deadline:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -9
            msg = f"not done after {timeout:.0f} s"
            raise MeasurementError(msg)
        time.sleep(0.005)


def _end(code: int, text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return f"exit code {code}: {lines[-1].strip()[:300] if lines else 'nothing was said'}"


def paired(contestants: list[Contestant], n_pairs: int, *, warm: bool = True) -> dict[str, Any]:
    """Run all contestants ``n_pairs`` times, one after the other in turn, every second round in reverse order.

    A first run of each is thrown away with ``warm``, so that compiled kernels are on disk and files in the
    cache. One that fails is left out from then on, with its reason under ``failed``.
    """
    runs: dict[str, list[dict[str, Any]]] = {c.name: [] for c in contestants}
    failed: dict[str, str] = {}
    for turn in range(-1 if warm else 0, n_pairs):
        for contestant in contestants if turn % 2 == 0 else reversed(contestants):
            if contestant.name in failed:
                continue
            try:
                found = measure(contestant)
            except MeasurementError as error:
                failed[contestant.name] = str(error)
                continue
            if turn >= 0:
                runs[contestant.name].append(found)
    return {"runs": {name: r for name, r in runs.items() if name not in failed}, "failed": failed}


def ratios(found: dict[str, Any], slow: str, fast: str, key: str = "wall") -> dict[str, Any] | None:
    """Return the spread of ``slow / fast`` pair by pair; None if one of them failed."""
    runs = found["runs"]
    if not runs.get(slow) or not runs.get(fast):
        return None
    return spread([a[key] / max(b[key], 1e-9) for a, b in zip(runs[slow], runs[fast], strict=True)])


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, minimum, maximum and number of values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def goal(
    text: str, measured: dict[str, Any] | None, wanted: float | None, *, at_least: bool = True, limit: str = "",
    unit: str = "x", reason: str = "",
) -> dict[str, Any]:
    """Return one goal with what was measured (None: nothing could be); without ``wanted`` it is for
    information."""
    reached = None
    if measured is not None and wanted is not None:
        reached = measured["median"] >= wanted if at_least else measured["median"] <= wanted
    return {"goal": text, "measured": measured, "wanted": wanted, "at_least": at_least, "limit": limit, "unit": unit,
            "reached": reached, "reason": "" if reached else reason}


def slope(sizes: list[float], seconds: list[float]) -> float:
    """Return the exponent of ``seconds ~ sizes ** exponent`` by least squares on logarithms."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(s) for s in seconds]).slope


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {"processors": len(os.sched_getaffinity(0)), "model": model, "memory_gib": round(memory, 1),
            "system": platform.system(), "python": platform.python_version(),
            "load_at_start": round(os.getloadavg()[0], 2)}


def versions() -> dict[str, str]:
    """Return the versions of all packages that take part."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
