"""Starting costs little: importing and asking for help load none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("anndata", "faiss", "igraph", "matplotlib", "numba", "scanpy", "scipy", "sklearn", "umap")
CODE = """
import json, sys
{what}
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
HELP = """
from cellkey.cli import build_app
try:
    sys.argv = ["cellkey", *{arguments!r}]
    build_app()()
except SystemExit:
    pass
"""


def loaded(what: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", CODE.format(what=what)], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_loads_no_library_at_all() -> None:
    assert not loaded("import cellkey") & {*HEAVY, "numpy", "pandas", "h5py", "pydantic", "typer"}


@pytest.mark.parametrize("arguments", [["--help"], ["annotate", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    assert not loaded(HELP.format(arguments=arguments)) & set(HEAVY)
