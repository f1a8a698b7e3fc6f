"""What the tests of HierAnnot's names share: a pipeline on the worked example, and the built-in hierarchies."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def example() -> tuple[Any, Any]:
    """Pipeline and result on the worked example, with the settings under which its numbers were computed."""
    from cellkey.compat.hierannot import HierAnnotPipeline
    from cellkey.compat.hierannot.programs import as_programs
    from enrichment_example import TREE, raw_means

    pipeline = HierAnnotPipeline(
        as_programs(TREE), preset="small_panel", n_bins=3, control_size_fallbacks=[1_000_000],
        control_gene_exclusion_policy="all_pipeline_markers", detection_floor=3.5,
    )
    return pipeline, pipeline.fit_score(raw_means())


@pytest.fixture(scope="session")
def builtins() -> None:
    """The twelve built-in hierarchies and their matching; tests that need them are skipped where they are absent."""
    from importlib.util import find_spec

    from cellkey.compat.hierannot.hierarchies import BUILTIN_NAMES
    from cellkey.hierarchy.catalogue import builtin_names

    missing = sorted(set(BUILTIN_NAMES) - set(builtin_names()))
    if missing or find_spec("cellkey.hierarchy.matching") is None:
        pytest.skip(f"built-in hierarchies are not there yet: {', '.join(missing) or 'matching'}")
