"""The page of speed and memory, and its plots, from the results of all rows."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

_OUR_COLOUR, _OTHER_COLOUR = "#0072B2", "#999999"


def write_page(results: dict[str, dict[str, Any]], page: Path, pictures: Path) -> None:
    """Write the page and its plots; ``results`` are the rows by key."""
    pictures.mkdir(parents=True, exist_ok=True)
    names = [draw(results, pictures) for draw in (_draw_goals, _draw_scaling, _draw_memory)]
    up = "../_static/" if pictures.name == "_static" else ""
    page.write_text(_markdown(results, [f"{up}{n}" for n in names if n]), encoding="utf-8")


def _markdown(results: dict[str, dict[str, Any]], pictures: list[str]) -> str:
    lines = ["# Speed and memory", "", *_how(results), ""]
    titles = {"speed_goals": "Measured against the goal of each row; right of the line is better.",
              "speed_scaling": "CPU time against size; the dashed lines are proportional to the size.",
              "speed_memory": "Peak memory of the whole process."}
    lines += ["## Goals", "", "| | goal | measured | limit | reached |", "|---|---|---|---|---|"]
    for key, row in results.items():
        for goal in row["goals"]:
            cells = (key, goal["goal"], _measured(goal), goal["limit"], _verdict(goal, row["full"]))
            lines.append(f"| {' | '.join(cells)} |")
        for name, why in row["failed"].items():
            lines.append(f"| {key} | {row['title']} | {name} failed: {_cell(why)} | | |")
    for picture in pictures:
        lines += ["", f"```{{image}} {picture}", f":alt: {titles[Path(picture).stem]}", "```", "",
                  titles[Path(picture).stem]]
    for key, row in results.items():
        lines += ["", f"## {key}: {row['title']}", ""]
        if row.get("sizes"):
            lines += [f"Sizes: {', '.join(f'{k} {_number(v)}' for k, v in row['sizes'].items())}.", ""]
        lines += _other_machine(row)
        lines += _table(row["runs"])
        lines += _steps(row["runs"])
        lines += ["", *(f"- {note}" for note in row["notes"])] if row["notes"] else []
    lines += ["", "## Run it yourself", "", "```console", "$ make bench                             # all rows",
              "$ python benchmarks/run.py --quick       # small sizes: shows that everything runs",
              "$ python benchmarks/run.py --only P4 P6  # some rows; the page is made from all results there are",
              "```", "", "Rows are described in `benchmarks/rows_cells.py` and `rows_other.py`; the programs",
              "measured lie in `benchmarks/programs/`. R with WGCNA and PyWGCNA (its interpreter named by",
              "`CELLKEY_PYWGCNA`) take part where they are installed."]
    return "\n".join([*lines, ""])


def _how(results: dict[str, dict[str, Any]]) -> list[str]:
    if not results:
        return ["Nothing was measured yet: run `make bench`."]
    results = {key: row for key, row in results.items() if "card" not in row} or results
    some = next(iter(results.values()))
    machine, pairs = some["machine"], {r["pairs"] for r in results.values()}
    loads = [r["machine"]["load_at_start"] for r in results.values()]
    packages = ", ".join(f"{n} {v}" for n, v in some["versions"].items() if v != "not installed")
    days = sorted({r["when"][:10] for r in results.values()})
    size = "" if all(r["full"] for r in results.values()) else (
        "\n\n**Some rows were run in quick size: they show that everything runs, not how fast it is.**")
    return [
        f"Measured by `make bench` ({', '.join(days)}) on {machine['processors']} cores ({machine['model']}),",
        f"{machine['memory_gib']} GiB, Python {machine['python']}; load of the machine when a row started:",
        f"{min(loads):g} to {max(loads):g}.{size}", "",
        "Every run is a process of its own. Contestants alternate, and ratios are taken pair by pair, so that they",
        f"hold when the machine's speed drifts; medians with range, {'/'.join(map(str, sorted(pairs)))} pairs.",
        "*Work* is what the row is about, without start and imports; memory is of the whole process.",
        "Raw numbers: `benchmarks/results/`.", "", f"Versions: {packages}.",
    ]


def _other_machine(row: dict[str, Any]) -> list[str]:
    """What a row was measured on that needs a machine of its own."""
    if "card" not in row:
        return []
    machine = row["machine"]
    versions = ", ".join(f"{n} {v}" for n, v in row["versions"].items() if v != "not installed")
    return [
        f"Measured on another machine ({row['when'][:10]}): {row['card']}, {machine['processors']} cores",
        f"({machine['model']}), {machine['memory_gib']} GiB, Python {machine['python']}; {versions}.", "",
    ]


def _measured(goal: dict[str, Any]) -> str:
    found = goal["measured"]
    if found is None:
        return "not measured"
    median = f"**{_number(found['median'])}{goal['unit']}**"
    return median if found["n"] == 1 else f"{median} ({_number(found['min'])} to {_number(found['max'])})"


def _verdict(goal: dict[str, Any], full: bool) -> str:
    if goal["reached"] is None:
        return "-"
    if not full:
        return "(quick size)"
    return "yes" if goal["reached"] else f"no{': ' + goal['reason'] if goal['reason'] else ''}"


def _table(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    if not any(runs.values()):
        return []
    rows = ["| | runs | wall s | CPU s | peak MB | work, wall s | work, CPU s |", "|---|---|---|---|---|---|---|"]
    for name, measured in runs.items():
        cells = [_spread([r[k] for r in measured if k in r])
                 for k in ("wall", "cpu", "peak_mb", "work_wall", "work_cpu")]
        rows.append(f"| {name} | {len(measured)} | {' | '.join(cells)} |")
    return rows


def _steps(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Where the time of runs goes that report their steps."""
    lines = []
    for name, measured in runs.items():
        steps = [{k: v for k, v in r["steps"].items() if k != "total"} for r in measured if "steps" in r]
        if not steps:
            continue
        middle = {step: statistics.median(s.get(step, 0.0) for s in steps) for step in steps[0]}
        total = max(sum(middle.values()), 1e-9)
        lines += ["", f"Where the time of *{name}* goes (wall seconds of its steps):", "", "| step | s | share |",
                  "|---|---|---|"]
        lines += [f"| {step} | {_number(s)} | {100 * s / total:.0f} % |" for step, s in middle.items()]
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    middle = _number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))} to {_number(max(values))})"


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " / ".join(_number(v) for v in value)
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _draw_goals(results: dict[str, dict[str, Any]], folder: Path) -> str:
    """How many times better than its goal each measurement is, on a logarithmic axis."""
    plt = _pyplot()
    rows = [(key, g) for key, row in results.items() for g in row["goals"]
            if g["reached"] is not None and g["measured"]["median"] > 0 and "relative difference" not in g["goal"]]
    if not rows:
        return ""
    figure, axes = plt.subplots(figsize=(8.5, 0.3 * len(rows) + 1.2), layout="constrained")
    for place, (key, goal) in enumerate(reversed(rows)):
        found = goal["measured"]
        better = [_margin(goal, found[k]) for k in ("median", "min", "max")]
        colour = "#009E73" if better[0] >= 1 else "#D55E00"
        axes.plot([min(better), max(better)], [place, place], color=colour, lw=2, alpha=0.5)
        axes.plot(better[0], place, "o", color=colour)
        axes.text(-0.01, place, f"{key}  {goal['goal']}", transform=axes.get_yaxis_transform(), ha="right", va="center",
                  fontsize=7.5)
    axes.axvline(1, color="black", lw=1)
    axes.set(xscale="log", yticks=[], xlabel="measured / goal (right of 1: reached)")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(folder / "speed_goals.png", dpi=150, bbox_inches="tight")
    plt.close(figure)
    return "speed_goals.png"


