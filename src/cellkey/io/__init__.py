"""Cells in and out: readers of several forms, a writer that leaves no half file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "link_or_copy": "write",
    "read_cells": "read",
    "read_panel": "panel",
    "write_cells": "write",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"cellkey.io.{_WHERE[name]}"), name)
    msg = f"module 'cellkey.io' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
