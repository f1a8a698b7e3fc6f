"""The command line: one file per group of commands, no logic beyond reading, calling and printing."""

from __future__ import annotations

from importlib import import_module

__all__ = ["build_app", "main"]

_COMMANDS = {
    "annotate": ("annotate", "annotate"),
    "explain": ("annotate", "explain"),
    "compare": ("annotate", "compare"),
    "consensus": ("consensus", "consensus"),
    "refine": ("refine", "refine"),
    "diagnose": ("refine", "diagnose"),
    "batch": ("batch", "batch"),
    "annotate-table": ("tables", "annotate_table"),
    "pseudobulk": ("pseudobulk", "pseudobulk"),
    "report": ("report", "report"),
    "export": ("export", "export"),
    "mcp": ("mcp", "mcp"),
    "export-markers": ("keys", "export_markers"),
    "validate-markers": ("keys", "validate_markers"),
    "demo": ("demo", "demo"),
}
_GROUPS = {
    "keys": ("keys", "Marker hierarchies: list, show, check and export them."),
    "llm": ("llm", "Annotation by language models."),
    "isoforms": ("isoforms", "Modules of isoforms: prepare, fit, explain, benchmark, compare, export."),
}


def build_app() -> object:
    """Return the command line application."""
    import typer

    from cellkey.cli._common import CommandGroup, Commands

    app = Commands(
        name="cellkey",
        cls=CommandGroup,
        help="Name groups of cells and explain groups of transcripts, with evidence that a reviewer can check.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, (module, function) in _COMMANDS.items():
        app.command(name)(getattr(import_module(f"cellkey.cli.{module}"), function))
    for name, (module, text) in _GROUPS.items():
        app.add_typer(import_module(f"cellkey.cli.{module}").app, name=name, help=text)

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
