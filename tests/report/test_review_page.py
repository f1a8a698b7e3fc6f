"""The review page in a real browser: looking, deciding by keyboard, saving, and what ``cellkey refine`` makes of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from report_helpers import HOSTILE, annotation_row, consensus_run, hostile_run, model_run
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.records.fingerprint import calls_fingerprint
from cellkey.records.tables import CLUSTER_ANNOTATIONS, REFINEMENT_LOG
from cellkey.report import write_report
from cellkey.testing import Chromium, find_chromium

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[2] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """A browser; without one these tests are skipped, and say so."""
    if find_chromium() is None:
        pytest.skip("no Chromium found: install the Debian package chromium")
    with Chromium(width=1400, height=1000) as opened:
        yield opened


@pytest.fixture(scope="module")
def annotated(annotated_run: Callable[..., Path]) -> Path:
    """A run of simulated cells with an embedding and places in a tissue."""
    def place(adata: AnnData) -> None:
        rng = np.random.default_rng(0)
        adata.obsm["X_umap"] = rng.normal(size=(520, 2))
        adata.obsm["spatial"] = rng.uniform(size=(520, 2))

    return annotated_run([("B Cells", "Monocytes")], place)


@pytest.fixture
def run(annotated: Path, tmp_path: Path) -> Path:
    """A run of its own, with its page."""
    copy = Path(shutil.copytree(annotated, tmp_path / "run"))
    write_report(copy)
    return copy


def show(browser: Chromium, page: Path) -> None:
    """Open a page as if for the first time."""
    browser.problems.clear()
    browser.open(page)
    browser.run("localStorage.clear()")
    browser.requests.clear()
    browser.reload()
    browser.wait("document.documentElement.dataset.ready")


def rows(browser: Chromium) -> list[str]:
    return browser.run("Array.from(document.querySelectorAll('#clusters tbody tr'), (r) => r.dataset.key.slice(2))")


def open_cluster(browser: Chromium, cluster: str) -> None:
    browser.run(f"document.querySelector('#clusters tr[data-key={json.dumps('0/' + cluster)}]').focus()")
    browser.press("Enter")


def save(browser: Chromium, folder: Path, reviewer: str, button: str = "save-plan") -> Path:
    """Save through the dialog, by keyboard as far as a person would."""
    folder.mkdir(exist_ok=True)
    browser.download_to(folder)
    browser.press("Control+s")
    browser.run("document.getElementById('reviewer').value = ''")
    browser.type(reviewer)
    browser.click(f"#{button}")
    end = time.monotonic() + 20
    while not (found := [p for p in folder.iterdir() if p.suffix in (".json", ".csv")]):
        assert time.monotonic() < end, "nothing was downloaded"
        time.sleep(0.02)
    return found[0]


def test_it_opens_filters_sorts_and_shows_a_cluster(browser: Chromium, run: Path) -> None:
    """All clusters at first; search, filter and order; an opened cluster with walk, evidence, runner-up and maps."""
    show(browser, run / "report.html")
    calls = pd.read_csv(run / "cluster_annotations.csv", dtype={"cluster_id": str})
    assert rows(browser) == calls["cluster_id"].tolist()
    assert browser.run("document.getElementById('decided').textContent") == f"0 of {len(calls)}decided"
    browser.press("/")
    browser.type("fibroblast")
    fibroblasts = calls[calls["assigned_path"].str.contains("Fibroblast")]["cluster_id"].tolist()
    assert rows(browser) == fibroblasts
    assert browser.run("document.getElementById('found').textContent").startswith(f"{len(fibroblasts)} of {len(calls)}")
    browser.press("Escape")
    assert browser.run("document.getElementById('search').value") == "fibroblast"  # as the table is filtered by it
    browser.press("/", "Backspace")
    assert len(rows(browser)) == len(calls)
    browser.type("b")
    browser.click("#clear-filters")
    browser.click("th[data-key=n] button")
    sizes = calls.set_index("cluster_id")["n_cells"]
    assert [sizes[c] for c in rows(browser)] == sorted(sizes, reverse=True)
    assert browser.run("document.querySelector('th[data-key=n]').getAttribute('aria-sort')") == "descending"
    row = calls.iloc[0]
    open_cluster(browser, row["cluster_id"])
    shown = browser.run("document.getElementById('detail').textContent")
    steps = pd.read_csv(run / "decision_steps.csv", dtype={"cluster_id": str})
    for name in steps[steps["cluster_id"] == row["cluster_id"]]["child_label"]:
        assert name in shown
    for marker in row["resolved_markers"].split(","):
        assert marker in shown
    assert browser.run("document.querySelectorAll('#detail svg circle.dot').length") > 20
    assert browser.run("document.querySelectorAll('#overview figure').length") == 5
    ink = ("(() => { const c = document.querySelector('canvas');"
           " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
           " let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()")
    assert browser.wait(f"{ink} > 500")
    assert "Spatial" in browser.run("document.querySelector('figure.map').textContent")
    assert browser.problems == []
    assert set(browser.requests) == {(run / "report.html").resolve().as_uri()}


def test_review_by_keyboard_save_and_apply(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """Label by picker, split, merge, remark and confirmation become a plan that refine carries out and records."""
    show(browser, run / "report.html")
    before = pd.read_csv(run / "cluster_annotations.csv", dtype={"cluster_id": str}).set_index("cluster_id")
    relabelled, split, confirmed, remarked, *pair = before.index[:6]
    open_cluster(browser, relabelled)
    browser.press("l")
    assert browser.run("document.activeElement.id") == "pick-search"
    browser.type("ciliated")
    browser.press("Enter")
    browser.press("c")
    browser.type("cilia in the picture; \"quoted\", a\u2028b")
    browser.press("Escape")
    open_cluster(browser, split)
    browser.press("s")
    open_cluster(browser, confirmed)
    browser.press("k")
    open_cluster(browser, remarked)
    browser.press("c")
    browser.type("seen twice")
    browser.press("Escape")
    for cluster in pair:
        browser.run(f"document.querySelector('#clusters tr[data-key={json.dumps('0/' + cluster)}]').focus()")
        browser.press(" ")
    browser.press("m")
    browser.type("of my own")
    browser.press("Enter")
    assert browser.run("document.getElementById('banner').textContent").startswith("6 decisions not saved")
    path = save(browser, tmp_path / "saved", "Ada <b>Example</b>")
    assert browser.wait("document.getElementById('banner').textContent === ''") is True
    assert browser.problems == []

    plan = json.loads(path.read_text(encoding="utf-8"))
    assert plan["metadata"]["calls_fingerprint"] == calls_fingerprint(run)
    assert plan["metadata"]["reviewer"] == "Ada <b>Example</b>"
    done = CliRunner().invoke(build_app(), [
        "refine", str(run), "--plan", str(path), "--skip-figures", "--refinement-params",
        '{"call_resamples": 2, "split_resamples": 3, "min_subcluster_cells": 10}',
    ])
    assert done.exit_code == 0, done.output
    after = pd.read_csv(run / "refined_annotations.csv", dtype={"cluster_id": str}).set_index("cluster_id")
    assert after.loc[relabelled, "assigned_label"] == "Ciliated Epithelium"
    merged = [c for c in after.index if c.endswith("+m")]
    assert [after.loc[c, "assigned_label"] for c in merged] == ["of my own"]
    assert not set(pair) & set(after.index)
    log = REFINEMENT_LOG.read_csv(run / "refinement_log.csv")
    mine = log[log["reviewer"] == "Ada <b>Example</b>"].set_index("action")
    assert mine.loc["OVERRIDE", "reason"] == "cilia in the picture; \"quoted\", a\u2028b"
    assert mine.loc["SUBCLUSTER", "cluster_id"] == split
    remarks = mine.loc["KEEP"].set_index("cluster_id")["reason"]
    assert remarks[remarked] == "seen twice"
    assert remarks[confirmed] == "confirmed on the review page"
    assert "reviewer: Ada <b>Example</b>" in (run / "refinement_plan.yaml").read_text(encoding="utf-8")

    again = CliRunner().invoke(build_app(), ["refine", str(run), "--plan", str(path), "--skip-figures"])
    assert again.exit_code == 2
    assert "earlier state" in again.output
    write_report(run)
    show(browser, run / "report.html")
    open_cluster(browser, relabelled)
    assert "Ada <b>Example</b>" in browser.run("document.querySelector('.log').textContent")


def test_decisions_survive_a_reload_and_can_be_undone(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """Kept in the browser for this run only; undone and done again step by step; a saved plan can be taken over."""
    show(browser, run / "report.html")
    badges = "Array.from(document.querySelectorAll('.badge'), (b) => b.textContent)"
    open_cluster(browser, rows(browser)[0])
    browser.press("k")
    browser.press("s")
    assert browser.run(badges) == ["split"]
    browser.press("Control+z")
    assert browser.run(badges) == ["confirmed"]
    browser.press("Control+z")
    assert browser.run(badges) == []
    browser.run("document.getElementById('redo').click(); document.getElementById('redo').click()")
    assert browser.run(badges) == ["split"]
    browser.reload()
    browser.wait("document.documentElement.dataset.ready")
    assert browser.run(badges) == ["split"]
    browser.press("/")
    browser.run("document.getElementById('filter-state').value = 'decided';"
                "document.getElementById('filter-state').dispatchEvent(new Event('change'))")
    assert len(rows(browser)) == 1
    csv = save(browser, tmp_path / "saved", "Ada", "save-table")
    table = pd.read_csv(csv, dtype=str)
    assert table[["decision", "reviewer"]].to_numpy().tolist() == [["split", "Ada"]]
    assert browser.problems == []


def load(browser: Chromium, path: Path) -> str:
    """Load a plan through the button; return what the page says."""
    browser.run("for (const t of document.querySelectorAll('.toast')) t.remove()")
    browser.run("document.getElementById('load').click()")
    browser.choose_file("#plan-file", path)
    return str(browser.wait("document.querySelector('.toast') && document.querySelector('.toast').textContent"))


def test_a_saved_plan_is_loaded_and_a_foreign_one_refused(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """Decisions, remarks and merges come back as they were; what is no such plan changes nothing and says why."""
    show(browser, run / "report.html")
    first, second, third, fourth, *_ = rows(browser)
    open_cluster(browser, first)
    browser.press("l")
    browser.type("ciliated")
    browser.press("Enter", "c")
    browser.type("<b>cilia</b>")
    browser.press("Escape")
    open_cluster(browser, second)
    browser.press("s")
    for cluster in (third, fourth):
        browser.run(f"document.querySelector('#clusters tr[data-key={json.dumps('0/' + cluster)}]').focus()")
        browser.press(" ")
    browser.press("m")
    browser.type("of my own")
    browser.press("Enter")
    state = "Array.from(document.querySelectorAll('#clusters tbody .decision'), (d) => d.textContent)"
    decided = browser.run(state)
    path = save(browser, tmp_path / "saved", "Ada")
    plan = json.loads(path.read_text(encoding="utf-8"))

    show(browser, run / "report.html")
    assert not any(browser.run(state))
    hostile = {
        "not JSON": "oops", "no operations": "[]", "another run": {**plan, "metadata": {"calls_fingerprint": "0"}},
        "nothing": {**plan, "operations": [None]},
        "an object for text": {**plan, "operations": [{**plan["operations"][0], "reason": {"toString": "x"}}]},
        "no such cluster": {**plan, "operations": [{"op_type": "skip", "cluster_id": "<img src=x onerror=alert(1)>"}]},
        "an inherited name": {**plan, "operations": [{"op_type": "constructor", "cluster_id": first}]},
        "no label": {**plan, "operations": [{"op_type": "override", "cluster_id": first}]},
    }
    for name, content in hostile.items():
        bad = tmp_path / "bad.json"
        bad.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        assert load(browser, bad).startswith("This "), name
        assert not any(browser.run(state)), name
    assert load(browser, path) == "Decisions taken over from the plan."
    assert browser.run(state) == decided
    open_cluster(browser, first)
    assert browser.run("document.querySelector('.remark textarea').value") == "<b>cilia</b>"
    assert json.loads(save(browser, tmp_path / "again", "Ada").read_text())["operations"] == plan["operations"]
    assert load(browser, path) == "Decisions taken over from the plan."  # once more: nothing differs
    assert browser.run(state) == decided
    assert browser.problems == []


def test_plans_of_two_reviewers_are_joined(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """What only the other decided is added; where both did, one's own stays, and the page says what the other wants."""
    show(browser, run / "report.html")
    first, second, third, fourth, *_ = rows(browser)
    for cluster, key in ((first, "k"), (second, "s")):
        open_cluster(browser, cluster)
        browser.press(key)
    path = save(browser, tmp_path / "saved", "Ada")
    plan = json.loads(path.read_text(encoding="utf-8"))
    merge = {"op_type": "merge", "source_clusters": [third, fourth], "target_label": "mine", "reason": "alike"}
    label = {"op_type": "override", "cluster_id": first, "label": "A / <b>B", "reason": "seen"}
    other = {"metadata": {**plan["metadata"], "reviewer": "Bob"}, "operations": [label, plan["operations"][1], merge]}
    path.write_text(json.dumps(other), encoding="utf-8")
    assert load(browser, path) == (f"2 decisions taken over. The plan of Bob differs on what was decided here, which "
                                   f"stays: cluster {first} (label: <b>B: seen)")
    browser.press("Control+s")
    assert browser.run("document.getElementById('reviewer').value") == "Ada and Bob"
    browser.press("Escape")
    joined = json.loads(save(browser, tmp_path / "joined", "Ada and Bob").read_text(encoding="utf-8"))
    assert joined["operations"] == [*plan["operations"], merge]
    refused = CliRunner().invoke(build_app(), ["refine", str(run), "--plan", str(path), "--plan", str(path)])
    assert refused.exit_code == 2
    assert "takes one plan, not 2" in " ".join(refused.output.split())
    assert browser.problems == []


