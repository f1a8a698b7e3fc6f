"""Judging many variants of the data at once gives what judging each by itself gives, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from anndata import AnnData

from cellkey.annotation import stability as stability_module
from cellkey.annotation.cells import AnnotationResult, annotate
from cellkey.annotation.stability import _without as key_without
from cellkey.annotation.stability import key_columns, stability_of_enrichment
from cellkey.routing.branch_rule import BranchGating, BranchRule
from cellkey.routing.branch_support import Routes
from cellkey.routing.limits import merge_gating
from cellkey.routing.marker_gates import MarkerRule
from cellkey.routing.walk import walk_key, walk_paths
from cellkey.scoring.evidence import Evidence
from cellkey.scoring.marker_evidence import MarkerScoring, score_markers

pytestmark = pytest.mark.filterwarnings("ignore:.* holds counts:cellkey.errors.CellkeyWarning")

SETTINGS: list[dict[str, Any]] = [
    {}, {"anti_agg": "max", "de_universe": "markers"}, {"anti_agg": "mean", "use_idf": True, "de_top_frac": 0.5},
]


@pytest.fixture
def annotated(small_cells: Callable[..., AnnData], small_map: dict[str, Any]) -> AnnotationResult:
    cells = small_cells(n_per_type=30, n_other=80)
    rng = np.random.default_rng(4)
    cells.obs["group"] = [f"{t}:{i}" for t, i in zip(cells.obs["truth"], rng.integers(0, 9, cells.n_obs), strict=True)]
    return annotate(cells, small_map, method="both", groupby="group", copy=True, n_jobs=1, resamples=6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_stacked_resamples_score_as_one_by_one(annotated: AnnotationResult, settings: dict[str, Any]) -> None:
    a, resamples = annotated.annotation, annotated.resamples
    assert resamples is not None
    assert (resamples.n_cells == 0).any(), "no group vanishes from any resample"
    stacked, sample, group = resamples.stacked(a.profiles, np.arange(1, 6))
    together = score_markers(stacked, a.key, MarkerScoring(**settings))
    for b in range(1, 6):
        present = np.flatnonzero(resamples.n_cells[b])
        alone = score_markers(resamples.profiles(a.profiles, b).of_groups(present.tolist()), a.key,
                              MarkerScoring(**settings))
        rows = sample == b
        np.testing.assert_array_equal(group[rows], present)
        np.testing.assert_array_equal(together.score[rows], alone.score)
        for name, values in alone.components.items():
            np.testing.assert_array_equal(together[name][rows], values, err_msg=name)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_hidden_column_scores_as_a_hierarchy_that_does_not_find_it(
    annotated: AnnotationResult, settings: dict[str, Any]
) -> None:
    a = annotated.annotation
    named = [n for n in a.key.hierarchy.all_markers() if a.key.column(n) is not None]
    rule = {"marker": named[0], "min_pos_frac": 0.3, "min_enrichment": 0.0}
    root = a.key.hierarchy.nodes[0].name
    gating = merge_gating({"root_hard_requirements": {root: rule},
                           "root_veto_markers": {root: {"markers": named[1:3], "max_pos_frac": 0.1}}})
    columns = key_columns(a.key)
    groups = np.arange(a.profiles.n_groups)
    stacked = a.profiles.of_groups(np.tile(groups, len(columns)).tolist())
    scoring = MarkerScoring(**settings)
    together = score_markers(stacked, a.key, scoring, hidden=np.repeat(columns, len(groups)))
    paths = walk_paths(a.key, len(together.groups), MarkerRule(together, gating))
    found = set()
    for i, column in enumerate(columns.tolist()):
        key = key_without(a.key, {column})
        kept = np.arange(a.profiles.n_vars) != column
        alone = score_markers(a.profiles, key, scoring, features=kept)
        rows = slice(i * len(groups), (i + 1) * len(groups))
        np.testing.assert_array_equal(together.score[rows], alone.score)
        np.testing.assert_array_equal(together["coverage"][rows], alone["coverage"])
        expected = walk_paths(key, len(groups), MarkerRule(alone, gating))
        np.testing.assert_array_equal(paths[rows], expected)
        found |= {tuple(p) for p in expected.tolist()}
    assert len(found) > 2


@pytest.mark.parametrize("max_depth", [None, 0, 1])
def test_paths_are_those_of_the_recorded_walk(annotated: AnnotationResult, max_depth: int | None) -> None:
    a = annotated.annotation
    assert a.enrichment is not None
    routes = a.enrichment.routes
    for evidence, rule in ((a.evidence, MarkerRule(a.evidence, a.gating)),
                           (routes.evidence, BranchRule(routes.evidence, routes.gating))):
        paths = walk_paths(a.key, len(evidence.groups), rule, max_depth=max_depth)
        walks = walk_key(a.key, evidence.groups, rule, max_depth=max_depth)
        assert [tuple(p[p >= 0]) for p in paths] == [w.path for w in walks]
        assert any(len(w.path) > 0 for w in walks)


def test_labels_given_up_after_the_walk_do_not_hold(
    annotated: AnnotationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, routed = annotated.annotation, stability_module.route_branches
    assert a.enrichment is not None
    assert annotated.resamples is not None

    def one_level_less(evidence: Evidence, gating: BranchGating) -> Routes:
        routes = routed(evidence, gating)
        return replace(routes, walks=tuple(replace(w, path=w.path[:-1]) for w in routes.walks))

    before = stability_of_enrichment(a.profiles, a.enrichment, annotated.resamples)
    monkeypatch.setattr(stability_module, "route_branches", one_level_less)
    after = stability_of_enrichment(a.profiles, a.enrichment, annotated.resamples)
    called = [i for i, s in enumerate(before) if s.path]
    assert max(before[i].held[-1] for i in called) > 0.9
    assert all(after[i].without_marker[-1] == 0 for i in called)
    assert sum(after[i].held[-1] for i in called) < 0.5 * sum(before[i].held[-1] for i in called)
