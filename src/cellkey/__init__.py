"""Name groups of cells and explain groups of transcripts, with evidence that a reviewer can check.

The verbs below are thin; the domain modules (``hierarchy``, ``profiles``, ``scoring``, ``routing``,
``calls``, ``refinement``, ``llm``, ``batch``, ``isoforms``) are for those who compose.
Names are loaded on first use, so that ``import cellkey`` stays fast and quiet.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "AnnotationResult": "cellkey.annotation.result",
    "CellType": "cellkey.hierarchy",
    "CellkeyError": "cellkey.errors",
    "CellkeyWarning": "cellkey.errors",
    "Hierarchy": "cellkey.hierarchy",
    "InputError": "cellkey.errors",
    "annotate": "cellkey.annotation.cells",
    "annotate_file": "cellkey.annotation.run",
    "compare_runs": "cellkey.annotation.compare",
    "consensus": "cellkey.annotation.agreement_files",
    "lint_hierarchy": "cellkey.hierarchy",
    "read_hierarchy": "cellkey.hierarchy",
    "refine": "cellkey.refinement",
    "refine_run": "cellkey.refinement",
    "undo": "cellkey.refinement",
    "write_hierarchy": "cellkey.hierarchy",
}

__all__ = ["__version__", *sorted([*_WHERE, "pl"])]


def __getattr__(name: str) -> Any:
    if name == "pl":
        return import_module("cellkey.pl")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    msg = f"module 'cellkey' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