def test_rows_are_worked_by_arrows(browser: Chromium, run: Path) -> None:
    """One row is in the order of the Tab key; arrows, Home and End move; every control has a name."""
    show(browser, run / "report.html")
    keys = rows(browser)
    browser.run("document.querySelector('#clusters tbody tr').focus()")
    browser.press("ArrowDown", "ArrowDown")
    at = "document.activeElement.dataset.key.slice(2)"
    assert browser.run(at) == keys[2]
    browser.press("End")
    assert browser.run(at) == keys[-1]
    browser.press("Home", " ")
    assert browser.run("document.querySelectorAll('#clusters tr[aria-selected=true]').length") == 1
    assert browser.run("document.querySelectorAll('#clusters tbody tr[tabindex=\"0\"]').length") == 1
    browser.press("?")
    assert browser.run("document.querySelector('dialog[open]').textContent").startswith("Keys")
    browser.press("Escape")
    assert browser.run(at) == keys[0]


def test_a_cluster_opened_by_key_comes_into_view(browser: Chromium, run: Path) -> None:
    """On a laptop too, where figures fill the first screen and the bar on top has two lines; it hides nothing."""
    browser.resize(1280, 800)
    show(browser, run / "report.html")
    browser.press("n")
    gap = "{}.getBoundingClientRect().top - document.querySelector('.top').offsetHeight"
    at = gap.format("document.getElementById('search')")
    assert browser.wait(f"{at} < 100")
    assert browser.run(at) > 0
    browser.resize(1400, 1000)


