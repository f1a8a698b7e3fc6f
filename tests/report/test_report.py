"""The report of a run: everything inside one file, every name escaped, and all that the page needs to show."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_helpers import HOSTILE, hostile_run, model_run, step_row
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import RunError
from cellkey.hierarchy import get_builtin
from cellkey.records.fingerprint import calls_fingerprint, fingerprint_of
from cellkey.records.tables import (
    CONFIDENCE,
    CONSENSUS,
    CONSENSUS_VOTES,
    DECISION_STEPS,
    MARKER_EVIDENCE,
    MARKER_SCORES,
)
from cellkey.report import report_html, write_report
from cellkey.report.build import SCRIPTS
from cellkey.report.evidence import evidence_matrices, score_matrix
from cellkey.report.maps import cell_maps, sample_cells
from cellkey.report.markup import element, json_island
from cellkey.report.packing import fixed_point, packed
from cellkey.report.walks import CANDIDATE, outcome


class Page(HTMLParser):
    """Elements of a page, its scripts and styles, the text outside them, and the JSON in it by name."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.code: dict[str, str] = {"script": "", "style": ""}
        self._raw: dict[str, str] = {}
        self._open: list[str] = []
        self._island = ""
        self.feed(text)
        self.islands: dict[str, Any] = {name: json.loads(text) for name, text in self._raw.items()}

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "img"):
            self._open.append(tag)
        self._island = (dict(attrs).get("id") or "") if dict(attrs).get("type") == "application/json" else ""

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        self._island = ""

    def handle_data(self, data):
        if self._island:
            self._raw[self._island] = self._raw.get(self._island, "") + data
        elif self._open and self._open[-1] in self.code:
            self.code[self._open[-1]] += data
        else:
            self.shown += data

    def count(self, tag: str, **wanted: str) -> int:
        return sum(t == tag and all(a.get(k.rstrip("_")) == v for k, v in wanted.items()) for t, a in self.elements)

    @property
    def clusters(self) -> list[dict[str, Any]]:
        return [c for d in self.islands["run"]["datasets"] for c in d["clusters"]]


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=f"<{kind}")


