"""What all commands share: error messages with exit codes, and progress on a terminal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import typer
from typer.core import TyperGroup

__all__ = ["MARKER_MAP", "OUTPUT_DIR", "OUTPUT_FILE", "CommandGroup", "progress_on_terminal", "warnings_as_lines"]

# Flags of options that many commands have, so that they are called the same everywhere.
OUTPUT_DIR: Final = ("--output-dir", "--output", "--out", "-o")
OUTPUT_FILE: Final = ("--output", "-o")
MARKER_MAP: Final = ("--marker-map", "--hierarchy")

Progress = Callable[[str, "float | None"], None]


class CommandGroup(TyperGroup):
    """Command group that turns cellkey's errors into one message and an exit code.

    2 for input, options, outputs and services that cannot be used, 3 when there is nothing to do, 130 after an
    interrupt.
    """

    def invoke(self, ctx: Any) -> Any:
        from cellkey.errors import CellkeyError, NothingToDoError

        with warnings_as_lines():
            try:
                return super().invoke(ctx)
            except NothingToDoError as error:
                typer.echo(str(error), err=True)
                raise typer.Exit(3) from error
            except CellkeyError as error:
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(2) from error
            except KeyboardInterrupt as stop:
                typer.echo(f"\ninterrupted{f': {stop}' if stop.args else ''}", err=True)
                raise typer.Exit(130) from None


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print cellkey's warnings as one line each instead of Python's two."""
    from cellkey.errors import CellkeyWarning

    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Any, category: Any, *rest: Any, **more: Any) -> None:
        if issubclass(category, CellkeyWarning):
            if str(message) not in shown:
                shown.add(str(message))
                typer.echo(f"warning: {message}", err=True)
        else:
            usual(message, category, *rest, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CellkeyWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def progress_on_terminal(*, quiet: bool = False) -> Iterator[Progress]:
    """Yield a progress callback: a bar on a terminal, silence elsewhere."""
    from cellkey.progress import shown_progress

    with shown_progress(not quiet) as tell:
        yield tell or (lambda _step, _share: None)