def test_names_that_attack_stay_text(browser: Chromium, tmp_path: Path) -> None:
    """Every cluster of the hostile run is shown and opened, found by its name, and nothing runs."""
    run = hostile_run(tmp_path / "hostile")
    page = write_report(run)
    show(browser, page)
    assert rows(browser) == HOSTILE
    for _ in HOSTILE:
        browser.press("n")
        assert browser.run("document.querySelector('#detail h2').textContent") in HOSTILE
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")  # long names wrap
    browser.press("/")
    browser.type("__PROTO__")
    assert rows(browser) == ["__proto__"]
    browser.press("Escape", "l")
    browser.press("Escape")
    open_cluster(browser, "__proto__")
    browser.press("k")
    assert browser.run("document.querySelectorAll('.badge').length") == 1
    table = pd.read_csv(save(browser, tmp_path / "saved", "=cmd()", "save-table"), dtype=str)
    assert table[["cluster_id", "reviewer"]].to_numpy().tolist() == [["__proto__", "'=cmd()"]]
    assert browser.run("document.querySelectorAll('#detail script, #detail img, #list script, #list img').length") == 0
    assert browser.problems == []


def test_what_a_model_said(browser: Chromium, tmp_path: Path) -> None:
    """The conversation is unpacked when it is opened; a batch has a table of datasets and no plan to save."""
    show(browser, write_report(model_run(tmp_path / "model")))
    open_cluster(browser, "=1")
    browser.run("document.querySelector('#detail section details').open = true")
    browser.wait("document.querySelector('.talk details') !== null")
    browser.run("document.querySelectorAll('.talk details').forEach((d) => { d.open = true; })")
    browser.wait("document.querySelector('.talk pre') !== null")
    assert "</script><script>alert(1)</script>" in browser.run("document.querySelector('.talk').textContent")
    browser.press("k", "Control+s")
    assert browser.run("document.getElementById('save-plan')") is None
    assert browser.run("document.getElementById('save-table') !== null")
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_dark_and_light(browser: Chromium, run: Path, dark: bool) -> None:
    """The page follows the system, and the button goes against it."""
    browser.prefer(dark=dark)
    show(browser, run / "report.html")
    paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert (sum(browser.run(paper)) < 200) is dark
    browser.press("t")
    assert sum(browser.run(paper)) < 200
    browser.press("t")
    assert sum(browser.run(paper)) > 600
    browser.prefer(dark=False)


