"""``mcp``: a server for assistants over run directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["mcp"]


def mcp(
    root: Annotated[Path, typer.Option("--root", "-r", help="Folder with run directories; nothing else is opened.")],
    allow_apply: Annotated[
        bool, typer.Option("--allow-apply", help="Offer the tool that carries out plans; without it nothing changes.")
    ] = False,
) -> None:
    """Serve runs to an assistant over the Model Context Protocol (standard input and output).

    The assistant can list and describe runs, explain clusters, list hierarchies, and propose other labels as a plan
    that a person reads. Cells never leave the server.

    \b
    Examples:
      cellkey mcp --root runs
      cellkey mcp --root runs --allow-apply
    """
    from cellkey.mcp.server import serve

    serve(root, allow_apply=allow_apply)
