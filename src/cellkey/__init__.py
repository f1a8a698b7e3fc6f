"""Name groups of cells and explain groups of transcripts, with evidence that a reviewer can check.

The verbs below are thin; the domain modules (``hierarchy``, ``profiles``, ``scoring``, ``routing``,
``calls``, ``refinement``, ``llm``, ``batch``, ``isoforms``) are for those who compose.
Names are loaded on first use, so that ``import cellkey`` stays fast and quiet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellkey._lazy import lazy_names

if TYPE_CHECKING:
    from cellkey import pl as pl
    from cellkey.annotation.agreement_files import consensus as consensus
    from cellkey.annotation.cells import annotate as annotate
    from cellkey.annotation.compare import compare_runs as compare_runs
    from cellkey.annotation.pseudobulk import pseudobulk as pseudobulk
    from cellkey.annotation.result import AnnotationResult as AnnotationResult
    from cellkey.annotation.run import annotate_file as annotate_file
    from cellkey.errors import CellkeyError as CellkeyError
    from cellkey.errors import CellkeyWarning as CellkeyWarning
    from cellkey.errors import InputError as InputError
    from cellkey.hierarchy import CellType as CellType
    from cellkey.hierarchy import Hierarchy as Hierarchy
    from cellkey.hierarchy import lint_hierarchy as lint_hierarchy
    from cellkey.hierarchy import read_hierarchy as read_hierarchy
    from cellkey.hierarchy import write_hierarchy as write_hierarchy
    from cellkey.refinement import refine as refine
    from cellkey.refinement import refine_run as refine_run
    from cellkey.refinement import undo as undo

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "AnnotationResult": "annotation.result",
    "CellType": "hierarchy",
    "CellkeyError": "errors",
    "CellkeyWarning": "errors",
    "Hierarchy": "hierarchy",
    "InputError": "errors",
    "annotate": "annotation.cells",
    "annotate_file": "annotation.run",
    "compare_runs": "annotation.compare",
    "consensus": "annotation.agreement_files",
    "lint_hierarchy": "hierarchy",
    "pl": "",
    "pseudobulk": "annotation.pseudobulk",
    "read_hierarchy": "hierarchy",
    "refine": "refinement",
    "refine_run": "refinement",
    "undo": "refinement",
    "write_hierarchy": "hierarchy",
})
__all__.insert(0, "__version__")