def test_it_can_be_printed(browser: Chromium, run: Path, tmp_path: Path) -> None:
    """On paper: overview, table and the open cluster; no buttons."""
    show(browser, run / "report.html")
    open_cluster(browser, rows(browser)[0])
    browser.send("Emulation.setEmulatedMedia", media="print")
    hidden = "getComputedStyle(document.querySelector({})).display === 'none'"
    assert all(browser.run(hidden.format(json.dumps(s))) for s in ("#tools", ".filters", ".actions"))
    browser.send("Emulation.setEmulatedMedia", media="")
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_all_of_a_conversation_is_printed(browser: Chromium, tmp_path: Path) -> None:
    """Folded parts are opened with their content, those inside others as well."""
    show(browser, write_report(model_run(tmp_path / "model")))
    open_cluster(browser, "=1")
    browser.run("document.querySelector('#detail section details').open = true")
    browser.wait("document.querySelector('.talk details') !== null")
    assert browser.run("document.querySelectorAll('.talk details pre').length") == 0
    browser.pdf(tmp_path / "page.pdf")
    assert browser.run("Array.from(document.querySelectorAll('main details')).every((d) => d.open)")
    assert browser.run("Array.from(document.querySelectorAll('main details')).every((d) => d.childElementCount > 1)")
    assert browser.run("document.querySelectorAll('.talk details pre').length") == 2


