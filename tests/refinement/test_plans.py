"""Plans: the forms people write, what is rejected and how, and what of two plans counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkey.errors import CellkeyWarning, ParameterError
from cellkey.hierarchy import CellType, Hierarchy
from cellkey.refinement.plan import Merge, Override, Plan, Relabel, Rescore, Skip, Subcluster, find_label
from cellkey.refinement.plan_files import plan_text, read_plan, write_plan
from cellkey.refinement.policies import combine

TREE = Hierarchy((
    CellType(("Immune",), ("PTPRC",)), CellType(("Immune", "T Cells"), ("CD3D",)),
    CellType(("Immune", "Other"), ("X",)),
    CellType(("Stroma",), ("VIM",)), CellType(("Stroma", "Other"), ("Y",)),
))
SIZES = {"3": 900, "3:0": 600, "3:1": 300, "5": 80, "10": 50}
SECTIONS = """
version: "1.0"
iteration: 1
description: second look
overrides:
  - {cluster_id: 5, cell_type: Ghosts, reason: seen on the slide}
merge:
  - source_clusters: [3:0, 3:1]
    target_label: T Cells
subcluster:
  - {cluster_id: 10, resolution: 0.3, n_pcs: 20, neighbors_k: 10, focus_markers: [CD4, CD8A], min_cells: 30}
relabel:
  - {from_cluster: 3, to_label: T Cells}
skip:
  - {cluster_id: 77, reason: fine as it is}
