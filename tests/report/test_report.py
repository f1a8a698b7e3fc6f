"""The report of a run: everything inside one file, every name escaped, and usable in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import RunError
from cellkey.records.tables import CLUSTER_ANNOTATIONS, DECISION_STEPS
from cellkey.report import report_html, write_report
from cellkey.report.markup import anchor, element, json_island

HOSTILE = [
    "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\"quotes\" & 'more'", "</script><b>", "a b", "../x", "Ä\u202e",
]


class Page(HTMLParser):
    """Elements of a page, the text outside scripts and styles, and the JSON in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.island = ""
        self._open: list[str] = []
        self._in_island = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "img"):
            self._open.append(tag)
        self._in_island = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        self._in_island = False

    def handle_data(self, data):
        if self._in_island:
            self.island += data
        elif "script" not in self._open and "style" not in self._open:
            self.shown += data

    def count(self, tag: str, **wanted: str) -> int:
        return sum(t == tag and all(a.get(k.rstrip("_")) == v for k, v in wanted.items()) for t, a in self.elements)


def annotation_row(cluster: str, label: str) -> dict[str, object]:
    texts = {c.name: "" for c in CLUSTER_ANNOTATIONS.columns if c.kind in ("string", "list", "json")}
    numbers = {c.name: 1 for c in CLUSTER_ANNOTATIONS.columns if c.kind in ("int", "float")}
    flags = {c.name: False for c in CLUSTER_ANNOTATIONS.columns if c.kind == "bool"}
    own = {
        "cluster_id": cluster, "cluster": cluster, "assigned_label": label, "assigned_path": f"Root / {label}",
        "root_label": "Root", "stop_reason": "leaf_reached", "stop_detail": "leaf_reached", "n_cells": 10,
        "confidence_level": "high", "runner_up_label": label, "composition": json.dumps({label: 0.75, "_n": 3}),
    }
    return {**texts, **numbers, **flags, **own}


def step_row(cluster: str, label: str, **more: object) -> dict[str, object]:
    numbers = {c.name: 0.5 for c in DECISION_STEPS.columns if c.kind == "float"}
    own = {
        "cluster_id": cluster, "step_idx": 0, "parent_label": "ROOT", "child_label": label, "child_path": label,
        "child_passed_gate": True, "selected": True, "fail_reason": "", "fail_detail": "",
    }
    return {**numbers, **own, **more}


def hostile_run(folder: Path) -> Path:
    """An annotation run whose clusters and types have names that attack pages and spreadsheets."""
    folder.mkdir()
    rows = [annotation_row(name, name) for name in HOSTILE]
    CLUSTER_ANNOTATIONS.write_csv(CLUSTER_ANNOTATIONS.frame(rows), folder / "cluster_annotations.csv")
    lost = {"selected": False, "child_passed_gate": False, "fail_reason": "below_gate"}
    steps = [step_row(name, name) for name in HOSTILE]
    steps += [step_row(name, f"other {name}", fail_detail="pos_frac<0.3", **lost) for name in HOSTILE]
    DECISION_STEPS.write_csv(DECISION_STEPS.frame(steps), folder / "decision_steps.csv")
    manifest = {"input": {"name": "<img src=x onerror=alert(1)>"}, "messages": ["<b>note</b>"]}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def model_run(folder: Path) -> Path:
    """A batch run in which a model took part, with names and answers that attack."""
    inside = folder / "a b" / "_x"
    (inside / "details").mkdir(parents=True)
    (folder / "batch_summary.csv").write_text(
        "dataset,tissue,status,output_dir,error,n_cells,api_calls\n"
        f"/x,a b,success,/moved/run/a b/_x,,30,4\n'=cmd,<script>,failed,{folder.parent},<script>boom</script>,,0\n",
        encoding="utf-8",
    )
    attack = "</script><script>alert(1)</script>"
    columns = ("cluster", "cell_type", "n_cells", "score", "status", "boosted", "label_before_boost", "evidence",
               "input_tokens", "output_tokens", "cost_usd")
    (inside / "details" / "_x_annotations.csv").write_text(
        ",".join(columns) + f"\n'=1,B cell,30,88,boosted,True,T cell,{attack},1234,56,0.0123\n", encoding="utf-8"
    )
    turn = {"role": "annotator", "model": "m", "messages": [{"role": "user", "text": attack}], "answer": attack,
            "parsed": {"label": attack}, "problems": attack, "usage": {"input_tokens": 1234, "output_tokens": 56,
                                                                       "cost": 0.0123}}
    said = {"state": [{"after": "boosted", "reason": attack}], "turns": [turn], "before_boost": {"label": "T cell"},
            "final": {"label": "B cell"}}
    (inside / "details" / "_x_conversations.json").write_text(json.dumps({"clusters": {"=1": said}}), encoding="utf-8")
    (inside / "_x_markers.csv").write_text(f"cluster,gene,avg_log2FC\n'=1,{attack},2.5\n", encoding="utf-8")
    totals = {"calls": 1, "input_tokens": 1234, "output_tokens": 56, "cost": 0.0123}
    (folder / "token_tracking.json").write_text(
        json.dumps({**{f"total_{k}": v for k, v in totals.items()}, "by_role": {attack: totals}}), encoding="utf-8"
    )
    return folder