def test_outcomes_filter_where_no_walk_was_made(browser: Chromium, tmp_path: Path) -> None:
    """Without a walk the end of a cluster is its outcome, in words, and the table can be filtered by it."""
    show(browser, write_report(consensus_run(tmp_path / "agreed")))
    assert browser.run("document.querySelector('th[data-key=stop]').textContent") == "Outcome"
    browser.run("document.getElementById('filter-stop').value = 'mixed';"
                "document.getElementById('filter-stop').dispatchEvent(new Event('change'))")
    assert rows(browser) == ["b"]
    open_cluster(browser, "b")
    shown = browser.run("document.getElementById('detail').textContent")
    assert "Lineage \u203a Deep" in shown
    assert "2 voted, 1 abstained" in shown
    assert "No subtype has the needed share" in shown
    assert browser.run("document.querySelectorAll('#detail td .chosen').length") == 1
    assert browser.problems == []


def test_a_model_s_label_is_told_from_the_markers(browser: Chromium, tmp_path: Path) -> None:
    """The path of the markers is not shown as if it led to the model's label."""
    run = model_run(tmp_path / "model")
    details = run / "a b" / "_x" / "details"
    CLUSTER_ANNOTATIONS.write_csv(CLUSTER_ANNOTATIONS.frame([annotation_row("=1", "T cell")]),
                                  details / "_x_cluster_annotations.csv")
    show(browser, write_report(run))
    assert "markers: T cell" in browser.run("document.querySelector('#clusters tbody td.label').textContent")
    open_cluster(browser, "=1")
    assert browser.run("document.querySelector('#detail h2').textContent") == "B cell"
    assert browser.run("document.querySelector('.crumbs').textContent").startswith("By markers: Root")


