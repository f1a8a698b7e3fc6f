"""Overhead of the language-model room: CPU per cluster, wall time against the ideal, connections opened.

    python benchmarks/llm_batch.py [--clusters 100] [--latency 0.5] [--workers 10]

The model is the scripted server of ``cellkey.testing`` in a process of its own, over real sockets, with the journal
flushed to disk and the answer cache on. The ideal wall time is latency x calls / workers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from cellkey.llm import AnswerCache, Journal, Lane, LiveTransport, ModelClient, Study, annotate_markers, provider_from

LINEAGES = (
    ("CD3D", "CD3E", "TRAC", "IL7R"),
    ("MS4A1", "CD79A", "CD79B", "CD19"),
    ("LYZ", "CD14", "S100A8", "FCN1"),
    ("PECAM1", "VWF", "CDH5", "CLDN5"),
)


def marker_lists(n_clusters: int) -> dict[str, list[str]]:
    """Return fifty genes per cluster, led by those of a lineage."""
    return {str(i): [*LINEAGES[i % 4], *(f"GENE{i}_{j}" for j in range(46))] for i in range(n_clusters)}


def main() -> None:
    """Run once and print the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--latency", type=float, default=0.5, help="seconds")
    parser.add_argument("--workers", type=int, default=10)
    options = parser.parse_args()
    command = [sys.executable, "-m", "cellkey.testing.model_server", "--latency", str(options.latency)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        client = ModelClient(
            provider_from(url),
            "scripted",
            LiveTransport(options.workers),
            journal=Journal(Path(folder) / "calls.jsonl"),
            cache=AnswerCache(Path(folder) / "answers.sqlite"),
            lane=Lane(options.workers),
        )
        client.probe()
        wall, cpu = time.perf_counter(), time.process_time()
        result = annotate_markers(marker_lists(options.clusters), client, study=Study("blood"), workers=options.workers)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        with urllib.request.urlopen(url.replace("/v1", "/__log")) as answer:
            seen = json.load(answer)
        client.close()
        server.kill()
    calls = sum(c.role != "probe" for c in result.calls)
    ideal = options.latency * calls / options.workers
    print(
        json.dumps(
            {
                "clusters": options.clusters,
                "calls": calls,
                "labelled": options.clusters - len(result.failed),
                "wall_s": round(wall, 2),
                "ideal_s": round(ideal, 2),
                "ratio": round(wall / ideal, 3) if ideal else None,
                "cpu_ms_per_cluster": round(1000 * cpu / options.clusters, 1),
                "connections": seen["connections"],
            }
        )
    )


if __name__ == "__main__":
    main()
