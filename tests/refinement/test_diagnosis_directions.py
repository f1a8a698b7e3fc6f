"""Raising a parameter moves the diagnosis in the promised direction, checked as inclusion of sets."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import pairwise

import pytest

from cellkey.annotation.cells import annotate
from cellkey.datasets import synthetic_rna
from cellkey.refinement.diagnosis import diagnose, rivals, votes_needed
from cellkey.refinement.parameters import RefinementParameters
from cellkey.refinement.source import open_source

MIXED = (("CD4 T Cells", "CD8 T Cells"), ("B Cells", "Monocytes"), ("Fibroblasts", "Vascular Endothelium"))


@cache
def prepared():
    """Source, votes and rival votes of clusters of many kinds: pure, mixed, small, thinned out."""
    made = synthetic_rna(900, 200, merged=MIXED, thin=0.35, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annotate(made.adata, made.marker_map, groupby="true_cluster")
    source = open_source(made.adata, RefinementParameters())
    state = source.current
    rows = {c: state.rows(c) for c in state.clusters}
    votes = source.cells.hold_votes(state.verdict, votes_needed(state.verdict, state.calls), rows)
    beside = source.cells.hold_votes(state.verdict, rivals(state.verdict, state.calls), rows)
    return state, votes, beside


def sets(**parameters: object) -> dict[str, set[str]]:
    state, votes, beside = prepared()
    settings = RefinementParameters(**{"min_cells": 40, **parameters})
    found = diagnose(state.verdict, state.calls, settings, votes, rival_votes=beside)
    return {kind: {d.cluster for d in found if d.recommendation == kind} for kind in ("SUBCLUSTER", "RELABEL", "SKIP")}


def flagged(**parameters: object) -> set[str]:
    found = sets(**parameters)
    return found["SUBCLUSTER"] | found["RELABEL"]


@pytest.mark.parametrize(("name", "values"), [
    ("score_threshold", (0.0, 0.5, 0.7, 1.0, 1.2, 1.5, 2.0, 3.0)), ("min_cells", (1, 60, 100, 130, 1000)),
])
def test_higher_flags_no_more(name: str, values: tuple[float, ...]) -> None:
    seen = [flagged(**{name: v}) for v in values]
    assert all(later <= earlier for earlier, later in pairwise(seen))
    assert seen[0]
    assert seen[-1] < seen[0]


def test_a_wider_gap_relabels_more_and_splits_less() -> None:
    seen = [sets(heterogeneity_gap=g) for g in (0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 1.0)]
    for narrow, wide in pairwise(seen):
        assert narrow["RELABEL"] <= wide["RELABEL"]
        assert wide["SUBCLUSTER"] <= narrow["SUBCLUSTER"]


def test_the_legacy_rules_go_the_other_way() -> None:
    low, high = (sets(policy="legacy", score_threshold=t)["SUBCLUSTER"] for t in (0.5, 3.0))
    assert low < high


def test_priorities_number_all_clusters_splits_first() -> None:
    state, votes, beside = prepared()
    settings = RefinementParameters(min_cells=40)
    found = diagnose(state.verdict, state.calls, settings, votes, rival_votes=beside)
    assert sorted(d.priority for d in found) == list(range(1, len(found) + 1))
    ordered = [d.recommendation for d in sorted(found, key=lambda d: d.priority)]
    assert ordered == sorted(ordered, key=["SUBCLUSTER", "RELABEL", "SKIP"].index)


def test_votes_find_a_second_type_that_the_label_hides() -> None:
    """Half B cells, half monocytes, called one of them: the cells of the other half say so."""
    state, votes, beside = prepared()
    hidden = [c for c in state.clusters if state.calls[c].label in ("B Cells", "Monocytes") and state.sizes[c] > 100]
    found = {d.cluster: d for d in diagnose(
        state.verdict, state.calls, RefinementParameters(min_cells=40), votes, rival_votes=beside)}
    for cluster in hidden:
        assert found[cluster].recommendation == "SUBCLUSTER"