def _margin(goal: dict[str, Any], value: float) -> float:
    return value / goal["wanted"] if goal["at_least"] else goal["wanted"] / max(value, 1e-12)


def _draw_scaling(results: dict[str, dict[str, Any]], folder: Path) -> str:
    plt = _pyplot()
    curves = {axis: curve for row in results.values() for axis, curve in row.get("curves", {}).items()}
    if not curves:
        return ""
    figure, panels = plt.subplots(1, len(curves), figsize=(2.7 * len(curves), 3.1), layout="constrained", squeeze=False)
    for axes, (axis, curve) in zip(panels[0], curves.items(), strict=True):
        sizes, seconds = curve["sizes"], curve["seconds"]
        axes.plot(sizes, [seconds[0] * s / sizes[0] for s in sizes], "--", color=_OTHER_COLOUR, lw=1)
        axes.plot(sizes, seconds, "o-", color=_OUR_COLOUR)
        axes.set(xscale="log", yscale="log", xlabel=axis, title=f"exponent {curve['exponent']:.2f}")
        axes.title.set_fontsize(10)
        axes.set_xticks(sizes, [f"{s:,}" for s in sizes], rotation=45, ha="right", fontsize=8)
        ends = [min(seconds), max(seconds)]
        axes.set_yticks(ends, [_number(s) for s in ends], fontsize=8)
        axes.minorticks_off()
    panels[0][0].set_ylabel("CPU s")
    figure.savefig(folder / "speed_scaling.png", dpi=150)
    plt.close(figure)
    return "speed_scaling.png"


def _draw_memory(results: dict[str, dict[str, Any]], folder: Path) -> str:
    plt = _pyplot()
    bars = [(f"{key}  {name}", statistics.median(r["peak_mb"] for r in runs))
            for key in ("P1", "P3", "P4", "P7") if key in results
            for name, runs in results[key]["runs"].items() if runs]
    if not bars:
        return ""
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(bars) + 0.9), layout="constrained")
    ours = [_OTHER_COLOUR if "scanpy" in name or "illico" in name else _OUR_COLOUR for name, _ in bars]
    axes.barh([n for n, _ in reversed(bars)], [v / 1024 for _, v in reversed(bars)], color=ours[::-1])
    axes.set_xlabel("peak memory of the process, GiB")
    axes.tick_params(axis="y", labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(folder / "speed_memory.png", dpi=150)
    plt.close(figure)
    return "speed_memory.png"


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt
