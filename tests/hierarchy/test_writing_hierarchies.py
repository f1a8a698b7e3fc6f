"""Writing and reading back gives the same value; exported maps are strict JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.errors import HierarchyError, RunError
from cellkey.hierarchy import CellType, Hierarchy, format_hierarchy, get_builtin, read_hierarchy, write_hierarchy
from cellkey.hierarchy.cell_type import label_problem

LABELS = (
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
    .map(lambda t: f"{t} cells")
    .filter(lambda t: not label_problem(t))
)
GENES = st.text("ABCDEFGHXYZ0123456789-.αβ", min_size=1, max_size=6).filter(lambda t: t.strip(".-") != "")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=12)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.floats(-1e6, 1e6)
    | TEXTS.filter(lambda t: t not in "...…"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def hierarchies(draw: Any) -> Hierarchy:
    nodes: list[CellType] = []
    taken: list[tuple[str, ...]] = [()]
    for label in draw(st.lists(LABELS, min_size=1, max_size=8, unique=True)):
        path = (*draw(st.sampled_from(taken)), label)
        genes = draw(st.lists(GENES, max_size=6, unique=True))
        split = draw(st.integers(0, len(genes)))
        nodes.append(
            CellType(
                path,
                tuple(genes[:split]),
                tuple(genes[split:]),
                ontology_id=draw(st.none() | st.integers(0, 9999999).map("CL:{:07d}".format)),
                gating_overrides=draw(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "min_coverage": st.floats(0, 1),
                            "min_enrichment": st.floats(-5, 5),
                            "child_support": st.booleans(),
                        },
                    )
                ),
                description=draw(TEXTS),
                aliases=tuple(draw(st.lists(LABELS, max_size=2, unique=True))),
                source=draw(TEXTS),
                min_markers_present=draw(st.none() | st.integers(0, 5)),
                metadata=draw(st.dictionaries(TEXTS, PLAIN, max_size=2)),
            )
        )
        taken.append(path)
    gating = draw(st.fixed_dictionaries({}, optional={"max_depth": st.integers(0, 3), "level_defaults": st.just({})}))
    return Hierarchy(
        tuple(nodes),
        draw(LABELS),
        draw(st.dictionaries(LABELS, PLAIN, max_size=2)),
        gating,
        draw(st.dictionaries(LABELS, PLAIN, max_size=2)),
    )


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@settings(max_examples=60, deadline=None)
@given(hierarchies(), st.booleans(), st.sampled_from(["json", "yaml"]))
def test_maps_keep_everything(h: Hierarchy, wrapped: bool, form: Any) -> None:
    assert read_hierarchy(format_hierarchy(h, form, wrapped=wrapped) + "\n", form) == h
    assert Hierarchy.from_dict(h.to_dict(wrapped=wrapped)) == h


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@settings(max_examples=40, deadline=None)
@given(hierarchies())
def test_list_form_keeps_the_nodes(h: Hierarchy) -> None:
    text = format_hierarchy(h, "list")
    assert read_hierarchy(text).nodes == h.nodes
    assert read_hierarchy(json.loads(text)).nodes == h.nodes


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@settings(max_examples=40, deadline=None)
@given(hierarchies())
def test_gmt_keeps_paths_and_markers(h: Hierarchy) -> None:
    if any(r.name.startswith("#") for r in h.roots):
        with pytest.raises(HierarchyError, match="marks a comment in GMT"):
            format_hierarchy(h, "gmt")
        return
    again = read_hierarchy(format_hierarchy(h, "gmt"), "gmt")
    assert {(n.path, n.markers, n.anti_markers) for n in again} == {(n.path, n.markers, n.anti_markers) for n in h}


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@settings(max_examples=30, deadline=None)
@given(hierarchies())
def test_written_json_is_strict(h: Hierarchy) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    values = json.loads(format_hierarchy(h), parse_constant=refuse)
    assert values == h.to_dict()


def test_files_by_suffix(tmp_path: Path) -> None:
    h = get_builtin()
    for name in ("a.json", "a.yaml", "a.yml"):
        write_hierarchy(h, tmp_path / name)
        assert read_hierarchy(tmp_path / name) == h
    write_hierarchy(h, tmp_path / "a.gmt")
    assert [n.path for n in read_hierarchy(tmp_path / "a.gmt")] == [n.path for n in h]
    write_hierarchy(h, tmp_path / "list.json", "list")
    assert read_hierarchy(tmp_path / "list.json").nodes == h.nodes


def test_list_form_has_the_keys_of_a_program() -> None:
    program = json.loads(format_hierarchy(Hierarchy((CellType(("T",), ("CD3D",)),)), "list"))[0]
    assert program == {
        "name": "T",
        "positive_markers": ["CD3D"],
        "negative_markers": [],
        "description": None,
        "aliases": [],
        "min_markers_present": None,
        "metadata": {},
        "children": [],
    }


def list_all_markers(node: dict[str, Any], path: str = "") -> list[tuple[str, str, str]]:
    """The audit of the tuning guide, which walks ``markers``, ``anti_markers`` and ``children``."""
    all_markers = []
    if "markers" in node:
        for m in node["markers"]:
            all_markers.append((path, m, "positive"))  # noqa: PERF401
    if "anti_markers" in node:
        for m in node["anti_markers"]:
            all_markers.append((path, m, "anti"))  # noqa: PERF401
    if "children" in node:
        for child_name, child_node in node["children"].items():
            all_markers.extend(list_all_markers(child_node, f"{path}/{child_name}"))
    return all_markers


def test_the_guides_audit_sees_every_marker_of_a_wrapped_export(tmp_path: Path) -> None:
    h = get_builtin()
    write_hierarchy(h, tmp_path / "marker_map.json", wrapped=True)
    with (tmp_path / "marker_map.json").open() as f:
        found = list_all_markers(json.load(f))
    assert len(found) == sum(len(n.markers) + len(n.anti_markers) for n in h)
    assert ("/Immune Cells/Lymphoids/T Cells", "CD3D", "positive") in found
    assert read_hierarchy(tmp_path / "marker_map.json") == h


def test_forms_that_cannot_be_written(tmp_path: Path) -> None:
    h = Hierarchy((CellType(("T",), ("CD3D\tX",)),))
    with pytest.raises(HierarchyError, match="holds a tab"):
        format_hierarchy(h, "gmt")
    with pytest.raises(HierarchyError, match="only marker maps"):
        format_hierarchy(h, "list", wrapped=True)
    with pytest.raises(HierarchyError, match="'jsn' cannot be written; did you mean 'json'"):
        format_hierarchy(h, "jsn")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="cannot write"):
        write_hierarchy(h, tmp_path / "no" / "such" / "folder.json")
