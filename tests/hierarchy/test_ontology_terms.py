"""Cell Ontology terms: reading OBO, walking up, and the truth of the bundled table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cellkey.errors import HierarchyError
from cellkey.hierarchy import CellType, Hierarchy, builtin_names, get_builtin
from cellkey.hierarchy.ontology import Ontology, bundled_ontology, contradictions, read_ontology

OBO = """format-version: 1.2
data-version: cl/releases/2022-12-15/cl-basic.owl

[Term]
id: CL:0000988
name: hematopoietic cell
synonym: "haemopoietic cell" EXACT []

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000988 {source="x"} ! hematopoietic cell

[Term]
id: CL:0000084
name: T cell
synonym: "T lymphocyte" EXACT [X:1]
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000001
name: old cell
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""


@pytest.fixture
def small(tmp_path: Path) -> Ontology:
    path = tmp_path / "cl.obo.gz"
    path.write_bytes(gzip.compress(OBO.encode()))
    return read_ontology(path)


def test_reading_obo(small: Ontology, tmp_path: Path) -> None:
    assert len(small) == 3
    assert small.version == "cl/releases/2022-12-15/cl-basic.owl"
    assert small.name("CL:0000084") == "T cell"
    assert small.ancestors("CL:0000084") == {"CL:0000542", "CL:0000988"}
    assert small.is_a("CL:0000084", "CL:0000988")
    assert small.is_a("CL:0000084", "CL:0000084")
    assert not small.is_a("CL:0000988", "CL:0000084")
    assert "CL:0000001" not in small
    plain = tmp_path / "cl.obo"
    plain.write_text(OBO)
    assert read_ontology(plain) == small


def test_finding_by_name_synonym_and_plural(small: Ontology) -> None:
    assert [t.id for t in small.find("t LYMPHOCYTE")] == ["CL:0000084"]
    assert [t.id for t in small.find("T cells")] == ["CL:0000084"]
    assert small.find("nothing") == ()


def test_restricting_keeps_the_nearest_terms_above(small: Ontology) -> None:
    part = small.restricted_to(["CL:0000084", "CL:0000988"])
    assert part.terms["CL:0000084"].parents == ("CL:0000988",)
    assert part.table_text() == "id\tname\tparents\nCL:0000084\tT cell\tCL:0000988\nCL:0000988\thematopoietic cell\t\n"


def test_files_that_are_no_ontology(tmp_path: Path) -> None:
    with pytest.raises(HierarchyError, match="No such file"):
        read_ontology(tmp_path / "x.obo")
    (tmp_path / "y.obo").write_text("hello")
    with pytest.raises(HierarchyError, match="holds no ontology term"):
        read_ontology(tmp_path / "y.obo")
    (tmp_path / "z.obo.gz").write_bytes(gzip.compress(OBO.encode())[:-9])
    with pytest.raises(HierarchyError, match="cannot read the ontology"):
        read_ontology(tmp_path / "z.obo.gz")


def test_unknown_term(small: Ontology) -> None:
    with pytest.raises(HierarchyError, match="'CL:0000085' is not a term of the ontology; did you mean 'CL:0000084'"):
        small.name("CL:0000085")


def test_contradictions_are_judged_against_the_nearest_node_with_a_term(small: Ontology) -> None:
    h = Hierarchy(
        (
            CellType(("A",), ontology_id="CL:0000084"),
            CellType(
                ("A", "B"),
            ),
            CellType(("A", "B", "C"), ontology_id="CL:0000542"),
            CellType(("D",), ontology_id="CL:0000542"),
            CellType(("D", "E"), ontology_id="CL:0000084"),
            CellType(("D", "F"), ontology_id="CL:9999999"),
        )
    )
    assert contradictions(h, small) == [("A / B / C", "CL:0000542", "CL:0000084")]


def test_bundled_terms_are_those_of_the_built_in_hierarchies() -> None:
    used = {n.ontology_id for name in builtin_names() for n in get_builtin(name) if n.ontology_id}
    assert set(bundled_ontology().terms) == used
    assert bundled_ontology().version == "2022-12-15 (OBO Foundry, https://obofoundry.org/ontology/cl), CC BY 4.0"


@pytest.mark.real_data
def test_bundled_terms_agree_with_the_published_ontology(labelled_data: Path) -> None:
    published = read_ontology(labelled_data / "ontology" / "cl-basic.obo.gz")
    bundled = bundled_ontology()
    assert published.restricted_to(bundled.terms).terms == bundled.terms