def test_names_from_data_stay_text(tmp_path: Path) -> None:
    """Whatever a cluster is called, the page has its own two scripts and shows the name as it is."""
    page = Page(report_html(hostile_run(tmp_path / "run")))
    assert page.count("script") == 2
    assert page.count("b", id="x") == page.count("img") == 0
    assert all(name in page.shown for name in HOSTILE)
    assert "<img src=x onerror=alert(1)>" in page.shown
    assert "<b>note</b>" in page.shown
    assert [c["label"] for c in json.loads(page.island)["clusters"]] == HOSTILE


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    """No address outside the file, no handler in an attribute, and a policy that would forbid both."""
    text = report_html(hostile_run(tmp_path / "run"))
    page = Page(text)
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert all((attributes.get(n) or "#").startswith(("#", "data:")) for n in ("href", "src"))
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_candidate_and_why_it_lost(tmp_path: Path) -> None:
    """A card per cluster with its links, the candidates of each step, and the limit that was missed."""
    page = Page(report_html(hostile_run(tmp_path / "run")))
    assert page.count("details", class_="card") == len(HOSTILE)
    ids = [a["id"] for t, a in page.elements if a.get("class") == "card"]
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert len(set(ids)) == len(ids)
    assert [f"#{i}" for i in ids] == links
    assert page.shown.count("[pos_frac<0.3]") == len(HOSTILE)
    assert "The assigned cell type has no further subtypes." in page.shown
    assert "75 %" in page.shown


def test_the_models_part(tmp_path: Path) -> None:
    """Conversation, score, boost before and after, tokens and cost; a failed dataset with its error."""
    page = Page(report_html(model_run(tmp_path / "run")))
    assert page.count("script") == 2
    for text in ("88 of 100", "yes: T cell \u2192 B cell", "1,234 in, 56 out", "$0.0123", "<script>boom</script>",
                 "</script><script>alert(1)</script>", "before boosting", "after boosting", "=cmd"):
        assert text in page.shown
    (cluster,) = json.loads(page.island)["clusters"]
    assert (cluster["cluster"], cluster["label"], cluster["score"]) == ("=1", "B cell", 88)


def test_a_summary_cannot_point_outside_the_run(tmp_path: Path) -> None:
    """Files of a folder that the summary names are read only if it lies in the run."""
    run = model_run(tmp_path / "run")
    outside = tmp_path / "secret" / "d"
    (outside / "details").mkdir(parents=True)
    (outside / "details" / "d_annotations.csv").write_text("cluster,cell_type\n0,leaked\n", encoding="utf-8")
    (run / "batch_summary.csv").write_text(f"dataset,tissue,output_dir\nd,..,{run}/../secret/d\n", encoding="utf-8")
    (run / "secret").symlink_to(tmp_path / "secret")
    assert "leaked" not in report_html(run)


