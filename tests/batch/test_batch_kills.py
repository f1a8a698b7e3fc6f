"""``kill -9`` of the run, of a worker and of the service: ``--resume`` ends with what an undisturbed run has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from batch_helpers import cellkey, make_tree, settings

from cellkey.batch import InThisProcess, run_batch
from cellkey.testing import ModelServer, ScriptedModel

COMMAND = [sys.executable, "-c", "from cellkey.cli import main; main()", "batch"]


def start(root: Path, out: Path, url: str, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *COMMAND,
            "--data-root",
            str(root),
            "-o",
            str(out),
            "--annotator",
            "llm",
            "--provider",
            url,
            "--model",
            "scripted",
            "--cache",
            "off",
            "--no-umap",
            "--max-workers",
            "2",
            "--quiet",
            *more,
        ],
        start_new_session=True,
    )


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def without_times(path: Path) -> dict[str, str]:
    """Tables of a run, without times and the number of attempts."""
    found = {}
    for file in [*path.glob("*/*/details/*_annotations.csv"), *path.glob("*/*/*_markers.csv")]:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        found[file.name] = table.drop(columns="calls", errors="ignore").to_csv()  # attempts that failed, too
    summary = pd.read_csv(path / "batch_summary.csv")
    timed = [c for c in summary.columns if c.endswith(("_time", "_at")) or c == "output_dir"]
    found["summary"] = summary.drop(columns=[*timed, "api_calls", "file_path"]).to_csv()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Path, set[str]]:
    """Data, a run over them that nothing disturbed, and every question that it asked."""
    base = tmp_path_factory.mktemp("calm")
    root = make_tree(base / "data", brain=["a", "b"])
    with ModelServer(ScriptedModel(scores={"1": 60})) as server:
        done = run_batch(
            root,
            base / "out",
            settings=settings(server, model={"max_workers": 2, "retries": 5}),
            runner=InThisProcess(),
        )
        return root, done.path, {s.text for s in server.served if s.role != "probe"}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_a_killed_run_is_finished_without_paying_twice(tmp_path, undisturbed, victim: str) -> None:
    """``kill -9`` of the run or of a worker: ``--resume`` ends with the tables of an undisturbed run."""
    root, calm, asked = undisturbed
    model = ScriptedModel(scores={"1": 60})
    with ModelServer(model, latency=0.05) as server:
        process = start(root, tmp_path / "out", server.url)
        until(lambda: len(server.served) >= 8)
        run = next((tmp_path / "out").glob("run_all_*"))
        if victim == "run":
            process.send_signal(signal.SIGKILL)
        else:
            worker = next(
                p
                for p in Path("/proc").iterdir()
                if p.name.isdigit()
                and _parent(p) == process.pid
                and "spawn_main" in (p / "cmdline").read_bytes().decode()
            )
            os.kill(int(worker.name), signal.SIGKILL)
        process.wait(timeout=60)
        time.sleep(0.3)  # what was under way ends at the server
        recorded = _answered(run)
        code, output = cellkey("batch", "--resume", run, "--quiet")
        assert code == 0, output
        texts = [s.text for s in server.served if s.role != "probe"]
        totals = server.totals()
    assert set(texts) == asked
    twice = {t for t in texts if texts.count(t) > 1}
    assert len(twice) <= 2  # answers that were under way when the process was killed, one per worker at most
    assert recorded >= 4
    assert len(texts) - len(set(texts)) <= 2
    assert without_times(run) == without_times(calm)
    tracking = json.loads((run / "token_tracking.json").read_text())
    assert totals["calls"] - 2 <= tracking["total_calls"] <= totals["calls"]


def _answered(run: Path) -> int:
    return sum(len(p.read_bytes().splitlines()) for p in run.glob("**/details/*_calls.jsonl"))


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1


SERVER = """
import threading
from cellkey.testing import ModelServer, ScriptedModel
with ModelServer(ScriptedModel(scores={"1": 60}), latency=0.05, port=PORT) as server:
    print(server.url, flush=True)
    threading.Event().wait()
"""


def serve(port: int = 0) -> tuple[subprocess.Popen, str]:
    """Start a service in a process of its own; return it and its address."""
    script = SERVER.replace("PORT", str(port))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with process.stdout as output:
        return process, output.readline().strip()


@pytest.mark.slow
def test_a_killed_service_costs_nothing_but_time(tmp_path, undisturbed) -> None:
    """``kill -9`` of the service: the run ends by itself, says what is open, and ``--resume`` asks only for that."""
    root, calm, _ = undisturbed
    service, url = serve()
    process = start(root, tmp_path / "out", url, "--max-retries", "1")
    until(lambda: _answered(tmp_path / "out") >= 5)
    service.send_signal(signal.SIGKILL)
    service.wait()
    assert process.wait(timeout=120) in (1, 3)
    run = next((tmp_path / "out").glob("run_all_*"))
    open_rows = pd.read_csv(run / "batch_summary.csv", keep_default_na=False)
    assert (open_rows["error_type"] != "").any()
    answered = _replies(run)
    service, _ = serve(int(url.rsplit(":", 1)[1].split("/")[0]))
    try:
        code, output = cellkey("batch", "--resume", run, "--quiet")
        assert code == 0, output
    finally:
        service.kill()
        service.wait()
    assert len(answered) >= 5
    after = _replies(run)
    assert set(answered) <= set(after)
    assert len(set(after)) == len(after), "a question that was answered was asked again"
    assert without_times(run) == without_times(calm)


def _replies(run: Path) -> list[str]:
    """Keys of all questions that were answered, once for every answer."""
    texts = [p.read_text() for p in sorted(run.glob("*/*/details/*_calls.jsonl"))]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    return [line["key"] for line in lines if line["reply"] is not None]