def test_names_from_data_stay_text(tmp_path: Path) -> None:
    """Whatever a cluster is called, the page has its own script only, and carries the name as it is."""
    page = Page(report_html(hostile_run(tmp_path / "run")))
    assert page.count("script") == len(page.islands) + 1
    assert page.count("b") == page.count("img") == 0
    assert [c["id"] for c in page.clusters] == HOSTILE
    assert [c["label"] for c in page.clusters] == HOSTILE
    assert all(name in page.shown for name in HOSTILE)  # in the table for readers without scripts
    (dataset,) = page.islands["run"]["datasets"]
    assert (dataset["name"], dataset["notes"]) == ("<img src=x onerror=alert(1)>", ["<b>note</b>"])


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    """No address, no handler in an attribute, and a policy that allows this script and these styles only."""
    text = report_html(hostile_run(tmp_path / "run"))
    page = Page(text)
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert all((attributes.get(n) or "#").startswith("#") for n in ("href", "src"))
    code = page.code["script"] + page.code["style"]
    assert not re.search(r"url\(|@import|\bimport\b\s*\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", code)
    assert set(re.findall(r"https?://[^\s\"')]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for kind, content in page.code.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_every_candidate_and_why_it_lost(tmp_path: Path) -> None:
    """For each cluster the steps with all candidates, the chosen one first, and the limit that was missed."""
    page = Page(report_html(hostile_run(tmp_path / "run")))
    found = page.islands["walks-0"]
    names = [t[0] for t in page.islands["run"]["types"]]
    assert len(found["walks"]) == len(HOSTILE)
    for name, ((parent, candidates),) in zip(HOSTILE, found["walks"], strict=True):
        chosen, lost = (dict(zip(CANDIDATE, c, strict=True)) for c in candidates)
        assert parent == "ROOT"
        assert (names[chosen["type"]], chosen["state"]) == (name, 2)
        assert (names[lost["type"]], lost["state"]) == (f"other {name}", 0)
        words, sentence = found["outcomes"][lost["outcome"]]
        assert words == "positive cells\u00a0<\u00a00.3"
        assert sentence.endswith("pos_frac<0.3")
    assert page.clusters[0]["stopped"] == "The assigned cell type has no further subtypes."
    assert page.clusters[0]["votes"] == [[HOSTILE[0], 0.75]]


@pytest.mark.parametrize(("reason", "detail", "said"), [
    ("below_gate", "branch_support<0.05", "branch support\u00a0<\u00a00.05"),
    ("low_coverage", "insufficient_markers_present", "too few markers measured"),
    ("anti_markers", "", "markers speak against it"),
])
def test_outcomes_are_words(reason: str, detail: str, said: str) -> None:
    """Also those of the walk by branch support."""
    row = step_row("a", "b", selected=False, fail_reason=reason, fail_detail=detail)
    assert outcome(row)[0] == said


def test_the_models_part(tmp_path: Path) -> None:
    """Answer, score, boost, tokens and cost at once; the conversation packed; a failed dataset with its error."""
    page = Page(report_html(model_run(tmp_path / "run")))
    assert page.count("script") == len(page.islands) + 1
    (cluster,) = page.clusters
    said = dict(cluster["answer"])
    assert (cluster["id"], cluster["label"], cluster["modelScore"]) == ("=1", "B cell", 88)
    assert (said["score"], said["boosting"]) == ("88 of 100", "yes: T cell \u2192 B cell")
    assert (said["tokens"], said["cost"]) == ("1,234 in, 56 out", "$0.0123")
    assert page.islands["run"]["datasets"][1]["error"] == "<script>boom</script>"
    (talk,) = json.loads(gzip.decompress(base64.b64decode(page.islands["talks-0"])))
    (turn,) = talk["turns"]
    assert turn["said"] == [["user", "</script><script>alert(1)</script>"]]
    assert turn["spent"] == "1,234 tokens in, 56 out, $0.0123"
    assert [title for title, _ in talk["answers"]] == ["answer before boosting", "answer after boosting"]
    assert page.islands["run"]["spending"][0] == ["all", "", 1, 1234, 56, "$0.0123"]
    assert page.islands["run"]["calls_fingerprint"] == ""


def test_a_models_labels_are_found_in_the_tree_of_the_tissue(tmp_path: Path) -> None:
    """Their colour is that of the type they stand for; others have one of their own; no type, no place."""
    folder = tmp_path / "named"
    folder.mkdir()
    (folder / "run_manifest.json").write_text(json.dumps({"schema": "table-run/1", "study": {"tissue": "blood"}}))
    (folder / "x_annotations.csv").write_text(
        "cluster,cell_type,ontology_id\n0,killer,CL:0000623\n1,mature B cell,CL:0000785\n2,odd <b>,\n3,Unknown,\n")
    page = Page(report_html(folder))
    types = page.islands["run"]["types"]
    killer, mature, odd, unknown = page.clusters
    assert types[killer["type"]][:3:2] == ["NK Cells", killer["hue"]]
    assert (types[mature["type"]][0], mature["placed"]) == ("B Cells", "broader")
    assert len({"#BDBDBD", *(c["hue"] for c in (killer, mature, odd))}) == 4
    assert not {"type", "placed"} & odd.keys()
    assert not {"type", "hue"} & unknown.keys()
    assert page.islands["run"]["datasets"][0]["tree"] == "blood"


def test_a_summary_cannot_point_outside_the_run(tmp_path: Path) -> None:
    """Files of a folder that the summary names are read only if it lies in the run."""
    run = model_run(tmp_path / "run")
    outside = tmp_path / "secret" / "d"
    (outside / "details").mkdir(parents=True)
    (outside / "details" / "d_annotations.csv").write_text("cluster,cell_type\n0,leaked\n", encoding="utf-8")
    (run / "batch_summary.csv").write_text(f"dataset,tissue,output_dir\nd,..,{run}/../secret/d\n", encoding="utf-8")
    (run / "secret").symlink_to(tmp_path / "secret")
    assert "leaked" not in report_html(run)


def test_decisions_kept_in_a_browser_belong_to_these_calls(tmp_path: Path) -> None:
    """Pages of equal calls share them; a page whose calls changed in a label does not, batch runs included."""
    states = []
    for name, label in (("one", "B cell"), ("two", "B cell"), ("three", "T cell")):
        run = model_run(tmp_path / name)
        path = run / "a b" / "_x" / "details" / "_x_annotations.csv"
        path.write_text(path.read_text(encoding="utf-8").replace("B cell", label), encoding="utf-8")
        states.append(Page(report_html(run)).islands["run"]["state"])
    assert states[0] == states[1] != states[2]


def test_all_scripts_are_part_of_the_page() -> None:
    """A script that lies in the folder is named in the list, and the other way round."""
    folder = resources.files("cellkey.report").joinpath("data", "scripts")
    assert sorted(f.name for f in folder.iterdir()) == sorted(f"{name}.js" for name in SCRIPTS)


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


def test_the_command_writes_beside_the_tables(tmp_path: Path) -> None:
    """``cellkey report RUN`` writes RUN/report.html, the same each time; ``--output`` another file."""
    run = hostile_run(tmp_path / "run")
    done = CliRunner().invoke(build_app(), ["report", str(run)])
    assert done.exit_code == 0, done.output
    first = (run / "report.html").read_bytes()
    done = CliRunner().invoke(build_app(), ["report", str(run), "-q", "--output", str(tmp_path / "other.html")])
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "other.html").read_bytes() == first


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """A directory without tables, and one that does not exist, with what was expected; exit code 2."""
    with pytest.raises(RunError, match=r"none of batch_summary\.csv, cluster_annotations\.csv"):
        write_report(tmp_path)
    done = CliRunner().invoke(build_app(), ["report", str(tmp_path / "absent")])
    assert done.exit_code == 2
    assert "does not exist" in done.output


def test_a_damaged_table_is_said_and_left_out(tmp_path: Path) -> None:
    """The report is written all the same."""
    run = hostile_run(tmp_path / "run")
    (run / "marker_evidence.csv").write_text("nonsense\n1\n", encoding="utf-8")
    page = Page(report_html(run))
    assert any("marker_evidence.csv is left out" in n for n in page.islands["run"]["datasets"][0]["notes"])
    assert "evidence-0" not in page.islands


def confidence_row(cluster: str, label: str, path: str, **more: object) -> dict[str, object]:
    return {"cluster_id": cluster, "method": "markers", "level": path.count(" / "), "label": label, "path": path,
            "is_call": False, "share_held": 0.75, "share_held_without_marker": 1.0, "fragile_marker": "",
            "n_resamples": 100, "confidence": 0.8, **more}


def test_confidence_is_shown_for_the_label_it_was_measured_for(tmp_path: Path) -> None:
    """Rows of confidence.csv by level, the call last; none where the label is another one by now."""
    run = hostile_run(tmp_path / "run")
    CONFIDENCE.write_csv(CONFIDENCE.frame([
        confidence_row("a b", "a b", "Root / a b", is_call=True, share_held=0.5, fragile_marker="CD4", confidence=0.42),
        confidence_row("a b", "Root", "Root"),
        confidence_row("../x", "Root", "Root"),
        confidence_row("../x", "another", "Root / another", is_call=True),
    ]), run / "confidence.csv")
    by_id = {c["id"]: c for c in Page(report_html(run)).clusters}
    assert by_id["a b"]["sure"] == [
        ["markers", "Root", 0.75, 1.0, "", 0.8], ["markers", "a b", 0.5, 1.0, "CD4", 0.42]
    ]
    assert by_id["a b"]["confidence"] == 0.42
    assert "sure" not in by_id["../x"]


def test_a_consensus_with_and_without_the_run_behind_it(tmp_path: Path) -> None:
    """Outcome and votes of a cluster; a folder of a consensus alone is a page of its own."""
    row: dict[str, object] = {c.name: "" for c in CONSENSUS.columns if c.kind == "string"}
    row |= {c.name: 1 for c in CONSENSUS.columns if c.kind != "string"}
    row |= {"cluster_id": "a b", "label": "<b>x", "path": "R / <b>x", "status": "resolved", "stop_reason": next(
        iter(next(c for c in CONSENSUS.columns if c.name == "stop_reason").allowed)), "confidence": 0.5, "n_cells": 7}
    vote: dict[str, object] = {"cluster_id": "a b", "source": "popV", "label": "x!", "path": "R / <b>x", "share": 1.0,
                               "confidence": 0.25, "weight": 0.5, "agrees": True, "match": next(
        iter(next(c for c in CONSENSUS_VOTES.columns if c.name == "match").allowed))}
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "manifest.json").write_text(json.dumps({"hierarchy": "blood", "sources": ["popV"]}), encoding="utf-8")
    for run in (hostile_run(tmp_path / "run"), alone):
        CONSENSUS.write_csv(CONSENSUS.frame([row]), run / "consensus.csv")
        CONSENSUS_VOTES.write_csv(CONSENSUS_VOTES.frame([vote]), run / "consensus_votes.csv")
        page = Page(report_html(run))
        cluster = next(c for c in page.clusters if c["id"] == "a b")
        assert ["label", "R › <b>x"] in cluster["agreed"][0]
        assert cluster["said"][0][:3] == ["popV", "x!", "R / <b>x"]
    assert (page.islands["run"]["kind"], cluster["label"], cluster["n"], cluster["confidence"]) == (
        "consensus", "<b>x", 7, 0.5)
    names = [t[0] for t in page.islands["run"]["types"]]
    assert names[cluster["type"]] == "<b>x"
    assert {n.name for n in get_builtin("blood").nodes} <= set(names)


