"""Refinement: diagnose clusters, plan, split, relabel and merge them, with provenance, and undo.

- :mod:`~cellkey.refinement.diagnosis` and :mod:`~cellkey.refinement.criteria`: how heterogeneous, and what to do.
- :mod:`~cellkey.refinement.plan`, :mod:`~cellkey.refinement.plan_files`, :mod:`~cellkey.refinement.policies`: plans,
  automatic, written, and both.
- :mod:`~cellkey.refinement.operations`: splits, merges, overrides, relabelling, rescoring.
- :mod:`~cellkey.refinement.splitting`, :mod:`~cellkey.refinement.separation`,
  :mod:`~cellkey.refinement.confidence`: whether splits and calls hold.
- :mod:`~cellkey.refinement.iteration`: rounds until a stated reason ends them.
- :mod:`~cellkey.refinement.cells`: the same for AnnData; :mod:`~cellkey.refinement.run`: for run directories.
"""

from __future__ import annotations

from cellkey._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    "Focus": "policies",
    "Plan": "plan",
    "RefinementParameters": "parameters",
    "RefinementResult": "result",
    "diagnose_run": "run",
    "read_plan": "plan_files",
    "refine": "cells",
    "refine_run": "run",
    "undo": "cells",
    "undo_run": "run",
    "write_plan": "plan_files",
})
