"""Cells in and out: readers of several forms, a writer that leaves no half file."""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "link_or_copy": "write",
    "read_cells": "read",
    "read_panel": "panel",
    "write_cells": "write",
})
