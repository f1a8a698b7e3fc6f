"""What all commands share: paths that must be named, error messages with exit codes, and progress on a terminal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = [
    "MARKER_MAP", "OUTPUT_DIR", "OUTPUT_FILE", "CommandGroup", "Commands", "progress_on_terminal", "tell_of_first_use",
    "warnings_as_lines",
]

# Flags of options that many commands have, so that they are called the same everywhere.
OUTPUT_DIR: Final = ("--output-dir", "--output", "--out", "-o")
OUTPUT_FILE: Final = ("--output", "-o")
MARKER_MAP: Final = ("--marker-map", "--hierarchy")

Progress = Callable[[str, "float | None"], None]
_ELSEWHERE: Final = {
    "cluster": "'cellkey annotate' clusters and names at once, --skip-refinement leaves it at that, and "
               "--clustering-params sets how; the clusters are in obs['cluster_lvl0'] of its output",
}
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """Command that refuses an empty path: more often an unset variable of the shell than the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from cellkey.errors import ParameterError

        given = self.make_parser(ctx).parse_args(list(args))[0]
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            taken = ctx.params.get(parameter.name)
            is_path = any(isinstance(x, Path) for x in (taken if isinstance(taken, (list, tuple)) else [taken]))
            raw = given.get(parameter.name)
            if is_path and "" in (raw if isinstance(raw, (list, tuple)) else [raw]):
                name = parameter.metavar or parameter.name if parameter.param_type_name == "argument" else (
                    max(parameter.opts, key=len))
                msg = f"{name} is empty: give a path, or '.' for the current folder"
                raise ParameterError(msg)
        return rest


class Commands(typer.Typer):
    """Collection of commands, each of them a :class:`Command`."""

    def command(self, *args: Any, **named: Any) -> Callable[[_Function], _Function]:
        return super().command(*args, **{"cls": Command, **named})


class CommandGroup(TyperGroup):
    """Command group that turns cellkey's errors into one message and an exit code.

    2 for input, options, outputs and services that cannot be used, 3 when there is nothing to do, 130 after an
    interrupt.
    Errors of the operating system (no space, no permission) and a lack of memory are told in the same way.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        from cellkey.errors import ParameterError

        wanted = args[0]
        if ctx.parent is None and wanted in _ELSEWHERE and self.get_command(ctx, wanted) is None:
            msg = f"there is no command {wanted!r}: {_ELSEWHERE[wanted]}"
            raise ParameterError(msg)
        return super().resolve_command(ctx, args)

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
            except BrokenPipeError:
                raise
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                typer.echo(f"error: {place}{error.strerror or error}", err=True)
                raise typer.Exit(2) from error
            except MemoryError as error:
                typer.echo(f"error: out of memory ({error or 'no size given'}); annotate reads a matrix in parts with "
                           "--memory-limit SIZE, such as 4G", err=True)
                raise typer.Exit(2) from error


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


def tell_of_first_use(*, quiet: bool = False) -> None:
    """Say that the first run after installation takes longer, so that nobody takes it for stuck."""
    from cellkey.profiles.profile import has_to_compile

    if not quiet and has_to_compile():
        typer.echo("first use: compiling the numerical code takes half a minute, this once", err=True)
