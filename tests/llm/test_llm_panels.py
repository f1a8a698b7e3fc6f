"""Marker panels of the user: read, shown where they match, and used by the checks."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_llm import planted_markers

from cellkey.errors import InputError
from cellkey.llm import Study, bundled_knowledge
from cellkey.llm.panels import MarkerPanel, fitting_panels, read_panels
from cellkey.llm.run import annotate_table_file
from cellkey.llm.setup import ModelSettings
from cellkey.llm.stored import open_table_run
from cellkey.testing import ModelServer, ScriptedModel

OURS = """cell_type,gene,direction,tissue,species,source
T cell,CD3D,up,blood,human,our atlas
T cell,CD3E,up,blood,human,our atlas
T cell,FOXP3,up,blood,human,our atlas
T cell,CD2,down,blood,human,our atlas
hepatocyte,ALB,up,liver,human,our atlas
monocyte,Cd14,,,,
monocyte,Lyz,,,,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "panels"
    place.mkdir()
    (place / "ours.csv").write_text(OURS)
    (place / "notes.md").write_text("not a table")
    (place / "more.tsv").write_text("gene\tcell_type\nMS4A1\tB cell\n")
    return place


def test_panels_are_read_from_all_tables_of_a_folder(folder: Path) -> None:
    """One panel per type, place and source; the file is the source where none is given."""
    panels = {p.cell_type: p for p in read_panels(folder)}
    assert panels["T cell"] == MarkerPanel("T cell", ("CD3D", "CD3E", "FOXP3"), ("CD2",), "blood", "human", "our atlas")
    assert panels["monocyte"].source == "ours"
    assert panels["B cell"] == MarkerPanel("B cell", ("MS4A1",), (), "", "", "more")


def test_panels_of_other_tissues_and_species_are_left_out(folder: Path) -> None:
    """A panel without a tissue holds everywhere; a withheld tissue excludes none."""
    panels = read_panels(folder)
    assert {p.cell_type for p in fitting_panels(panels, Study("peripheral blood", "Homo sapiens"))} == {
        "T cell", "monocyte", "B cell"
    }
    assert {p.cell_type for p in fitting_panels(panels, Study("blood", "mouse"))} == {"monocyte", "B cell"}
    assert len(fitting_panels(panels, Study())) == 4


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Files, lines and columns are named."""
    (tmp_path / "a.csv").write_text("cell_typ,gene\nT,CD3D\n")
    (tmp_path / "b.csv").write_text("cell_type,gene,direction\nT,CD3D,up\nT,CD2,sideways\n")
    with pytest.raises(InputError) as caught:
        read_panels(tmp_path)
    for part in ("a.csv", "did you mean 'cell_typ'", "b.csv, line 3", "'sideways'"):
        assert part in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no table of markers"):
        read_panels(tmp_path / "empty")


def test_matching_panels_are_shown_with_their_source_and_checked(folder: Path, tmp_path: Path) -> None:
    """Only clusters whose genes match see a panel; the checks know its genes; a finished run is read back with it."""
    markers = tmp_path / "m.csv"
    planted_markers().to_csv(markers, index=False)
    model = ScriptedModel(labels={"0": ("T cell", "T cell")}, scores={"0": 60})
    with ModelServer(model) as server:
        settings = ModelSettings(provider=server.url, model="m", cache="off")
        study = Study("blood", "human", dataset="m")
        run = annotate_table_file(markers, tmp_path / "named", model=settings, study=study, panels=folder)
        shown = {s.cluster: s.text for s in server.served if s.role == "annotator"}
    assert '"found": ["CD3D", "CD3E"], "of": 3, "found_but_lacking_in_this_type": ["CD2"]' in shown["0"]
    assert "our atlas" in shown["0"]
    assert '"cell_type": "monocyte", "found": ["Cd14", "Lyz"]' in shown["10"]
    assert "marker_panels_of_the_user" not in shown["CD4+ T_x"]
    assert "known to lack genes that are enriched here: CD2" in run.result.table["checks"][0]
    stored = open_table_run(tmp_path / "named")
    assert stored.result.clusters[0].evidence.panels == run.result.clusters[0].evidence.panels != ()


def test_the_users_markers_go_before_those_of_the_package(folder: Path) -> None:
    """A type's own panel decides whether its markers are there."""
    checks = bundled_knowledge(panels=folder).checks(planted_markers())
    assert checks.enriched("0", ["cd3d", "MS4A1", "NOTAGENE"]) == ("cd3d",)
