"""Grades by the Cell Ontology: full, partial or none."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cellkey.cli import build_app
from cellkey.errors import InputError
from cellkey.hierarchy.ontology import Ontology, Term
from cellkey.llm.judging import Grade, Grader, judge_tables, read_labels

#  cell - leukocyte - lymphocyte - T cell - CD4 T - memory CD4 T
#                  \ myeloid - monocyte     \ CD8 T
TERMS = {
    "CL:0000000": ("cell", ()),
    "CL:1": ("leukocyte", ("CL:0000000",)),
    "CL:2": ("lymphocyte", ("CL:1",)),
    "CL:3": ("T cell", ("CL:2",)),
    "CL:4": ("CD4 T cell", ("CL:3",)),
    "CL:5": ("memory CD4 T cell", ("CL:4",)),
    "CL:6": ("CD8 T cell", ("CL:3",)),
    "CL:7": ("myeloid cell", ("CL:1",)),
    "CL:8": ("monocyte", ("CL:7",)),
    "CL:9": ("neuron", ("CL:0000000",)),
}
ONTOLOGY = Ontology({i: Term(i, name, parents) for i, (name, parents) in TERMS.items()})


@pytest.mark.parametrize(
    ("predicted", "truth", "grade"),
    [
        ("CL:4", "CL:4", Grade.FULL),  # the term
        ("CL:5", "CL:4", Grade.FULL),  # a kind of it
        ("CL:3", "CL:4", Grade.PARTIAL),  # one step above
        ("CL:2", "CL:4", Grade.PARTIAL),  # two
        ("CL:1", "CL:4", Grade.NONE),  # three
        ("CL:6", "CL:4", Grade.PARTIAL),  # a sibling
        ("CL:8", "CL:4", Grade.NONE),  # related by leukocyte only, three steps above
        ("CL:8", "CL:2", Grade.PARTIAL),  # leukocyte is one step above lymphocyte
        ("CL:9", "CL:4", Grade.NONE),  # related by what all cells share
        ("CL:0000000", "CL:1", Grade.NONE),
        ("", "CL:4", Grade.NONE),
        ("CL:404", "CL:4", Grade.NONE),
    ],
)
def test_grades(predicted: str, truth: str, grade: Grade) -> None:
    """Worked by hand on ten terms."""
    assert Grader(ONTOLOGY, hops=2).grade(predicted, [truth]) is grade


def test_the_best_of_several_right_terms_counts() -> None:
    """Where two types are as right, either will do."""
    assert Grader(ONTOLOGY).grade("CL:8", ["CL:4", "CL:8"]) is Grade.FULL
    assert Grader(ONTOLOGY).grade("CL:8", []) is Grade.NONE


def test_tables_are_joined_by_cluster_and_missing_ones_are_wrong() -> None:
    """Cluster 1 never takes the label of 10; names that no ontology has are compared as text."""
    truth = {"1": "T cell", "10": "monocyte", "2": "odd cell", "3": "neuron;monocyte", "4": "odder"}
    rows = judge_tables(
        truth, {"mine": {"10": "Monocytes", "2": "Odd cells", "3": "CL:8", "4": "monocyte", "99": "T cell"}}, ONTOLOGY
    )
    assert rows["cluster"].tolist() == ["1", "2", "3", "4", "10"]
    assert dict(zip(rows["cluster"], rows["grade"], strict=True)) == {
        "1": "none", "10": "full", "2": "full", "3": "full", "4": "none",
    }  # fmt: skip
    assert rows.set_index("cluster").loc["1", "reason"] == "no label"


def test_labels_are_read_from_our_tables_and_from_any_two_columns(tmp_path) -> None:
    """Identifiers come before names; apostrophes before formulas are taken off."""
    (tmp_path / "a.csv").write_text("cluster,cell_type,ontology_id\n'=x,T cell,CL:3\n1.0,odd cell,\n")
    assert read_labels(tmp_path / "a.csv") == {"=x": "CL:3", "1.0": "odd cell"}
    (tmp_path / "b.tsv").write_text("what\tname\n0\tT cell\n")
    assert read_labels(tmp_path / "b.tsv") == {"0": "T cell"}
    (tmp_path / "c.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(InputError, match="columns are x, y, z"):
        read_labels(tmp_path / "c.csv")
    with pytest.raises(InputError, match="No such file"):
        read_labels(tmp_path / "none.csv")


def test_the_command(tmp_path) -> None:
    """Prints grades and the score, and writes them when told to."""
    (tmp_path / "truth.csv").write_text("cluster,label\n0,T cell\n1,B cell\n")
    (tmp_path / "mine.csv").write_text('cluster,cell_type\n0,"CD4-positive, alpha-beta T cell"\n1,monocyte\n')
    arguments = [
        "llm",
        "judge",
        "--truth",
        tmp_path / "truth.csv",
        tmp_path / "mine.csv",
        "-o",
        tmp_path / "grades.csv",
    ]
    done = CliRunner().invoke(build_app(), list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert "mine.csv: 1 full, 0 partial, 1 none; score 0.50" in done.output
    assert (tmp_path / "grades.csv").read_text().count("\n") == 3
