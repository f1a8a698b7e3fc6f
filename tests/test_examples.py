"""The examples in the documentation of the public verbs and figures run, and say what comes out."""

from __future__ import annotations

import doctest
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import cellkey

if TYPE_CHECKING:
    from pathlib import Path

VERBS = [n for n in cellkey.__all__ if n not in ("__version__", "pl", "CellkeyError", "CellkeyWarning", "InputError")]
NAMES = [*VERBS, *(f"pl.{n}" for n in cellkey.pl.__all__)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples of ``annotate`` and ``annotate_file`` make, and the others take."""
    names = {"cellkey": cellkey, "np": np, "folder": tmp_path_factory.mktemp("examples")}
    for verb in (cellkey.annotate, cellkey.annotate_file):
        for example in doctest.DocTestParser().get_examples(inspect.getdoc(verb) or ""):
            exec(example.source, names)
    return names


@pytest.mark.filterwarnings("ignore::cellkey.errors.CellkeyWarning")
@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str, shared: dict[str, Any], tmp_path: Path) -> None:
    value: Any = cellkey
    for part in name.split("."):
        value = getattr(value, part)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(value) or "", {**shared}, name, None, None)
    assert test.examples
    said: list[str] = []
    if name in ("annotate", "annotate_file", "write_hierarchy"):
        test.globs["folder"] = tmp_path
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
