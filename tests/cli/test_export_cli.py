"""``export`` and the choice of tables on the command line: one clear message per mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellkey.cli import build_app


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), [str(a) for a in arguments])  # type: ignore[arg-type]
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.fixture
def run(cells_file: Path, map_file: Path, tmp_path: Path) -> Path:
    code, text = call("annotate", cells_file, "-o", tmp_path / "run", "--marker-map", map_file, "--cluster-key",
                      "truth", "--skip-figures", "--skip-refinement", "--quiet")
    assert code == 0, text
    return tmp_path / "run"


def test_forms_are_listed() -> None:
    """Every form with its settings."""
    code, text = call("export", "--list")
    assert code == 0
    for name in ("cellxgene", "cas", "vitessce", "xenium", "cellbrowser", "spatialdata", "seurat", "--set cell_id="):
        assert name in text


def test_a_run_is_exported(run: Path, tmp_path: Path) -> None:
    """The folder and its notes are told; a second time it is replaced."""
    for _ in range(2):
        code, text = call("export", run, "--to", "xenium", "-o", tmp_path / "out")
        assert code == 0, text
    assert "level_0.csv the broadest" in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "label.csv", "level_0.csv", "level_1.csv", "manifest.json"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--to", "xenium", "--set", "nothing"], "not of the form NAME=VALUE"),
        (["--to", "xeniums"], "did you mean 'xenium'"),
        ([], "--to is missing"),
        (["--to", "cellxgene"], "obs['donor_id']: is missing"),
    ],
)
def test_mistakes_are_told(run: Path, arguments: list[str], expected: str) -> None:
    """Exit code 2, and nothing is left behind."""
    code, text = call("export", run, *arguments)
    assert code == 2
    assert expected in text
    assert not (run / "exports" / "cellxgene").exists()


def test_a_table_of_a_form_without_tables(cells_file: Path, tmp_path: Path) -> None:
    """Naming a table or modality of an .h5ad file is a mistake, and no directory is made."""
    code, text = call("annotate", cells_file, "-o", tmp_path / "run", "--modality", "rna")
    assert code == 2
    assert "leave out --modality rna" in text
    assert not (tmp_path / "run").exists()


def test_help_has_examples() -> None:
    """New commands show how they are used."""
    for command in ("export", "mcp"):
        assert "Examples" in call(command, "--help")[1]