def axe_findings(browser: Chromium) -> list[list[object]]:
    """What axe-core finds (rules of WCAG 2.0 to 2.2, levels A and AA, and its best practices)."""
    axe = Path(os.environ.get("CELLKEY_AXE", AXE))
    if not axe.is_file():
        pytest.skip("axe-core not found: npm install --prefix .axe axe-core")
    browser.run(axe.read_text(encoding="utf-8") + "; 0")
    return list(browser.run("axe.run({resultTypes: ['violations']}).then((r) => r.violations.map((v) =>"
                            " [v.impact, v.id, v.nodes.slice(0, 3).map((n) => n.html)]))"))


@pytest.mark.parametrize("state", ["overview", "cluster", "picker", "saving", "dark", "narrow"])
def test_accessibility(browser: Chromium, run: Path, state: str) -> None:
    """axe-core finds nothing, whatever is open."""
    browser.prefer(dark=state == "dark")
    browser.resize(700 if state == "narrow" else 1400, 1000)
    show(browser, run / "report.html")
    if state != "overview":
        open_cluster(browser, rows(browser)[0])
        browser.press("k")
    if state == "picker":
        browser.press("l")
    if state == "saving":
        browser.press("Control+s")
    found = axe_findings(browser)
    wide = browser.run("document.documentElement.scrollWidth - innerWidth")
    browser.prefer(dark=False)
    browser.resize(1400, 1000)
    assert found == []
    assert wide <= 0


@pytest.mark.parametrize("kind", ["model", "consensus", "hostile"])
def test_accessibility_of_every_kind_of_run(browser: Chromium, tmp_path: Path, kind: str) -> None:
    """axe-core finds nothing on a cluster with all its parts open, in light and dark."""
    make = {"model": model_run, "consensus": consensus_run, "hostile": hostile_run}[kind]
    show(browser, write_report(make(tmp_path / "run")))
    open_cluster(browser, rows(browser)[0])
    browser.run("document.querySelectorAll('#detail section details').forEach((d) => { d.open = true; })")
    if kind == "model":
        browser.wait("document.querySelector('.talk details') !== null")
        browser.run("document.querySelectorAll('.talk details').forEach((d) => { d.open = true; })")
        browser.wait("document.querySelector('.talk details pre') !== null")
    for dark in (False, True):
        browser.prefer(dark=dark)
        found = axe_findings(browser)
        browser.prefer(dark=False)
        assert found == []
