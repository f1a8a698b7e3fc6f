"""The command line as tests call it: in this process, words of any kind."""

from __future__ import annotations

from functools import cache
from typing import Any

from typer.testing import CliRunner, Result

from cellkey.cli import build_app

_app: Any = cache(build_app)


def run_command(*words: object) -> Result:
    """Return what a command printed and how it ended."""
    return CliRunner().invoke(_app(), [str(word) for word in words])