def test_json_cannot_end_its_element() -> None:
    """No ``<`` or ``&`` stands in the JSON, and it reads back as it was."""
    values = {"a": HOSTILE, "b": "<!--"}
    text = json_island(values, "x")
    inside = re.fullmatch(r'<script type="application/json" id="x">(.*)</script>', text, re.DOTALL)
    assert inside is not None
    assert not set("<>&") & set(inside[1])
    assert json.loads(inside[1]) == values


def test_attributes_are_quoted() -> None:
    """A quote in a value does not end it."""
    assert element("p", "<", title='"><') == '<p title="&quot;&gt;&lt;">&lt;</p>'


def test_anchors_differ_where_names_do() -> None:
    """Names that differ in a character only have different anchors, all of harmless characters."""
    names = [("a", "b"), ("a--b",), ("a b",), ("a_20_b",), ("ab",), ("A", "b")]
    anchors = [anchor(*n) for n in names]
    assert len(set(anchors)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", a) for a in anchors)


def test_the_command_writes_beside_the_tables(tmp_path: Path) -> None:
    """``cellkey report RUN`` writes RUN/report.html, the same each time; ``--output`` another file."""
    run = hostile_run(tmp_path / "run")
    done = CliRunner().invoke(build_app(), ["report", str(run)])
    assert done.exit_code == 0, done.output
    first = (run / "report.html").read_bytes()
    done = CliRunner().invoke(build_app(), ["report", str(run), "--output", str(tmp_path / "other.html")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "other.html").read_bytes() == first


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """A directory without tables, and one that does not exist, with what was expected; exit code 2."""
    with pytest.raises(RunError, match=r"neither batch_summary\.csv nor cluster_annotations\.csv"):
        write_report(tmp_path)
    done = CliRunner().invoke(build_app(), ["report", str(tmp_path / "absent")])
    assert done.exit_code == 2
    assert "does not exist" in done.output


def test_a_damaged_table_is_said_and_left_out(tmp_path: Path) -> None:
    """The report is written all the same."""
    run = hostile_run(tmp_path / "run")
    (run / "marker_evidence.csv").write_text("nonsense\n1\n", encoding="utf-8")
    assert "marker_evidence.csv is left out" in Page(report_html(run)).shown


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no headless Chromium found")
    return found


def seen_by_browser(page: Path, script: str, hash_: str = "") -> str:
    """Append a script to a copy of the page; return the title that it sets, as the browser sees it."""
    copy = page.with_name(f"{page.stem}-probe.html")
    copy.write_text(page.read_text(encoding="utf-8") + f"<script>{script}</script>", encoding="utf-8")
    with_profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", with_profile,
         "--virtual-time-budget=3000", "--dump-dom", f"{copy.as_uri()}{hash_}"],
        capture_output=True, text=True, timeout=90, check=True,
    )
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.browser
@pytest.mark.slow
def test_in_a_browser(tmp_path: Path) -> None:
    """The page loads without an alert, the search leaves the cluster that fits, and a link opens its card."""
    path = write_report(hostile_run(tmp_path / "run"))
    search = """
      var box = document.getElementById('search');
      box.value = 'quotes'; box.dispatchEvent(new Event('input'));
      var cards = Array.from(document.querySelectorAll('details.card'));
      document.title = cards.filter(c => !c.hidden).length + '/' + cards.length + ' '
        + document.getElementById('found').textContent + ' '
        + Array.from(document.querySelectorAll('table.clusters tbody tr')).filter(r => !r.hidden).length;
    """
    assert seen_by_browser(path, search) == f"1/{len(HOSTILE)} 1 of {len(HOSTILE)} 1"
    card = f"#{anchor('', '<img src=x onerror=alert(1)>')}{anchor('a b')}"
    opened = "document.title = Array.from(document.querySelectorAll('details.card[open]')).map(c => c.id).join();"
    assert seen_by_browser(path, opened, card) == card[1:]
