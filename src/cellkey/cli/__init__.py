"""The command line: one file per group of commands, no logic beyond reading, calling and printing."""

from __future__ import annotations

__all__ = ["build_app", "main"]


def build_app() -> object:
    """Return the command line application."""
    import typer

    from cellkey.cli import annotate as annotation
    from cellkey.cli._common import CommandGroup

    app = typer.Typer(
        name="cellkey",
        cls=CommandGroup,
        help="Name groups of cells and explain groups of transcripts, with evidence that a reviewer can check.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(annotation.annotate)
    app.command()(annotation.explain)
    app.command()(annotation.compare)

    @app.callback(invoke_without_command=True)
    def version(
        show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
    ) -> None:
        if show:
            from cellkey import __version__

            typer.echo(__version__)
            raise typer.Exit

    return app


def main() -> None:
    """Entry point of ``cellkey`` and ``ctr``."""
    build_app()()  # type: ignore[operator]