def test_colours_belong_to_the_hierarchy(tmp_path: Path) -> None:
    """Two runs of one hierarchy colour its types alike, whatever types their clusters and votes show."""
    tree = ["Root", *(f"Root / {name}" for name in HOSTILE)]
    colours = []
    for number, named in enumerate((["Root / a b"], ["Aunt", "Root / new", "Root / ../x"])):
        run = hostile_run(tmp_path / str(number))
        plain: dict[str, object] = {c.name: 1 for c in MARKER_SCORES.columns if c.kind in ("float", "int")}
        plain |= {c.name: "" for c in MARKER_SCORES.columns if c.kind in ("string", "list")} | {"idf_weighted": False}
        scores = [{**plain, "cluster_id": "a b", "label": p.split(" / ")[-1], "path": p} for p in tree]
        MARKER_SCORES.write_csv(MARKER_SCORES.frame(scores), run / "marker_scores.csv")
        steps = [step_row("a b", p.split(" / ")[-1], child_path=p) for p in named]
        DECISION_STEPS.write_csv(DECISION_STEPS.frame(steps), run / "decision_steps.csv")
        types = Page(report_html(run)).islands["run"]["types"]
        paths: list[str] = []
        for name, parent, _, _ in types:
            paths.append(name if parent < 0 else f"{paths[parent]} / {name}")
        colours.append({p: t[2] for p, t in zip(paths, types, strict=True)})
    assert all(colours[0][p] == colours[1][p] for p in tree)
    assert set(colours[1]) == {*tree, "Aunt", "Root / new"}


