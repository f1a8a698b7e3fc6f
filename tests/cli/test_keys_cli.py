"""``keys``, ``export-markers`` and ``validate-markers``: what they print, write and exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from cellkey.cli import keys
from cellkey.cli._common import CommandGroup
from cellkey.hierarchy import get_builtin, read_hierarchy


@pytest.fixture
def run() -> Callable[..., Any]:
    app = typer.Typer(cls=CommandGroup)
    app.add_typer(keys.app)
    app.command("export-markers")(keys.export_markers)
    app.command("validate-markers")(keys.validate_markers)

    def call(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.fixture
def bad_map(tmp_path: Path) -> Path:
    path = tmp_path / "bad.json"
    path.write_text('{\n "T": {"markers": ["CD3D", "CD3D"]},\n "B": {"marker": []},\n "_gating_params": {}\n}\n')
    return path


def cells(path: Path, variables: list[str]) -> Path:
    data = anndata.AnnData(np.ones((3, len(variables)), np.float32), var=pd.DataFrame(index=variables))
    data.write_h5ad(path)
    return path


def test_list(run: Callable[..., str]) -> None:
    assert "default" in run("keys", "list")
    assert run("keys", "list", "--format", "csv").startswith("name,tissue,")
    assert json.loads(run("keys", "list", "--format", "json"))[0]["name"] == "default"


def test_show(run: Callable[..., str], tmp_path: Path) -> None:
    text = run("keys", "show", "default")
    assert "│  ├─ T Cells [CL:0000084]: CD3D CD3E" in text
    assert "(+6, -4)" in run("keys", "show", "default", "--short")
    (tmp_path / "m.json").write_text(run("keys", "show", "default", "--format", "json"))
    assert read_hierarchy(tmp_path / "m.json") == get_builtin()
    assert json.loads(run("keys", "show", "default", "--format", "list"))[0]["name"] == "Immune Cells"


def test_show_of_a_file_that_is_not_there(run: Callable[..., str], tmp_path: Path) -> None:
    assert "error: cannot read" in run("keys", "show", tmp_path / "x.json", code=2)


@pytest.mark.parametrize("command", [("keys", "lint"), ("validate-markers",)])
def test_lint_lists_all_findings_and_exits_with_2(
    run: Callable[..., str], bad_map: Path, command: tuple[str, ...]
) -> None:
    text = run(*command, bad_map, code=2)
    assert "error   line 2, T: marker 'CD3D' is listed more than once" in text
    assert "error   line 3, B: unknown setting 'marker'; did you mean 'markers'" in text
    assert "warning line 3, B: has neither markers nor children" in text
    assert "2 errors, 1 warning" in text


def test_lint_of_a_good_map(run: Callable[..., str]) -> None:
    assert run("keys", "lint", "default").strip().endswith("nothing to mend")


def test_lint_checks_the_gating_parameters(run: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"_gating_params": {"min_coverag": 0.3}, "T": {"markers": ["CD3D"]}}')
    text = run("keys", "lint", path, code=2)
    assert "error   _gating_params.min_coverag: unknown setting; did you mean 'min_coverage'" in text


def test_lint_with_cells_reports_the_markers(run: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(
        json.dumps(
            {
                "T Cells": {
                    "markers": ["CD3D"],
                    "children": {"A": {"markers": ["CD4", "AAA"]}, "B": {"markers": ["CD4", "BBB"]}},
                },
                "B Cells": {"markers": ["CD20", "CD799A"]},
            }
        )
    )
    text = run("keys", "lint", path, "--input", cells(tmp_path / "c.h5ad", ["CD3", "CD4", "MS4A1", "CD79A"]))
    assert "3 of 6 listed names are among the 4 variables" in text
    assert "CD20 is MS4A1 (alias)" in text
    assert "CD799A (close: CD79A)" in text
    assert "1/2  B Cells" in text
    assert "T Cells / A and B" in text


def test_lint_with_cells_that_measure_nothing(run: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"T": {"markers": ["CD3D"]}}')
    text = run("keys", "lint", path, "--input", cells(tmp_path / "c.h5ad", ["ACTB", "GAPDH"]), code=2)
    assert "error: none of the 1 markers of m (such as CD3D)" in text


@pytest.mark.parametrize(("name", "form"), [("a.json", None), ("a.yaml", None), ("a.gmt", None), ("a.json", "list")])
def test_export(run: Callable[..., str], tmp_path: Path, name: str, form: str | None) -> None:
    options = ["--format", form] if form else []
    run("keys", "export", "default", "--output", tmp_path / name, *options)
    assert [n.path for n in read_hierarchy(tmp_path / name)] == [n.path for n in get_builtin()]


def test_export_markers_literally(run: Callable[..., str], tmp_path: Path) -> None:
    run("export-markers", "--output", tmp_path / "my_tissue_markers.json")
    assert read_hierarchy(tmp_path / "my_tissue_markers.json") == get_builtin()
    run("export-markers", "--output", tmp_path / "wrapped.json", "--wrapped")
    wrapped = json.loads((tmp_path / "wrapped.json").read_text())
    assert set(wrapped) == {"_marker_map_metadata", "_gating_params", "children"}
    assert json.loads(run("export-markers")) == get_builtin().to_dict()
    assert "no built-in hierarchy for 'moon'" in run("export-markers", "--tissue", "moon", code=2)


def test_export_into_a_folder_that_is_not_there(run: Callable[..., str], tmp_path: Path) -> None:
    assert "cannot write" in run("export-markers", "--output", tmp_path / "no" / "m.json", code=2)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("keys",),
        ("keys", "list"),
        ("keys", "show"),
        ("keys", "lint"),
        ("keys", "export"),
        ("export-markers",),
        ("validate-markers",),
    ],
)
def test_help_shows_examples(run: Callable[..., str], command: tuple[str, ...]) -> None:
    text = run(*command, "--help")
    assert command == ("keys",) or "Examples" in text


def test_list_of_a_category(run: Callable[..., str]) -> None:
    names = pd.read_csv(StringIO(run("keys", "list", "--category", "tissue", "--format", "csv")))["name"]
    assert "pancreas" in set(names)
    assert "default" not in set(names)
    assert "did you mean 'tissue'" in run("keys", "list", "--category", "tisue", code=2)


def test_match(run: Callable[..., str]) -> None:
    assert run("keys", "match", "colon cancer").splitlines()[1].split()[:2] == ["colon_tme", "3.0"]
    published = json.loads(run("keys", "match", "colon cancer", "--mode", "hierannot-0.7", "--format", "json"))
    assert [r["name"] for r in published][:2] == ["colon_tme", "immune_core"]
    assert "there is no built-in hierarchy for 'neutral'" in run("keys", "match", "neutral", code=2)


def test_compile_writes_the_hierarchy_and_the_report(run: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_text("MUC2\nTFF3\nSPINK4\nKRT20\nFABP1\nCA1\nCEACAM1\nCOL1A1\n", encoding="utf-8")
    out, report = tmp_path / "small.json", tmp_path / "report.csv"
    text = run("keys", "compile", "colon_tme", "--panel", tmp_path / "genes.txt", "-o", out, "--report", report)
    assert "disabled           Fibroblast: 1 of 5 markers, two are needed" in text
    assert {n.name for n in read_hierarchy(out)} == {"Intestinal epithelial", "Absorptive-like", "Goblet-like"}
    assert len(pd.read_csv(report)) == 23
    (tmp_path / "none.txt").write_text("ABC\n", encoding="utf-8")
    assert "none of the" in run("keys", "compile", "colon_tme", "--panel", tmp_path / "none.txt", code=2)


def test_identifiability(run: Callable[..., str], tmp_path: Path) -> None:
    genes = [m for m in get_builtin("immune_core").all_markers() if m not in {"FOXP3", "IL2RA", "TIGIT", "CTLA4"}]
    (tmp_path / "genes.txt").write_text("\n".join(genes), encoding="utf-8")
    text = run("keys", "identifiability", "immune_core", "--panel", tmp_path / "genes.txt")
    assert "one_sided" in text
    assert "genes that would help most:" in text
    rows = run("keys", "identifiability", "immune_core", "--panel", tmp_path / "genes.txt", "--format", "csv")
    assert "CD4 T cell,Treg" in rows
    (tmp_path / "all.txt").write_text("\n".join(get_builtin("brain_core").all_markers()), encoding="utf-8")
    assert "all siblings can be told apart" in run("keys", "identifiability", "brain_core", "-p", tmp_path / "all.txt")


def test_suggest(run: Callable[..., str], cells_file: Path, tmp_path: Path) -> None:
    text = run(
        "keys", "suggest", cells_file, "--cluster-key", "truth", "--tissue", "colon", "--permutations", 2,
        "--output", tmp_path / "s.csv",
    )  # fmt: skip
    assert {"default", "colon", "colon_tme"} == set(pd.read_csv(tmp_path / "s.csv")["name"])
    assert "verdict" in text