rescoring: {mode: full, recompute_de: true}
auto_policy: {min_cells: 300, score_threshold: 0.8}
"""


def test_sections_are_read_with_text_identifiers(tmp_path: Path) -> None:
    """YAML itself would read 3:0 as the number 180."""
    path = tmp_path / "plan.yaml"
    path.write_text(SECTIONS, encoding="utf-8")
    plan = read_plan(path)
    assert plan.of(Override)[0].label == "Ghosts"
    assert plan.of(Merge)[0].source_clusters == ("3:0", "3:1")
    assert plan.of(Subcluster)[0].focus_markers == ("CD4", "CD8A")
    assert plan.of(Subcluster)[0].resolution == 0.3
    assert plan.of(Relabel)[0].label == "T Cells"
    assert plan.of(Skip)[0].cluster_id == "77"
    assert plan.of(Rescore)[0] == Rescore(mode="full", recompute_de=True)
    assert plan.auto_policy["min_cells"] == "300"


def test_the_list_form_says_the_same() -> None:
    plan = read_plan({"version": "1.0", "refinements": [
        {"cluster": "10", "action": "subcluster", "resolution": 0.3},
        {"clusters": ["3:0", "3:1"], "action": "merge", "label": "T Cells"},
        {"clusters": [3, 5], "action": "override", "label": "Ghosts"},
        {"cluster": "7", "action": "keep"},
    ]})
    assert [op.op_type for op in plan.operations] == ["subcluster", "merge", "override", "override", "skip"]
    assert plan.of(Override)[1].cluster_id == "5"


def test_a_written_plan_reads_back_as_the_same_plan(tmp_path: Path) -> None:
    plan = read_plan({"overrides": [{"cluster_id": "3:0", "cell_type": "a: b"}], "skip": ["10"],
                      "merge": [{"source_clusters": ["1", "2"], "target_label": "'x'"}]})
    write_plan(plan, tmp_path / "p.yaml")
    again = read_plan(tmp_path / "p.yaml")
    assert again.operations == plan.operations
    assert again.checksum() == plan.checksum()


_NAMES = st.text(min_size=1, max_size=8).filter(lambda t: t.strip() not in ("", "~", "null"))


@given(st.lists(st.builds(Override, cluster_id=_NAMES, label=_NAMES.filter(str.isprintable)), max_size=4))
def test_any_identifier_survives_writing(operations: list[Override]) -> None:
    plan = Plan(operations=tuple(operations))
    import json

    import yaml

    loaded = yaml.load(plan_text(plan), Loader=yaml.BaseLoader)
    assert read_plan(json.loads(json.dumps(loaded))).operations == plan.operations


def test_the_checksum_is_of_what_is_done() -> None:
    first = Plan(operations=(Skip(cluster_id="1", reason="a"), Skip(cluster_id="2")), metadata={"created_at": "now"})
    second = Plan(operations=(Skip(cluster_id="2"), Skip(cluster_id="1", reason="b")))
    assert first.checksum() == second.checksum()
    assert first.checksum() != Plan(operations=(Skip(cluster_id="1"),)).checksum()


@pytest.mark.parametrize(("values", "said"), [
    ({"overides": []}, "did you mean 'overrides'"),
    ({"subcluster": [{"cluster_id": "1", "resolutoin": 1}]}, "did you mean 'resolution'"),
    ({"subcluster": [{"resolution": 1}]}, "cluster_id: field required"),
    ({"subcluster": [{"cluster_id": "1", "resolution": -1}]}, "greater than 0"),
    ({"relabel": [{"from_cluster": "1"}]}, "label: field required"),
    ({"merge": [{"source_clusters": ["1"], "target_label": "x"}]}, "at least 2"),
    ({"merge": "all"}, "must be a list"),
    ({"skip": [[1]]}, "must hold names and values"),
    ({"refinements": [{"cluster": 1, "action": "splitt"}]}, "unknown action 'splitt'"),
    ({"operations": [{"op_type": "relable"}]}, "did you mean 'relabel'"),
    ({"auto_policy": {"min_cel": 3}}, "did you mean 'min_cells'"),
    ({"rescoring": {"mode": "often"}}, "mode"),
    ({"version": "7"}, "version"),
    ({"overrides": [{"cluster_id": "1", "cell_type": "a\nb"}]}, "label must be one line"),
    ({"overrides": [{"cluster_id": "1", "cell_type": " "}]}, "not blank"),
    ({"merge": [{"source_clusters": ["1", "2"], "target_label": "\u202ea"}]}, "without control characters"),
])
def test_mistakes_are_named_with_their_place(values: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_plan(values)
    assert said in str(caught.value)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        read_plan({"x": 1, "relabel": [{}], "skip": [{"cluster": 1, "why": 2}]})
    assert len(caught.value.problems) >= 4


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "- b"])
def test_files_that_are_no_plan(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError):
        read_plan(path)
    with pytest.raises(ParameterError, match="cannot read the plan"):
        read_plan(tmp_path / "absent.yaml")


def test_a_plan_is_checked_against_clusters_and_labels() -> None:
    plan = Plan(operations=(
        Relabel(cluster_id="4", label="T Cell"), Override(cluster_id="3", label="Other"), Skip(cluster_id="3"),
    ))
    with pytest.raises(ParameterError) as caught:
        plan.check(SIZES, TREE)
    text = str(caught.value)
    assert "there is no cluster '4'" in text
    assert "did you mean 'T Cells'" in text
    assert "write the path: 'Immune / Other', 'Stroma / Other'" in text
    assert "cluster '3' has 2 operations" in text


def test_doubtful_plans_warn() -> None:
    with pytest.warns(CellkeyWarning, match="not in the hierarchy; did you mean 'T Cells'"):
        Plan(operations=(Override(cluster_id="3", label="T Cels"),)).check(SIZES, TREE)
    with pytest.warns(CellkeyWarning, match="80 cells, fewer than the 500"):
        Plan(operations=(Subcluster(cluster_id="5"),)).check(SIZES, TREE, min_cells=500)


def test_labels_are_found_by_path_or_by_a_name_that_is_unique() -> None:
    assert TREE.nodes[find_label(TREE, "Stroma / Other")].path == ("Stroma", "Other")
    assert TREE.nodes[find_label(TREE, "T Cells")].path == ("Immune", "T Cells")
    with pytest.raises(ParameterError, match="several"):
        find_label(TREE, "Other")


def test_what_a_person_says_of_a_cluster_replaces_the_automatic() -> None:
    automatic = Plan(operations=tuple(Subcluster(cluster_id=c, source="auto") for c in ("3", "5", "10")))
    manual = Plan(operations=(Skip(cluster_id="3"), Merge(source_clusters=("5", "7"), target_label="x")))
    both = combine(automatic, manual)
    assert {op.cluster_id for op in both.of(Subcluster)} == {"10"}
    assert len(both.of(Merge)) == len(both.of(Skip)) == 1