def evidence_row(cluster: str, path: str, marker: str, role: str, **more: object) -> dict[str, object]:
    plain = {c.name: 0.5 for c in MARKER_EVIDENCE.columns if c.kind == "float"}
    own = {"cluster_id": cluster, "cell_type": path.split(" / ")[-1], "path": path, "level": path.count(" / "),
           "marker": marker, "role": role, "is_de_hit": False, "is_on": False, "n_cells": 3}
    return {**plain, **own, **more}


def test_marker_evidence_comes_back_from_its_matrices() -> None:
    """Shift and share of every marker, whether it is on at each level, and which type lists it for what."""
    frame = MARKER_EVIDENCE.frame([
        evidence_row("a", "R", "M2", "positive", enrichment=-1.25, pos_frac=0.1, is_on=True),
        evidence_row("a", "R / C", "M2", "positive", enrichment=-1.25, pos_frac=0.1, is_de_hit=True),
        evidence_row("b", "R / C", "M1", "anti", enrichment=200.0, pos_frac=1.0, is_on=True),
        evidence_row("gone", "R", "M9", "positive"),
    ])
    found = evidence_matrices(frame, ["b", "a"], ["R", "R / C"])
    assert found["markers"] == ["M1", "M2"]
    assert found["types"] == [[0, [1], []], [1, [1], [0]]]
    shift = numbers(found["enrichment"], "i2").reshape(2, 2)
    share = numbers(found["positive"], "u1").reshape(2, 2)
    flags = numbers(found["flags"], "u1").reshape(2, 2)
    assert shift.tolist() == [[32767, -32768], [-32768, -625]]
    assert share.tolist() == [[250, 255], [255, 25]]
    assert flags.tolist() == [[0b10, 0], [0, 0b10000001]]
    assert evidence_matrices(frame, ["other"], ["R"]) == {}


