"""All speed rows, their results as JSON, and the page with plots: one command.

    python benchmarks/run.py [--quick | --full] [--only P1 P4 ...] [--pairs 3] [--page-only]

Every row writes ``benchmarks/results/KEY.json`` when it is done, so a run that was interrupted goes on with
``--only``; a row that fails, or a peer that does, is a row with its reason. The page is made from all results that
are there. Full size takes about 85 minutes on two cores, needs 16 GiB of memory and 8 GB of disk; quick takes some
minutes. Results of quick runs never replace the page of full ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rows_cells
import rows_gpu
import rows_other
from _data import Setting
from _page import write_page
from _pairs import machine, versions

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "reference" / "speed.md"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: its key, what it measures, the function, and about how many minutes it takes in full."""

    key: str
    title: str
    measure: Callable[[Setting], dict[str, Any]]
    minutes: float


ROWS = (
    Row("P1", "annotate, from a file to all outputs", rows_cells.annotate, 14),
    Row("P2", "annotate again with another gate", rows_cells.annotate_again, 4),
    Row("P3", "profiles straight from a file", rows_cells.profiles, 4),
    Row("P4", "rank-sum test of all genes", rows_cells.ranks, 12),
    Row("P5", "enrichment scoring and routing", rows_other.enrichment, 2),
    Row("P6", "sub-clusterings of a refinement", rows_cells.subclusters, 5),
    Row("P7", "large inputs, flat memory", rows_cells.large, 12),
    Row("P8", "batch of language-model calls", rows_other.language, 2),
    Row("P9", "isoform modules", rows_other.isoforms, 12),
    Row("P10-cells", "scaling over cells and genes", rows_cells.scaling_cells, 8),
    Row("P10-groups", "scaling over clusters and cell types", rows_other.scaling_groups, 3),
    Row("P11", "start-up", rows_other.start, 1),
    Row("dask", "one large input on Dask workers", rows_cells.dask, 4),
    Row("scores", "scores of cell types against decoupler", rows_cells.scores, 2),
    Row("gpu", "the same steps on a GPU", rows_gpu.gpu, 3),
    Row("gpu-cells", "the same with a million cells", rows_gpu.gpu_many_cells, 5),
)


def main() -> None:
    """Run the rows asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, one pair: shows that everything runs")
    size.add_argument("--full", action="store_true", help="the sizes of the goals (default)")
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=[r.key for r in ROWS], help="these rows")
    parser.add_argument("--pairs", type=int, help="runs of each contestant [3, quick: 1]")
    parser.add_argument("--data", type=Path, help="folder for generated data, kept; a temporary one if not given")
    parser.add_argument("--page-only", action="store_true", help="make the page from the results that are there")
    arguments = parser.parse_args()
    results = HERE / "results" / ("quick" if arguments.quick else "")
    results.mkdir(parents=True, exist_ok=True)
    if not arguments.page_only:
        chosen = [r for r in ROWS if arguments.only is None or r.key in arguments.only]
        print(f"{len(chosen)} rows, about {sum(r.minutes for r in chosen):.0f} minutes in full size", flush=True)
        folder = arguments.data or Path(tempfile.mkdtemp(prefix="cellkey-bench-"))
        folder.mkdir(parents=True, exist_ok=True)
        setting = Setting(not arguments.quick, arguments.pairs or (1 if arguments.quick else 3), folder)
        try:
            for row in chosen:
                _run(row, setting, results)
        finally:
            shutil.rmtree(folder / "outputs", ignore_errors=True)
            if arguments.data is None:
                shutil.rmtree(folder, ignore_errors=True)
    found = {r.key: json.loads((results / f"{r.key}.json").read_text())
             for r in ROWS if (results / f"{r.key}.json").is_file()}
    page = results / "speed.md" if arguments.quick else PAGE
    write_page(found, page, page.parents[1] / "_static" if not arguments.quick else results)
    print(f"page: {page}")


def _run(row: Row, setting: Setting, results: Path) -> None:
    begun = time.perf_counter()
    print(f"{row.key}: {row.title} ...", end=" ", flush=True)
    facts: dict[str, Any] = {
        "key": row.key, "title": row.title, "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(), "versions": versions(), "full": setting.full, "pairs": setting.pairs,
    }
    try:
        facts |= row.measure(setting)
        if "skipped" in facts:  # results of a machine that could measure it stay
            print(f"skipped: {facts['skipped']}", flush=True)
            return
    except Exception as error:  # one row that fails must not cost the others
        traceback.print_exc()
        facts |= {"runs": {}, "goals": [], "notes": [], "failed": {"the row": f"{type(error).__name__}: {error}"[:500]}}
    facts["minutes"] = round((time.perf_counter() - begun) / 60, 1)
    (results / f"{row.key}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    reached = [g["reached"] for g in facts["goals"]]
    print(f"{facts['minutes']} min, {reached.count(True)} of {len(reached) - reached.count(None)} goals reached"
          + "".join(f"; {name} failed: {why}" for name, why in facts["failed"].items()), flush=True)


if __name__ == "__main__":
    main()
