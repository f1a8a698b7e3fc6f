"""Conventions of the package as a whole: what it exports, how fast and quiet it starts, which way imports point."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import cellkey

SOURCE = Path(cellkey.__file__).parent
HEAVY = ("scanpy", "umap", "sklearn", "matplotlib", "anndata", "numba", "pandas", "torch", "faiss", "igraph", "httpx")
BELOW = {
    # room: rooms it must know nothing of
    "profiles": ("hierarchy", "scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "cli"),
    "hierarchy": ("profiles", "scoring", "calls", "annotation", "refinement", "llm", "batch", "cli", "plots"),
    "scoring": ("routing", "calls", "annotation", "refinement", "llm", "batch", "cli", "plots", "io"),
    "routing": ("calls", "annotation", "refinement", "llm", "batch", "cli", "plots", "io"),
    "calls": ("annotation", "refinement", "llm", "batch", "cli", "plots", "io"),
    "plots": ("scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "report", "cli", "io"),
    "io": ("profiles", "scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "cli", "plots"),
    "datasets": ("hierarchy", "profiles", "scoring", "routing", "calls", "annotation", "refinement", "llm", "cli"),
    "records": ("profiles", "scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "cli", "plots"),
    "clustering": ("hierarchy", "scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "cli"),
    "workers": ("hierarchy", "scoring", "routing", "calls", "annotation", "refinement", "llm", "batch", "cli"),
    "exports": ("scoring", "routing", "clustering", "profiles", "llm", "batch", "report", "cli"),
    "isoforms": ("scoring", "routing", "refinement", "llm", "batch", "cli"),
    "llm": ("clustering", "annotation", "refinement", "batch", "cli", "io"),
}


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages([str(SOURCE)], "cellkey.")]


def test_every_exported_name_exists() -> None:
    for name in cellkey.__all__:
        assert getattr(cellkey, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        cellkey.nothing  # noqa: B018


def test_import_and_help_load_nothing_heavy() -> None:
    for code in ("import cellkey", "from cellkey.cli import build_app; build_app()"):
        loaded = subprocess.run(
            [sys.executable, "-c", f"{code}; import sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"],
            capture_output=True, text=True, check=True,
        )
        assert loaded.stdout.strip() == ""
        assert loaded.stderr == ""


@pytest.mark.parametrize("room", BELOW)
def test_imports_point_one_way(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        for found in _imports(path):
            parts = found.split(".")
            if parts[0] == "cellkey" and len(parts) > 1:
                assert parts[1] not in BELOW[room], f"{path.relative_to(SOURCE)} imports {found}"


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_modules_say_what_they_are_and_what_they_offer() -> None:
    for name in modules():
        path = SOURCE / Path(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) or not tree.body, f"{name} has no docstring"


def test_lists_of_offered_names_are_true() -> None:
    for name in ("cellkey.errors", "cellkey.parameters", "cellkey.hierarchy", "cellkey.clustering", "cellkey.plots",
                 "cellkey.routing.limits", "cellkey.profiles.profile", "cellkey.annotation.cells"):
        module = importlib.import_module(name)
        assert [n for n in module.__all__ if not hasattr(module, n)] == []


def test_the_source_is_plain() -> None:
    """No pickle, no shell, no machine path, no registry host."""
    hosts_and_paths = ("pypi" + ".org", "python" + "hosted", "/ro" + "ot/")  # in parts, so that they are not here
    forbidden = ("import pickle", "shell=True", "os.system(", "allow_pickle=True", *hosts_and_paths)
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert [f for f in forbidden if f in text] == [], path