def test_scores_of_all_types_by_position() -> None:
    """int16 in thousandths, clusters x types; what the table does not hold is missing."""
    table = pd.DataFrame({"cluster_id": ["a", "b"], "path": ["R", "unknown"], "score": [1.2345, 2.0]})
    assert numbers(score_matrix(table, ["a", "b"], ["Q", "R"]), "i2").tolist() == [-32768, 1234, -32768, -32768]


@given(st.lists(st.floats(-60, 60), max_size=20))
def test_fixed_point_is_near(values: list[float]) -> None:
    """A value comes back within half a step."""
    back = numbers(fixed_point(values, "i2", 500), "i2") / 500
    assert np.allclose(back, values, atol=0.0011)


def test_the_sample_of_cells_is_bounded_repeatable_and_keeps_small_clusters() -> None:
    """Cells of a rare cluster are shown; the same cells each time; all cells where there are few."""
    codes = np.repeat([0, 1, 2, -1], [5000, 40, 7, 3000])
    rows = sample_cells(codes, 500)
    assert 500 <= len(rows) <= 500 + 3 * 30
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, sample_cells(codes, 500))
    assert np.bincount(codes[rows] + 1)[1:].tolist()[1:] == [np.count_nonzero(codes[rows] == 1), 7]
    assert np.count_nonzero(codes[rows] == 1) >= 30
    assert np.array_equal(sample_cells(codes, 10_000), np.arange(len(codes)))


def test_maps_keep_their_shape_and_say_which_cluster(tmp_path: Path) -> None:
    """Both axes have one scale; images point down; cells without a place or a cluster are marked."""
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["obs/cluster_lvl0/codes"] = np.array([0, 1, 1, -1], dtype=np.int8)
        file["obs/cluster_lvl0/categories"] = np.array(["x", "y"], dtype=h5py.string_dtype())
        file["obsm/spatial"] = np.array([[10.0, 0], [20, 5], [np.nan, 1], [15, 2.5]])
        file["obsm/X_odd"] = np.zeros((3, 2))
    found = cell_maps(tmp_path / "cells.h5ad", ("cluster_lvl1", "cluster_lvl0"), ["y", "x"])
    (one,) = found["maps"]
    assert (found["n"], one["title"], one["down"]) == (4, "Spatial", True)
    assert numbers(found["cluster"], "u2").tolist() == [1, 0, 0, 65535]
    assert numbers(one["x"], "u2").tolist() == [0, 65534, 65535, 32767]
    assert numbers(one["y"], "u2").tolist() == [0, 32767, 65535, 16384]
    assert cell_maps(tmp_path / "cells.h5ad", ("cluster_lvl0",), ["other"]) == {}
    assert cell_maps(tmp_path / "absent.h5ad", ("cluster_lvl0",), ["x"]) == {}


def test_packed_numbers_are_little_endian() -> None:
    """As typed arrays in a browser read them."""
    assert base64.b64decode(packed(np.array([1, 258]), "u2")) == bytes([1, 0, 2, 1])


def test_the_fingerprint_follows_labels_sizes_and_paths_only(tmp_path: Path) -> None:
    """Order and scores do not count; any change of a call does; a refined table goes before the first one."""
    calls = [("a", "10", "T", "I / T"), ("b", "5", "B", "I / B")]
    same = fingerprint_of(calls[::-1])
    assert same == fingerprint_of(calls)
    for i, value in enumerate(("c", "11", "X", "Y")):
        changed = [tuple(value if j == i else v for j, v in enumerate(calls[0])), calls[1]]
        assert fingerprint_of(changed) != same
    run = hostile_run(tmp_path / "run")
    first = calls_fingerprint(run)
    text = (run / "cluster_annotations.csv").read_text(encoding="utf-8")
    (run / "refined_annotations.csv").write_text(text.replace("Root / a b", "Root / c"), encoding="utf-8")
    assert calls_fingerprint(run) != first
    with pytest.raises(RunError, match="holds no calls"):
        calls_fingerprint(tmp_path)
