"""Marker maps and parameters as the tuning guide writes them: each loads, and each does what it is changed for.

Cells are made gene by gene, so that a cluster lies just on the wrong side of the usual limit and just on the right
side of the changed one: every effect is a change of the call, not of a decimal.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from test_guide_blocks import guide_text
from test_tuning_session import COMMANDS

from cellkey.annotation.cells import AnnotationResult, annotate
from cellkey.errors import CellkeyWarning, HierarchyError
from cellkey.hierarchy import read_hierarchy
from cellkey.routing.limits import merge_gating

N = 200
LINEAGES = {
    "T Cells": {"markers": ["CD3D", "CD3E", "CD3G"], "anti_markers": ["CD19", "CD20", "MS4A1", "CD14", "CD68"]},
    "B Cells": {"markers": ["CD19", "CD20", "MS4A1", "CD79A"], "anti_markers": ["CD3D", "CD3E", "CD14", "CD68"]},
}

# The ten maps of the guide, by what they are for.
MAPS = {
    "requirement": """{"_gating_params": {"root_hard_requirements": {"Immune Cells": {"marker": "CD45",
        "min_pos_frac": 0.30,  // Lower from 0.50 if CD45 expression is low
        "min_enrichment": 0.0}}}}""",
    "subtypes": """{"Epithelium": {"markers": ["EPCAM", "KRT8", "KRT18"], "children": {
        "Ciliated Epithelium": {"markers": ["FOXJ1", "TUBB4B", "DNAH5", "CCDC78"],
            "anti_markers": ["MUC5B", "SCGB1A1"]},
        "Secretory Epithelium": {"markers": ["MUC5B", "SCGB1A1", "MUC16"],
            "anti_markers": ["FOXJ1", "TUBB4B"]}}}}""",
    "anti-markers": json.dumps(LINEAGES),
    "two requirements": """{"_gating_params": {"root_hard_requirements": {
        "T Cells": {"marker": "CD3D", "min_pos_frac": 0.40, "min_enrichment": 0.0},
        "B Cells": {"marker": "CD19", "min_pos_frac": 0.30, "min_enrichment": 0.0}}}}""",
    "vetoes": """{"_gating_params": {"root_veto_markers": {
        "T Cells": {"markers": ["CD19", "MS4A1"], "max_pos_frac": 0.15},
        "B Cells": {"markers": ["CD3D", "CD3E"], "max_pos_frac": 0.15},
        "Epithelium": {"markers": ["CD45"], "max_pos_frac": 0.20}}}}""",
    "to fill in": """{"_gating_params": {
        "root_hard_requirements": { ... },
        "root_veto_markers": { ... }},
        "Immune Cells": { ... },
        "Epithelium": { ... }}""",
    "tissue": """{"_gating_params": {
        "root_hard_requirements": {
            "Immune Cells": {"marker": "CD45", "min_pos_frac": 0.30, "min_enrichment": 0.0},
            "Epithelium": {"marker": "EPCAM", "min_pos_frac": 0.40, "min_enrichment": 0.0}},
        "root_veto_markers": {
            "Immune Cells": {"markers": ["Pan-Cytokeratin", "E-cadherin", "EPCAM"], "max_pos_frac": 0.20},
            "Epithelium": {"markers": ["CD45", "CD3D", "CD19"], "max_pos_frac": 0.15}},
        "level_defaults": {"0": {"min_coverage": 0.45}, "1": {"min_coverage": 0.35}}},
        "Immune Cells": { ... },
        "Epithelium": { ... }}""",
    "fallopian tube": """{"_gating_params": {
        "root_hard_requirements": {
            "Epithelium": {"marker": "EPCAM", "min_pos_frac": 0.50, "min_enrichment": 0.0},
            "Immune Cells": {"marker": "PTPRC", "min_pos_frac": 0.35, "min_enrichment": 0.0}},
        "root_veto_markers": {
            "Epithelium": {"markers": ["PTPRC", "VIM"], "max_pos_frac": 0.25},
            "Fibroblasts": {"markers": ["EPCAM", "PTPRC"], "max_pos_frac": 0.15}},
        "level_defaults": {
            "0": {"min_coverage": 0.45, "min_pos_frac": 0.30, "min_gap": 0.35},
            "1": {"min_coverage": 0.35, "min_pos_frac": 0.25, "min_gap": 0.25}}},
        "Epithelium": {"markers": ["EPCAM", "KRT8", "KRT18", "CDH1"], "children": {
            "Ciliated Epithelium": {"markers": ["FOXJ1", "TUBB4B", "DNAH5", "CAPS", "PIFO"],
                "anti_markers": ["MUC5B", "SCGB2A1", "OVGP1"]},
            "Secretory Epithelium": {"markers": ["PAX8", "MUC16", "OVGP1", "SCGB2A1"],
                "anti_markers": ["FOXJ1", "TUBB4B", "CAPS"]}}}}""",
    "lung": """{"_gating_params": {
        "root_hard_requirements": {
            "Epithelium": {"marker": "EPCAM", "min_pos_frac": 0.40, "min_enrichment": 0.0},
            "Endothelium": {"marker": "PECAM1", "min_pos_frac": 0.50, "min_enrichment": 0.0}},
        "root_veto_markers": {
            "Epithelium": {"markers": ["PTPRC", "PECAM1"], "max_pos_frac": 0.15},
            "Macrophages": {"markers": ["EPCAM", "CD3D"], "max_pos_frac": 0.10}}}}""",
    "tumour": """{"_gating_params": {
        "root_hard_requirements": {"T Cells": {"marker": "CD3D", "min_pos_frac": 0.25, "min_enrichment": 0.0}},
        "level_defaults": {"0": {"min_coverage": 0.35, "min_pos_frac": 0.20}}}}""",
}


def cells(n: int = N, **clusters: dict[str, float]) -> AnnData:
    """Log-normalised cells: in each cluster, each named gene is expressed in that share of the cells."""
    genes = sorted({g for shares in clusters.values() for g in shares} | {f"OTHER{i}" for i in range(12)})
    rng = np.random.default_rng(0)
    X = np.where(rng.random((n * len(clusters), len(genes))) < 0.1, 2.0, 0.0)
    names = np.array(genes)
    for i, shares in enumerate(clusters.values()):
        rows = slice(i * n, (i + 1) * n)
        X[rows, ~np.char.startswith(names, "OTHER")] = 0.0
        for gene, share in shares.items():
            X[i * n : i * n + round(share * n), genes.index(gene)] = 2.0
    X[:, genes.index("OTHER0")] = 1.0  # so that no cell is empty
    obs = pd.DataFrame({"k": np.repeat(list(clusters), n)}, index=[f"c{i}" for i in range(len(X))])
    return AnnData(X.astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))


def named(data: AnnData, marker_map: Any, **options: Any) -> AnnotationResult:
    return annotate(data, marker_map, groupby="k", copy=True, assume="lognorm", resamples=0, votes=False, **options)


def root(result: AnnotationResult, cluster: str, kind: str) -> Any:
    table = result.gating_details
    return table[(table["cluster"] == cluster) & (table["root_type"] == kind)].iloc[0]


def labels(result: AnnotationResult) -> dict[str, str]:
    return result.cluster_annotations.set_index("cluster_id")["assigned_label"].to_dict()


def with_settings(name: str, roots: dict[str, Any], tmp_path: Path) -> Path:
    """The map with its types added, in the words of the guide."""
    text = MAPS[name].rstrip()
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    path.write_text(text[: text.rindex("}")] + "," + json.dumps(roots)[1:])
    return path


# --- the text of the guide, where it is at hand ---


def test_the_maps_are_those_of_the_guide() -> None:
    text = guide_text()
    if text is None:
        pytest.skip("the guide's text is not here: name its file in CELLKEY_GUIDE")
    written = [re.sub(r"\s", "", block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert written == [re.sub(r"\s", "", block) for block in MAPS.values()]


def test_every_annotate_command_of_the_guide_is_tried() -> None:
    """Blocks are compared with the list that runs on RNA and on protein cells."""
    text = guide_text()
    if text is None:
        pytest.skip("the guide's text is not here: name its file in CELLKEY_GUIDE")
    tried = {json.dumps(c) for c in COMMANDS}
    n = 0
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        lines = re.sub(r"^#.*$", "", block.replace("\\\n", " "), flags=re.MULTILINE)
        for command in re.split(r"^(?=ctr )", lines, flags=re.MULTILINE):
            words = shlex.split(command)
            if words[:3] != ["ctr", "annotate", "..."] or "--marker-map" in words:
                continue
            n += 1
            assert json.dumps([json.loads(w) if w.startswith("{") else w for w in words[3:]]) in tried, command
    assert n == 34


# --- maps ---


@pytest.mark.parametrize("name", ["requirement", "two requirements", "vetoes", "lung", "tumour"])
def test_settings_without_types_are_told_what_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(MAPS[name])
    with pytest.raises(HierarchyError, match="it holds settings, but no cell type"):
        read_hierarchy(tmp_path / "m.json")


@pytest.mark.parametrize(("name", "n"), [("to fill in", 4), ("tissue", 2)])
def test_every_placeholder_is_named_and_can_be_filled_in(name: str, n: int, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(MAPS[name])
    with pytest.raises(HierarchyError) as caught:
        read_hierarchy(tmp_path / "m.json")
    assert len([p for p in caught.value.problems if "placeholder" in p.what]) == n
    text = MAPS[name].replace('"Immune Cells": { ... }', '"Immune Cells": {"markers": ["CD45"]}').replace(
        '"Epithelium": { ... }', '"Epithelium": {"markers": ["EPCAM"]}').replace("{ ... }", "{}")
    (tmp_path / "m.json").write_text(text)
    tree = read_hierarchy(tmp_path / "m.json")
    assert [node.name for node in tree.nodes] == ["Immune Cells", "Epithelium"]
    if name == "tissue":
        gating = merge_gating(tree.gating)
        assert [gating.at(i).min_coverage for i in range(3)] == [0.45, 0.35, 0.30]
        result = named(cells(a={"CD45": 1, "EPCAM": 0.3}, b={"EPCAM": 1, "CD3D": 0.2}, c={"EPCAM": 1}, d={}), tree)
        assert root(result, "a", "Immune Cells")["fail_detail"] == "veto:EPCAM"
        assert root(result, "b", "Epithelium")["fail_detail"] == "veto:CD3D"
        assert labels(result)["c"] == "Epithelium"


def test_a_lower_requirement_lets_a_lineage_through(tmp_path: Path) -> None:
    """The map asks for CD45; the cells measure PTPRC, in four of ten cells."""
    roots = {"Immune Cells": {"markers": ["PTPRC", "CD52"]}}
    data = cells(a={"PTPRC": 0.4, "CD52": 1.0}, b={"ACTB": 1.0})
    eased = named(data, with_settings("requirement", roots, tmp_path))
    usual = {"root_hard_requirements": {"Immune Cells": {"min_pos_frac": 0.50}}}
    strict = named(data, with_settings("requirement", roots, tmp_path), gating=usual)
    assert labels(eased)["a"] == "Immune Cells"
    assert labels(strict)["a"] == "Unassigned"
    assert root(strict, "a", "Immune Cells")["fail_detail"] == "required_pos_frac:CD45"


def test_markers_that_distinguish_subtypes_lead_to_them(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(MAPS["subtypes"])
    common = {"EPCAM": 1.0, "KRT8": 1.0, "KRT18": 1.0}
    data = cells(c={**common, "FOXJ1": 0.9, "TUBB4B": 0.9, "DNAH5": 0.9, "CCDC78": 0.8},
                 s={**common, "MUC5B": 0.9, "SCGB1A1": 0.9, "MUC16": 0.8}, other={"ACTB": 1.0})
    assert labels(named(data, tmp_path / "m.json")) == {
        "c": "Ciliated Epithelium", "s": "Secretory Epithelium", "other": "Unassigned"}
    plain = {"Epithelium": {"markers": ["EPCAM", "KRT8", "KRT18"]}}
    assert labels(named(data, plain))["c"] == "Epithelium"


def test_anti_markers_lower_the_score_of_the_wrong_type() -> None:
    data = cells(t={"CD3D": 1, "CD3E": 1, "CD3G": 1}, b={"CD19": 1, "MS4A1": 1, "CD79A": 1}, m={"CD14": 1, "CD68": 1})
    without = {name: {"markers": node["markers"]} for name, node in LINEAGES.items()}
    plain, against = (named(data, m).marker_scores.set_index(["cluster_id", "label"]) for m in (without, LINEAGES))
    for pair in (("t", "B Cells"), ("b", "T Cells"), ("m", "T Cells"), ("m", "B Cells")):
        assert against.loc[pair, "anti_penalty"] > 0.5
        assert against.loc[pair, "score"] < plain.loc[pair, "score"] - 0.5
    assert against.loc[("t", "T Cells"), "score"] == pytest.approx(plain.loc[("t", "T Cells"), "score"], abs=0.2)


def test_requirements_and_vetoes_block_types(tmp_path: Path) -> None:
    few = cells(t={"CD3D": 0.3, "CD3E": 1, "CD3G": 1}, b={"CD19": 0.4, "CD79A": 1, "MS4A1": 1}, o={"ACTB": 1})
    assert labels(named(few, LINEAGES)) == {"t": "T Cells", "b": "B Cells", "o": "Unassigned"}
    required = named(few, with_settings("two requirements", LINEAGES, tmp_path))
    assert labels(required) == {"t": "Unassigned", "b": "B Cells", "o": "Unassigned"}
    assert root(required, "t", "T Cells")["fail_detail"] == "required_pos_frac:CD3D"
    roots = {"T Cells": {"markers": ["CD3E", "CD3G"]}, "Epithelium": {"markers": ["EPCAM"]}}
    mixed = cells(t={"CD3E": 1, "CD3G": 1, "MS4A1": 0.2}, e={"EPCAM": 1, "PTPRC": 0.3}, p={"EPCAM": 1, "PTPRC": 0.1},
                  o={"ACTB": 1})
    with pytest.warns(CellkeyWarning, match="'B Cells', which is not in the hierarchy"):
        vetoed = named(mixed, with_settings("vetoes", roots, tmp_path))
    assert labels(named(mixed, roots)) == {"t": "T Cells", "e": "Epithelium", "p": "Epithelium", "o": "Unassigned"}
    assert labels(vetoed) == {"t": "Unassigned", "e": "Unassigned", "p": "Epithelium", "o": "Unassigned"}
    assert root(vetoed, "t", "T Cells")["fail_detail"] == "veto:MS4A1"
    assert root(vetoed, "e", "Epithelium")["fail_detail"] == "veto:CD45"


def test_the_map_of_the_fallopian_tube(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(MAPS["fallopian tube"])
    common = {"EPCAM": 0.9, "KRT8": 0.9, "KRT18": 0.9, "CDH1": 0.9}
    ciliated = dict.fromkeys(("FOXJ1", "TUBB4B", "DNAH5", "CAPS", "PIFO"), 0.8)
    data = cells(c={**common, **ciliated}, s={**common, "PAX8": 0.8, "MUC16": 0.8, "OVGP1": 0.8, "SCGB2A1": 0.8},
                 stroma={**common, **ciliated, "VIM": 0.4}, faint={**common, **ciliated, "EPCAM": 0.45},
                 o={"ACTB": 1, "VIM": 0.9})
    with pytest.warns(CellkeyWarning) as told:
        result = named(data, tmp_path / "m.json")
    assert {r for r in ("Fibroblasts", "Immune Cells") if any(f"'{r}'" in str(w.message) for w in told)} == {
        "Fibroblasts", "Immune Cells"}
    assert labels(result) == {"c": "Ciliated Epithelium", "s": "Secretory Epithelium", "stroma": "Unassigned",
                              "faint": "Unassigned", "o": "Unassigned"}
    assert root(result, "stroma", "Epithelium")["fail_detail"] == "veto:VIM"
    assert root(result, "faint", "Epithelium")["fail_detail"] == "required_pos_frac:EPCAM"
    assert root(result, "c", "Epithelium")["min_coverage"] == 0.45


def test_the_map_of_the_lung(tmp_path: Path) -> None:
    roots = {"Epithelium": {"markers": ["EPCAM", "SFTPC"]}, "Endothelium": {"markers": ["PECAM1", "CLDN5"]}}
    data = cells(e={"EPCAM": 1, "SFTPC": 1}, v={"PECAM1": 0.4, "CLDN5": 1}, w={"PECAM1": 0.6, "CLDN5": 1},
                 x={"EPCAM": 1, "SFTPC": 1, "PTPRC": 0.2}, o={"ACTB": 1})
    with pytest.warns(CellkeyWarning, match="'Macrophages', which is not in the hierarchy"):
        result = named(data, with_settings("lung", roots, tmp_path))
    assert labels(result) == {"e": "Epithelium", "v": "Unassigned", "w": "Endothelium", "x": "Unassigned",
                              "o": "Unassigned"}
    assert root(result, "x", "Epithelium")["fail_detail"] == "veto:PTPRC"


def test_the_map_of_tumours(tmp_path: Path) -> None:
    roots = {"T Cells": {"markers": ["CD3D", "CD3E", "ABSENT1", "ABSENT2", "ABSENT3"]}}
    data = cells(t={"CD3D": 0.3, "CD3E": 0.9}, few={"CD3D": 0.2, "CD3E": 0.9}, o={"ACTB": 1})
    assert labels(named(data, roots))["t"] == "Unassigned"  # two of five markers are measured
    result = named(data, with_settings("tumour", roots, tmp_path))
    assert labels(result) == {"t": "T Cells", "few": "Unassigned", "o": "Unassigned"}


# --- parameters: the call changes ---


def level(number: int, **limits: float) -> dict[str, Any]:
    return {"level_defaults": {str(number): limits}}


@pytest.mark.parametrize("limit", [0.40, 0.30, 0.20])
def test_less_coverage_lets_a_partly_measured_type_pass(limit: float) -> None:
    measured = round(20 * limit) + 1
    kind = {"A": {"markers": [f"A{i}" for i in range(20)]}}
    data = cells(a={f"A{i}": 0.9 for i in range(measured)}, o={"ACTB": 1})
    usual, eased = named(data, kind), named(data, kind, gating=level(0, min_coverage=limit))
    assert root(usual, "a", "A")["fail_reason"] == "low_coverage"
    assert (labels(usual)["a"], labels(eased)["a"]) == ("Unassigned", "A")
    assert usual.cluster_annotations["stop_reason"].tolist() == ["no_root_passed", "no_root_passed"]


@pytest.mark.parametrize("limit", [0.40, 0.30, 0.20])
def test_less_coverage_lets_a_partly_expressed_type_pass(limit: float) -> None:
    """All markers are measured, but only a part of them is on, a little below what the usual limit asks for."""
    least = 0.40 * limit / 0.50  # the share of markers that must be on follows the coverage
    on = int(np.ceil(20 * least))
    kind = {"A": {"markers": [f"A{i}" for i in range(20)]}}
    data = cells(a={f"A{i}": 0.6 if i < on else 0.02 for i in range(20)}, o={"ACTB": 1})
    usual, eased = named(data, kind), named(data, kind, gating=level(0, min_coverage=limit))
    assert root(usual, "a", "A")["fail_detail"].startswith("pos_frac")
    assert (labels(usual)["a"], labels(eased)["a"]) == ("Unassigned", "A")


@pytest.mark.parametrize("limit", [0.20, 0.15])
def test_a_lower_positive_fraction_lets_sparse_markers_pass(limit: float) -> None:
    few = (5 * (limit + 0.01) - 0.65) / 4
    kind = {"A": {"markers": [f"A{i}" for i in range(5)]}}
    data = cells(a={"A0": 0.65, **{f"A{i}": few for i in range(1, 5)}}, o={"ACTB": 1})
    usual, eased = named(data, kind), named(data, kind, gating=level(0, min_pos_frac=limit))
    assert root(usual, "a", "A")["fail_detail"].startswith("pos_frac")
    assert (labels(usual)["a"], labels(eased)["a"]) == ("Unassigned", "A")


def chain(depth: int, *leaves: dict[str, Any]) -> dict[str, Any]:
    """Types one below the other down to ``depth``, the leaves below the last."""
    inner: dict[str, Any] = {f"leaf {i}": leaf for i, leaf in enumerate(leaves)}
    for i in reversed(range(depth)):
        inner = {f"level {i}": {"markers": [f"L{i}"], "children": inner}}
    return inner


@pytest.mark.parametrize(("depth", "usual", "gap"), [(1, 0.30, 0.20), (2, 0.20, 0.15)])
def test_a_smaller_gap_goes_deeper(depth: int, usual: float, gap: float) -> None:
    kind = chain(depth, {"markers": ["X"]}, {"markers": ["Y"]})
    above = {f"L{i}": 1.0 for i in range(depth)}
    guide = {"level_defaults": {"1": {"min_gap": 0.20}, "2": {"min_gap": 0.15}}}
    for share in np.arange(0.60, 0.80, 0.01):
        data = cells(a={**above, "X": 0.80, "Y": float(share)}, o={"ACTB": 1, "X": 0.1, "Y": 0.1})
        stopped = named(data, kind)
        steps = stopped.decision_steps
        margin = steps.loc[steps["cluster_id"] == "a", "margin_to_runner_up"].min()
        if gap < margin < usual:
            break
    else:
        pytest.fail("no share gives a margin between the two limits")
    assert labels(stopped)["a"] == f"level {depth - 1}"
    assert stopped.cluster_annotations["stop_reason"][0] == "low_margin"
    assert labels(named(data, kind, gating=guide))["a"] == "leaf 0"


@pytest.mark.parametrize(("depth", "measured"), [(1, 15), (2, 11)])
def test_less_coverage_at_child_levels_goes_deeper(depth: int, measured: int) -> None:
    kind = chain(depth, {"markers": [f"M{i}" for i in range(40)]})
    data = cells(a={**{f"L{i}": 1.0 for i in range(depth)}, **{f"M{i}": 0.9 for i in range(measured)}}, o={"ACTB": 1})
    guide = {"level_defaults": {"0": {"min_coverage": 0.50}, "1": {"min_coverage": 0.35}, "2": {"min_coverage": 0.25}}}
    stopped = named(data, kind)
    assert labels(stopped)["a"] == f"level {depth - 1}"
    assert stopped.cluster_annotations["stop_reason"][0] == "insufficient_coverage"
    assert labels(named(data, kind, gating=guide))["a"] == "leaf 0"


def test_fewer_types_may_tie() -> None:
    kind = {name: {"markers": [f"{name}1"]} for name in "ABC"}
    data = cells(a={"A1": 0.8, "B1": 0.8, "C1": 0.8}, o={"ACTB": 1})
    equal = {"de_bonus": 0}  # which would rank them by name
    assert "~" in labels(named(data, kind, scoring=equal))["a"]
    assert labels(named(data, kind, scoring=equal, gating={"max_ambiguity": 2}))["a"] == "Unassigned"


def test_limits_themselves_are_allowed() -> None:
    """At the limit a requirement is met, a veto is silent and a gap is wide enough; a little beyond they are not."""
    kind = {"A": {"markers": ["A1"]}, "B": {"markers": ["B1"]}}
    data = cells(a={"A1": 0.8, "R": 0.4, "V": 0.15, "B1": 0.5}, o={"ACTB": 1})
    steps = named(data, kind).decision_steps
    margin = round(float(steps.loc[steps["cluster_id"] == "a", "margin_to_runner_up"].max()), 10)
    at_limit = {"root_hard_requirements": {"A": {"marker": "R", "min_pos_frac": 0.40}},
                "root_veto_markers": {"A": {"markers": ["V"], "max_pos_frac": 0.15}}, "root_gap_threshold": margin}
    assert labels(named(data, kind, gating=at_limit))["a"] == "A"
    for beyond in ({"root_gap_threshold": margin + 1e-6},
                   {"root_hard_requirements": {"A": {"marker": "R", "min_pos_frac": 0.401}}},
                   {"root_veto_markers": {"A": {"markers": ["V"], "max_pos_frac": 0.149}}}):
        assert labels(named(data, kind, gating={**at_limit, **beyond}))["a"] != "A"


# --- parameters of the score ---


def score_of(data: AnnData, kind: Any, **scoring: Any) -> pd.Series:
    table = named(data, kind, scoring=scoring).marker_scores
    return table[(table["cluster_id"] == "a") & (table["label"] == "A")].iloc[0]


@pytest.mark.parametrize(("share", "on"), [(0.15, 0.0), (0.155, 1.0)])
def test_a_marker_is_on_above_the_limit(share: float, on: float) -> None:
    score = score_of(cells(a={"A1": share}, o={"ACTB": 1}), {"A": {"markers": ["A1"]}})
    assert score["frac_markers_on"] == on


def test_shared_markers_earn_less_and_rare_ones_weigh_more() -> None:
    """The differential bonus falls with the root of the number of types; the inverse frequency is a logarithm."""
    data = cells(a={"A1": 0.9, "S": 0.9}, o={"ACTB": 1})
    alone = {"A": {"markers": ["S"]}, "B": {"markers": ["B1"]}}
    shared = {"A": {"markers": ["S"]}, **{name: {"markers": ["S", f"{name}1"]} for name in "BCD"}}
    assert score_of(data, shared)["de_component"] == pytest.approx(score_of(data, alone)["de_component"] / 2)
    assert score_of(data, shared, de_commonness_alpha=0)["de_component"] == pytest.approx(
        score_of(data, alone)["de_component"])
    many = {**shared, "A": {"markers": ["A1", "S"]}, "E": {"markers": ["ACTB"]}, "F": {"markers": ["OTHER1"]}}
    weights = score_of(data, many, use_idf=True)["marker_weights"]
    assert weights == f"A1:{np.log(6 / 2):.6g};S:{np.log(6 / 5):.6g}"


@pytest.mark.parametrize("weight", [0.8, 0.9, 1.0])
def test_anti_markers_weigh_as_much_as_they_are_told_to(weight: float) -> None:
    data = cells(a={"A1": 0.9, "N1": 0.5}, o={"ACTB": 1})
    kind = {"A": {"markers": ["A1"], "anti_markers": ["N1"]}}
    usual, more = score_of(data, kind), score_of(data, kind, anti_weight=weight)
    assert usual["anti_penalty"] > 0
    assert more["anti_penalty"] == pytest.approx(usual["anti_penalty"] * weight / 0.5)
    assert more["score"] == pytest.approx(usual["score"] - (more["anti_penalty"] - usual["anti_penalty"]))


def test_the_strictest_way_looks_at_the_strongest_anti_marker() -> None:
    data = cells(a={"A1": 0.9, "N1": 0.6, "N2": 0.3, "N3": 0.1}, o={"ACTB": 1})
    kind = {"A": {"markers": ["A1"], "anti_markers": ["N1", "N2", "N3"]}}
    penalties = [score_of(data, kind, anti_agg=how)["anti_penalty"] for how in ("max", "top2mean", "mean")]
    assert penalties == sorted(penalties, reverse=True)
    assert len(set(penalties)) == 3
    assert score_of(data, kind)["anti_penalty"] == penalties[1]
    strict = named(data, kind, scoring={"anti_agg": "max", "anti_weight": 0.9})
    assert labels(named(data, kind))["a"] == "A"
    assert root(strict, "a", "A")["fail_reason"] == "anti_markers"


@pytest.mark.parametrize("bonus", [0.3, 0.7])
def test_differential_expression_counts_as_much_as_it_is_told_to(bonus: float) -> None:
    data = cells(a={"A1": 0.9, "A2": 0.4}, o={"ACTB": 1})
    kind = {"A": {"markers": ["A1", "A2"]}}
    usual, other = score_of(data, kind), score_of(data, kind, de_bonus=bonus)
    assert usual["de_component"] > 0
    assert other["de_component"] == pytest.approx(usual["de_component"] * bonus / 0.5)


def test_a_lower_quantile_counts_more_cells_as_positive() -> None:
    data = cells(a={"A1": 0.9}, o={"ACTB": 1})
    data.X[:, data.var_names.get_loc("A1")] = np.random.default_rng(1).gamma(3, 1, data.n_obs)
    shares = [score_of(data, {"A": {"markers": ["A1"]}}, positive_quantile=q)["mean_positive_fraction"]
              for q in (0.50, 0.75, 0.80, 0.85)]
    assert shares == sorted(set(shares), reverse=True)
    assert shares[0] > shares[1] + 0.1


def test_coverage_counts_as_much_as_it_is_told_to() -> None:
    data = cells(a={"A1": 0.9}, o={"ACTB": 1})
    kind = {"A": {"markers": ["A1", "ABSENT"]}}
    usual, less = score_of(data, kind), score_of(data, kind, coverage_weight=0.1)
    assert less["score"] == pytest.approx(usual["score"] + (0.3 - 0.1) * 0.5)


def test_the_differential_list_is_short_and_of_the_markers_where_genes_are_many() -> None:
    """At most twelve; of more than 200 variables only those of the map are ranked, unless all are asked for."""
    kind = {"A": {"markers": [f"A{i}" for i in range(80)]}}
    assert score_of(cells(a={f"A{i}": 0.5 for i in range(80)}, o={"ACTB": 1}), kind)["de_K"] == 12
    others = {f"X{i}": 1.0 for i in range(240)}
    data = cells(n=40, a={"A0": 0.5, "A1": 0.5, **others}, o={"ACTB": 1})
    few = {"A": {"markers": ["A0", "A1"]}}
    assert score_of(data, few)["de_hits"] == 2
    assert score_of(data, few, de_universe="all")["de_hits"] == 0
