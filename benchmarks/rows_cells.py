"""Rows of the speed benchmark that start from cells: P1 to P4, P6, P7, P10 (cells, genes), scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _data import Setting, csr_mb
from _pairs import Contestant, goal, measure, paired, ratios, slope, spread

__all__ = ["annotate", "annotate_again", "dask", "large", "profiles", "ranks", "scaling_cells", "scores", "subclusters"]


#: Of the matrix in memory when it is streamed.
_STREAMED_MIB = 32


def _annotate(setting: Setting, cells: Path, output: str = "run") -> Contestant:
    arguments = (cells, setting.new(output), cells.parent / "map.json")
    return Contestant("cellkey annotate", "annotate_cellkey.py", arguments)


def annotate(setting: Setting) -> dict[str, Any]:
    """P1: from a file to all outputs, against the plain scanpy workflow without UMAP."""
    cells = setting.counts(setting.pick(50_000, 4000), setting.pick(20_000, 2000))
    ours, theirs = _annotate(setting, cells), Contestant("scanpy workflow", "annotate_scanpy.py", (cells,))
    found = paired([ours, theirs], setting.pairs)
    idle = measure(Contestant("imports", "do_nothing.py", ("cellkey.annotation.run",)))
    matrix = csr_mb(cells)
    runs = found["runs"].get(ours.name, [])
    memory = spread([r["peak_mb"] / matrix for r in runs]) if runs else None
    return {
        "sizes": _sizes(cells), "matrix_mb": matrix, "imports_mb": idle["peak_mb"], **found,
        "goals": [
            goal("at least 5 times faster than scanpy (wall)", ratios(found, theirs.name, ours.name), 5,
                 limit="read + one pass + PCA + kNN + Leiden + DE: about 17 CPU s at 50,000 x 20,000"),
            goal("CPU seconds against scanpy", ratios(found, theirs.name, ours.name, "cpu"), 5, limit="the same"),
            goal("peak memory below 1.5 x the matrix as CSR", memory, 1.5, at_least=False,
                 limit=f"the matrix itself, {matrix:,.0f} MB; libraries alone take {idle['peak_mb']:,.0f} MB",
                 reason="the libraries weigh more than a small matrix" if matrix < 2 * idle["peak_mb"] else ""),
        ],
        "notes": ["cellkey also checks, scores, walks and writes all tables and .h5ad files; scanpy writes nothing.",
                  "scanpy's Wilcoxon test is its default without tie correction, which is wrong on sparse data."],
    }


def annotate_again(setting: Setting) -> dict[str, Any]:
    """P2: the annotation again with another gate, from stored profiles, at two numbers of cells."""
    n_genes = setting.pick(20_000, 2000)
    sizes = [setting.pick(5000, 1000), setting.pick(50_000, 4000)]
    runs: dict[str, list[dict[str, Any]]] = {}
    times, full = [], []
    for n_cells in sizes:
        cells = setting.counts(n_cells, n_genes)
        contestant = _annotate(setting, cells, f"again_{n_cells}")
        full.append([measure(contestant) for _ in range(setting.pairs)])
        again = Contestant("again", "annotate_again.py", (contestant.arguments[1], setting.new("again_out")))
        found = [measure(again) for _ in range(setting.pairs)]
        runs |= {f"full run, {n_cells:,} cells": full[-1], f"again, {n_cells:,} cells": found}
        times.append([r["again"] for r in found])
    ratio = [f["wall"] / t for f, t in zip(full[-1], times[-1], strict=True)]
    return {
        "sizes": {"cells": sizes, "genes": n_genes}, "runs": runs, "failed": {},
        "goals": [
            goal("at least 100 times faster than the full run", spread(ratio), 100, limit="writing the tables",
                 reason="the full run is short itself, and much of the time measures confidence"
                        " anew: fifty resamples and every marker are judged again"),
            goal("under 0.5 s beyond process start", spread(times[-1]), 0.5, at_least=False, unit=" s",
                 limit="writing the tables"),
            goal("independent of the number of cells (seconds at the larger number / at the smaller)",
                 spread([b / a for a, b in zip(*times, strict=True)]), 1.2, at_least=False, limit="1",
                 reason="labels of all cells are read from the file to check that the profiles belong to them"),
        ],
        "notes": ["Timed inside one process, without cells and figures; the matrix is not read."],
    }


def profiles(setting: Setting) -> dict[str, Any]:
    """P3: profiles from a file that stays on disk, against scanpy in memory."""
    cells = setting.counts(setting.pick(50_000, 4000), setting.pick(20_000, 2000))
    ours = Contestant("cellkey, sums", "sums_cellkey.py", (cells,))
    full = Contestant("cellkey, full profiles, streaming", "profile_cellkey.py", (cells, _STREAMED_MIB))
    held = Contestant("cellkey, full profiles, matrix held", "profile_cellkey.py", (cells,))
    theirs = Contestant("scanpy, in memory", "profile_scanpy.py", (cells,))
    found = paired([ours, full, held, theirs], setting.pairs)
    more = "ranks, medians and ten quantiles too (no goal was set)"
    return {
        "sizes": _sizes(cells), "matrix_mb": csr_mb(cells), **found,
        "goals": [
            goal("sums, means, detection: at least 4 times less CPU", ratios(found, theirs.name, ours.name, "work_cpu"),
                 4, limit="decompression + one sweep over the values"),
            goal("sums, means, detection: at least 10 times less memory above the libraries",
                 ratios(found, theirs.name, ours.name, "above_mb"), 10, limit="one block",
                 reason="the compiled loops weigh more than a small matrix" if csr_mb(cells) < 200 else ""),
            goal(f"{more}: times less CPU", ratios(found, theirs.name, full.name, "work_cpu"), None,
                 limit="sorting the values once: 0.9 s for 110 million"),
            goal(f"{more}: times less memory above the libraries", ratios(found, theirs.name, full.name, "above_mb"),
                 None, limit="blocks in the hands of the threads and the reader"),
        ],
        "notes": [f"CPU and memory of the work, without imports; streaming holds {_STREAMED_MIB} MiB of the matrix.",
                  "The check of the values and the normalisation are part of all; scanpy's profiles and cellkey's sums "
                  "are sums, means and detection of every gene and group."],
    }


def ranks(setting: Setting) -> dict[str, Any]:
    """P4: the rank-sum test of all genes, each of 20 groups against the rest."""
    n_genes = setting.pick(20_000, 2000)
    large, small = (setting.counts(n, n_genes) for n in (setting.pick(50_000, 4000), setting.pick(10_000, 1000)))

    def contestant(name: str, cells: Path) -> Contestant:
        return Contestant(name, "ranks.py", (cells, setting.new(f"{name}_{cells.parent.name}.npy"), name))

    found = paired([contestant(n, large) for n in ("cellkey", "illico", "scanpy")], setting.pairs)
    tied = paired([contestant(n, small) for n in ("cellkey", "scanpy-ties")], 1, warm=False)
    fewer = f"{_sizes(small)['cells']:,} cells"
    names = {"cellkey": f"cellkey, {fewer}", "scanpy-ties": f"scanpy with ties, {fewer}"}
    exact = _largest_gap(setting, large, "illico")
    exact_ties = _largest_gap(setting, small, "scanpy-ties")
    return {
        "sizes": {**_sizes(large), "with tie correction": fewer},
        "runs": found["runs"] | {names[n]: r for n, r in tied["runs"].items()},
        "failed": found["failed"] | tied["failed"],
        "goals": [
            goal("at least 2 times faster than illico (CPU)", ratios(found, "illico", "cellkey", "work_cpu"), 2,
                 limit="sorting the values once: 0.9 s for 110 million",
                 reason="the same pass also gives medians, quantiles and positive shares of all groups"),
            goal("at least 20 times faster than scanpy's uncorrected test (CPU)",
                 ratios(found, "scanpy", "cellkey", "work_cpu"), 20, limit="as above",
                 reason="as above; scanpy's test is the one without tie correction"),
            goal("at least 20 times faster than scanpy with tie correction (CPU)",
                 ratios(tied, "scanpy-ties", "cellkey", "work_cpu"), 20, limit="as above"),
            goal("Z equal to illico's to 1e-10 (largest relative difference)", exact, 1e-10, at_least=False, unit="",
                 limit="rounding", reason="illico keeps Z with fewer digits"),
            goal("Z equal to scanpy's with tie correction to its float32 (largest relative difference)", exact_ties,
                 1e-6, at_least=False, unit="", limit="float32 of scanpy"),
        ],
        "notes": ["Two threads where a program offers them; values normalised and in memory before the clock starts."],
    }


def _largest_gap(setting: Setting, cells: Path, other: str) -> dict[str, Any] | None:
    """Largest difference of Z relative to the largest absolute Z of the gene, and at least 1."""
    paths = [setting.new(f"{name}_{cells.parent.name}.npy") for name in ("cellkey", other)]
    if not all(p.is_file() for p in paths):
        return None
    return spread([measure(Contestant("gap", "largest_gap.py", tuple(paths)))["gap"]])


def subclusters(setting: Setting) -> dict[str, Any]:
    """P6: the sub-clusterings of a refinement, against the same with scanpy calls."""
    n_clusters = setting.pick(20, 4)
    cells = setting.counts(setting.pick(50_000, 2000), setting.pick(20_000, 2000))
    ours, theirs = (Contestant(n, "subclusters.py", (cells, n, n_clusters)) for n in ("cellkey", "scanpy"))
    found = paired([ours, theirs], setting.pairs)
    slow = ("cells of one kind have a flat spectrum: 30 components take some 500 products with the covariance of 2,000 "
            "features, which is itself as much work")
    return {
        "sizes": {**_sizes(cells), "clusters": n_clusters}, **found,
        "goals": [
            goal("at least 3 times faster (wall)", ratios(found, "scanpy", "cellkey", "work_wall"), 3,
                 limit="PCA and neighbours of the subsets", reason=slow),
            goal("CPU seconds", ratios(found, "scanpy", "cellkey", "work_cpu"), 3, limit="the same", reason=slow),
        ],
        "notes": ["From counts (cellkey) and from logged values (scanpy) in memory; features chosen in each cluster.",
                  "cellkey parts as many clusters side by side as there are cores, as its refinement does; scanpy's "
                  "steps use threads of their own."],
    }


def large(setting: Setting) -> dict[str, Any]:
    """P7: large inputs on this machine, and memory of streaming when the cells grow tenfold."""
    shapes = [(1_000_000, 500), (200_000, 20_000)] if setting.full else [(20_000, 500), (5000, 2000)]
    runs, failed, goals = {}, {}, []
    for n_cells, n_genes in shapes:
        cells = setting.counts(n_cells, n_genes)
        name = f"annotate {n_cells:,} x {n_genes:,}"
        done = paired([_annotate(setting, cells, f"large_{n_cells}")], 1, warm=False)
        runs[name] = done["runs"].get("cellkey annotate", [])
        failed.update(dict.fromkeys([name] if done["failed"] else [], "; ".join(done["failed"].values())))
        peak = spread([r["peak_mb"] / 1024 for r in runs[name]]) if runs[name] else None
        goals.append(goal(f"{name} inside 24 GiB", peak, 24, at_least=False, unit=" GiB",
                          limit=f"matrix as CSR: {csr_mb(cells) / 1024:.2f} GiB"))
    n_genes = setting.pick(2000, 1000)
    base = setting.pick(50_000, 3000)
    peaks = []
    for n_cells in (base, 10 * base):
        found = measure(Contestant("stream", "profile_cellkey.py", (setting.counts(n_cells, n_genes), _STREAMED_MIB)))
        runs[f"profiles from disk, {n_cells:,} x {n_genes:,}"] = [found]
        peaks.append(found["peak_mb"])
    goals.append(goal("streaming: peak memory with ten times the cells / with one", spread([peaks[1] / peaks[0]]), 1.2,
                      at_least=False, limit="1",
                      reason="labels, totals and factors of the cells, and the values of the gene that is sorted, grow "
                             "with the cells"))
    return {"sizes": {"shapes": shapes, "streaming": [base, 10 * base, n_genes]}, "runs": runs, "failed": failed,
            "goals": goals, "notes": ["One run each, since they take minutes."]}


def scaling_cells(setting: Setting) -> dict[str, Any]:
    """P10: time against cells and genes."""
    cells = [10_000, 30_000, 100_000, 300_000, 1_000_000] if setting.full else [2000, 4000, 8000]
    genes = [1000, 3000, 10_000, 30_000] if setting.full else [1000, 2000, 4000]
    curves, goals, runs = {}, [], {}
    for axis, sizes in (("cells", cells), ("genes", genes)):
        seconds = []
        for size in sizes:
            path = setting.counts(*((size, 500) if axis == "cells" else (setting.pick(10_000, 1500), size)))
            contestant = _annotate(setting, path, f"scale_{axis}_{size}")
            if size == sizes[0]:
                measure(contestant)
            run = measure(contestant)
            runs[f"{size:,} {axis}"] = [run]
            seconds.append(run["work_cpu"])
        exponent = slope(sizes, seconds)
        curves[axis] = {"sizes": sizes, "seconds": seconds, "exponent": exponent,
                        "last": slope(sizes[-2:], seconds[-2:])}
        goals.append(goal(f"CPU time of annotate: exponent over {axis}", spread([exponent]), 1.1, at_least=False,
                          unit="", limit="1"))
        goals.append(goal(f"the same over the two largest ({sizes[-2]:,} to {sizes[-1]:,} {axis})",
                          spread([curves[axis]["last"]]), 1.1, at_least=False, unit="", limit="1",
                          reason="neighbours: the more cells, the more rounds the approximate search takes, and "
                                 "communities" if axis == "cells" else ""))
    return {"sizes": {"cells": cells, "genes": genes}, "curves": curves, "runs": runs, "failed": {}, "goals": goals,
            "notes": ["Cells with 500 genes; genes with 10,000 cells. CPU seconds of the work, one run each."]}


def dask(setting: Setting) -> dict[str, Any]:
    """The passes on two local Dask workers, against the same in one process."""
    cells = setting.counts(setting.pick(200_000, 4000), setting.pick(2000, 1000))
    alone = _annotate(setting, cells, "one_process")
    spread_out = (cells, setting.new("two_workers"), cells.parent / "map.json", 2)
    found = paired([alone, Contestant("two Dask workers", "annotate_dask.py", spread_out)], min(setting.pairs, 2),
                   warm=False)
    tables = [setting.new(run) / "cluster_annotations.csv" for run in ("one_process", "two_workers")]
    same = None if found["failed"] else spread([float(tables[0].read_bytes() == tables[1].read_bytes())])
    return {
        "sizes": _sizes(cells), "matrix_mb": csr_mb(cells), **found,
        "goals": [
            goal("tables of annotations equal byte by byte (1: yes)", same, 1, unit="", limit="1"),
            goal("wall time of one process / of two workers (no goal was set)",
                 ratios(found, alone.name, "two Dask workers", "work_wall"), None,
                 limit="1 on two cores: threads use both already"),
            goal("peak memory of the calling process, one process / with workers (no goal was set)",
                 ratios(found, alone.name, "two Dask workers", "peak_mb"), None, limit="-"),
        ],
        "notes": ["Memory is of the calling process; workers hold the slices. CPU seconds include the workers'."],
    }


def scores(setting: Setting) -> dict[str, Any]:
    """Scores of all types for all clusters, against decoupler's univariate linear model."""
    cells = setting.counts(setting.pick(20_000, 2000), setting.pick(5000, 1000))
    ours, theirs = (Contestant(n, "scores.py", (cells, cells.parent / "map.json", n)) for n in ("cellkey", "decoupler"))
    found = paired([ours, theirs], setting.pairs)
    return {
        "sizes": _sizes(cells), **found,
        "goals": [goal("against decoupler ULM (CPU; no goal was set)",
                       ratios(found, "decoupler", "cellkey", "work_cpu"), None, limit="one sweep over the values")],
        "notes": ["cellkey scores clusters after one pass over the cells; decoupler scores every cell."],
    }


def _sizes(cells: Path) -> dict[str, int]:
    _, n_cells, n_genes = cells.parent.name.split("_")
    return {"cells": int(n_cells), "genes": int(n_genes)}
