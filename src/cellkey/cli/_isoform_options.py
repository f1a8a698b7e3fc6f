"""Options that commands of ``cellkey isoforms`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Dataset", "Overrides"]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings such as spectral.min_cosine=0.9 or traits.covariates=[Age,Sex]; null keeps the default.",
    ),
]
Dataset = Annotated[Path, typer.Option("--dataset-path", help="Bundle directory.")]
