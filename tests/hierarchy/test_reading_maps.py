"""Marker maps and lists of programs: every accepted form, every problem with its line, all at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkey.errors import CellkeyWarning, HierarchyError
from cellkey.hierarchy import Finding, lint_hierarchy, read_hierarchy

FLAT = {
    "Immune Cells": {
        "markers": ["PTPRC"],
        "children": {"T Cells": {"markers": ["CD3D", "CD3E"], "anti_markers": ["MS4A1"]}},
    },
    "Epithelium": {"markers": ["EPCAM", "KRT8"]},
}


def errors(source: object, **more: str) -> list[Finding]:
    found = lint_hierarchy(source, **more)  # type: ignore[arg-type]
    return [f for f in found if f.severity == "error"]


def warned(source: object) -> list[Finding]:
    return [f for f in lint_hierarchy(source) if f.severity == "warning"]  # type: ignore[arg-type]


def notes(source: object) -> list[str]:
    return [str(f) for f in lint_hierarchy(source) if f.severity == "note"]  # type: ignore[arg-type]


# --- accepted forms ---


def test_flat_wrapped_and_mixed_keys_are_the_same_hierarchy() -> None:
    flat = read_hierarchy(FLAT)
    assert [n.path_text for n in flat] == ["Immune Cells", "Immune Cells / T Cells", "Epithelium"]
    assert read_hierarchy({"children": FLAT}) == flat
    assert read_hierarchy({"subtypes": FLAT}) == flat
    text = json.dumps(FLAT).replace('"children"', '"subtypes"').replace('"anti_markers"', '"Anti_markers"')
    assert read_hierarchy(text) == flat
    inline = {
        "Immune Cells": {"markers": "PTPRC", "T Cells": FLAT["Immune Cells"]["children"]["T Cells"]},  # type: ignore[index]
        "Epithelium": {"positive_markers": ["EPCAM", "KRT8"]},
    }
    assert read_hierarchy(inline) == flat


def test_wrapped_map_keeps_settings_inside_and_outside() -> None:
    h = read_hierarchy(
        {
            "name": "mine",
            "description": "d",
            "_gating_params": {"max_depth": 2},
            "children": {"_marker_map_metadata": {"version": "2"}, **FLAT},
        }
    )
    assert (h.name, h.metadata["description"], h.metadata["version"]) == ("mine", "d", "2")
    assert h.gating == {"max_depth": 2}


def test_comments_and_trailing_commas_outside_of_strings() -> None:
    h = read_hierarchy("""
    // a // comment
    {
        "T Cells": { /* multi
            line */
            "markers": ["CD3//D", "CD/*3*/E",], // trailing
        },
    }
    """)
    assert h["T Cells"].markers == ("CD3//D", "CD/*3*/E")


def test_settings_are_kept_and_unknown_ones_noted() -> None:
    source = {
        "_marker_map_metadata": {"version": "1.2", "tissue": "lung", "name": "lung map"},
        "_gating_params": {"level_defaults": {"0": {"min_coverage": 0.4}}},
        "_cell_state_markers": {"states": {"Cycling": {"rules": ["MKI67"]}}},
        "_gating_parms": {},
        "_note": "free text",
        "T Cells": {"markers": ["CD3D"], "_comment": "x"},
    }
    h = read_hierarchy(source)
    assert h.name == "lung map"
    assert h.metadata == {"version": "1.2", "tissue": "lung"}
    assert h.gating["level_defaults"]["0"]["min_coverage"] == 0.4
    assert h.cell_states["states"]["Cycling"]["rules"] == ("MKI67",)
    assert [n for n in notes(source) if "did you mean '_gating_params'" in n]
    assert [n for n in notes(source) if "'_note' is not used" in n]
    assert [n for n in notes(source) if "'_comment' is not used" in n]


def test_all_node_settings() -> None:
    node = read_hierarchy(
        {
            "T Cells": {
                "markers": ["CD3D"],
                "ontology_id": "CL:0000084",
                "description": "d",
                "aliases": ["T"],
                "source": "s",
                "min_markers_present": 2,
                "metadata": {"role": "major"},
                "gating_overrides": {"min_coverage": 0.2, "require_anti_markers_off": True, "child_support": True},
            }
        }
    )["T Cells"]
    assert (node.ontology_id, node.description, node.aliases, node.source) == ("CL:0000084", "d", ("T",), "s")
    assert node.min_markers_present == 2
    assert node.metadata == {"role": "major"}
    assert node.gating_overrides == {"min_coverage": 0.2, "require_anti_markers_off": True, "child_support": True}


def test_list_form() -> None:
    programs = [
        {
            "name": "Epithelial",
            "positive_markers": ["EPCAM"],
            "negative_markers": ["PTPRC"],
            "children": [{"name": "Basal", "positive_markers": ["KRT5"], "children": []}],
            "description": None,
            "aliases": [],
            "min_markers_present": 1,
            "metadata": {"pack": "core"},
        },
        {"name": "Immune", "role": "major"},
    ]
    with pytest.warns(CellkeyWarning, match="neither markers nor children"):
        h = read_hierarchy(programs)
    assert [n.path_text for n in h] == ["Epithelial", "Epithelial / Basal", "Immune"]
    assert h["Epithelial"].anti_markers == ("PTPRC",)
    assert h["Epithelial"].min_markers_present == 1
    assert h["Epithelial"].metadata == {"pack": "core"}
    assert h["Immune"].metadata == {"role": "major"}
    assert any("'role' was put into metadata" in n for n in notes(programs))


def test_yaml_of_the_same_shape(tmp_path: Path) -> None:
    text = (
        "# my map\nImmune Cells:\n  markers: [PTPRC]\n  children:\n    T Cells:\n      markers:\n      - CD3D\n"
        "      - CD3E\n      anti_markers: MS4A1\nEpithelium: {markers: [EPCAM, KRT8]}\n"
    )
    path = tmp_path / "m.yaml"
    path.write_text(text)
    assert read_hierarchy(path).nodes == read_hierarchy(FLAT).nodes
    assert read_hierarchy(text) == read_hierarchy(FLAT)


def test_files_by_suffix_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    plain, packed, marked = tmp_path / "a.json", tmp_path / "b.json.gz", tmp_path / "c.map"
    plain.write_text(json.dumps(FLAT))
    packed.write_bytes(gzip.compress(json.dumps(FLAT).encode()))
    marked.write_text("\ufeff" + json.dumps(FLAT), encoding="utf-8")
    assert read_hierarchy(plain).nodes == read_hierarchy(packed).nodes == read_hierarchy(str(marked)).nodes
    assert [read_hierarchy(p).name for p in (plain, packed, marked)] == ["a", "b", "c"]
    assert read_hierarchy(plain, name="given").name == "given"


def test_a_hierarchy_is_returned_as_it_is() -> None:
    h = read_hierarchy(FLAT)
    assert read_hierarchy(h) is h
    assert lint_hierarchy(h) == []


# --- the guide's maps ---

GUIDE_MAPS = [
    """{"_gating_params": {"root_hard_requirements": {"Immune Cells": {"marker": "CD45",
        "min_pos_frac": 0.30,  // Lower from 0.50 if CD45 expression is low
        "min_enrichment": 0.0}}}, "Immune Cells": {"markers": ["CD45"]}}""",
    """{"Epithelium": {"markers": ["EPCAM", "KRT8", "KRT18"], "children": {
        "Ciliated Epithelium": {"markers": ["FOXJ1", "TUBB4B", "DNAH5", "CCDC78"],
            "anti_markers": ["MUC5B", "SCGB1A1"]},
        "Secretory Epithelium": {"markers": ["MUC5B", "SCGB1A1", "MUC16"], "anti_markers": ["FOXJ1", "TUBB4B"]}}}}""",
    """{"T Cells": {"markers": ["CD3D", "CD3E", "CD3G"], "anti_markers": ["CD19", "CD20", "MS4A1", "CD14", "CD68"]},
        "B Cells": {"markers": ["CD19", "CD20", "MS4A1", "CD79A"],
        "anti_markers": ["CD3D", "CD3E", "CD14", "CD68"]}}""",
]


@pytest.mark.parametrize("text", GUIDE_MAPS)
def test_maps_of_the_tuning_guide_are_read_without_a_warning(text: str) -> None:
    assert len(read_hierarchy(text)) > 0


def test_two_names_of_one_gene_are_a_note() -> None:
    assert any("'CD20' and 'MS4A1' name the same gene" in n for n in notes(GUIDE_MAPS[2]))


def test_veto_for_a_root_that_is_not_there_warns_and_works() -> None:
    text = """{"_gating_params": {"root_veto_markers": {"Macrophages": {"markers": ["EPCAM"]},
        "Epithelum": {"markers": ["PTPRC"]}, "T Cells": {"markers": ["CD19"]}}},
        "Epithelium": {"markers": ["EPCAM"]}, "Immune": {"markers": ["PTPRC"],
        "children": {"T Cells": {"markers": ["CD3D"]}}}}"""
    with pytest.warns(CellkeyWarning, match="'Macrophages', which is not in the hierarchy"):
        assert len(read_hierarchy(text)) == 3
    found = [f.message for f in warned(text)]
    assert any("did you mean 'Epithelium'" in m for m in found)
    assert any("it stands at 'Immune / T Cells'" in m for m in found)


# --- problems ---


def test_placeholders_are_named_all_at_once() -> None:
    text = (
        '{\n"_gating_params": {"root_hard_requirements": { ... }, "root_veto_markers": {}},\n'
        '"Immune Cells": { ... },\n"Epithelium": {"markers": ["EPCAM", ...]},\n"B": {"markers": ["..."]}}'
    )
    found = [f for f in errors(text) if "placeholder" in f.message]
    assert [f.line for f in found] == [2, 3, 4, 5]
    with pytest.raises(HierarchyError, match=r"'\.\.\.' is a placeholder"):
        read_hierarchy(text)


def test_all_problems_come_together_with_line_and_node() -> None:
    text = """{
  "Immune Cells": {
    "markers": ["PTPRC", "PTPRC"],
    "anti_markers": ["PTPRC"],
    "marker": ["CD4"],
    "children": {
      "A / B": {"markers": ["X"]},
      "A~B": {"markers": ["Y"]},
      "T": {"markers": ["CD3D"]},
      "T": {"markers": ["CD3E"]}
    }
  },
  "Epithelium": ["EPCAM"],
  "Fibroblasts": 3
}"""
    with pytest.raises(HierarchyError) as caught:
        read_hierarchy(text)
    shown = [str(p) for p in caught.value.problems]
    expected = [
        "line 3, Immune Cells: marker 'PTPRC' is listed more than once (first on line 3)",
        "line 4, Immune Cells: 'PTPRC' is listed both as marker and as anti-marker",
        "line 5, Immune Cells: unknown setting 'marker'; did you mean 'markers'",
        "line 7, Immune Cells / A / B: label 'A / B' holds ' / '",
        "line 8, Immune Cells / A~B: label 'A~B' holds '~'",
        "line 10, Immune Cells: 'T' is given more than once (first on line 9)",
        'line 13, Epithelium: a cell type must be an object, but is a list (write {"markers": ["EPCAM"]})',
        "line 14, Fibroblasts: a cell type must be an object, but is the number 3",
    ]
    assert len(shown) == len(expected)
    for text_shown, start in zip(shown, expected, strict=True):
        assert text_shown.startswith(start)
    assert "cannot be used: 8 problems" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{}", "it holds no cell type"),
        ("[]", "it holds no cell type"),
        ('{"_gating_params": {"max_depth": 1}}', "it holds settings, but no cell type"),
        ('"T Cells"', "expected an object of cell types"),
        ("[1]", "a program must be an object, but is the number 1"),
        ('[{"positive_markers": ["A"]}]', "a program needs a name"),
        ('[{"name": "A", "positive_markers": ["X"]}, {"name": "A", "positive_markers": ["Y"]}]', "more than once"),
        ('{"A": {"markers": ["X"]}', "the file ends before the '}' that closes line 1"),
        ('{"A": {"markers": ["X" "Y"]}}', "expected ',' or ']', found '\"'"),
        ('{"A" {"markers": ["X"]}}', "expected ':' after 'A'"),
        ("{A: {}}", "expected a name in double quotes"),
        ("{'A': {}}", "expected a name in double quotes"),
        ('{"A": {"markers": [\'X\']}}', "text must stand in double quotes"),
        ('{"A": {"markers": [CD3D]}}', 'text needs quotes: "CD3D"'),
        ('{"A": {"markers": ["X]}}', "does not end on its line"),
        ('{"A": {"markers": ["\\x"]}}', "is not valid"),
        ('{"A": {"markers": None}}', "None is not a JSON value (write null)"),
        ('{"_gating_params": {"a": -Infinity}, "A": {"markers": ["X"]}}', "leave the setting out for no limit"),
        ('{"A": {"markers": ["X"]}} extra', "after the end of the content"),
        ('{"A": /* never ends', "a comment that begins with /* never ends"),
        ('{"A": {"markers": 3}}', "markers must be a list of names, but is the number 3"),
        ('{"A": {"markers": [3, {}]}}', "markers holds 3, which is not a name"),
        ('{"A": {"markers": [""]}}', "markers holds an empty name"),
        ('{"A": {"markers": ["X"], "children": ["B"]}}', "children must be an object of cell types"),
        ('{"A": {"markers": ["X"], "settings": {"x": 1}}}', "neither a setting nor a cell type"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"min_cov": 1}}}', "did you mean 'min_coverage'"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"min_coverage": 2}}}', "between 0 and 1"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"child_support": 1}}}', "must be true or false"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"min_gap": -1}}}', "must not be negative"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"max_ambiguity": 0}}}', "whole number from 1"),
        ('{"A": {"markers": ["X"], "gating_overrides": {"min_enrichment": "a"}}}', "must be a number"),
        ('{"A": {"markers": ["X"], "gating_overrides": []}}', "gating_overrides must be an object"),
        ('{"A": {"markers": ["X"], "ontology_id": 84}}', "ontology_id must be text"),
        ('{"A": {"markers": ["X"], "description": 1}}', "description must be text"),
        ('{"A": {"markers": ["X"], "min_markers_present": -1}}', "whole number from 0"),
        ('{"A": {"markers": ["X"], "metadata": []}}', "metadata must be an object"),
        ('{"_gating_params": [], "A": {"markers": ["X"]}}', "_gating_params must be an object"),
        ('{"_gating_params": {"root_veto_markers": []}, "A": {"markers": ["X"]}}', "must be an object of roots"),
        ('{"_gating_params": {"root_veto_markers": {"A": 1}}, "A": {"markers": ["X"]}}', "must be an object, but is 1"),
        ('{"Unassigned": {"markers": ["X"]}}', "is the name of an outcome"),
        ('{" A": {"markers": ["X"]}}', "starts or ends with a space"),
        ('{"A": ' * 201, "nested more than 200 deep"),
        ("A:\n  markers: [X\n", "not valid YAML"),
    ],
)
def test_single_problems(text: str, message: str) -> None:
    found = errors(text + "\n")
    assert any(message in str(f) for f in found), found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"A": {}}, "has neither markers nor children"),
        ({"A": {"markers": ["X", "Y"]}, "B": {"markers": ["Y", "X"]}}, "has the same markers as its sibling 'A'"),
        ({"A": {"markers": ["X", "Y"], "children": {"B": {"markers": ["Y"]}}}}, "only markers of its parent 'A'"),
        ({"A": {"markers": ["1-Mar", "X"]}}, "a spreadsheet turned into a date"),
        ({"A": {"markers": ["CD4+", "X"]}}, "carries a sign"),
        ({"A": {"markers": "CD3D, CD3E"}}, "one text with several names"),
        ({"A": {"markers": ["CD45"], "anti_markers": ["PTPRC"]}}, "'PTPRC' and marker 'CD45' name the same gene"),
        ({"A": {"markers": ["X"], "ontology_id": "T cell"}}, "is not a Cell Ontology id"),
        (
            {"A": {"markers": ["X"]}, "_gating_params": {"root_veto_markers": {"A": {"markers": ["X"]}}}},
            "also blocks its root 'A'",
        ),
    ],
)
def test_single_warnings(source: object, message: str) -> None:
    assert any(message in str(f) for f in warned(source)), warned(source)
    with pytest.warns(CellkeyWarning, match="may not be meant"):
        read_hierarchy(source)  # type: ignore[arg-type]


def test_labels_may_repeat_in_different_branches() -> None:
    source = {"A": {"markers": ["X"], "children": {"T": {"markers": ["Y"]}}}, "T": {"markers": ["Z"]}}
    assert [n.path_text for n in read_hierarchy(source).find("T")] == ["A / T", "T"]
    assert any("label 'T' stands in 2 branches" in n for n in notes(source))


def test_same_child_in_children_and_subtypes() -> None:
    source = {"A": {"markers": ["X"], "children": {"T": {"markers": ["Y"]}}, "subtypes": {"T": {"markers": ["Z"]}}}}
    assert [f.message for f in errors(source)] == ["'T' is given more than once"]


# --- files that cannot be read ---


def test_missing_file_names_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(HierarchyError, match=r"No such file.*did you mean 'default'"):
        read_hierarchy("defualt")
    with pytest.raises(HierarchyError, match="built-in hierarchies are default"):
        lint_hierarchy(tmp_path / "x.json")
    with pytest.raises(HierarchyError, match="Is a directory"):
        read_hierarchy(tmp_path)


def test_binary_and_damaged_files(tmp_path: Path) -> None:
    binary, damaged = tmp_path / "a.json", tmp_path / "b.json.gz"
    binary.write_bytes(b"{\n\xff\xfe")
    with pytest.raises(HierarchyError, match="not UTF-8 text: byte 2 on line 2"):
        read_hierarchy(binary)
    damaged.write_bytes(gzip.compress(b"{}")[:-6])
    with pytest.raises(HierarchyError, match="damaged gzip"):
        read_hierarchy(damaged)


def test_unpacking_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * (70 * 1024 * 1024), 1))
    with pytest.raises(HierarchyError, match="unpacks to more than"):
        read_hierarchy(path)


def test_unknown_format() -> None:
    with pytest.raises(HierarchyError, match="format 'jsn' is not known; did you mean 'json'"):
        read_hierarchy(FLAT, "jsn")  # type: ignore[arg-type]


# --- any input ---

_JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "A",
                    "B / C",
                    "markers",
                    "anti_markers",
                    "children",
                    "subtypes",
                    "name",
                    "gating_overrides",
                    "_gating_params",
                    "metadata",
                    "root_veto_markers",
                    "ontology_id",
                    "aliases",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(_JSONISH.filter(lambda v: isinstance(v, dict | list)))
def test_any_value_is_read_or_refused_with_one_error(value: object) -> None:
    found = lint_hierarchy(value)  # type: ignore[arg-type]
    wrong = [f for f in found if f.severity == "error"]
    if wrong:
        with pytest.raises(HierarchyError):
            read_hierarchy(value)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@settings(max_examples=200, deadline=None)
@given(_JSONISH.filter(lambda v: isinstance(v, dict | list)))
def test_what_lint_accepts_can_be_read(value: object) -> None:
    if not [f for f in lint_hierarchy(value) if f.severity == "error"]:  # type: ignore[arg-type]
        assert len(read_hierarchy(value)) > 0  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.text('{}[]":,/*.\\n aAB0-1~_\t', max_size=60), st.sampled_from(["json", "yaml", "gmt", "table"]))
def test_any_text_gives_findings(text: str, form: str) -> None:
    assert isinstance(lint_hierarchy(text + "\n", form), list)  # type: ignore[arg-type]
