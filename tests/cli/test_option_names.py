"""What many commands have is called the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from cellkey.cli import build_app
from cellkey.cli._common import MARKER_MAP, OUTPUT_DIR, OUTPUT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator


def parameters(command: Any, path: str = "cellkey") -> Iterator[tuple[str, Any]]:
    """Every parameter of every command, and where it stands."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from parameters(inner, f"{path} {name}")
    yield from ((f"{path} {parameter.name}", parameter) for parameter in command.params)


def options(command: Any) -> list[tuple[str, set[str]]]:
    """Every option of every command: where it stands, and its flags."""
    return [(where, set(p.opts)) for where, p in parameters(command) if p.param_type_name == "option"]


def test_options_of_one_meaning_have_the_same_names() -> None:
    """A directory, a file and a hierarchy take all of their flags wherever they take one of them."""
    found = options(typer.main.get_command(build_app()))
    for first, flags in (("--output-dir", OUTPUT_DIR), ("-o", OUTPUT_FILE), ("--output-path", OUTPUT_FILE),
                         ("--marker-map", MARKER_MAP), ("--hierarchy", MARKER_MAP)):
        holders = [(where, given) for where, given in found if first in given]
        assert len(holders) > 1
        assert [where for where, given in holders if not given.issuperset(flags)] == []


def test_no_command_has_two_options_of_one_name() -> None:
    flags = [(where.rpartition(" ")[0], flag) for where, given in options(typer.main.get_command(build_app()))
             for flag in given]
    assert sorted(set(flags)) == sorted(flags)


def test_help_is_shown_whole() -> None:
    """A terminal takes a word in brackets, such as a default of letters, for markup and drops it."""
    for where, parameter in parameters(typer.main.get_command(build_app())):
        text = parameter.help or ""
        assert Text.from_markup(text).plain == text, where
